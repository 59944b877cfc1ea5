"""Labelled images become YOLO examples: cropped to what `annotate` will show the detector, boxes clipped, some dropped.

A hard negative is one more training image, without any vehicle, that is made of an image with some: the crop of half
its width and height that touches nothing labelled, be it an example, a crowd or a vehicle's outline, and of all such
crops the one nearest to a vehicle. So it shows what surrounds vehicles (road, barriers, trees), rather than sky.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.brake_coast.importers import boxy
from tasks.brake_coast.params import DetectorData
from tasks.yard.files import digest, replacing
from tasks.yard.layouts import images, yolo_write
from tasks.yard.layouts.example import SHARES, Labelled
from tasks.yard.step import BadInput

PLACES = 9  # places a hard negative is tried at, along each side


@dataclass(frozen=True)
class Made:
    """What became of one image."""

    stem: str
    split: str
    boxes: int = 0
    dropped: tuple[tuple[str, int], ...] = ()
    fault: str | None = None  # why it could not be used
    negative: bool = False  # a hard negative was made of it too
    turned: bool = False  # by its EXIF
    deep: bool = False  # it had 16 bits


def stem_of(item: Labelled) -> str:
    return Path(item.name).with_suffix("").as_posix().replace("/", "__")


def draw(seed: int, purpose: str, name: str) -> float:
    """A number in [0, 1) that depends on nothing else: not on how many images there are, nor on their order."""
    return int(digest(seed, purpose, name), 16) / 16**16


def in_pixels(boxes: np.ndarray, item: Labelled, about: images.About) -> np.ndarray:
    """Boxes in pixels of the image as shown. Raises `ValueError` if the labels are for an image of another shape."""
    if item.size_px is None:
        return boxes
    if item.size_px != SHARES and (why := images.wrong_shape(about, item.size_px)):
        raise ValueError(why)
    return boxes * np.tile(np.divide(about.size_px, item.size_px), 2)


def cropped(
    boxes: np.ndarray, params: DetectorData, width_px: int, height_px: int, bonnet: bool
) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Boxes in pixels of the crop, clipped to it; which are examples; how many were let go for which reason."""
    x, y, w, h = params.roi_px or (0, 0, width_px, height_px)
    own = boxy.own_bonnet(boxes, width_px, height_px) & bonnet
    moved = boxes - [x, y, x, y]
    inside = np.clip(moved, 0, [w, h, w, h])
    sides, whole = inside[:, 2:] - inside[:, :2], moved[:, 2:] - moved[:, :2]
    outside = ~own & (sides.prod(1) < params.min_inside_share * whole.prod(1))
    small = ~own & ~outside & (sides.min(1) < params.min_box_px)
    small |= ~own & ~outside & (whole.prod(1) < params.min_area_share * width_px * height_px)
    dropped = {"bonnet": int(own.sum()), "outside": int(outside.sum()), "small": int(small.sum())}
    return inside, ~(own | outside | small), dropped


def by_place(classes: np.ndarray, boxes: np.ndarray, width_px: int) -> np.ndarray:
    """Classes, those that are open (-1) by the third of the image that the box's centre is in."""
    third = np.clip((boxes[:, 0] + boxes[:, 2]) / 2 * 3 // width_px, 0, 2).astype(int)
    return np.where(classes < 0, third, classes)


def negative_corner(boxes: np.ndarray, width_px: int, height_px: int) -> tuple[int, int] | None:
    """x, y of the crop of half the size that no box touches and that is nearest to one; None if there is none."""
    w, h = width_px // 2, height_px // 2
    xs, ys = (np.linspace(0, side, PLACES).astype(int) for side in (width_px - w, height_px - h))
    corner = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 1, 2)
    gap = np.maximum(np.maximum(boxes[None, :, :2] - (corner + np.array([w, h])), corner - boxes[None, :, 2:]), -1)
    free = (gap >= 0).any(-1).all(-1)
    if not free.any():
        return None
    distance = np.hypot(*np.maximum(gap, 0).transpose(2, 0, 1)).min(1)
    best = np.where(free, distance, np.inf).argmin()
    return int(corner[best, 0, 0]), int(corner[best, 0, 1])


def make(item: Labelled, split: str, params: DetectorData, out: Path, bits: int | None = None) -> Made:
    """Write one example, and perhaps its hard negative. Of 16 bits `bits` are in use."""
    stem = stem_of(item)
    data = item.path.read_bytes()
    try:
        about, picture = images.look(data), images.pixels(data, bits)
    except images.Unusable as error:
        return Made(stem, split, fault=f"cannot be used, it {error}")
    height, width = picture.shape[:2]
    x, y, w, h = params.roi_px or (0, 0, width, height)
    if x + w > width or y + h > height:
        raise BadInput(
            f"brake_coast.detector_data.roi_px = {params.roi_px} reaches beyond {item.name}, which is "
            f"{width}x{height}; make it smaller, or null for whole images"
        )
    try:
        boxes, occupied = (in_pixels(given, item, about) for given in (item.boxes, item.occupied))
    except ValueError as error:
        return Made(stem, split, fault=str(error))
    seen, kept, dropped = cropped(boxes, params, width, height, item.bonnet)
    classes = by_place(item.classes, boxes, width)
    image, label = yolo_write.places(out, split, stem)
    view = picture[y : y + h, x : x + w]
    if params.roi_px is None and about.plain and about.kind != "PNG":
        with replacing(image) as temporary:
            temporary.write_bytes(images.for_trainer(data)[1])
    else:
        yolo_write.write_image(view, image)
    yolo_write.write_labels(label, classes[kept], seen[kept], (w, h))
    negative = split == "train" and kept.any() and draw(params.seed, "negative", item.name) < params.hard_negative_share
    corner = negative_corner(np.vstack([boxes, occupied]) - [x, y, x, y], w, h) if negative else None
    if corner is not None:
        left, top = corner
        image, label = yolo_write.places(out, split, f"{stem}__negative")
        yolo_write.write_image(view[top : top + h // 2, left : left + w // 2], image)
        yolo_write.write_labels(label, (), np.empty((0, 4)))
    about_it = {"negative": corner is not None, "turned": about.turned, "deep": about.deep}
    return Made(stem, split, int(kept.sum()), tuple(dropped.items()), **about_it)


def make_all(
    job: list[tuple[Labelled, str]], *, params: DetectorData, out: Path, bits: int | None = None
) -> list[Made]:
    return [make(item, split, params, out, bits) for item, split in job]
