"""Small painted roads with cars: a YOLO dataset, recordings of frames, and detectors too small to wait for."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import yaml
from ultralytics.nn.tasks import DetectionModel

from tasks.brake_coast.formats import recording
from tasks.yard.detector.network import save_network
from tasks.yard.files import write_json
from tasks.yard.layouts import seen
from tests.tasks.brake_coast.drives import REPO, START_MS

NETWORK = REPO / "models/brake_coast/highway.yaml"


def scene(rng: np.random.Generator, width: int = 128, height: int = 64, cars: int | None = None):
    """A BGR image and the true boxes (x, y, w, h in px) on it."""
    image = rng.integers(90, 110, (height, width, 3), dtype=np.uint8)
    boxes = []
    for _ in range(int(rng.integers(0, 3)) if cars is None else cars):
        w = int(rng.integers(20, 40))
        x, y = int(rng.integers(0, width - w)), int(rng.integers(0, height - w))
        cv2.rectangle(image, (x, y), (x + w - 1, y + w - 1), (30, 30, 200), -1)
        cv2.rectangle(image, (x + 4, y + 3), (x + w - 5, y + w // 3), (20, 20, 20), -1)
        boxes.append((x, y, w, w))
    return image, boxes


def write_dataset(root: Path, train: int = 24, val: int = 8, test: int = 8) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val), ("test", test)):
        images, labels = root / "images" / split, root / "labels" / split
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for index in range(count):
            image, boxes = scene(rng)
            height, width = image.shape[:2]
            cv2.imwrite(str(images / f"{index:03d}.jpg"), image)
            boxes = [((x + w / 2) / width, (y + h / 2) / height, w / width, h / height) for x, y, w, h in boxes]
            (labels / f"{index:03d}.txt").write_text("".join(f"0 {x} {y} {w} {h}\n" for x, y, w, h in boxes))
    description = {split: f"images/{split}" for split in ("train", "val", "test")} | {"names": {0: "vehicle"}}
    (root / "dataset.yaml").write_text(yaml.safe_dump(description))
    images = [(seen.picture(image), image.parent.name) for image in sorted((root / "images").rglob("*.jpg"))]
    seen.write(root, [], images)
    return root


def write_recording(download: Path, name: str, frames: int, size_px: tuple[int, int] = (128, 64)) -> Path:
    folder = download / name
    folder.mkdir(parents=True)
    rng = np.random.default_rng(frames)
    for index in range(frames):
        time = recording.format_time(START_MS + 500 * index)
        cv2.imwrite(str(folder / f"{time}.jpg"), scene(rng, *size_px, cars=1)[0])
    about = dict(zip(("image_width_px", "image_height_px"), size_px if frames else (None, None), strict=True))
    write_json(folder / "recording.json", {"name": name, "group": name, "has_images": bool(frames), **about})
    return folder


def write_weights(path: Path, names: tuple[str, ...] = ("vehicle",), network: Path | str = NETWORK) -> Path:
    """An untrained network: at a confidence of 0 it sees boxes everywhere, at 0.99 none."""
    model = DetectionModel(str(network), nc=len(names), verbose=False)
    model.names = dict(enumerate(names))
    save_network(model, path, {"imgsz": 64})
    return path
