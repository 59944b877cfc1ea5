"""Writing a YOLO dataset as tasks/yard/detector/trainer.py reads it: images/<split>/, labels/<split>/ and dataset.yaml.

One label file an image, of the same stem: `class cx cy w h` a line, as shares of the image. An empty one is background.
dataset.json, if there is one, says what is in it, or why nothing is.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tasks.yard.fanout import UNFINISHED
from tasks.yard.files import read_if_there, replacing, write_json, write_text

ABOUT = "dataset.json"
JPEG_QUALITY = 95  # a second compression should add nothing to the first


@contextmanager
def replacing_all(out: Path) -> Iterator[Path]:
    """A folder to write a dataset into. It takes the place of all that is in `out` once the block has ended well.

    Files first, each in one step: whenever it is killed, there is a splits.json for the next run.
    """
    new = out / f"new{UNFINISHED}"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        files = {path.name for path in new.iterdir() if path.is_file()}
        for name in files:
            (new / name).replace(out / name)
        for path in out.iterdir():
            if path.name not in files and path != new:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in new.iterdir():
            path.rename(out / path.name)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def write_about(dataset: Path, empty: str | None, splits: Mapping[str, Mapping[str, int]], **more: Any) -> None:
    """dataset.json: why there are no images (None if there are some), {split: {images, ...}}, and more."""
    write_json(dataset / ABOUT, {"empty": empty, "splits": splits, **more})


def nothing_in(dataset: Path) -> str | None:
    """Why a dataset holds no training images; None if it holds some."""
    about = read_if_there(dataset / ABOUT)
    if about and (about["empty"] or not about["splits"]["train"]["images"]):
        return about["empty"] or f"{dataset / ABOUT}: no training images"
    return None if (dataset / "dataset.yaml").exists() else f"{dataset}/dataset.yaml: no such file"


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
