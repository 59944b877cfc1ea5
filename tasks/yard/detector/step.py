"""Training a YOLO detector as a step of any line: curves, samples, scores on the held-out split, resume after a kill.

Reads    a YOLO dataset: images/, labels/ and dataset.yaml, and learnt_from.json if it has one. If it holds no images to
         train on (layouts/yolo_write.py says why) the weights that training would have started from are handed over as
         they are.
Writes   best.pt        weights of the epoch with the best validation score, for any ultralytics tool
         epochs/*.pt    the weights of every `save_period`th epoch, if there is one
         metrics.json   mAP50, mAP50-95, precision and recall on the validation and the held-out split
         learnt_from.json    which sequences and pictures it, or what it started from, has learnt from (layouts/seen.py)
         history.jsonl  one record an epoch
         curves.png, samples.png
         trained_from.json   hash of all that it was trained from: from the same it is not trained again
         unfinished/    while it trains: a killed run goes on after its last whole epoch
"""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure

from tasks.yard.detector import launch
from tasks.yard.detector.look import Detector
from tasks.yard.detector.network import class_names, device_of, first_device_of, load_network, start_file
from tasks.yard.detector.scores import Scores, judge
from tasks.yard.detector.section import TrainDetector
from tasks.yard.detector.trainer import EPOCHS, IMAGES, train, view
from tasks.yard.detector.weather import EFFECTS, Weather
from tasks.yard.files import digest, file_hash, folder_hash, read_if_there, read_json, replacing, write_json, write_text
from tasks.yard.layouts import seen, yolo_write
from tasks.yard.layouts.images import pixels
from tasks.yard.params import Machine
from tasks.yard.reporting import charts
from tasks.yard.step import BadInput, Context

log = logging.getLogger(__name__)

SAMPLES = 6
TRAINED = "trained_from.json"
TOLD = ("map50", "map50_95", "precision", "recall")
AMP = {"32": False, "bf16": "bf16", "fp16": True}  # what ultralytics calls it
TRUTH, PREDICTION = (90, 200, 60), (40, 130, 255)  # BGR


def settings(params: TrainDetector, machine: Machine) -> dict:
    """The params under the names ultralytics knows them by. Raises `BadInput` for a precision a CPU does not do."""
    device = device_of(params.device)
    if machine.precision != "32" and device == "cpu":
        raise BadInput(
            f"yard.machine.precision = {machine.precision}: a detector is trained in it on a GPU only; "
            f"set it to '32' (train_detector.device = {params.device} is the CPU here)"
        )
    values = params.model_dump(exclude={"weights", "resume", "augment"})
    values |= params.augment.model_dump(exclude={"weather"})
    values |= {"amp": AMP[machine.precision], "device": device}
    values |= {"cache": params.cache or False, "save_period": params.save_period or -1}
    return values | {"patience": params.patience or params.epochs, "deterministic": True}


def weather(params: TrainDetector) -> Weather | None:
    """What paints weather on the training images, None if nothing does."""
    shares = params.augment.weather.model_dump(include=set(EFFECTS))
    return Weather(shares, params.augment.weather.strength, params.seed) if any(shares.values()) else None


def hand_over(weights: str | None, reason: str, out: Path) -> dict[str, float]:
    """The weights that there are become the trained ones; nothing of an earlier training stays beside them."""
    if weights is None or not weights.endswith(".pt"):
        raise BadInput(
            f"there is nothing to train the detector on ({reason}), and train_detector.weights = {weights} holds no "
            "trained network: set it to a .pt file or the name of published weights, or give labelled images"
        )
    start = Path(start_file(weights))
    parameters = sum(weight.numel() for weight in load_network(start).parameters())
    with replacing(out / "best.pt") as temporary:
        shutil.copyfile(start, temporary)
    for stale in (TRAINED, "history.jsonl", "curves.png", "samples.png"):
        (out / stale).unlink(missing_ok=True)
    for stale in (EPOCHS, "unfinished"):
        shutil.rmtree(out / stale, ignore_errors=True)
    seen.pass_on(out, start.parent)
    write_json(out / "metrics.json", {"epochs": 0, "parameters": parameters, "handed_over": weights, "reason": reason})
    log.info("%s handed over untrained: %s", weights, reason)
    return {"epochs": 0}


def curves(history: list[dict], scores: dict[str, Scores]) -> Figure:
    """Losses and validation scores by epoch, and precision over recall of each split."""
    figure, (losses, quality, precision) = charts.side_by_side((12, 3.4), 4)
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
        charts.legend_below(axes)
    return figure


