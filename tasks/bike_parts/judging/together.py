"""The state of a part in a photograph of a ride, from both looks at it: where it was found, and where it is expected.

What the two say is weighed by a logistic regression, fitted to the labelled states of validation: how sure each box is,
how far they are apart, and by how much what was found is off from where the bike's other parts expect it. Claims about
validation itself, from which their threshold comes, are made by fits that have not seen the bike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import logit

from tasks.bike_parts.formats.photos import STATES
from tasks.bike_parts.judging.layout import surest
from tasks.bike_parts.judging.matching import corners
from tasks.bike_parts.judging.verdicts import Again, Seen
from tasks.yard.metrics.boxes import ious

TINY = 1e-3
FARTHEST = 8.0  # standard deviations: farther off is as wrong
FEW = 200  # labelled states; with fewer nothing is fitted
TIGHT = 3.0  # of the squares of weights, beside the sum over labels
FOLDS = 5


def bounded(p: np.ndarray) -> np.ndarray:
    return logit(np.clip(p, TINY, 1 - TINY))


def signs(seen: Seen, again: Again, parts: int, share: np.ndarray) -> np.ndarray:
    """(m, D) of the parts of `again`, in its order; `share` (4): what a state is where a part was not found."""
    boxes, score = surest(seen, parts)
    states = np.tile(share, (parts, 1))
    order = np.argsort(seen.score, kind="stable")
    states[seen.part[order] - 1] = seen.states[order]
    at = again.seen.part - 1
    found = np.isfinite(boxes[at, 0])
    own, other = (np.log(np.maximum(of, TINY)) for of in (states[at], again.seen.states))
    sure, on = bounded(np.where(found, score[at], 0)), bounded(again.seen.score)
    apart = np.where(found, ious(np.nan_to_num(boxes[at]), corners(again.seen.box)), 0)
    off = np.where(found, np.minimum(np.nan_to_num(again.off, nan=FARTHEST), FARTHEST), FARTHEST) / FARTHEST
    near = ((1 - off) * np.where(found, score[at], 0))[:, None]
    there = again.seen.score[:, None]
    columns = [own, own * near, other, other * there, np.stack([sure, on, apart, off, found], 1)]
    return np.concatenate([*columns, np.ones((len(at), 1))], 1)


@dataclass(frozen=True)
class Together:
    mean: np.ndarray  # (D) of the signs, and their standard deviation
    scale: np.ndarray
    weight: np.ndarray  # (D, 4)
    share: np.ndarray  # (4) of states

    def states(self, seen: Seen, again: Again, parts: int) -> np.ndarray:
        """(K, 4) probabilities; `share` of a part that has no usual place."""
        found = np.tile(self.share, (parts, 1))
        found[again.seen.part - 1] = chances(
            (signs(seen, again, parts, self.share) - self.mean) / self.scale, self.weight
        )
        return found

    def told(self) -> dict[str, Any]:
        return {name: getattr(self, name).round(6).tolist() for name in ("mean", "scale", "weight", "share")}


def together_of(told: dict[str, Any] | None) -> Together | None:
    """From what `told` made."""
    return told and Together(*(np.array(told[name], float) for name in ("mean", "scale", "weight", "share")))


def chances(signs: np.ndarray, weight: np.ndarray) -> np.ndarray:
    scores = signs @ weight
    scores = np.exp(scores - scores.max(1, keepdims=True)) if len(scores) else scores
    return scores / scores.sum(1, keepdims=True)


def fitted(signs: np.ndarray, true: np.ndarray, share: np.ndarray) -> Together | None:
    """From signs (n, D) and true states (n), -1: not labelled. None: too few are."""
    signs, true = signs[true >= 0], true[true >= 0]
    if len(true) < FEW:
        return None
    mean, scale = signs.mean(0), signs.std(0)
    mean[scale < 1e-9], scale[scale < 1e-9] = 0, 1
    at, rows = (signs - mean) / scale, np.arange(len(true))
    tight = TIGHT / len(true)

    def lost(values: np.ndarray) -> tuple[float, np.ndarray]:
        weight = values.reshape(-1, len(STATES))
        p = chances(at, weight)
        over = p.copy()
        over[rows, true] -= 1
        lost = -np.log(p[rows, true] + 1e-9).mean() + tight * (weight**2).sum()
        return lost, (at.T @ over / len(true) + 2 * tight * weight).ravel()

    best = minimize(lost, np.zeros(at.shape[1] * len(STATES)), jac=True, method="L-BFGS-B").x
    return Together(mean.round(6), scale.round(6), best.reshape(-1, len(STATES)).round(6), share.round(6))


def folds(groups: Sequence[str]) -> np.ndarray:
    """(n) in which of `FOLDS` each is; what is of one bike is in one."""
    _, number = np.unique(groups, return_inverse=True)
    return number % FOLDS
