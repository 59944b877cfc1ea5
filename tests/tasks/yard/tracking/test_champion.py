"""Who takes the crown, by known answers; that it takes it in the registry is shown with brake_coast's networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasks.yard.metrics import bootstrap
from tasks.yard.tracking import challenges
from tasks.yard.tracking.champion import Comparison, Leader, Score, compared

OURS, THEIRS = Path("ours.pt"), Path("theirs.pt")
DRIVES = [f"drive-{i}" for i in range(30)]


@pytest.mark.parametrize(
    ("ours", "error", "groups", "won", "why"),
    [
        (0.8, 0.02, 30, True, "surely better"),
        (0.8, 0.02, 3, False, "of so few drives the same lead is luck"),
        (0.8, 0.1, 30, False, "better, but it may be worse"),
        (0.6, 0.02, 30, False, "surely worse"),
        (0.7, 0.0, 30, False, "just the same"),
        (0.9, None, 1, False, "too few recordings to tell"),
    ],
)
def test_the_crown_goes_to_who_is_surely_no_worse(ours, error, groups, won, why):
    assert Comparison("mAP", ours, 0.7, error, DRIVES[:groups]).won(0.025) is won, why


def score(values: dict[Path, float], replicates: dict[Path, list[float]], groups: int = 5):
    return lambda path: Score("mAP", values[path], np.array(replicates[path]), DRIVES[:groups])


def test_both_are_scored_on_the_same_draws_and_their_difference_has_the_error():
    # Each alone varies by far more than they differ: on every draw ours is 0.1 above theirs.
    theirs = np.linspace(0.2, 0.8, 50)
    found = compared(score({OURS: 0.6, THEIRS: 0.5}, {OURS: theirs + 0.1, THEIRS: theirs}), OURS, THEIRS, "5 drives")
    assert (found.challenger, found.champion) == (0.6, 0.5)
    assert found.error == pytest.approx(0) and found.won(1e-6)
    said = found.told(number=1)
    assert said.startswith("mAP on 5 drives: 0.600 against 0.500; lead +0.100, surely above +0.100 (challenge 1 on")
    assert "98.75 % sure" in said


def test_of_one_recording_nothing_can_be_told():
    one = score({OURS: 0.6, THEIRS: 0.5}, {OURS: [0.6] * 9, THEIRS: [0.5] * 9}, groups=1)
    found = compared(one, OURS, THEIRS, "1 drive")
    assert found.error is None and not found.won(0.025)
    assert found.told(number=1) == "mAP on 1 drive: 0.600 against 0.500"


def changes(seed: int, level, drives: int, nights: int = 100) -> int:
    """How often the champion changes when nobody is any better: every model has luck of its own with each drive."""
    rng = np.random.default_rng(seed)
    draws = bootstrap.resamples(drives, 300, 0) / drives
    reigning, changed = rng.normal(0.5, 0.1, drives), 0
    for night in range(1, nights + 1):
        new = rng.normal(0.5, 0.1, drives)
        scores = {OURS: new, THEIRS: reigning}

        def judge(path: Path, scores=scores) -> Score:
            return Score("mAP", float(scores[path].mean()), draws @ scores[path], DRIVES[:drives])

        if compared(judge, OURS, THEIRS, "drives").won(level(night)):
            reigning, changed = new, changed + 1
    return changed


@pytest.mark.slow
@pytest.mark.parametrize("drives", [4, 30])
def test_a_hundred_nights_of_equal_models_hardly_ever_change_the_champion(drives):
    shared = [changes(seed, challenges.level, drives) for seed in range(20)]
    each = [changes(seed, lambda night: challenges.ERROR, drives) for seed in range(20)]
    assert sum(map(bool, shared)) <= 1, "2.5 % of all such hundreds of nights, and not of every night"
    assert sum(map(bool, each)) >= 8, "as it was: every second hundred nights crown who is lucky"


def test_all_challenges_on_one_test_set_share_the_error():
    levels = [challenges.level(number) for number in range(1, 10_000)]
    assert levels[0] == 0.0125 and sum(levels) <= challenges.ERROR


def test_a_challenge_counts_while_half_of_the_test_set_is_the_same():
    night = {name: challenges.sketch(DRIVES[:end]) for name, end in (("1", 10), ("2", 11), ("3", 22))}
    tags = {version: {challenges.tag_of(test): " ".join(test), "other": "tag"} for version, test in night.items()}
    assert challenges.number_of(night["1"], "1", {}) == 1
    assert challenges.number_of(night["1"], "1", {"1": tags["1"]}) == 1, "the same question again is no new challenge"
    assert challenges.number_of(night["1"], "9", {"1": tags["1"]}) == 2
    assert challenges.number_of(night["2"], "2", {"1": tags["1"]}) == 2, "one drive more is hardly another test set"
    assert challenges.number_of(night["3"], "3", {v: tags[v] for v in "12"}) == 2, "more than half of it is new to 1"
    assert challenges.number_of(challenges.sketch(DRIVES[22:]), "4", tags) == 1


def test_a_large_test_set_is_known_again_by_some_of_its_names():
    people = [f"market:{i}" for i in range(4000)]
    test, grown = challenges.sketch(people), challenges.sketch([*people, *(f"new:{i}" for i in range(1000))])
    other = challenges.sketch(f"msmt:{i}" for i in range(4000))
    assert len(" ".join(test)) < 5000, "the most that a tag holds"
    assert challenges.same_test(grown, test) and challenges.same_test(test, grown)
    assert not challenges.same_test(other, test)


@pytest.mark.parametrize(
    ("validation", "test", "why"),
    [
        (0.5, 0.6, None),
        (0.2, 0.6, "its mAP on validation is 0.200, no better than 0.200 of chance"),
        (0.5, 0.1, "its mAP on test is 0.100, no better than 0.200 of chance"),
        (None, 0.6, "its mAP on validation is not there, or not meaningful"),
    ],
)
def test_the_first_of_a_line_has_to_beat_its_baselines(validation, test, why):
    bars = {"chance": 0.2, "unknown": None}
    assert Leader("net", "mAP", {"validation": {"net": validation, **bars}, "test": {"net": test, **bars}}).unfit == why
