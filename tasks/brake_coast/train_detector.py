"""Train the detector whose boxes are the eyes of every later step.

Reads    detector_data/    images/, labels/ and dataset.yaml of a YOLO dataset
Writes   train_detector/   best.pt        weights of the epoch with the best validation score, for any ultralytics tool
                           metrics.json   mAP50, mAP50-95, precision and recall on the validation and the held-out split
                           history.jsonl  one record an epoch
                           curves.png, samples.png
         train_detector/unfinished/       while it trains: a killed run goes on after its last whole epoch
Alone    python -m tasks brake_coast-train_detector
"""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from tasks import detector
from tasks.brake_coast.params import TrainDetector
from tasks.detector import Detector, Scores
from tasks.files import digest, file_hash, folder_hash, read_json, replacing, write_json, write_text
from tasks.step import Context

log = logging.getLogger(__name__)

NETWORK = "models/brake_coast/highway.yaml"
SAMPLES = 6
STYLE = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
TRUTH, PREDICTION = (90, 200, 60), (40, 130, 255)  # BGR


def settings(params: TrainDetector) -> dict:
    """The params under the names ultralytics knows them by."""
    values = params.model_dump(exclude={"weights", "precision", "augment"}) | params.augment.model_dump()
    values |= {"amp": "bf16" if params.precision == "bf16" else False, "device": detector.device(params.device)}
    return values | {"patience": params.patience or params.epochs, "deterministic": True}


def draw_curves(history: list[dict], scores: dict[str, Scores], path: Path) -> None:
    """Losses and validation scores by epoch, and precision over recall of each split."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12, 3.4), layout="constrained")
        losses, quality, precision = figure.subplots(1, 3)
        epochs = [record["epoch"] for record in history]
        for key in [key for key in history[0] if key.startswith("train_")]:
            name = key.removeprefix("train_").removesuffix("_loss")
            losses.plot(epochs, [record[key] for record in history], label=name)
        for key in ("mAP50", "mAP50-95", "precision", "recall"):
            quality.plot(epochs, [record[key] for record in history], label=key)
        for split, score in scores.items():
            precision.plot(*score.curve, label=f"{split}: AP50 {score.map50:.3f}")
        losses.set(title="training losses", xlabel="epoch")
        quality.set(title="validation", xlabel="epoch", ylim=(0, 1))
        precision.set(title="precision over recall, IoU 0.5", xlabel="recall", xlim=(0, 1), ylim=(0, 1.01))
        for axes in (losses, quality, precision):
            axes.legend()
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=110, metadata={"Software": None})


def boxes_of(label: Path, width: int, height: int) -> np.ndarray:
    """Corners in pixels (n, 4) of a YOLO label file; no file means no box."""
    if not label.exists() or not label.read_text().strip():
        return np.zeros((0, 4))
    rows = np.loadtxt(label, ndmin=2)
    centre, size = rows[:, 1:3], rows[:, 3:5]
    return np.hstack([centre - size / 2, centre + size / 2]) * (width, height, width, height)


def draw_samples(data: Path, split: str, model: Detector, path: Path) -> None:
    """Frames spread over the split: the true boxes on the left, the predicted ones on the right."""
    images = sorted((data.parent / "images" / split).iterdir())
    rows = []
    for file in images[:: max(1, len(images) // SAMPLES)][:SAMPLES]:
        image = cv2.imread(str(file))
        height, width = image.shape[:2]
        (found,) = model.detect([model.frame(image, model.canvas(width, height))])
        truth, predicted = image, image.copy()
        label = data.parent / "labels" / split / f"{file.stem}.txt"
        for x1, y1, x2, y2 in boxes_of(label, width, height).round().astype(int):
            cv2.rectangle(truth, (x1, y1), (x2, y2), TRUTH, 1)
        for *corners, confidence, _ in found:
            x1, y1, x2, y2 = (round(float(value)) for value in corners)
            cv2.rectangle(predicted, (x1, y1), (x2, y2), PREDICTION, 1)
            text = f"{confidence:.2f}", (x1, y1 - 3), cv2.FONT_HERSHEY_SIMPLEX, 0.35, PREDICTION, 1, cv2.LINE_AA
            cv2.putText(predicted, *text)
        rows.append(np.hstack([truth, np.zeros((height, 4, 3), np.uint8), predicted]))
    width = max(row.shape[1] for row in rows)
    rows = [cv2.copyMakeBorder(row, 0, 4, 0, width - row.shape[1], cv2.BORDER_CONSTANT) for row in rows]
    with replacing(path) as temporary:
        cv2.imwrite(str(temporary), np.vstack(rows))


def run(params: TrainDetector, out: Path, ctx: Context = Context(), *, detector_data: Path) -> dict[str, float]:
    """Returns mAP50, mAP50-95, precision and recall of the best epoch, by split."""
    start = detector.start_file(params.weights or NETWORK)
    begins = file_hash(Path(start)) if Path(start).is_file() else start  # a network that ultralytics ships is its name
    fingerprint = digest(params.model_dump(), ctx.code, folder_hash(detector_data), begins)
    work = out / "unfinished"
    begun = work / "begun.json"
    if not (begun.exists() and read_json(begun) == fingerprint):
        shutil.rmtree(work, ignore_errors=True)  # begun from other data, params or code
    write_json(begun, fingerprint)

    data, splits = detector.view(detector_data, work / "data")
    best, history = detector.train(start, data, work, settings(params), ctx.progress)
    judging = {"imgsz": params.imgsz, "batch": params.batch, "device": detector.device(params.device)}
    scores = {split: detector.judge(best, data, split, work, **judging) for split in splits if split != "train"}
    names = detector.names(best)
    same, shown = {name: name for name in names}, dict.fromkeys(names, 0.25)
    model = Detector(best, same, shown, imgsz=params.imgsz, iou=0.6, device=judging["device"])

    with replacing(out / "best.pt") as temporary:
        shutil.copyfile(best, temporary)
    write_text(out / "history.jsonl", "".join(json.dumps(record) + "\n" for record in history))
    draw_curves(history, scores, out / "curves.png")
    draw_samples(data, splits[-1], model, out / "samples.png")
    metrics = {split: {key: v for key, v in vars(score).items() if key != "curve"} for split, score in scores.items()}
    best_epoch = max(history, key=lambda record: record["fitness"])["epoch"]
    counts = {"epochs": len(history), "best_epoch": best_epoch, "parameters": model.parameters}
    write_json(out / "metrics.json", metrics | counts)
    shutil.rmtree(work)
    for split, score in scores.items():
        log.info("%s: mAP50 %.3f, mAP50-95 %.3f on %d images", split, score.map50, score.map50_95, score.images)
    kept = ("map50", "map50_95", "precision", "recall")
    return {f"{split}_{key}": metrics[split][key] for split in scores for key in kept} | {"epochs": len(history)}
