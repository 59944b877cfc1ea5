"""Train the detector that finds the people whom the re-ID network then tells apart.

Reads    detector_data/    images/, labels/ and dataset.yaml of a YOLO dataset
Writes   train_detector/   best.pt, metrics.json, history.jsonl, curves.png, samples.png (tasks/yard/detector/step.py)
Alone    python -m tasks person_search-train_detector

Without images to train on and without weights there is no detector: metrics.json says why. Who has no cameras needs
none, and who has some may give `index.weights`; `index` asks for it where it is needed.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from tasks.person_search.params import TrainDetector
from tasks.yard.detector import step as detector_training
from tasks.yard.files import write_json
from tasks.yard.layouts import yolo_write
from tasks.yard.params import Machine
from tasks.yard.step import Context

log = logging.getLogger(__name__)
NETWORK = "models/person_search/street.yaml"


def run(
    params: TrainDetector, out: Path, ctx: Context = Context(), *, detector_data: Path, machine_params: Machine
) -> dict[str, float]:
    """Returns mAP50, mAP50-95, precision and recall of the best epoch, by split."""
    said = (detector_data / yolo_write.ABOUT).exists()
    if params.weights is None and said and (reason := yolo_write.nothing_in(detector_data)):
        for stale in out.iterdir() if out.is_dir() else ():  # of an earlier training
            shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
        write_json(out / "metrics.json", {"epochs": 0, "reason": reason})
        log.warning("no detector is trained: %s", reason)
        return {"epochs": 0}
    return detector_training.run(params, machine_params, detector_data, NETWORK, out, ctx)