def boxes_of(label: Path, width: int, height: int) -> np.ndarray:
    """Corners in pixels (n, 4) of a YOLO label file; no file means no box."""
    if not label.exists() or not label.read_text().strip():
        return np.zeros((0, 4))
    rows = np.loadtxt(label, ndmin=2)
    centre, size = rows[:, 1:3], rows[:, 3:5]
    return np.hstack([centre - size / 2, centre + size / 2]) * (width, height, width, height)


def draw_samples(data: Path, split: str, model: Detector, path: Path) -> None:
    """Frames spread over the split: the true boxes on the left, the predicted ones on the right."""
    images = sorted(file for file in (data.parent / "images" / split).iterdir() if file.suffix in IMAGES)
    rows = []
    for file in images[:: max(1, len(images) // SAMPLES)][:SAMPLES]:
        image = pixels(file.read_bytes())
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


def told(metrics: dict[str, Any]) -> dict[str, float]:
    """Of metrics.json, what is compared."""
    splits = {split: of for split, of in metrics.items() if isinstance(of, dict)}
    return {f"{split}_{key}": of[key] for split, of in splits.items() for key in TOLD} | {"epochs": metrics["epochs"]}


def run(
    params: TrainDetector, machine: Machine, dataset: Path, network: str, out: Path, ctx: Context = Context()
) -> dict[str, float]:
    """Train on a dataset, from `network` if the params name no weights.

    Returns mAP50, mAP50-95, precision and recall of the best epoch, by split.
    """
    if reason := yolo_write.nothing_in(dataset):
        return hand_over(params.weights, reason, out)
    start = start_file(params.weights or network)
    begins = file_hash(Path(start)) if Path(start).is_file() else start  # a network that ultralytics ships is its name
    given, work = settings(params, machine), out / "unfinished"
    fingerprint = digest(params.model_dump(), machine.precision, ctx.code, folder_hash(dataset), begins)
    if params.resume and (out / "best.pt").exists() and read_if_there(out / TRAINED).get("hash") == fingerprint:
        shutil.rmtree(work, ignore_errors=True)  # of a run that was killed at its very end
        return told(read_json(out / "metrics.json"))
    (out / TRAINED).unlink(missing_ok=True)
    begun = work / "begun.json"
    if not (params.resume and begun.exists() and read_json(begun) == fingerprint):
        shutil.rmtree(work, ignore_errors=True)  # begun from other data, params or code, or unwanted
    write_json(begun, fingerprint)

    data, splits = view(dataset, work / "data")
    fit = launch.fit if "," in given["device"] else None
    best, history = train(start, data, work, given, ctx.progress, weather(params), fit)
    judging: dict[str, Any] = {"imgsz": params.imgsz, "batch": params.batch, "device": first_device_of(params.device)}
    judging["single_cls"] = params.single_cls
    scores = {split: judge(best, data, split, work, **judging) for split in splits if split != "train"}
    names = class_names(best)
    same, shown = {name: name for name in names}, dict.fromkeys(names, 0.25)
    model = Detector(best, same, shown, imgsz=params.imgsz, iou=0.6, device=judging["device"])

    with replacing(out / "best.pt") as temporary:
        shutil.copyfile(best, temporary)
    shutil.rmtree(out / EPOCHS, ignore_errors=True)
    if params.save_period and (work / EPOCHS).exists():
        shutil.copytree(work / EPOCHS, out / EPOCHS)
    write_text(out / "history.jsonl", "".join(json.dumps(record) + "\n" for record in history))
    charts.save(out / "curves.png", lambda: curves(history, scores))
    draw_samples(data, splits[-1], model, out / "samples.png")
    metrics = {split: {key: v for key, v in vars(score).items() if key != "curve"} for split, score in scores.items()}
    best_epoch = max(history, key=lambda record: record["fitness"])["epoch"]
    counts = {"epochs": len(history), "best_epoch": best_epoch, "parameters": model.parameters}
    write_json(out / "metrics.json", metrics | counts)
    seen.pass_on(out, dataset, Path(start).parent)
    write_json(out / TRAINED, {"hash": fingerprint})
    shutil.rmtree(work)
    for split, score in scores.items():
        log.info("%s: mAP50 %.3f, mAP50-95 %.3f on %d images", split, score.map50, score.map50_95, score.images)
    return told(metrics | counts)
