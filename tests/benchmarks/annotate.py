"""Frames annotated per second, against `yolo predict` with the same weights: `python -m tests.benchmarks.annotate`.

Both read the same JPEG files of one drive and write the boxes to files. `yolo predict` knows no ROI, so it is off here.
"""

from __future__ import annotations

import logging
import tempfile
import time
from pathlib import Path
from statistics import median

from tasks.brake_coast import annotate
from tests.tasks.brake_coast import drives, scenes

FRAMES = 320
SIZE_PX = (640, 192)
REPEATS = 5
COCO = drives.REPO.parent / "shared/real/weights/yolov8n.pt"


def predict(weights: Path, frames: Path, out: Path, imgsz: int) -> None:
    """What `yolo predict model=... source=... save=False save_txt=True` does (one image at a time), Python started."""
    from ultralytics import YOLO

    settings = {"imgsz": imgsz, "conf": 0.25, "iou": 0.6, "device": "cpu", "verbose": False}
    for result in YOLO(weights).predict(frames, stream=True, save=False, **settings):
        result.save_txt(out / f"{Path(result.path).stem}.txt", save_conf=True)


def seconds(work, *arguments, **options) -> float:
    begin = time.perf_counter()
    work(*arguments, **options)
    return time.perf_counter() - begin


def main(tiny: bool = False) -> None:
    images, repeats = (8, 1) if tiny else (FRAMES, REPEATS)
    with tempfile.TemporaryDirectory() as scratch:
        logging.getLogger("ultralytics").setLevel(logging.ERROR)
        download = Path(scratch) / "download"
        frames = scenes.write_recording(download, "drive-1", images, SIZE_PX)
        own = scenes.write_weights(Path(scratch) / "own.pt")  # untrained: as fast as trained, and it finds nothing
        for name, weights in (("the demo's network", own), ("yolov8n", COCO))[: 1 if tiny else 2]:
            if not weights.exists():
                print(f"annotate, {name}: left out, no {weights}")
                continue
            params = drives.section("annotate", weights=str(weights), device="cpu", roi=[])
            ours, theirs = [], []
            for repeat in range(repeats + 1):  # the first warms up
                out = Path(scratch) / f"{weights.stem}-{repeat}"
                (out / "theirs").mkdir(parents=True)
                ours.append(seconds(annotate.run, params, out / "ours", download=download, train_detector=out))
                theirs.append(seconds(predict, weights, frames, out / "theirs", params.imgsz))
            ratio = median(b / a for a, b in zip(ours[1:], theirs[1:], strict=True))
            fast, slow = (images / median(times[1:]) for times in (ours, theirs))
            print(f"annotate, {name:18}  {fast:6.0f} img/s   yolo predict {slow:6.0f} img/s   {ratio:5.1f} x")


if __name__ == "__main__":
    main()
