"""One unit of a source brought into the layout that the line reads; images that are as they should be byte by byte.

reid     bounding_box_train/, query/, bounding_box_test/ as they are
yolo     images/<split>/, labels/<split>/ with the folders below them, data.yaml; label files as they are
coco     the same, with class 0 = person; crowds left out, boxes clipped; a second run writes the same bytes
camera   frames/NNNNNN.jpg, camera.json, truth.csv if there is one, queries/
"""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import yaml
from PIL import Image

from tasks.person_search.formats import reid_layout
from tasks.person_search.importers.checks import CAMERA, QUERIES, TRUTH, described, images_in, read_camera, read_truth
from tasks.person_search.importers.units import Unit
from tasks.person_search.params import Coco, Download
from tasks.yard.files import replacing, write_json, write_text
from tasks.yard.layouts import coco, video, yolo
from tasks.yard.layouts.example import NoneWanted
from tasks.yard.layouts.images import image_size
from tasks.yard.step import BadInput

JPEG_QUALITY = 95  # a second compression should add nothing to the first
MAX_FRAMES = 1_000_000  # six digits
SAME_SHAPE = 0.02  # a label file's size and the image's differ in shape by rounding only


def copy(source: Path, target: Path) -> None:
    """What an interrupted run brought already is kept."""
    if not (target.exists() and target.stat().st_size == source.stat().st_size):
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)


def bring_reid(unit: Unit, folder: Path) -> dict:
    for subset in reid_layout.SUBSETS:
        for path in images_in(unit.path / subset):
            copy(path, folder / subset / path.name)
    return {}


def inner_path(image: Path, root: Path, split: str) -> Path:
    """What of an image's path is its own: below images/ and the split's folder. Folders in it are sequences."""
    parts = image.relative_to(root).parts if image.is_relative_to(root) else image.parts[-1:]
    if "images" in parts:
        parts = parts[len(parts) - parts[::-1].index("images") :]
    return Path(*(parts[1:] if parts[0] == split and len(parts) > 1 else parts))


def targets(folder: Path, split: str, inner: Path) -> tuple[Path, Path]:
    return folder / "images" / split / inner, folder / "labels" / split / inner.with_suffix(".txt")


def write_description(folder: Path, splits: list[str], names: dict[int, str]) -> None:
    value = {**{split: f"images/{split}" for split in splits}, "names": names}
    write_text(folder / "data.yaml", yaml.safe_dump(value, sort_keys=False, allow_unicode=True))


def bring_yolo(unit: Unit, folder: Path) -> dict:
    file, content = described(unit.path)
    names = yolo.names_of(file, content)
    splits = [split for split in yolo.SPLITS if content.get(split)]
    if not splits:
        raise BadInput(f"{file}: none of the keys {', '.join(yolo.SPLITS)}, the folders of images")
    first: dict[Path, Path] = {}
    missing = []
    for split in splits:
        for image in yolo.images_of(file, content, split):
            target, label = targets(folder, split, inner_path(image, file.parent, split))
            if (other := first.setdefault(label, image)) != image:
                raise BadInput(f"{image} and {other} would have one label file; give them different names")
            if not image.is_file():
                missing.append(image.name)
                continue
            copy(image, target)
            if yolo.label_file(image).is_file():
                copy(yolo.label_file(image), label)
    if not any((folder / "labels").rglob("*.txt")):
        raise BadInput(f"{file}: no image has a label file; that of {image} would be {yolo.label_file(image)}")
    write_description(folder, splits, names)
    return {"missing_images": missing}


def label_text(boxes: np.ndarray, width: float, height: float) -> str:
    """(n, 4) corners in px -> YOLO lines of class 0, clipped to the image."""
    size = np.tile([width, height], 2)
    clipped = np.clip(boxes / size, 0, 1)
    rows = np.hstack([(clipped[:, :2] + clipped[:, 2:]) / 2, clipped[:, 2:] - clipped[:, :2]])
    return "".join("0 " + " ".join(f"{value:.6f}" for value in row) + "\n" for row in rows)


class Persons:
    """What the reader of COCO wants to know."""

    def __init__(self, params: Coco):
        self.classes = dict.fromkeys(params.categories, "person")


