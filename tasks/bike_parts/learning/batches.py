"""Labelled photographs as one set that training draws from: held on the device as bytes, each in the upper left corner
of a canvas of one size, or read when they are wanted; boxes in pixels of the canvas.

    held = Photographs(photos.read(split, "train"), download, (160, 192), "cpu")
    batch = held(torch.tensor([3, 1, 4]))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from models.bike_parts.states import UNLABELLED, Targets
from tasks.bike_parts.formats.photos import Photos
from tasks.yard.layouts import images
from tasks.yard.step import BadInput

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB in 0..1
FILL = tuple(round(255 * value) for value in MEAN)  # of the canvas where no photograph is
HELD_BYTES = 2_000_000_000  # photographs that need more are read for each batch
MIN_PX = 1.0  # of the canvas: a box less wide or high shows nothing, and would be NaN in the loss


@cache
def constant(values: tuple, device: torch.device) -> Tensor:
    return torch.tensor(values, device=device)


def normalised(pictures: Tensor) -> Tensor:
    """(B, H, W, 3) bytes, or floats of their range -> (B, 3, H, W) float32, channels last in memory."""
    mean, std = (constant(values, pictures.device) * 255 for values in (MEAN, STD))
    return (pictures - mean).div_(std).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Fitted:
    """A photograph on its canvas."""

    picture: np.ndarray  # (H, W, 3) uint8 RGB
    size: tuple[int, int]  # height, width of what the photograph takes of it
    factor: tuple[float, float]  # pixels of the canvas a pixel of the photograph, along x and y


def fitted(photo: np.ndarray, canvas: tuple[int, int]) -> Fitted:
    """(h, w, 3) BGR uint8 as large as it goes into (height, width), in its own shape."""
    high, wide = photo.shape[:2]
    factor = min(canvas[0] / high, canvas[1] / wide)
    height, width = (max(1, round(edge * factor)) for edge in (high, wide))
    if (height, width) != (high, wide):
        photo = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    picture = np.full((*canvas, 3), FILL, np.uint8)
    picture[:height, :width] = photo[..., ::-1]
    return Fitted(picture, (height, width), (width / wide, height / high))


def read(path: Path, canvas: tuple[int, int]) -> Fitted:
    found = images.decoded(path)
    if found is None:
        raise BadInput(f"{path}: an image that was usable before, and {images.fault(path)}; run bike_parts-download")
    return fitted(found, canvas)


@dataclass(frozen=True)
class Batch:
    """B photographs with room for P parts each; all on the device."""

    pictures: Tensor  # (B, H, W, 3) uint8
    sizes: Tensor  # (B, 2) int64 height, width of the photograph on its canvas
    boxes: Tensor  # (B, P, 4) float32 x1, y1, x2, y2
    parts: Tensor  # (B, P) int64 1..K; 0: nothing
    states: Tensor  # (B, P) int64; UNLABELLED
    doubted: Tensor  # (B, K) bool: parts that may be anywhere

    def targets(self) -> Targets:
        """As the detector takes them."""
        found = []
        for boxes, parts, states, doubted in zip(self.boxes, self.parts, self.states, self.doubted, strict=True):
            there = parts > 0
            found.append({
                "boxes": boxes[there], "labels": parts[there], "states": states[there],
                "doubted": doubted.nonzero()[:, 0] + 1,
            })  # fmt: skip
        return found


class Photographs:
    """`held(ids)`: ids (B) int64 -> Batch. Photograph i is `photos.photos[i]`."""

    def __init__(
        self, photos: Photos, download: Path, canvas: tuple[int, int], device: torch.device | str,
        held_bytes: int = HELD_BYTES,
    ) -> None:  # fmt: skip
        self.device, self.canvas = torch.device(device), canvas
        self.paths = [download / photo.name for photo in photos.photos]
        count = len(self.paths)
        place = {photo.id: i for i, photo in enumerate(photos.photos)}
        rows = np.array([place[photo] for photo in photos.photo], int)
        most = max(1, int(np.bincount(rows, minlength=1).max())) if len(rows) else 1
        boxes = np.zeros((count, most, 4), np.float32)
        parts, states = np.zeros((count, most), np.int64), np.full((count, most), UNLABELLED)
        factors = np.array([self.factor(photo.height, photo.width) for photo in photos.photos]).reshape(-1, 2)
        filled = np.zeros(count, int)
        self.too_small = 0
        for row, box, part, state in zip(rows, photos.box, photos.part, photos.state, strict=True):
            x, y, width, height = box * np.tile(factors[row], 2)
            if min(width, height) < MIN_PX:
                self.too_small += 1
                continue
            at = filled[row]
            boxes[row, at], parts[row, at], states[row, at] = (x, y, x + width, y + height), part, state
            filled[row] += 1
        doubted = np.zeros((count, len(photos.parts)), bool)
        for i, photo in enumerate(photos.photos):
            doubted[i, np.array(photo.doubted, int) - 1] = True
        self.boxes, self.parts, self.states, self.doubted = map(self.put, (boxes, parts, states, doubted))
        self.held: tuple[Tensor, Tensor] | None = None
        if count * np.prod(canvas) * 3 <= held_bytes:
            self.held = self.read(range(count))

    def factor(self, height: int, width: int) -> tuple[float, float]:
        """That of `fitted`."""
        factor = min(self.canvas[0] / height, self.canvas[1] / width)
        return max(1, round(width * factor)) / width, max(1, round(height * factor)) / height

    def __len__(self) -> int:
        return len(self.paths)

    def put(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self.device)

    def read(self, places: Sequence[int]) -> tuple[Tensor, Tensor]:
        found = [read(self.paths[i], self.canvas) for i in places]
        pictures = np.stack([of.picture for of in found]) if found else np.empty((0, *self.canvas, 3), np.uint8)
        sizes = np.array([of.size for of in found], np.int64).reshape(-1, 2)
        return self.put(pictures), self.put(sizes)

    def __call__(self, ids: Tensor) -> Batch:
        if self.held is None:
            pictures, sizes = self.read(ids.tolist())
        else:
            pictures, sizes = (values[ids] for values in self.held)
        return Batch(pictures, sizes, self.boxes[ids], self.parts[ids], self.states[ids], self.doubted[ids])
