"""Copies are found whatever drives they come by, and as those who compare each two of them would."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.brake_coast.learning.belonging import apart, merged, same_frames
from tasks.brake_coast.learning.features import Drive

WINDOW = 4
CUTS = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12)), min_size=1, max_size=8)  # (first frame, frames)


def drive(name: str, frames: range) -> Drive:
    """A cut of one long drive, always moving."""
    count = len(frames)
    telemetry = np.column_stack([np.array(frames) + 1.0, np.zeros(count)])
    empty = np.zeros((count, 0))
    return Drive(
        name, name, telemetry, empty, empty, empty, np.array(frames) * 500, np.zeros(count, int), empty, {}, []
    )


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(CUTS)
def test_drives_that_share_a_window_are_together_also_by_way_of_others(cuts):
    frames = [range(first, first + count) for first, count in cuts]
    part = list(range(len(frames)))
    for one, other in combinations(range(len(frames)), 2):  # each two of them
        if len(set(frames[one]) & set(frames[other])) >= WINDOW:
            part = [part[one] if number == part[other] else number for number in part]
    expected = {tuple(p for p, n in enumerate(part) if n == number) for number in part}
    found = same_frames([drive(str(place), mine) for place, mine in enumerate(frames)], WINDOW)
    assert {tuple(some) for some in found} == {some for some in expected if len(some) > 1}


def test_days_with_copies_of_each_other_are_one_day():
    assert merged(["mon", "tue", "wed", "wed"], [[1, 3]]) == ["mon", "tue", "tue", "tue"]


def test_drives_of_one_day_in_two_splits_are_a_guard_apart():
    films = [drive(str(number), range(120 * number, 120 * number + 120)) for number in range(4)]
    films = [replace(film, group="one day") for film in films]
    cut, lost = apart(films, ["train", "test", "val", "val"], 15.0, 20)
    assert [(int(film.t_ms[0]) // 500, len(film.t_ms)) for film in cut] == [(0, 91), (120, 120), (269, 91), (360, 120)]
    assert lost == 58 and cut[0].counts["frames_beside_another_split"] == 29
    assert apart([replace(film, group=film.name) for film in films], ["train", "test", "val", "val"], 15.0, 20)[1] == 0
