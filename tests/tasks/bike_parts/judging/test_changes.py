"""What a ride did to a part: probabilities that hold where the world is known; what nobody can know is not judged."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.bike_parts.formats.photos import ABSENT, DAMAGED, INTACT, OCCLUDED, Photo, Photos
from tasks.bike_parts.judging import changes
from tasks.bike_parts.judging.changes import any_of, claim_from, dense, is_worse, judged, learnt, worse
from tasks.bike_parts.judging.verdicts import Seen

PARTS = ["bell", "chain"]


def photos(states: list[list[int]]) -> Photos:
    """A photograph a row, a part a column."""
    of = [(i + 1, k + 1, state) for i, row in enumerate(states) for k, state in enumerate(row) if state is not None]
    photo, part, state = np.array(of).T
    box = np.tile([0.0, 0, 5, 5], (len(of), 1))
    named = [Photo(i + 1, f"{i}.jpg", 10, 10, "g") for i in range(len(states))]
    return Photos(PARTS, named, np.arange(len(of)), photo, part, box, state, np.ones(len(of)))


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
    assert worse(unsure, unsure, known)[0] < 0.02  # by itself, 0.25 x 0.75 = 0.19
    sure = np.array([[0.99, 0.0, 0.01, 0.0]])
    assert worse(sure, np.array([[0.02, 0.96, 0.01, 0.01]]), known)[0] > 0.9
    assert worse(sure, sure, known)[0] < 0.01
    covered = np.array([[0.01, 0.01, 0.01, 0.97]])
    assert worse(sure, covered, known)[0] < 0.1 and worse(covered, sure, known)[0] < 0.02


def test_probabilities_hold_in_a_world_that_is_as_was_learnt():
    """Rides and noisy looks drawn from the model: of what is called p, a share of p is true."""
    random = np.random.default_rng(1)
    known = learnt(*rides(changed=0.15))
    draws = random.choice(16, 40_000, p=known.joint.ravel())
    true = np.stack([draws // 4, draws % 4], 1)
    look = np.full((4, 4), 0.1) + 0.6 * np.eye(4)  # what a photograph shows, by what is so
    said = (random.random((*true.shape, 1)) > look.cumsum(1)[true]).sum(2)
    states = known.share * look[:, said].transpose(1, 2, 0)  # Bayes of one photograph, (n, 2, 4)
    states /= states.sum(2, keepdims=True)
    p = worse(states[:, 0], states[:, 1], known)
    found = np.isin(true[:, 0] * 4 + true[:, 1], [a * 4 + b for a, b in changes.WORSE])
    assert p.sum() == pytest.approx(found.sum(), rel=0.1)
    for low, high in ((0.0, 0.05), (0.05, 0.2), (0.2, 1.0)):
        chosen = (p >= low) & (p < high)
        assert not chosen.any() or found[chosen].mean() == pytest.approx(p[chosen].mean(), abs=0.05)


def test_a_part_that_is_not_found_tells_nothing_and_a_doubtful_box_little():
    known = learnt(*rides())
    states = np.array([[0.0, 1.0, 0.0, 0.0]])

    def seen(score: float) -> Seen:
        return Seen(np.array([1]), np.zeros((1, 4)), np.array([score]), states)

    assert dense(seen(1.0), 2, known).round(6).tolist() == [[0, 1, 0, 0], known.share.round(6).tolist()]
    before = np.array([[1.0, 0, 0, 0]] * 2)
    sure, doubtful = (worse(before, dense(seen(score), 2, known), known) for score in (0.99, 0.2))
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
    unknown = np.where(true == 0, -1, true)
    assert judged(p, unknown, 0.4)["false_claims"] == 0
    assert any_of(np.array([0.5, 0.5])) == 0.75
