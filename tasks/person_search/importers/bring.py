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
from tasks.person_search.importers.checks import (
    CAMERA,
    QUERIES,
    TRUTH,
    described,
    images_in,
    label_lines,
    read_camera,
    read_truth,
)
from tasks.person_search.importers.units import Unit
from tasks.person_search.params import Coco, Download
from tasks.yard.files import natural, write_json, write_text
from tasks.yard.layouts import bringing, coco, video, yolo
from tasks.yard.layouts.bringing import unlike
from tasks.yard.layouts.example import NoneWanted, refuse_too_many
from tasks.yard.layouts.images import JPEG_QUALITY, write_image
from tasks.yard.layouts.images import fault as image_fault
from tasks.yard.layouts.keypoints import Shape
from tasks.yard.sources.units import copied
from tasks.yard.step import BadInput

MAX_FRAMES = 1_000_000  # six digits
NO_TIMES = f"a folder of stills says when they were taken by the fps (frames a second) of a {CAMERA} in it"
LIMIT = "person_search.download.max_broken_share"


def bring_reid(unit: Unit, folder: Path) -> dict:
    """Crops as they are; those in a folder a person, or a camera, beside the others."""
    crops = reid_layout.read(unit.path)
    source_of: dict[Path, Path] = {}
    for subset in reid_layout.SUBSETS:
        for path in reid_layout.images_of(unit.path, subset):
            target = folder / subset / path.name
            if (other := source_of.setdefault(target, path)) != path:
                raise BadInput(f"{path} and {other} have one name; rename one of them")
    if not source_of:
        raise BadInput(f"{unit.path}: no crop in any of {', '.join(reid_layout.SUBSETS)}, nor in the folders in them")
    done = bringing.bring((path, target) for target, path in source_of.items())
    return {"people": reid_layout.remarks(crops), **done}


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


def write_description(folder: Path, splits: list[str], names: dict[int, str], points: Shape | None = None) -> None:
    value = {**{split: f"images/{split}" for split in splits}, "names": names}
    value |= {"kpt_shape": list(points)} if points else {}
    write_text(folder / "data.yaml", yaml.safe_dump(value, sort_keys=False, allow_unicode=True))


def bring_yolo(unit: Unit, folder: Path, max_broken_share: float) -> dict:
    """Images and label files as they are; an image that the description lists and that is not there is left out, and so
    is one with a label line that cannot be used."""
    file, content = described(unit.path)
    names = yolo.names_of(file, content)
    splits, remarks = yolo.splits_of(file, content)
    images = [(split, image) for split, mine in splits.items() for image in mine]
    points = yolo.keypoints_of(file, content, (image for _, image in images))
    image_of: dict[Path, Path] = {}  # by label file
    broken: dict[str, str] = {}
    labelled, pairs = False, []
    for split, image in images:
        target, label = targets(folder, split, inner_path(image, file.parent, split))
        if (other := image_of.setdefault(label, image)) != image:
            raise BadInput(f"{image} and {other} would have one label file; give them different names")
        theirs = yolo.label_file(image)
        labelled |= theirs.is_file()
        if fault := fault_of(image, theirs, names, points):
            place, why = fault
            broken[place.removeprefix(f"{unit.path}/")] = why
            continue
        pairs.append((image, target))
        if theirs.is_file():
            copied(theirs, label)
    if not labelled:
        _, image = images[-1]
        raise BadInput(f"{file}: no image has a label file; that of {image} would be {yolo.label_file(image)}")
    refuse_too_many(broken, len(images), max_broken_share, str(unit.path), LIMIT)
    write_description(folder, list(splits), names, points)
    return {"broken_entries": broken, "labels": remarks, **bringing.bring(pairs)}


def fault_of(image: Path, label: Path, names: dict[int, str], points: Shape | None) -> tuple[str, str] | None:
    """(file and line, why) of an image that cannot be used; None for one that can."""
    if not image.is_file():
        return str(image), "there is no such image"
    if why := image_fault(image):
        return str(image), f"the image {why}"
    if label.is_file():
        for line, _, _, why in label_lines(label, names, points):
            if why:
                return f"{label}, line {line}", why
    return None


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


def bring_coco(unit: Unit, folder: Path, params: Coco, max_broken_share: float) -> dict:
    """Persons alone; an image whose labels cannot be used is left out and named."""
    try:
        labels = coco.read([unit.path], Persons(dict.fromkeys(params.categories, "person")))
    except NoneWanted as error:
        where = str(error).partition(" is in ")[0]
        raise BadInput(f"{where} is in person_search.download.coco.categories; name the one of persons there") from None
    splits, with_crowds, pairs, count = set(), 0, [], len(labels.images) + len(labels.broken)
    image_of: dict[Path, Path] = {}  # by label file
    for item in labels.images:
        if params.drop_crowd_images and len(item.occupied):
            with_crowds += 1
            continue
        if why := image_fault(item.path):
            labels.broken[item.name] = f"the image {why}"
            continue
        if fault := unlike(item.path, item.size_px):
            labels.broken[item.name] = fault
            continue
        split = item.split or "train"
        image, label = targets(folder, split, inner_path(item.path, unit.path, split))
        if (other := image_of.setdefault(label, item.path)) != item.path:
            raise BadInput(f"{item.path} and {other} would have one label file; give them different names")
        splits.add(split)
        pairs.append((item.path, image))
        write_text(label, label_text(item.boxes, *item.size_px))
    refuse_too_many(labels.broken, count, max_broken_share, str(unit.path), LIMIT)
    if not splits:
        raise BadInput(
            f"{unit.path}: each of the {with_crowds} images has a box of a crowd, and "
            f"person_search.download.coco.drop_crowd_images leaves them out; set it to false"
        )
    write_description(folder, [split for split in yolo.SPLITS if split in splits], {0: "person"})
    return {
        "broken_entries": labels.broken, "crowd_boxes": labels.crowds, "crowd_images_left_out": with_crowds,
        "boxes_of_other_categories": sum(labels.dropped.values()), "labels": labels.remarks, **bringing.bring(pairs),
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
    if unit.split:
        about["split"] = unit.split
    done = bringing.bring((query, folder / QUERIES / query.name) for query in unit.queries)
    write_json(folder / CAMERA, about)
    remarks |= {"queries": done, "without_times": NO_TIMES if about["fps"] is None else None}
    return {"original_names": original_names, **remarks}


def bring(unit: Unit, folder: Path, params: Download) -> dict:
    """Make the unit's folder; returns remarks about what was left out or renamed. Raises `BadInput`."""
    if unit.layout == "reid":
        return bring_reid(unit, folder)
    if unit.layout == "yolo":
        return bring_yolo(unit, folder, params.max_broken_share)
    if unit.layout == "coco":
        return bring_coco(unit, folder, params.coco, params.max_broken_share)
    return bring_camera(unit, folder, params.frames_fps)
