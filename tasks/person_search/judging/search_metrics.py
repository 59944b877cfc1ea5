"""How well people are found in whole frames: detector and embedding judged together, as CUHK-SYSU and PRW do.

    score = search(similarity, query_ids, query_cameras, detections, truth)
    score.map, score.top[1]

For each query all detections of all frames are ranked by similarity, but for those of the query's own camera. A
detection is a match if its IoU with the true box of the query's person in that frame is at least 0.5; of several the
most similar one takes the box, the others are false. AP = sum of the precisions at the matches / number of true boxes:
a box that the detector missed costs its whole share. With the true boxes as detections the same function gives what
the embedding alone would reach. (CUHK-SYSU lowers the IoU for small boxes; here it is 0.5 for all, as in PRW.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tasks.person_search.judging import ranking
from tasks.yard.metrics.boxes import ious

RANKS = (1, 5, 10)


@dataclass(frozen=True)
class Boxes:
    """Boxes in the frames of all cameras; detections carry no identity."""

    camera: np.ndarray  # (N) int
    frame: np.ndarray  # (N) int
    xyxy: np.ndarray  # (N, 4) px: x1, y1, x2, y2
    identity: np.ndarray | None = None  # (N) int, below 0 for a person who is nobody's

    def __len__(self) -> int:
        return len(self.camera)


@dataclass(frozen=True)
class SearchScore:
    """Per query, in the order in which they were given; one without a true box elsewhere is skipped: NaN and 0."""

    ap: np.ndarray  # (Q) float64
    first: np.ndarray  # (Q) int64: rank of the first match; 0 where there is none
    boxes: np.ndarray  # (Q) int64: true boxes of the person in frames of other cameras
    found: np.ndarray  # (Q) int64: those that a detection took

    @cached_property
    def used(self) -> np.ndarray:
        """(Q) bool: the person is somewhere to be found."""
        return self.boxes > 0

    @property
    def queries(self) -> int:
        return int(self.used.sum())

    @property
    def skipped(self) -> int:
        return len(self.ap) - self.queries

    @cached_property
    def map(self) -> float | None:
        return float(self.ap[self.used].mean()) if self.queries else None

    @cached_property
    def top(self) -> dict[int, float | None]:
        """{k: share of queries with a match among the k most similar detections}."""
        first = self.first[self.used]
        return {k: float(((first > 0) & (first <= k)).mean()) if self.queries else None for k in RANKS}

    @cached_property
    def recall(self) -> float | None:
        """Share of a query's true boxes that a detection took, mean over queries: no search mAP can be above it."""
        return float((self.found[self.used] / self.boxes[self.used]).mean()) if self.queries else None

    def numbers(self) -> dict[str, float | int | None]:
        shares = {f"top{k}": value for k, value in self.top.items()}
        counts = {"queries": self.queries, "skipped": self.skipped, "boxes": int(self.boxes[self.used].sum())}
        return {"map": self.map, **shares, "box_recall": self.recall, **counts}


def search(
    similarity: np.ndarray,
    query_ids: np.ndarray,
    query_cameras: np.ndarray,
    detections: Boxes,
    truth: Boxes,
    *,
    iou: float = 0.5,
) -> SearchScore:
    """Similarities (Q, N) of queries and detections -> how well each person is found.

    Of equally similar detections the one that comes first comes first. No person may have two true boxes in one frame:
    such a truth.csv is refused when it is read.
    """
    query_ids, query_cameras = np.asarray(query_ids), np.asarray(query_cameras)
    refuse_doubles(truth)
    true_box, detection = overlapping(truth, detections, iou)
    count = np.bincount(true_box, minlength=len(truth))
    begin = np.cumsum(count) - count

    ap = np.full(len(query_ids), np.nan)
    first, boxes, found = np.zeros((3, len(query_ids)), np.int64)
    for rows in ranking.blocks_of(len(query_ids), len(detections)):
        row, box = ranking.equal_pairs(query_ids[rows], truth.identity)
        elsewhere = query_cameras[rows][row] != truth.camera[box]
        row, box = row[elsewhere], box[elsewhere]
        boxes[rows] = np.bincount(row, minlength=len(rows))

        block = ranking.keys(ranking.finite(-np.asarray(similarity[rows], np.float32)))
        block[query_cameras[rows][:, None] == detections.camera] = ranking.LAST
        nth, place = ranking.ragged(begin[box], count[box])
        hit_row, hit = taken(block, nth, row, detection[place])
        ranks = ranking.places(block, hit_row, hit)
        found[rows], precisions, first[rows], _ = ranking.summed(ranks, hit_row, len(rows))
        ap[rows] = np.divide(precisions, boxes[rows], out=np.full(len(rows), np.nan), where=boxes[rows] > 0)
    return SearchScore(ap, first, boxes, found)


def taken(keys: np.ndarray, nth: np.ndarray, row: np.ndarray, detection: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The detection with the smallest key of each true box that has any: (row, detection), rows rising.

    `nth` (P) tells to which of the true boxes each candidate belongs, `row` (boxes) to which query a true box does.
    """
    if not len(nth):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    starts = np.flatnonzero(np.append(True, np.diff(nth) > 0))
    owner = row[nth]
    least = np.minimum.reduceat(keys[owner, detection], starts)
    return owner[starts], ranking.index_of(least)


def overlapping(a: Boxes, b: Boxes, iou: float) -> tuple[np.ndarray, np.ndarray]:
    """All (i, j) of one camera and frame whose IoU is at least `iou`, by rising i, then rising j."""
    together = np.concatenate([np.stack([x.camera, x.frame], axis=1) for x in (a, b)])
    picture = np.unique(together, axis=0, return_inverse=True)[1].ravel()
    i, j = ranking.equal_pairs(picture[: len(a)], picture[len(a) :])
    enough = ious(a.xyxy[i], b.xyxy[j]) >= iou
    return i[enough], j[enough]


def refuse_doubles(truth: Boxes) -> None:
    known = truth.identity >= 0
    cells = np.stack([truth.camera, truth.frame, truth.identity], axis=1)[known]
    distinct, count = np.unique(cells, axis=0, return_counts=True)
    if (count > 1).any():
        camera, frame, identity = distinct[count > 1][0]
        raise ValueError(f"identity {identity} has several true boxes in frame {frame} of camera {camera}")
