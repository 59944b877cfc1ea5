"""COCO's twelve numbers by pycocotools, which defined them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tasks.bike_parts.formats.detections import Detections
from tasks.bike_parts.formats.photos import Photo, categories
from tasks.bike_parts.judging.coco import Boxes


def dataset(
    photos: Sequence[Photo], parts: Sequence[str], there: Boxes, found: Detections, score: np.ndarray
) -> tuple[dict, list[dict]]:
    """The dicts that pycocotools takes."""
    crowd = np.zeros(len(there.image)) if there.crowd is None else there.crowd
    of_truth = zip(there.image.tolist(), there.part.tolist(), there.box.tolist(), crowd.tolist(), strict=True)
    truth = [
        {"id": i, "image_id": image, "category_id": part, "bbox": box, "area": box[2] * box[3], "iscrowd": int(many)}
        for i, (image, part, box, many) in enumerate(of_truth, 1)
    ]
    images = [{"id": photo.id, "width": photo.width, "height": photo.height} for photo in photos]
    of_found = zip(found.image.tolist(), found.part.tolist(), found.box.astype(float).tolist(), score, strict=True)
    told = [
        {"id": i, "image_id": image, "category_id": part, "bbox": box, "area": box[2] * box[3], "iscrowd": 0,
         "score": float(sure)}
        for i, (image, part, box, sure) in enumerate(of_found, 1)
    ]  # fmt: skip
    return {"images": images, "annotations": truth, "categories": categories(parts), "info": {}}, told


def judged(truth: dict, told: list[dict]) -> list[float | None]:
    """None for -1: nothing is to be found."""
    with contextlib.redirect_stdout(io.StringIO()):
        sides = COCO(), COCO()
        for side, annotations in zip(sides, (truth["annotations"], told), strict=True):
            side.dataset = {**truth, "annotations": annotations}
            side.createIndex()
        found = COCOeval(*sides, "bbox")
        found.evaluate()
        found.accumulate()
        found.summarize()
    return [None if value == -1 else float(value) for value in found.stats]
