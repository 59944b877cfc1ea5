"""Probabilities come back as they were written, and those of other windows are refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tasks.brake_coast.formats import predictions, windows
from tasks.brake_coast.formats.windows import Split
from tasks.yard.step import BadInput
from tests.tasks.brake_coast.tiny_pack import write_pack


@pytest.fixture
def judged(tmp_path) -> Split:
    return Split(windows.load(write_pack(tmp_path / "pack", {"test": 2}, frames=60) / "test.h5"))


@pytest.fixture
def probabilities(judged) -> dict[str, np.ndarray]:
    p = np.round(np.random.default_rng(0).random((2, len(judged.starts))), 6)
    return {predictions.column("a-b/c", "brake_1s"): p[0], predictions.column("other", "coast_2s"): p[1]}


def test_what_was_written_is_read(tmp_path, judged, probabilities):
    frames, ends = judged.frames, judged.ends
    predictions.write(tmp_path, frames, ends, probabilities)
    table = predictions.read_all(tmp_path, frames, ends)
    assert list(table) == ["t_ms", *probabilities] and np.array_equal(table["t_ms"], frames.t_ms[ends])
    for name, p in probabilities.items():
        assert np.array_equal(table[name], p)
    one = predictions.read(tmp_path, "test-1")
    assert np.array_equal(one["other/coast_2s"], probabilities["other/coast_2s"][frames.recording[ends] == 1])
    assert list(predictions.written(tmp_path)) == ["test-0", "test-1"]
    assert predictions.read(tmp_path, "elsewhere") is None


def test_a_column_says_run_and_task():
    assert predictions.run_and_task(predictions.column("a-b/c", "brake_1s")) == ("a-b/c", "brake_1s")


def test_files_of_an_earlier_split_go(tmp_path, judged, probabilities):
    frames, ends = judged.frames, judged.ends
    predictions.write(tmp_path, frames, ends, probabilities)
    renamed = replace(frames, recordings=["test-0", "new"])
    predictions.write(tmp_path, renamed, ends, probabilities)
    assert list(predictions.written(tmp_path)) == ["new", "test-0"]


@pytest.mark.parametrize("change", ["renamed", "later", "fewer", "none"])
def test_predictions_of_other_windows_are_refused(tmp_path, judged, probabilities, change):
    frames, ends = judged.frames, judged.ends
    if change != "none":
        predictions.write(tmp_path, frames, ends, probabilities)
    if change == "renamed":
        frames = replace(frames, recordings=["test-0", "new"])
    elif change == "later":
        frames = replace(frames, t_ms=frames.t_ms + 1)
    elif change == "fewer":
        ends = ends[:-1]
    with pytest.raises(BadInput, match="run brake_coast-evaluate again"):
        predictions.read_all(tmp_path, frames, ends)
