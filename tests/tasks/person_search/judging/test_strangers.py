"""How many strangers are so similar: counts by hand, from validation and from the people who are in one frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.person_search.formats.cameras import Camera, Indexed
from tasks.person_search.judging import strangers
from tasks.yard.files import write_text


def indexed(frames: list[list[tuple[float, tuple]]]) -> Indexed:
    """A camera whose frames have people of these angles, at x1 and x2."""
    frame = [n for n, people in enumerate(frames) for _ in people]
    angle = np.array([angle for people in frames for angle, _ in people])
    box = np.array([[x1, 0, x2, 10] for people in frames for _, (x1, x2) in people], np.float32).reshape(-1, 4)
    vectors = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    rows = {"frame": np.array(frame, np.int32), "box": box, "embedding": vectors}
    return Indexed(Camera("door", Path(), "", 1, "door", 2.0), rows, None)


def test_the_pairs_of_validation_say_how_many_of_the_detections_would_be_so_similar(tmp_path):
    rows = "validation,-0.2,1,0\nvalidation,0.5,0.25,0.1\nvalidation,0.9,0,1\ntest,0.5,0.75,0\n"
    write_text(tmp_path / strangers.ERRORS, f"split,threshold,false_accepts,false_rejects\n{rows}")
    found = strangers.read(tmp_path, {"validation": {"different_pairs": 199}})
    assert found.accepted == [199, 50, 0]
    assert found.expected(0.6, 1000) == 1000 * 51 / 200
    assert found.expected(0.9, 1000) == 5, "none of 199 pairs: as if one of 200 were"
    assert found.expected(-0.5, 1000) == 1000
    assert found.level(0.26) == 0.5 and found.level(0.005) == 0.9 and found.level(0.001) is None
    assert strangers.read(tmp_path, {"validation": None}) is None
    assert strangers.read(tmp_path / "none", {"validation": {"different_pairs": 199}}) is None


def test_who_are_in_one_frame_are_two_people_unless_their_boxes_touch(monkeypatch):
    monkeypatch.setattr(strangers, "FEWEST", 1)
    apart, touching = (0, 5), (4, 9)
    frames = [[(0.0, apart), (np.pi / 2, (20, 25))], [(0.0, apart), (0.1, touching)], [(0.0, apart)]]
    found = strangers.in_frames([indexed(frames), indexed([[(0.0, apart), (np.pi / 3, (20, 25))]])])
    assert found.pairs == 2 and found.of == strangers.FRAMES
    assert found.similarity == pytest.approx([0, 0.5], abs=1e-6)
    assert [found.expected(level, 30) for level in (-0.1, 0.2, 0.7)] == [30, 20, 10]
    monkeypatch.undo()
    assert strangers.in_frames([indexed(frames)]) is None and strangers.in_frames([]) is None


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=60), st.floats(-1, 1, width=32), st.integers(0, 1000))
def test_it_counts_the_pairs_at_least_so_similar_and_one(levels, level, detections):
    found = strangers.counted(np.array(levels), "")
    above = sum(value >= level for value in levels)
    assert found.expected(level, detections) == pytest.approx(detections * (above + 1) / (len(levels) + 1))
    lowest = found.level(0.5)
    if lowest is not None:
        assert (sum(value >= lowest for value in levels) + 1) / (len(levels) + 1) <= 0.5