def bring_coco(unit: Unit, folder: Path, params: Coco) -> dict:
    try:
        labels = coco.read([unit.path], Persons(params))
    except NoneWanted as error:
        where = str(error).partition(" is in ")[0]
        raise BadInput(f"{where} is in person_search.download.coco.categories; name the one of persons there") from None
    splits, with_crowds = set(), 0
    for item in labels.images:
        if params.drop_crowd_images and len(item.occupied):
            with_crowds += 1
            continue
        size = image_size(item.path)
        width, height = item.size_px
        if size and abs(size[0] * height / (size[1] * width) - 1) > SAME_SHAPE:
            labels.broken[item.name] = f"the image is {size[0]}x{size[1]}, its labels are for {width}x{height}"
            continue
        split = item.split or "train"
        splits.add(split)
        image, label = targets(folder, split, inner_path(item.path, unit.path, split))
        copy(item.path, image)
        write_text(label, label_text(item.boxes, width, height))
    write_description(folder, [split for split in yolo.SPLITS if split in splits], {0: "person"})
    return {
        "broken_entries": labels.broken, "crowd_boxes": labels.crowds, "crowd_images_left_out": with_crowds,
        "boxes_of_other_categories": sum(labels.dropped.values()),
    }  # fmt: skip


def frame_numbers(images: list[Path]) -> dict[Path, int]:
    """The number that each is named by, if all are; else their place."""
    numbers = [int(path.stem) if path.stem.isdecimal() else -1 for path in images]
    if all(0 <= number < MAX_FRAMES for number in numbers) and len(set(numbers)) == len(numbers):
        return dict(zip(images, numbers, strict=True))
    return {path: place for place, path in enumerate(images)}


def write_frames(film: Path, folder: Path, fps: float) -> tuple[int, float]:
    """Every so-many-th frame as a JPEG; returns how many, and how many a second they are. Raises `BadInput`."""
    own_fps = video.frame_rate(film)
    step = max(1.0, own_fps / fps)
    count = 0
    for number, (_, frame) in enumerate(video.frames(film)):
        if number >= round(count * step):
            with replacing(folder / "frames" / f"{count:06d}.jpg") as temporary:
                cv2.imwrite(str(temporary), video.pixels(frame), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
            count += 1
    if not count:
        raise BadInput(f"{film}: holds no frame that can be read")
    return count, own_fps / step


def bring_camera(unit: Unit, folder: Path, frames_fps: float) -> dict:
    about = {"camera": unit.camera, "fps": frames_fps, "name": unit.name}
    truth = unit.path.with_suffix(".csv") if unit.path.is_file() else unit.path / TRUTH
    original: dict[str, str] = {}
    if unit.path.is_file():
        count, about["fps"] = write_frames(unit.path, folder, frames_fps)
        numbers = set(range(count))
    else:
        if (unit.path / CAMERA).is_file():
            about = read_camera(unit.path / CAMERA, about)
        placed = frame_numbers(images_in(unit.path))
        for path, number in placed.items():
            target = folder / "frames" / f"{number:06d}.jpg"
            if path.suffix.lower() in (".jpg", ".jpeg"):
                copy(path, target)
            else:
                try:
                    with Image.open(path) as picture, replacing(target) as temporary:
                        picture.convert("RGB").save(temporary, quality=JPEG_QUALITY)
                except OSError as error:
                    raise BadInput(f"{path}: not an image that can be read ({error}); mend or remove it") from None
            if path.stem != target.stem:
                original[target.name] = path.name
        numbers = set(placed.values())
    if truth.is_file():
        read_truth(truth, numbers)
        copy(truth, folder / TRUTH)
    for path in unit.queries:
        copy(path, folder / QUERIES / path.name)
    write_json(folder / CAMERA, about)
    return {"original_names": original} if original else {}


def bring(unit: Unit, folder: Path, params: Download) -> dict:
    """Make the unit's folder; returns what is to be said about it. Raises `BadInput`."""
    if unit.layout == "reid":
        return bring_reid(unit, folder)
    if unit.layout == "yolo":
        return bring_yolo(unit, folder)
    if unit.layout == "coco":
        return bring_coco(unit, folder, params.coco)
    return bring_camera(unit, folder, params.frames_fps)
