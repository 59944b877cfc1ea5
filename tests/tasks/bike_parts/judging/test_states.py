"""Matches are one to one; rates of states are what a hand counts; thresholds are where they are said to be."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.bike_parts.formats.detections import Detections
from tasks.bike_parts.formats.photos import ABSENT, Photo, Photos
from tasks.bike_parts.judging import matching, presence, states
from tests.tasks.bike_parts.judged_photos import labelled, seen


def slowly(of: Photos, found: Detections, iou: float = 0.5) -> np.ndarray:
    """COCO's way, in a loop over everything."""
    taken, free = np.full(len(found.score), -1), set(range(len(of.id)))
    for row in np.argsort(-found.score, kind="stable"):
        best, place = iou, -1
        for box in sorted(free):
            if (of.photo[box], of.part[box]) != (found.image[row], found.part[row]):
                continue
            low = np.maximum(found.box[row, :2], of.box[box, :2])
            high = np.minimum(found.box[row, :2] + found.box[row, 2:], of.box[box, :2] + of.box[box, 2:])
            common = np.prod((high - low).clip(0))
            share = common / (np.prod(found.box[row, 2:].astype(float)) + np.prod(of.box[box, 2:]) - common)
            if share >= best:
                best, place = share, box
        if place >= 0:
            taken[row] = place
            free.discard(place)
    return taken


def test_matches_are_those_of_a_loop_over_everything():
    for seed in range(3):
        of = labelled("test", 8, seed)
        found, _ = seen(of, seed, shift=0.25, false=3)
        near = matching.near(of, found)
        np.testing.assert_array_equal(matching.one_to_one(near, found.score), slowly(of, found))
        among = of.state != ABSENT
        taken = matching.one_to_one(near, found.presence, among)
        assert among[taken[taken >= 0]].all()
        assert len(set(taken[taken >= 0].tolist())) == (taken >= 0).sum(), "one to one"


def test_of_two_boxes_of_one_part_the_surer_takes_it_and_the_other_is_left():
    photo = Photos(["bell"], [Photo(1, "a", 100, 100, "a")], *map(np.array, ([7], [1], [1])),
                   np.array([[10.0, 10, 20, 20]]), np.array([0]), np.ones(1))  # fmt: skip
    box = np.array([[10, 10, 20, 20], [11, 10, 20, 20], [60, 60, 20, 20]], np.float32)
    score = np.array([0.6, 0.9, 0.99], np.float32)
    found = Detections(np.ones(3, int), np.ones(3, int), box, score, np.full((3, 4), 0.25))
    assert matching.one_to_one(matching.near(photo, found), score).tolist() == [-1, 0, -1]


TRUE = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, -1])
TOLD = np.array([0, 0, 0, 1, 1, 0, 2, 2, 0, 3])
LABELS = np.array([5, 2, 3, 0])


def test_rates_are_what_a_hand_counts():
    counts = states.confusions(TRUE, TOLD, np.zeros(10, int), 1)[0]
    assert counts.tolist() == [[3, 1, 0, 0], [1, 1, 0, 0], [1, 0, 2, 0], [0, 0, 0, 0]]
    told = states.numbers(counts, LABELS)
    f1 = {"intact": 2 * 3 / (4 + 5), "damaged": 2 * 1 / (2 + 2), "absent": 2 * 2 / (3 + 2)}
    assert told["accuracy"] == 6 / 9 and told["macro_f1"] == pytest.approx(np.mean(list(f1.values())))
    assert (told["damaged_precision"], told["damaged_recall"]) == (1 / 2, 1 / 2)
    assert (told["absent_precision"], told["absent_recall"]) == (1, 2 / 3)


def test_a_state_that_is_labelled_and_never_found_counts_as_not_told():
    """Who finds intact parts alone is not perfect."""
    counts = states.confusions(np.zeros(4, int), np.zeros(4, int), np.zeros(4, int), 1)[0]
    assert states.numbers(counts, np.array([4, 0, 0, 0]))["macro_f1"] == 1
    assert states.numbers(counts, np.array([4, 1, 1, 2]))["macro_f1"] == 1 / 4
    nothing = states.numbers(0 * counts, np.array([4, 0, 0, 0]))
    assert set(nothing.values()) == {None}, "nothing matched: nothing to say"


def test_what_is_drawn_is_what_counting_it_anew_gives():
    random = np.random.default_rng(0)
    counts, labelled_ = random.integers(0, 5, (7, 4, 4)), random.integers(5, 9, (7, 4))
    draws = random.multinomial(7, np.full(7, 1 / 7), size=20)
    drawn = states.replicates(counts, labelled_, draws)
    for row, draw in enumerate(draws):
        again = states.numbers((draw[:, None, None] * counts).sum(0), draw @ labelled_)
        assert {name: drawn[name][row] for name in again} == pytest.approx(again)


BEST = np.array([0.9, 0.8, 0.7, 0.6, 0.2, -1, 0.75, 0.1, -1])  # highest presence at each annotation
STATE = np.array([0, 0, 1, 3, 0, -1, 2, 2, 2])
GROUP = np.array([0, 0, 1, 1, 2, 2, 0, 1, 2])


def test_recall_and_hallucination_at_each_threshold():
    """Six parts are there, one of them of unknown state and never found; three are absent."""
    drawn = presence.curve(BEST, STATE)
    assert drawn[:, 0].tolist() == [0.9, 0.8, 0.75, 0.7, 0.6, 0.2, 0.1]
    np.testing.assert_allclose(drawn[:, 1], np.array([1, 2, 2, 3, 4, 5, 5]) / 6)
    np.testing.assert_allclose(drawn[:, 2], np.array([0, 0, 1, 1, 1, 1, 2]) / 3)
    assert len(presence.curve(np.linspace(0, 1, 5000), np.zeros(5000, int))) == presence.POINTS
    draws = np.ones((10, 3), int)
    told = presence.at(BEST, STATE, GROUP, 0.7, draws)
    assert (told["recall"], told["hallucination"], told["present"], told["absent"]) == (3 / 6, 1 / 3, 6, 3)
    assert told["intervals"]["recall"] == {"low": 0.5, "high": 0.5, "replicates": 10}, "each bike once: no spread"


def test_the_threshold_is_the_highest_that_finds_so_many():
    assert presence.threshold_for(BEST, STATE, 0.5)[0] == 0.7
    assert presence.threshold_for(BEST, STATE, 0.51)[0] == 0.6
    assert presence.threshold_for(BEST, STATE, 0.3)[0] == 0.8
    least, how = presence.threshold_for(BEST, STATE, 0.9)
    assert least == 0.2 and "83.3% of 6 parts" in how and "none finds 90%" in how
    assert presence.threshold_for(BEST[6:], STATE[6:], 0.5) == (None, "no part is there to be found on validation")
    assert presence.threshold_for(BEST[5:6], STATE[5:6], 0.5) == (None, "nothing is found on validation")


def test_boxes_are_believed_from_the_score_with_the_best_f1():
    score = np.array([0.9, 0.5, 0.5, 0.4, 0.1])
    hit = np.array([True, True, False, True, False])
    # kept: 1 of 1, 2 of 3, 3 of 4, 3 of 5, of 4 that there are: F1 2/5, 4/7, 6/8, 6/9
    assert presence.believed_from(score, hit, 4) == 0.4
    assert presence.believed_from(score, hit & False, 4) is None
    assert presence.believed_from(score[:0], hit[:0], 4) is None
