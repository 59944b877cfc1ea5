"""Parts that are there and found, against parts that are not there and found all the same.

A part is found at a threshold if a detection of it overlaps its box enough and its presence is at least that. Recall is
the share of parts found among those that are there, occluded ones too; hallucination that among the absent ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.bike_parts.formats.photos import ABSENT
from tasks.yard.metrics import bootstrap

POINTS = 200


def curve(best: np.ndarray, state: np.ndarray, points: int | None = POINTS) -> np.ndarray:
    """(n, 3) threshold, recall, hallucination at each presence that occurs, the highest first, thinned.

    best (annotations): the highest presence that overlaps each, below 0: none. NaN where there is no such part.
    """
    absent = state == ABSENT
    thresholds = np.unique(best[best >= 0])[::-1]
    columns = [thresholds]
    for mine in (~absent, absent):
        reached = np.sort(best[mine])
        count = len(reached) - np.searchsorted(reached, thresholds)
        columns.append(count / len(reached) if len(reached) else np.full(len(thresholds), np.nan))
    found = np.column_stack(columns)
    if points is None or len(found) <= points:
        return found
    return found[np.unique(np.linspace(0, len(found) - 1, points).round().astype(int))]


def threshold_for(best: np.ndarray, state: np.ndarray, recall: float) -> tuple[float | None, str]:
    """(the highest threshold that finds so many of the parts that are there, how it was chosen or why there is none).

    Where no threshold finds so many it is the one that finds the most.
    """
    there = state != ABSENT
    drawn = curve(best, state, None)
    if not there.any():
        return None, "no part is there to be found on validation"
    if not len(drawn) or drawn[-1, 1] == 0:
        return None, "nothing is found on validation"
    parts = f"{int(there.sum())} parts that are there on validation"
    enough = drawn[:, 1] >= recall
    if enough.any():
        return float(drawn[np.argmax(enough), 0]), f"the highest that finds {recall:.0%} of {parts}"
    most = int(np.argmax(drawn[:, 1]))
    return float(drawn[most, 0]), f"finds {drawn[most, 1]:.1%} of {parts}; none finds {recall:.0%}"


def at(best: np.ndarray, state: np.ndarray, group: np.ndarray, threshold: float | None, draws: np.ndarray
       ) -> dict[str, Any]:  # fmt: skip
    """Recall and hallucination at a threshold, of how many parts, with intervals over groups; group (annotations)."""
    absent, found = state == ABSENT, best >= (np.inf if threshold is None else threshold)
    told: dict[str, Any] = {"threshold": threshold, "intervals": {}}
    for name, mine, many in (("recall", ~absent, "present"), ("hallucination", absent, "absent")):
        told[many] = int(mine.sum())
        told[name] = float(found[mine].mean()) if mine.any() and threshold is not None else None
        told["intervals"][name] = None
        if told[name] is not None:
            parts, hits = (
                np.bincount(group[rows], minlength=draws.shape[1]).astype(float) for rows in (mine, mine & found)
            )
            with np.errstate(invalid="ignore"):
                told["intervals"][name] = bootstrap.spread((draws @ hits) / (draws @ parts), draws.shape[1])
    told["null_because"] = "no threshold" if threshold is None else None if absent.any() else "no part is absent"
    return told


def believed_from(score: np.ndarray, hit: np.ndarray, true: int) -> float | None:
    """The score from which on boxes are believed: best F1 of boxes, of equals the highest. None: nothing is hit.

    score, hit (detections): of one-to-one matches over all labelled boxes, `true` of them.
    """
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(hit[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + true)
    last = np.append(np.diff(score[order]) != 0, True)  # equal scores stay or go together
    if not len(order) or not hits[-1]:
        return None
    return float(score[order][last][np.argmax(f1[last])])
