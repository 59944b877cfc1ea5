"""Who takes the crown, by known answers; that it takes it in the registry is shown with brake_coast's networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasks.yard.tracking.champion import Comparison, Score, compared

OURS, THEIRS = Path("ours.pt"), Path("theirs.pt")


@pytest.mark.parametrize(
    ("ours", "low", "high", "won", "why"),
    [
        (0.8, 0.05, 0.15, True, "surely better"),
        (0.8, 0.0, 0.2, True, "at least no worse"),
        (0.8, -0.001, 0.201, False, "better, but it may be worse"),
        (0.6, -0.2, -0.01, False, "surely worse"),
        (0.7, 0.0, 0.0, False, "just the same"),
        (0.9, None, None, False, "too few recordings to tell"),
    ],
)
def test_the_crown_goes_to_who_is_surely_no_worse(ours, low, high, won, why):
    assert Comparison("mAP", ours, 0.7, low, high).won is won, why


def score(values: dict[Path, float], replicates: dict[Path, list[float]], groups: int = 5):
    return lambda path: Score("mAP", values[path], np.array(replicates[path]), groups)


def test_both_are_scored_on_the_same_draws_and_their_difference_has_the_interval():
    # Each alone varies by far more than they differ: on every draw ours is 0.1 above theirs.
    theirs = np.linspace(0.2, 0.8, 50)
    found = compared(score({OURS: 0.6, THEIRS: 0.5}, {OURS: theirs + 0.1, THEIRS: theirs}), OURS, THEIRS)
    assert (found.challenger, found.champion) == (0.6, 0.5)
    assert found.low == pytest.approx(0.1) and found.high == pytest.approx(0.1) and found.won
    assert found.lead == "mAP 0.600 against 0.500; lead +0.100, 95 % from +0.100 to +0.100"


def test_of_one_recording_nothing_can_be_told():
    found = compared(score({OURS: 0.6, THEIRS: 0.5}, {OURS: [0.6] * 9, THEIRS: [0.5] * 9}, groups=1), OURS, THEIRS)
    assert found.low is None and not found.won
    assert found.lead == "mAP 0.600 against 0.500"
