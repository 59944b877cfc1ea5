"""Frames a second from pictures and telemetry to probabilities: `python -m tests.benchmarks apply`.

`apply` of brake_coast, with all that it checks and writes, against the naive loop over frames.

The loop reads a picture, asks the detector about it, and the network about the window that ends there; its features are
given to it. Neither draws a film.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch

from tasks.brake_coast import apply, train
from tasks.brake_coast.formats import recording, windows
from tasks.brake_coast.learning.features import read_drive
from tasks.brake_coast.learning.inference import Windows, load_model
from tasks.brake_coast.pack import joined
from tasks.yard import params
from tasks.yard.applying import Model, made_with, quiet
from tasks.yard.files import file_hash
from tests.tasks.brake_coast import drives, scenes
from tests.tasks.brake_coast.test_apply import write_source
from tests.tasks.brake_coast.tiny_pack import write_pack
from tests.tasks.yard.shared import machine

FRAMES, REPEATS = 240, 3
SIZE_PX = (640, 192)
ITEM = "simple_concat_lstm"
STEPS = ("download", "annotate", "label")
LINE = params.load(drives.REPO / "params.yaml").brake_coast


def write_model(data: Path) -> Model:
    """A network of the usual size, hardly trained, behind an untrained detector: as fast as others."""
    write_pack(data / "pack", {"train": 3, "val": 2, "test": 1}, frames=60)
    section = drives.section("train")
    values = section.model_dump()
    values["engine"] |= {"epochs": 1}
    train.run(
        type(section).model_validate(values), data / "train" / ITEM, variant=ITEM, pack=data / "pack",
        machine_params=machine(),
    )  # fmt: skip
    scenes.write_weights(data / "train_detector" / "best.pt")
    belongings = data / "belongings"
    belongings.mkdir()
    apply.belongings(data, ITEM, LINE, belongings)
    weights = data / "train" / ITEM / "best.pt"
    return Model("models:/brake_coast/1", weights, belongings, ITEM, sha256=file_hash(weights))


@torch.inference_mode()
def loop(folder: Path, model: Model, frames: windows.Frames, imgsz: int) -> np.ndarray:
    """Probabilities (N, tasks) of one drive, frame by frame, from its folder of pictures."""
    from ultralytics import YOLO

    detector = YOLO(model.belongings / apply.DETECTOR)
    network, _ = load_model(model.weights)
    gather, found = Windows(frames, frames.window_frames), []
    starts = set(windows.window_starts(frames.segment, frames.window_frames).tolist())
    for number, path in enumerate(recording.images(folder).values()):
        if (picture := cv2.imread(str(path))) is None:  # of None, the detector would look at pictures of its own
            raise FileNotFoundError(path)
        detector.predict(picture, imgsz=imgsz, conf=0.25, iou=0.6, device="cpu", verbose=False)
        if (start := number + 1 - frames.window_frames) in starts:
            found.append(torch.sigmoid(network(*gather(torch.tensor([start])))))
    return torch.cat(found).numpy()


def main(tiny: bool = False) -> None:
    count, repeats = (30, 1) if tiny else (FRAMES, REPEATS)
    with tempfile.TemporaryDirectory() as scratch, quiet("ultralytics", "tasks"):
        root = Path(scratch)
        model = write_model(root / "data")
        drive = write_source(root / "in", "2025-04-03_19-33-31", count, size=SIZE_PX)
        name = drive.name
        line = made_with(LINE, model, {"annotate.device": "cpu"})
        ours, theirs, apart = [], [], 0.0
        for repeat in range(repeats + 1):  # the first warms up
            out = root / f"out-{repeat}"
            begin = time.perf_counter()
            apply.run(str(root / "in"), model, out, line, no_film=True)
            ours.append(time.perf_counter() - begin)
            made = joined([read_drive(name, *(out / "steps" / step for step in STEPS), line.pack)], line.pack)
            begin = time.perf_counter()
            found = loop(drive, model, made, line.annotate.imgsz)
            theirs.append(time.perf_counter() - begin)
            table = np.loadtxt(out / "recordings" / name / "probabilities.csv", delimiter=",", skiprows=1, usecols=2)
            apart = max(apart, float(np.abs(table - found[:, 0]).max()))
            shutil.rmtree(out)
        ratio = median(b / a for a, b in zip(ours[1:], theirs[1:], strict=True))
        fast, slow = (count / median(times[1:]) for times in (ours, theirs))
        print(f"apply, brake_coast  {fast:6.0f} frames/s   loop over frames {slow:6.0f} frames/s   {ratio:5.1f} x")
        print(f"probabilities are at most {apart:.1e} apart")


if __name__ == "__main__":
    main()
