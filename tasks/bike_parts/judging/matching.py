"""Which detection is which labelled box: one to one, of the same part in the same photograph, the surest first.

As COCO does it: each detection takes the free box that it overlaps most, if by IOU at least.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.bike_parts.formats.detections import Detections
from tasks.bike_parts.formats.photos import Photos
from tasks.yard.metrics.boxes import ious

IOU = 0.5


@dataclass(frozen=True)
class Near:
    """Every pair of a detection and a labelled box of the same part and photograph that overlap enough."""

    found: np.ndarray  # (n) rows of the detections
    true: np.ndarray  # (n) rows of the annotations
    iou: np.ndarray


def corners(box: np.ndarray) -> np.ndarray:
    """x, y, width, height -> x1, y1, x2, y2."""
    return np.concatenate([box[:, :2], box[:, :2] + box[:, 2:]], axis=1).astype(float)


def near(photos: Photos, found: Detections, iou: float = IOU) -> Near:
    """Only boxes of one part and photograph are compared, so n photographs cost n."""
    parts = len(photos.parts) + 1
    of_true, of_found = photos.photo * parts + photos.part, found.image * parts + found.part
    return _near(of_found, found.box, of_true, photos.box, iou)


def _near(of_found: np.ndarray, box: np.ndarray, of_true: np.ndarray, true_box: np.ndarray, iou: float) -> Near:
    order = np.argsort(of_true, kind="stable")
    first, last = (np.searchsorted(of_true[order], of_found, side=side) for side in ("left", "right"))
    count = last - first
    rows = np.repeat(np.arange(len(of_found)), count)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
    true = order[np.repeat(first, count) + within]
    overlap = ious(corners(box[rows]), corners(true_box[true]))
    enough = overlap >= min(iou, 1 - 1e-10)
    return Near(rows[enough], true[enough], overlap[enough])


def one_to_one(pairs: Near, score: np.ndarray, among: np.ndarray | None = None, iou: float = IOU) -> np.ndarray:
    """(detections) the annotation that each takes, -1: none. `score` (detections); `among` (annotations) bool: which
    can be taken."""
    taken = np.full(len(score), -1)
    free = np.ones(int(pairs.true.max()) + 1 if len(pairs.true) else 0, bool)
    mine = pairs.iou >= min(iou, 1 - 1e-10)
    if among is not None:
        mine &= among[pairs.true]
    found, true, overlap = pairs.found[mine], pairs.true[mine], pairs.iou[mine]
    # the surest detection first, then what it overlaps most; of equals the earlier one, and the later box, as in COCO
    order = np.lexsort((-true, -overlap, found, -score[found]))
    for row, box in zip(found[order].tolist(), true[order].tolist(), strict=True):
        if taken[row] < 0 and free[box]:
            taken[row], free[box] = box, False
    return taken


def matched(part: np.ndarray, box: np.ndarray, true_part: np.ndarray, true_box: np.ndarray) -> np.ndarray:
    """In one photograph: for each box, the surest first, the place of the true one that it takes; -1: none."""
    return one_to_one(_near(part, box, true_part, true_box, IOU), -np.arange(len(part)))


def best_of_each(pairs: Near, score: np.ndarray, annotations: int) -> np.ndarray:
    """(annotations) the highest score of a detection that overlaps it enough; -1: there is none."""
    best = np.full(annotations, -1.0)
    np.maximum.at(best, pairs.true, score[pairs.found])
    return best
