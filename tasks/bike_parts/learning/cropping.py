"""Where in a photograph the bicycle is, if it is small there: a network that has learnt from bicycles which fill the
picture is then shown that part of it alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.bike_parts.params import Crop
from tasks.yard.detector.look import Detector
from tasks.yard.detector.network import weights_file

BICYCLE = "bicycle"
IOU = 0.6


def bicycles(weights: str, params: Crop) -> tuple[Detector, Path]:
    """The detector, and its file. Raises `BadInput` where the file is none, or knows none of the classes."""
    file = weights_file(weights)
    classes = dict.fromkeys(params.classes, BICYCLE)
    confidence = {BICYCLE: params.confidence}
    return Detector(file, classes, confidence, imgsz=params.imgsz, iou=IOU, device="auto"), file


def window(found: np.ndarray, size_px: tuple[int, int], params: Crop) -> list[int] | None:
    """x, y, width, height of what is to be looked at, from the detections (n, 6) in a photograph of (width, height).

    None: all of it, because there is no bicycle in it, or one that is not small. Of several the one that is nearest the
    eye: the largest.
    """
    if not len(found):
        return None
    sides = found[:, 2:4] - found[:, :2]
    best = int(np.argmax(sides.prod(1)))
    share = sides[best].prod() / (size_px[0] * size_px[1])
    if share >= params.below:
        return None
    pad = params.margin * sides[best]
    low = np.floor(np.maximum(found[best, :2] - pad, 0)).astype(int)
    high = np.ceil(np.minimum(found[best, 2:4] + pad, size_px)).astype(int)
    return [*low.tolist(), *(high - low).tolist()] if (high - low).min() > 1 else None


def small(image: np.ndarray, model: Detector, params: Crop) -> list[int] | None:
    """`window` of a BGR image (H, W, 3)."""
    height, width = image.shape[:2]
    (found,) = model.detect([model.frame(image, model.canvas(width, height))])
    return window(found, (width, height), params)
