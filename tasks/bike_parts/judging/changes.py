"""Was it before? What a ride did to a part, from what a network says of two photographs.

A state that is said of one photograph is weighed against what rides do: most parts are after it as they were before,
and so a part that looks gone in both photographs was gone before, however unsure each of them is. With p(s) and q(s')
the calibrated probabilities before and after, f(s) the share of parts in a state and J(s, s') that of parts that are s
before and s' after,

    P(s, s' | both photographs)  is proportional to  p(s) / f(s) * q(s') / f(s') * J(s, s')

and P(worse) is its sum over the pairs of states in which the part was whole before and is damaged or gone after, or was
damaged and is gone. J comes from the rides of the training split; where those have none, from `USUAL`. What is covered
in a photograph is so by chance, whatever the ride did, and of a part that is covered nothing is known to be worse.

Nor is each part worse by itself: where a ride seldom breaks two, one that is surely broken speaks for the others, and
many doubtful ones are fewer than they look. So what can have happened to all parts together is weighed by how many
parts the rides of the training split made worse, over how many that would be if each were worse by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.bike_parts.formats.photos import ABSENT, DAMAGED, INTACT, OCCLUDED, STATES, Photos
from tasks.bike_parts.judging.verdicts import Seen

SEEN = (INTACT, DAMAGED, ABSENT)
WORSE = ((INTACT, DAMAGED), (INTACT, ABSENT), (DAMAGED, ABSENT))
USUAL = np.array([[0.96, 0.025, 0.015], [0.02, 0.96, 0.02], [0.01, 0.01, 0.98]])  # a row: before; a column: after
BELIEF = 50  # parts that `USUAL` counts for beside those of the training rides, in each row
ALIKE = 20  # rides in which each part is worse by itself, that count beside those of training
FALSE_CLAIMS = 0.1  # a pair: what the threshold allows on validation
FLOOR = 0.05  # below it nothing is claimed, however rarely it is wrong


@dataclass(frozen=True)
class Rides:
    """What is known of states before anybody looks: shares f (4) and joint shares J (4, 4).

    number (K + 1): how many times as many rides make 0, 1, ... K parts worse as if each part were so by itself; None:
    nobody knows.
    """

    share: np.ndarray
    joint: np.ndarray
    number: np.ndarray | None = None

    def told(self) -> dict[str, Any]:
        number = None if self.number is None else self.number.round(6).tolist()
        return {"share": self.share.round(6).tolist(), "joint": self.joint.round(6).tolist(), "number": number}


def rides_of(told: dict[str, Any]) -> Rides:
    """From what `told` made, or what is kept of it beside weights; older ones know no `number`."""
    number = told.get("number")
    return Rides(np.array(told["share"]), np.array(told["joint"]), None if number is None else np.array(number))


def by_part(photos: Photos, photo: int) -> np.ndarray:
    """(K) the labelled state of each part of a photograph; -1 where there is none, or more than one."""
    rows = photos.photo == photo
    found = np.full(len(photos.parts), -1)
    found[photos.part[rows] - 1] = photos.state[rows]
    parts, count = np.unique(photos.part[rows], return_counts=True)
    found[parts[count > 1] - 1] = -1
    return found


def truths(photos: Photos, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """(pairs, K, 2) states before and after; -1 where nobody knows."""
    found = [[by_part(photos, before), by_part(photos, after)] for before, after in pairs]
    return np.array(found, int).reshape(-1, 2, len(photos.parts)).swapaxes(1, 2)


def learnt(photos: Photos, pairs: Sequence[tuple[int, int]]) -> Rides:
    """From the labels of the training split."""
    known = photos.state[photos.state >= 0]
    share = np.bincount(known, minlength=len(STATES)) + 1.0
    share /= share.sum()
    states = truths(photos, pairs)
    counts = BELIEF * USUAL
    for before in SEEN:
        for after in SEEN:
            counts[before, after] += np.sum((states[..., 0] == before) & (states[..., 1] == after))
    seen = share[list(SEEN)] / share[list(SEEN)].sum()
    below = seen[:, None] * counts / counts.sum(1, keepdims=True)
    joint = np.zeros((len(STATES), len(STATES)))
    covered = share[OCCLUDED]
    joint[:OCCLUDED, :OCCLUDED] = (1 - covered) ** 2 * below
    joint[:OCCLUDED, OCCLUDED] = (1 - covered) * covered * below.sum(1)
    joint[OCCLUDED, :OCCLUDED] = (1 - covered) * covered * below.sum(0)
    joint[OCCLUDED, OCCLUDED] = covered**2
    parts = len(photos.parts)
    told = is_worse(states)
    told = told[labelled(told)]
    rides = np.bincount((told == 1).sum(1), minlength=parts + 1)
    alike = how_many(np.full(parts, sum(joint[a, b] for a, b in WORSE)))
    return Rides(share, joint, (rides + ALIKE * alike) / ((len(told) + ALIKE) * alike))


def how_many(p: np.ndarray) -> np.ndarray:
    """Probabilities (K) of things that hang on none of the others -> (K + 1) that so many of them are so."""
    found = np.eye(len(p) + 1)[0]
    for of in p:
        found = (1 - of) * found + of * np.concatenate([[0], found[:-1]])
    return found


def dense(seen: Seen, parts: int, rides: Rides) -> np.ndarray:
    """(K, 4) what the surest box of each part tells: its states as far as the box is believed, else what is usual. All
    of `seen` calibrated."""
    states = np.tile(rides.share, (parts, 1))
    for i in np.argsort(seen.score, kind="stable"):
        states[seen.part[i] - 1] = seen.score[i] * seen.states[i] + (1 - seen.score[i]) * rides.share
    return states


def alone(before: np.ndarray, after: np.ndarray, rides: Rides) -> np.ndarray:
    """(n, 4) states before and after, as `dense` gives them -> (n) probability that the part is worse, by itself."""
    both = (before / rides.share)[:, :, None] * (after / rides.share)[:, None, :] * rides.joint
    return np.sum([both[:, a, b] for a, b in WORSE], 0) / both.sum((1, 2))


def worse(before: np.ndarray, after: np.ndarray, rides: Rides) -> np.ndarray:
    """(K, 4) states of all parts before and after a ride -> (K) probability that the part is worse."""
    p = alone(before, after, rides)
    if rides.number is None:
        return p
    with_it = [rides.number[1:] @ how_many(np.delete(p, part)) for part in range(len(p))]
    return p * with_it / (rides.number @ how_many(p))


def any_worse(before: np.ndarray, after: np.ndarray, rides: Rides) -> float:
    """That at least one part is worse, of the same."""
    number = how_many(alone(before, after, rides)) * (1 if rides.number is None else rides.number)
    return float(number[1:].sum() / number.sum())


def is_worse(states: np.ndarray) -> np.ndarray:
    """(..., 2) states before and after -> 1 worse, 0 not, -1 where nobody can know: not labelled, or covered in one."""
    before, after = states[..., 0], states[..., 1]
    known = np.isin(before, SEEN) & np.isin(after, SEEN)
    found = np.zeros(before.shape, int)
    for a, b in WORSE:
        found[(before == a) & (after == b)] = 1
    return np.where(known, found, -1)


def labelled(true: np.ndarray) -> np.ndarray:
    """(pairs, K), -1 where nobody knows -> (pairs) rides of which anything is known: of the others nobody can say how
    often a claim is wrong."""
    return (true >= 0).any(1)


def claim_from(p: np.ndarray, true: np.ndarray, allowed: float = FALSE_CLAIMS) -> float:
    """The lowest probability (of (pairs, K)) from which on claims are wrong at most so often a pair."""
    wrong = np.sort(p[(true == 0) & (p >= FLOOR)])[::-1]
    most = int(allowed * labelled(true).sum())
    if len(wrong) <= most:
        return FLOOR
    return float(np.nextafter(wrong[most], 1))


def judged(p: np.ndarray, true: np.ndarray, claim: float) -> dict[str, Any]:
    """Claims against truth, over pairs and parts whose truth is known."""
    pairs, real, claimed = int(labelled(true).sum()), true == 1, (p >= claim) & (true >= 0)
    hits, wrong = int((claimed & real).sum()), int((claimed & (true == 0)).sum())
    return {
        "pairs": pairs, "changes": int(real.sum()), "found": hits, "false_claims": wrong,
        "recall": hits / int(real.sum()) if real.any() else None,
        "false_a_pair": wrong / pairs if pairs else None,
        "precision": hits / (hits + wrong) if hits + wrong else None,
    }  # fmt: skip
