"""COCO's twelve numbers, by three protocols that differ in what counts as a part that is there.

    with_absent                     every labelled box; an absent part has one where it would be
    without_absent                  VIPriors' challenge: boxes of absent parts are taken away
    without_absent_and_occluded     the paper of DelftBikes: those of occluded parts too

A box of an absent part that is taken away leaves its detections as false ones, so they are ranked by what the protocol
asks for: that it is the part's box, that the part is there, that it can be seen. A box whose state nobody has labelled
stays in all three. By hotcoco, whose numbers are those of pycocotools (tests); arrays in, no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from hotcoco import COCO, COCOeval

from tasks.bike_parts.formats.detections import Detections
from tasks.bike_parts.formats.photos import ABSENT, OCCLUDED, Photo, Photos, categories

WITH_ABSENT, WITHOUT_ABSENT, SEEN = "with_absent", "without_absent", "without_absent_and_occluded"
PROTOCOLS = {
    WITH_ABSENT: "all labelled boxes, those of absent parts too",
    WITHOUT_ABSENT: "parts that are there, occluded ones too, as in VIPriors' challenge",
    SEEN: "parts that are there and can be seen, as in the paper of DelftBikes",
}
TAKEN_AWAY: dict[str, list[int]] = {WITH_ABSENT: [], WITHOUT_ABSENT: [ABSENT], SEEN: [ABSENT, OCCLUDED]}
NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large",
         "ar_1", "ar_10", "ar_100", "ar_small", "ar_medium", "ar_large")  # fmt: skip
Numbers = dict[str, float | None]


@dataclass(frozen=True)
class Boxes:
    """What is there; `crowd` marks boxes around many, of which detections are neither right nor wrong."""

    image: np.ndarray  # (n)
    part: np.ndarray  # (n) 1..K
    box: np.ndarray  # (n, 4) x, y, width, height
    crowd: np.ndarray | None = None  # (n) bool


def truth(photos: Photos, protocol: str) -> np.ndarray:
    """(n) which annotations are to be found."""
    return ~np.isin(photos.state, TAKEN_AWAY[protocol])


def ranked_by(found: Detections, protocol: str) -> np.ndarray:
    """(n) the score of each detection."""
    away = TAKEN_AWAY[protocol]
    if not away:
        return found.score.astype(float)
    return found.score.astype(float) * (1 - found.states[:, away].astype(float).sum(1)).clip(0)


def of_protocol(photos: Photos, protocol: str) -> Boxes:
    mine = truth(photos, protocol)
    return Boxes(photos.photo[mine], photos.part[mine], photos.box[mine])


def twelve(
    photos: Sequence[Photo], parts: Sequence[str], there: Boxes, found: Detections, score: np.ndarray
) -> tuple[Numbers, dict[str, Numbers]]:
    """({name: number} as of `NAMES`, {part: {ap, ap50, ar_100}}). None where there is nothing to find (COCO's -1)."""
    images = [{"id": photo.id, "width": photo.width, "height": photo.height} for photo in photos]
    crowd = {} if there.crowd is None else {"iscrowd": there.crowd}
    of_truth = COCO.from_arrays(
        images, categories(parts), there.image, there.part, there.box.astype(float).reshape(-1, 4), **crowd
    )
    rows = np.column_stack([found.image, found.box.astype(float).reshape(-1, 4), score, found.part]).astype(float)
    judged = COCOeval(of_truth, of_truth.load_res(rows), "bbox")
    judged.evaluate()
    judged.accumulate()
    judged.summary_lines()  # `summarize` would print them
    whole = dict(zip(NAMES, (_number(value) for value in judged.stats), strict=True))
    precision, recall = judged.eval["precision"], judged.eval["recall"]  # (T, R, K, areas, most), (T, K, areas, most)
    return whole, {
        part: {
            "ap": _number(precision[:, :, k, 0, -1].mean()), "ap50": _number(precision[0, :, k, 0, -1].mean()),
            "ar_100": _number(recall[:, k, 0, -1].mean()),
        }
        for k, part in enumerate(parts)
    }  # fmt: skip


def _number(value: float) -> float | None:
    return float(value) if value > -1 else None
