"""Train the detector whose boxes are the eyes of every later step.

Reads    detector_data/    images/, labels/ and dataset.yaml of a YOLO dataset
Writes   train_detector/   best.pt, metrics.json, history.jsonl, curves.png, samples.png (tasks/yard/detector/step.py)
Alone    python -m tasks brake_coast-train_detector
"""

from __future__ import annotations

from pathlib import Path

from tasks.brake_coast.params import TrainDetector
from tasks.yard.detector import step as detector_training
from tasks.yard.params import Machine
from tasks.yard.step import Context

NETWORK = "models/brake_coast/highway.yaml"


def run(
    params: TrainDetector, out: Path, ctx: Context = Context(), *, detector_data: Path, machine_params: Machine
) -> dict[str, float]:
    """Returns mAP50, mAP50-95, precision and recall of the best epoch, by split."""
    return detector_training.run(params, machine_params, detector_data, NETWORK, out, ctx)
