"""What a ride did to a part: probabilities that hold where the world is known; what nobody can know is not judged."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.bike_parts.formats.photos import ABSENT, DAMAGED, INTACT, OCCLUDED, Photo, Photos
from tasks.bike_parts.judging import changes
from tasks.bike_parts.judging.changes import (
    Rides,
    alone,
    any_worse,
    claim_from,
    dense,
    is_worse,
    judged,
    learnt,
    rides_of,
    worse,
)
from tasks.bike_parts.judging.verdicts import Seen

PARTS = ["bell", "chain"]


def photos(states: list[list[int]], parts: list[str] = PARTS) -> Photos:
    """A photograph a row, a part a column."""
    of = [(i + 1, k + 1, state) for i, row in enumerate(states) for k, state in enumerate(row) if state is not None]
    photo, part, state = np.array(of).T
    box = np.tile([0.0, 0, 5, 5], (len(of), 1))
    named = [Photo(i + 1, f"{i}.jpg", 10, 10, "g") for i in range(len(states))]
    return Photos(parts, named, np.arange(len(of)), photo, part, box, state, np.ones(len(of)))


def rides(count: int = 400, changed: float = 0.1) -> tuple[Photos, list[tuple[int, int]]]:
    """Of rides in which a share of the whole parts is damaged, and a third of the bells is never there."""
    random = np.random.default_rng(0)
    states = []
    for _ in range(count):
        before = [ABSENT if random.random() < 1 / 3 else INTACT, INTACT]
        after = [DAMAGED if state == INTACT and random.random() < changed else state for state in before]
        states += [before, after]
    return photos(states), [(2 * i + 1, 2 * i + 2) for i in range(count)]


def test_what_looks_gone_in_both_photographs_was_gone_before():
    known = learnt(*rides())
    unsure = np.array([[0.25, 0.0, 0.75, 0.0]])
    assert alone(unsure, unsure, known)[0] < 0.02  # from each photograph by itself, 0.25 x 0.75 = 0.19
    sure = np.array([[0.99, 0.0, 0.01, 0.0]])
    assert alone(sure, np.array([[0.02, 0.96, 0.01, 0.01]]), known)[0] > 0.9
    assert alone(sure, sure, known)[0] < 0.01
    covered = np.array([[0.01, 0.01, 0.01, 0.97]])
    assert alone(sure, covered, known)[0] < 0.1 and alone(covered, sure, known)[0] < 0.02


def looked_at(true: np.ndarray, known: Rides, random: np.random.Generator) -> np.ndarray:
    """(..., 4) what noisy photographs tell of true states (...)."""
    look = np.full((4, 4), 0.1) + 0.6 * np.eye(4)  # what a photograph shows, by what is so
    said = (random.random((*true.shape, 1)) > look.cumsum(1)[true]).sum(-1)
    states = known.share * np.moveaxis(look[:, said], 0, -1)  # Bayes of one photograph
    return states / states.sum(-1, keepdims=True)


def test_probabilities_hold_in_a_world_that_is_as_was_learnt():
    """Rides and noisy looks drawn from the model: of what is called p, a share of p is true."""
    random = np.random.default_rng(1)
    known = learnt(*rides(changed=0.15))
    draws = random.choice(16, 40_000, p=known.joint.ravel())
    true = np.stack([draws // 4, draws % 4], 1)
    states = looked_at(true, known, random)
    p = alone(states[:, 0], states[:, 1], known)
    found = np.isin(true[:, 0] * 4 + true[:, 1], [a * 4 + b for a, b in changes.WORSE])
    assert p.sum() == pytest.approx(found.sum(), rel=0.1)
    for low, high in ((0.0, 0.05), (0.05, 0.2), (0.2, 1.0)):
        chosen = (p >= low) & (p < high)
        assert not chosen.any() or found[chosen].mean() == pytest.approx(p[chosen].mean(), abs=0.05)


def one_a_ride(count: int, seed: int) -> tuple[np.ndarray, Photos, list[tuple[int, int]]]:
    """Every other ride damages one of eight parts, and no ride two; (count, 8, 2) states."""
    random, parts = np.random.default_rng(seed), [f"part {i}" for i in range(8)]
    true = np.full((count, len(parts), 2), INTACT)
    broken = np.flatnonzero(random.random(count) < 0.5)
    true[broken, random.integers(len(parts), size=len(broken)), 1] = DAMAGED
    of = photos(true.swapaxes(1, 2).reshape(2 * count, -1).tolist(), parts)
    return true, of, [(2 * i + 1, 2 * i + 2) for i in range(count)]


@pytest.mark.slow
def test_where_a_ride_breaks_one_part_at_most_the_parts_are_weighed_together():
    _, *learnt_from = one_a_ride(1000, 0)
    known, (true, *_) = learnt(*learnt_from), one_a_ride(3000, 1)
    states = looked_at(true, known, np.random.default_rng(2))
    p = np.array([worse(*of.swapaxes(0, 1), known) for of in states])
    anything = np.array([any_worse(*of.swapaxes(0, 1), known) for of in states])
    found = is_worse(true) == 1
    assert p.sum() == pytest.approx(found.sum(), rel=0.1) and anything.mean() == pytest.approx(0.5, rel=0.1)
    for low, high in ((0.0, 0.1), (0.1, 0.3), (0.3, 1.0)):
        chosen = (p >= low) & (p < high)
        assert found[chosen].mean() == pytest.approx(p[chosen].mean(), abs=0.05)
    by_itself = np.array([alone(*of.swapaxes(0, 1), known) for of in states])
    assert claimed_rightly(p, found) > claimed_rightly(by_itself, found)


def claimed_rightly(p: np.ndarray, found: np.ndarray) -> int:
    """Changes found at one false claim in ten rides."""
    return judged(p, found.astype(int), claim_from(p, found.astype(int)))["found"]


def test_a_part_that_is_surely_broken_speaks_for_the_others_only_where_rides_break_no_two():
    before, doubtful = np.tile([0.9999, 0.0001, 0, 0], (8, 1)), np.tile([0.9, 0.1, 0, 0], (8, 1))
    sure = doubtful.copy()
    sure[0] = [0.001, 0.999, 0, 0]
    _, *rides_of_one = one_a_ride(1000, 0)
    known = learnt(*rides_of_one)
    first, second = (worse(before, after, known) for after in (doubtful, sure))
    assert second[0] > 0.9 and second[1] < first[1] / 2
    assert any_worse(before, doubtful, known) == pytest.approx(first.sum(), abs=0.05)
    for other in (Rides(known.share, known.joint), learnt(photos([[INTACT] * 8] * 2, [str(i) for i in range(8)]), [])):
        first, second = (worse(before, after, other) for after in (doubtful, sure))
        assert second[0] > 0.9 and second[1] == pytest.approx(first[1])
        assert any_worse(before, doubtful, other) == pytest.approx(1 - (1 - first[0]) ** 8)


def test_rides_that_nobody_has_labelled_say_nothing_of_how_many_parts_a_ride_breaks():
    true, of, pairs = one_a_ride(200, 0)
    states = true.swapaxes(1, 2).reshape(400, -1).tolist()
    more = photos(states + [[None] * 8] * 400, of.parts)
    unknown = [(401 + 2 * i, 402 + 2 * i) for i in range(200)]
    assert learnt(more, pairs + unknown).number == pytest.approx(learnt(of, pairs).number)


def test_what_is_known_of_rides_is_kept_and_older_weights_know_no_number():
    _, *of = one_a_ride(100, 0)
    known = learnt(*of)
    again = rides_of(known.told())
    assert again.number == pytest.approx(known.number, rel=1e-3) and again.joint == pytest.approx(known.joint, abs=1e-6)
    assert rides_of({"share": [0.25] * 4, "joint": [[1 / 16] * 4] * 4}).number is None


def test_a_part_that_is_not_found_tells_nothing_and_a_doubtful_box_little():
    known = learnt(*rides())
    states = np.array([[0.0, 1.0, 0.0, 0.0]])

    def seen(score: float) -> Seen:
        return Seen(np.array([1]), np.zeros((1, 4)), np.array([score]), states)

    assert dense(seen(1.0), 2, known).round(6).tolist() == [[0, 1, 0, 0], known.share.round(6).tolist()]
    before = np.array([[1.0, 0, 0, 0]] * 2)
    sure, doubtful = (alone(before, dense(seen(score), 2, known), known) for score in (0.99, 0.2))
    assert sure[0] > 0.9 > doubtful[0] > doubtful[1] == pytest.approx(sure[1])


def test_only_what_can_be_known_is_judged():
    pairs = [
        (INTACT, DAMAGED),
        (INTACT, ABSENT),
        (DAMAGED, ABSENT),
        (DAMAGED, INTACT),
        (INTACT, OCCLUDED),
        (-1, DAMAGED),
    ]
    assert is_worse(np.array(pairs)).tolist() == [1, 1, 1, 0, -1, -1]
    of = photos([[INTACT, None], [DAMAGED, INTACT]])
    assert changes.truths(of, [(1, 2)]).tolist() == [[[INTACT, DAMAGED], [-1, INTACT]]]


def test_a_claim_is_allowed_one_false_one_in_ten_pairs():
    p = np.full((20, 2), 0.01)
    true = np.zeros((20, 2), int)
    p[:5, 0], true[:3, 0] = [0.9, 0.8, 0.5, 0.7, 0.6], 1  # 0.7 and 0.6 are false
    assert judged(p, true, claim_from(p, true)) == {
        "pairs": 20, "changes": 3, "found": 3, "false_claims": 2, "recall": 1.0, "false_a_pair": 0.1, "precision": 0.6,
    }  # fmt: skip
    strict = claim_from(p, true, allowed=0.05)
    assert judged(p, true, strict)["false_claims"] == 1 and judged(p, true, strict)["found"] == 2
    more = np.concatenate([p, p]), np.concatenate([true, 0 * true - 1])  # as many rides that nobody has labelled
    assert claim_from(*more) == claim_from(p, true)
    assert judged(*more, claim_from(p, true)) == judged(p, true, claim_from(p, true))
    unknown = np.where(true == 0, -1, true)
    assert judged(p, unknown, 0.4)["false_claims"] == 0
