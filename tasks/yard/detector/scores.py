"""How good a detector is on a split of a dataset: average precision, precision, recall, and the curve of both."""

# Private parts of ultralytics, which is pinned because of them: of DetectionValidator the call without a trainer, seen,
# and of its metrics nt_per_class and box with px, prec_values, mp, mr, map50 and map.

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ultralytics.models.yolo.detect import DetectionValidator

from tasks.yard.detector.network import settle


@dataclass(frozen=True)
class Scores:
    """Means over the classes; the curve holds the precision at each of the recalls, mean over the classes."""

    images: int
    boxes: int
    precision: float
    recall: float
    map50: float
    map50_95: float
    curve: tuple[np.ndarray, np.ndarray]


def judge(
    weights: Path, data: Path, split: str, work: Path, *, imgsz: int, batch: int, device: str, single_cls: bool
) -> Scores:
    """Average precision of the weights on one split of `view`'s data, by ultralytics' validator."""
    settle()
    arguments = {
        "model": str(weights), "data": str(data), "split": split, "imgsz": imgsz, "batch": batch, "device": device,
        "rect": True, "plots": False, "verbose": False, "save_dir": str(work.absolute()), "workers": 0,
        "single_cls": single_cls,
    }  # fmt: skip
    validator = DetectionValidator(args=arguments)
    validator(model=str(weights))
    box = validator.metrics.box
    curve = (box.px, box.prec_values.mean(0)) if len(box.prec_values) else (np.linspace(0, 1, 2), np.zeros(2))
    return Scores(
        validator.seen, int(validator.metrics.nt_per_class.sum()), float(box.mp), float(box.mr), float(box.map50),
        float(box.map), curve,
    )  # fmt: skip
