"""One unit of a source brought into the layout that the line reads; images that are as they should be byte by byte.

reid     bounding_box_train/, query/, bounding_box_test/ as they are
yolo     images/<split>/, labels/<split>/ with the folders below them, data.yaml; label files as they are
coco     the same, with class 0 = person; crowds left out, boxes clipped; a second run writes the same bytes
camera   frames/NNNNNN.jpg, camera.json, truth.csv if there is one, queries/
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import yaml
from PIL import Image

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
from tasks.yard.files import replacing, write_json, write_text
from tasks.yard.layouts import coco, video, yolo
from tasks.yard.layouts.example import NoneWanted, refuse_too_many
from tasks.yard.layouts.images import image_size
from tasks.yard.layouts.keypoints import Shape
from tasks.yard.sources.units import copied
from tasks.yard.step import BadInput

JPEG_QUALITY = 95  # a second compression should add nothing to the first
MAX_FRAMES = 1_000_000  # six digits
LIMIT = "person_search.download.max_broken_share"
SAME_SHAPE = 0.02  # a label file's size and the image's differ in shape by rounding only


def bring_reid(unit: Unit, folder: Path) -> dict:
    """Crops as they are; those in a folder a person, or a camera, beside the others."""
    crops = reid_layout.read(unit.path)
    brought: dict[Path, Path] = {}
    for subset in reid_layout.SUBSETS:
        for path in reid_layout.images_of(unit.path, subset):
            target = folder / subset / path.name
            if (other := brought.setdefault(target, path)) != path:
                raise BadInput(f"{path} and {other} have one name; rename one of them")
            copied(path, target)
    if not brought:
        raise BadInput(f"{unit.path}: no crop in any of {', '.join(reid_layout.SUBSETS)}, nor in the folders in them")
    return {"people": reid_layout.remarks(crops)}


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
    labelled = False
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
        copied(image, target)
        if theirs.is_file():
            copied(theirs, label)
    if not labelled:
        _, image = images[-1]
        raise BadInput(f"{file}: no image has a label file; that of {image} would be {yolo.label_file(image)}")
    refuse_too_many(broken, len(images), max_broken_share, str(unit.path), LIMIT)
    write_description(folder, list(splits), names, points)
    return {"broken_entries": broken, "labels": remarks}


def fault_of(image: Path, label: Path, names: dict[int, str], points: Shape | None) -> tuple[str, str] | None:
    """(file and line, why) of an image that cannot be used; None for one that can."""
    if not image.is_file():
        return str(image), "there is no such image"
    if image_size(image) is None:
        return str(image), "not an image that can be read to its end"
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


def other_shape(image: Path, size_px: tuple[float, float]) -> str | None:
    """What is wrong if an image is not of the shape (width, height) that its labels are for; another scale is fine."""
    size, (width, height) = image_size(image), size_px
    if size and abs(size[0] * height / (size[1] * width) - 1) > SAME_SHAPE:
        return f"the image is {size[0]}x{size[1]}, its labels are for {width}x{height}"
    return None


def bring_coco(unit: Unit, folder: Path, params: Coco, max_broken_share: float) -> dict:
    """Persons alone; an image whose labels cannot be used is left out and named."""
    try:
        labels = coco.read([unit.path], Persons(dict.fromkeys(params.categories, "person")))
    except NoneWanted as error:
        where = str(error).partition(" is in ")[0]
        raise BadInput(f"{where} is in person_search.download.coco.categories; name the one of persons there") from None
    splits, with_crowds, count = set(), 0, len(labels.images) + len(labels.broken)
    image_of: dict[Path, Path] = {}  # by label file
    for item in labels.images:
        if params.drop_crowd_images and len(item.occupied):
            with_crowds += 1
            continue
        if image_size(item.path) is None:
            labels.broken[item.name] = "not an image that can be read to its end"
            continue
        if fault := other_shape(item.path, item.size_px):
            labels.broken[item.name] = fault
            continue
        split = item.split or "train"
        image, label = targets(folder, split, inner_path(item.path, unit.path, split))
        if (other := image_of.setdefault(label, item.path)) != item.path:
            raise BadInput(f"{item.path} and {other} would have one label file; give them different names")
        splits.add(split)
        copied(item.path, image)
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
        "boxes_of_other_categories": sum(labels.dropped.values()), "labels": labels.remarks,
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


def as_jpeg(image: Path, target: Path) -> None:
    """A JPEG byte by byte, any other image compressed. Raises `BadInput`."""
    if image.suffix.lower() in (".jpg", ".jpeg"):
        copied(image, target)
        return
    try:
        with Image.open(image) as picture, replacing(target) as temporary:
            picture.convert("RGB").save(temporary, quality=JPEG_QUALITY)
    except OSError as error:
        raise BadInput(f"{image}: not an image that can be read ({error}); mend or remove it") from None


def copy_frames(source: Path, folder: Path) -> dict[Path, int]:
    """Every image of a folder as a frame; {image: its number}."""
    numbers = frame_numbers(images_in(source))
    for image, number in numbers.items():
        as_jpeg(image, folder / "frames" / f"{number:06d}.jpg")
    return numbers


def bring_camera(unit: Unit, folder: Path, frames_fps: float) -> dict:
    """Frames of a video or of a folder of images, what is known of the camera, true boxes if there are any, queries."""
    about = {"camera": unit.camera, "fps": frames_fps, "name": unit.name}
    original_names: dict[str, str] = {}  # of frames that were called otherwise
    if unit.path.is_file():
        count, about["fps"] = write_frames(unit.path, folder, frames_fps)
        numbers, truth = set(range(count)), unit.path.with_suffix(".csv")
    else:
        if (unit.path / CAMERA).is_file():
            about = read_camera(unit.path / CAMERA, about)
        frames = copy_frames(unit.path, folder)
        numbers, truth = set(frames.values()), unit.path / TRUTH
        original_names = {f"{n:06d}.jpg": image.name for image, n in frames.items() if image.stem != f"{n:06d}"}
    if truth.is_file():
        read_truth(truth, numbers)
        copied(truth, folder / TRUTH)
    for query in unit.queries:
        copied(query, folder / QUERIES / query.name)
    write_json(folder / CAMERA, about)
    return {"original_names": original_names} if original_names else {}


def bring(unit: Unit, folder: Path, params: Download) -> dict:
    """Make the unit's folder; returns remarks about what was left out or renamed. Raises `BadInput`."""
    if unit.layout == "reid":
        return bring_reid(unit, folder)
    if unit.layout == "yolo":
        return bring_yolo(unit, folder, params.max_broken_share)
    if unit.layout == "coco":
        return bring_coco(unit, folder, params.coco, params.max_broken_share)
    return bring_camera(unit, folder, params.frames_fps)
