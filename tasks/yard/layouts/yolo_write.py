"""Writing a YOLO dataset as tasks/yard/detector/trainer.py reads it: images/<split>/, labels/<split>/ and dataset.yaml.

One label file an image, of the same stem: `class cx cy w h` a line, as shares of the image. An empty one is background.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from tasks.yard.files import replacing, write_text

JPEG_QUALITY = 95  # a second compression should add nothing to the first


def clear(dataset: Path) -> None:
    """Take away what an earlier run wrote."""
    for folder in (dataset / "images", dataset / "labels"):
        shutil.rmtree(folder, ignore_errors=True)
    (dataset / "dataset.yaml").unlink(missing_ok=True)


def places(dataset: Path, split: str, stem: str, suffix: str = ".jpg") -> tuple[Path, Path]:
    """Where an image and its labels go. A stem may hold dots."""
    return dataset / "images" / split / f"{stem}{suffix}", dataset / "labels" / split / f"{stem}.txt"


def write_image(pixels: np.ndarray, image: Path) -> None:
    """BGR pixels as a JPEG."""
    with replacing(image) as temporary:
        cv2.imwrite(str(temporary), pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


def write_labels(label: Path, classes: Iterable[int], corners: np.ndarray, size: tuple[int, int] = (1, 1)) -> None:
    """`corners` (n, 4): x1, y1, x2, y2 in units of which the image has `size`; by default they are shares of it."""
    centres, sides = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    shares = np.hstack([centres, sides]) / np.tile(size, 2)
    lines = (
        f"{number} " + " ".join(f"{share:.6f}" for share in row) + "\n"
        for number, row in zip(classes, shares, strict=True)
    )
    write_text(label, "".join(lines))


def write_description(dataset: Path, splits: Iterable[str], names: Iterable[str]) -> None:
    """dataset.yaml: the folder of each split's images, and the names of the classes."""
    folders = "".join(f"{split}: images/{split}\n" for split in splits)
    classes = "".join(f"  {number}: {name}\n" for number, name in enumerate(names))
    write_text(dataset / "dataset.yaml", f"{folders}names:\n{classes}")
