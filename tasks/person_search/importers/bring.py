"""One unit of a source brought into the layout that the line reads; images that are as they should be byte by byte.

reid     bounding_box_train/, query/, bounding_box_test/ as they are
yolo     images/<split>/, labels/<split>/ with the folders below them, data.yaml; label files as they are
coco     the same, with class 0 = person; crowds left out, boxes clipped; a second run writes the same bytes
camera   frames/NNNNNN.jpg (of a film: number / fps is its time), camera.json, truth.csv if there is one, queries/;
         camera.json says what the source calls each frame, and how many there are a second if the source says so: a
         folder of stills has no times by itself
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import yaml

from tasks.person_search.formats import reid_layout
from tasks.person_search.importers.checks import CAMERA, QUERIES, TRUTH, described, images_in, read_camera, read_truth
from tasks.person_search.importers.units import Unit
from tasks.person_search.params import Coco, Download
from tasks.yard.files import natural, write_json, write_text
from tasks.yard.layouts import bringing, coco, video, yolo
from tasks.yard.layouts.bringing import unlike
from tasks.yard.layouts.example import NoneWanted
from tasks.yard.layouts.images import JPEG_QUALITY, write_image
from tasks.yard.sources.units import copied
from tasks.yard.step import BadInput

MAX_FRAMES = 1_000_000  # six digits
NO_TIMES = f"a folder of stills says when they were taken by the fps (frames a second) of a {CAMERA} in it"


def bring_reid(unit: Unit, folder: Path) -> dict:
    pairs = []
    for subset in reid_layout.SUBSETS:
        pairs += [(path, folder / subset / path.name) for path in images_in(unit.path / subset)]
    return bringing.bring(pairs)


def inner_path(image: Path, root: Path, split: str) -> Path:
    """What of an image's path is its own: below images/ and the split's folder. Folders in it are sequences."""
    parts = image.relative_to(root).parts if image.is_relative_to(root) else (image.name,)
    if "images" in parts:  # the last one
        parts = parts[len(parts) - parts[::-1].index("images") :]
    if len(parts) > 1 and parts[0] == split:
        parts = parts[1:]
    return Path(*parts)


def targets(folder: Path, split: str, inner: Path) -> tuple[Path, Path]:
    """Where an image goes, and its label file."""
    return folder / "images" / split / inner, folder / "labels" / split / inner.with_suffix(".txt")


def write_description(folder: Path, splits: list[str], names: dict[int, str]) -> None:
    value = {**{split: f"images/{split}" for split in splits}, "names": names}
    write_text(folder / "data.yaml", yaml.safe_dump(value, sort_keys=False, allow_unicode=True))


def bring_yolo(unit: Unit, folder: Path) -> dict:
    """Images and label files as they are; an image that the description lists and that is not there is left out."""
    file, content = described(unit.path)
    names = yolo.names_of(file, content)
    splits = [split for split in yolo.SPLITS if content.get(split)]
    if not splits:
        raise BadInput(f"{file}: none of the keys {', '.join(yolo.SPLITS)}, the folders of images")
    images = [(split, image) for split in splits for image in yolo.images_of(file, content, split)]
    image_of: dict[Path, Path] = {}  # by label file
    missing, pairs = [], []
    for split, image in images:
        target, label = targets(folder, split, inner_path(image, file.parent, split))
        if (other := image_of.setdefault(label, image)) != image:
            raise BadInput(f"{image} and {other} would have one label file; give them different names")
        if not image.is_file():
            missing.append(image.name)
            continue
        pairs.append((image, target))
        if yolo.label_file(image).is_file():
            copied(yolo.label_file(image), label)
    if not any((folder / "labels").rglob("*.txt")):
        _, image = images[-1]
        raise BadInput(f"{file}: no image has a label file; that of {image} would be {yolo.label_file(image)}")
    write_description(folder, splits, names)
    return {"missing_images": missing, **bringing.bring(pairs)}


def label_text(boxes: np.ndarray, width: float, height: float) -> str:
    """(n, 4) corners in px -> YOLO lines of class 0, clipped to the image."""
    size = np.tile([width, height], 2)
    clipped = np.clip(boxes / size, 0, 1)
    rows = np.hstack([(clipped[:, :2] + clipped[:, 2:]) / 2, clipped[:, 2:] - clipped[:, :2]])
    return "".join("0 " + " ".join(f"{value:.6f}" for value in row) + "\n" for row in rows)


@dataclass(frozen=True)
class Persons:
    """What the reader of COCO wants to know: the class of each category."""

    classes: dict[str, str]


def bring_coco(unit: Unit, folder: Path, params: Coco) -> dict:
    """Persons alone; an image whose labels cannot be used is left out and named."""
    try:
        labels = coco.read([unit.path], Persons(dict.fromkeys(params.categories, "person")))
    except NoneWanted as error:
        where = str(error).partition(" is in ")[0]
        raise BadInput(f"{where} is in person_search.download.coco.categories; name the one of persons there") from None
    splits, with_crowds, pairs = set(), 0, []
    for item in labels.images:
        if params.drop_crowd_images and len(item.occupied):
            with_crowds += 1
            continue
        if fault := unlike(item.path, item.size_px):
            labels.broken[item.name] = fault
            continue
        split = item.split or "train"
        splits.add(split)
        image, label = targets(folder, split, inner_path(item.path, unit.path, split))
        pairs.append((item.path, image))
        write_text(label, label_text(item.boxes, *item.size_px))
    if not pairs and labels.broken:
        where, why = next(iter(labels.broken.items()))
        raise BadInput(f"{unit.path}: none of its {len(labels.broken)} images can be used, the first is {where}: {why}")
    write_description(folder, [split for split in yolo.SPLITS if split in splits], {0: "person"})
    return {
        "broken_entries": labels.broken, "crowd_boxes": labels.crowds, "crowd_images_left_out": with_crowds,
        "boxes_of_other_categories": sum(labels.dropped.values()), **bringing.bring(pairs),
    }  # fmt: skip


def frame_numbers(images: list[Path]) -> dict[Path, int]:
    """The one number in which all names differ (frame_12.jpg is 12); else their place, numbers by their value."""
    words = [re.split(r"(\d+)", path.stem) for path in images]  # text, digits, text, ...
    same = len({len(mine) for mine in words}) == 1
    differ = [place for place, mine in enumerate(zip(*words, strict=False)) if len({*mine}) > 1] if same else []
    if len(images) == 1 and len(words[0]) > 1:
        differ = [len(words[0]) - 2]
    dated = any(len(word) == 8 for mine in words[:1] for word in mine[1::2])  # then the rest may be a time
    if len(differ) == 1 and differ[0] % 2 and not dated:
        numbers = [int(mine[differ[0]]) for mine in words]
        if max(numbers) < MAX_FRAMES and len(set(numbers)) == len(numbers):
            return dict(zip(images, numbers, strict=True))
    return {path: place for place, path in enumerate(sorted(images, key=natural))}


def nearest_frames(
    frames: Iterable[tuple[float, av.VideoFrame]], fps: float, own_fps: float
) -> Iterator[tuple[int, av.VideoFrame]]:
    """(k, the frame whose stamp is nearest to k / fps) for each k of the film's time with a frame within half a step.

    `own_fps` is the film's: its last frame lasts so long.
    """
    held: tuple[int, float, av.VideoFrame] | None = None
    second = 0.0
    for second, frame in frames:
        number = math.floor(second * fps + 0.5)
        away = abs(second * fps - number)
        if held is not None and number > held[0]:
            yield held[0], held[2]
            held = None
        if held is None or (number == held[0] and away < held[1] - 1e-6):
            held = number, away, frame
    if held is not None and held[0] / fps < second + 0.5 / own_fps:
        yield held[0], held[2]


def sampling_rate(about: video.Film, fps: float) -> float:
    """`fps`; of a slower film its own rate, so that its frames follow each other, unless it is too uneven for that."""
    numbers = np.floor(about.seconds * about.rate + 0.5)
    return about.rate if about.rate < fps and len(np.unique(numbers)) == len(numbers) else fps


def write_frames(film: Path, folder: Path, fps: float) -> tuple[set[int], float, list[str]]:
    """A film's frames as JPEGs, at most `fps` a second, by their stamps: number N is of the second N / rate.

    Returns the numbers, the rate, and what is odd about the film. Raises `BadInput`.
    """
    about = video.film(film)
    remarks, rate = about.remarks(), sampling_rate(about, fps)
    numbers, decoded = set(), 0

    def counted() -> Iterator[tuple[float, av.VideoFrame]]:
        nonlocal decoded
        for decoded, one in enumerate(video.frames(film), start=1):  # noqa: B007
            yield one

    for number, frame in nearest_frames(counted(), rate, about.rate):
        target = folder / "frames" / f"{number:06d}.jpg"
        if not target.exists():
            write_image(target, video.pixels(frame, about.pixel_shape), JPEG_QUALITY)
        numbers.add(number)
    if not numbers:
        raise BadInput(f"{film}: holds no frame that can be read")
    if (lost := len(about.seconds) - decoded) > 0:
        remarks.append(f"{lost} of its {len(about.seconds)} frames cannot be decoded")
    return numbers, rate, remarks


def copy_frames(source: Path, folder: Path) -> tuple[dict[Path, int], dict]:
    """Every image of a folder as a frame, a JPEG; ({image: its number}, what was done to some of them)."""
    numbers = frame_numbers(images_in(source))
    pairs = [(image, folder / "frames" / f"{number:06d}.jpg") for image, number in numbers.items()]
    return numbers, bringing.bring(pairs, jpeg=True)


def bring_camera(unit: Unit, folder: Path, frames_fps: float) -> dict:
    """Frames of a video or of a folder of images, what is known of the camera, true boxes if there are any, queries."""
    about: dict[str, Any] = {"camera": unit.camera, "fps": None, "name": unit.name}
    original_names: dict[str, str] = {}  # of frames that were called otherwise
    remarks: dict[str, Any] = {}
    if unit.path.is_file():
        numbers, about["fps"], remarks["film"] = write_frames(unit.path, folder, frames_fps)
        about["film"], truth = unit.path.name, unit.path.with_suffix(".csv")
    else:
        if (unit.path / CAMERA).is_file():
            about = read_camera(unit.path / CAMERA, about)
        frames, remarks = copy_frames(unit.path, folder)
        numbers, truth = set(frames.values()), unit.path / TRUTH
        original_names = {f"{n:06d}.jpg": image.name for image, n in frames.items() if image.name != f"{n:06d}.jpg"}
        about |= {"original_names": original_names} if original_names else {}
    if truth.is_file():
        read_truth(truth, numbers)
        copied(truth, folder / TRUTH)
    done = bringing.bring((query, folder / QUERIES / query.name) for query in unit.queries)
    write_json(folder / CAMERA, about)
    remarks |= {"queries": done, "without_times": NO_TIMES if about["fps"] is None else None}
    return {"original_names": original_names, **remarks}


def bring(unit: Unit, folder: Path, params: Download) -> dict:
    """Make the unit's folder; returns remarks about what was left out or renamed. Raises `BadInput`."""
    if unit.layout == "reid":
        return bring_reid(unit, folder)
    if unit.layout == "yolo":
        return bring_yolo(unit, folder)
    if unit.layout == "coco":
        return bring_coco(unit, folder, params.coco)
    return bring_camera(unit, folder, params.frames_fps)
