"""COCO: JSON files of {"images", "annotations", "categories"}, at the top, in annotations/ or beside the images.

bbox = x, y, width, height in pixels of an image of the stated size. A crowd (iscrowd: 1) is one box around many: it is
no example, but hard negatives keep off it. A file that says train, val or test in its name is that split; where not all
do, images are split by their folder, and those without one each for itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tasks.yard.layouts.example import (
    Classes,
    Labelled,
    Labels,
    Mapped,
    checked,
    first_key,
    inside,
    read_json,
    rows,
    with_slashes,
)
from tasks.yard.step import BadInput

WHAT = "*.json or annotations/*.json with images, annotations and categories"
KEYS = ("images", "annotations", "categories")
FIRST_KEYS = (*KEYS, "info", "licenses", "type", "videos")
SPLIT_WORD = re.compile(r"(?<![a-z])(train|val|test)(?:ing|id|idation)?(?![a-z])")


def label_files(roots: list[Path]) -> list[tuple[Path, Path]]:
    """(root, file); where there are instances_*.json, captions and key points beside them do not count."""
    patterns = ("*.json", "annotations/*.json", "*/_annotations.coco.json")
    files = [(root, file) for root in roots for pattern in patterns for file in sorted(root.glob(pattern))]
    files = [(root, file) for root, file in files if first_key(file) in FIRST_KEYS]
    return [pair for pair in files if pair[1].name.startswith("instances_")] or files


def found(roots: list[Path]) -> bool:
    return bool(label_files(roots))


def split_in(root: Path, file: Path) -> str | None:
    words = SPLIT_WORD.findall(str(file.relative_to(root)).lower())
    return words[-1] if words else None


def image_file(root: Path, file: Path, name: str) -> Path | None:
    """Beside the label file, or in a folder named as the end of the label file's name is: instances_train2017."""
    part, name = file.stem.rpartition("_")[2], with_slashes(name)
    for folder in (file.parent, root, root / "images", root / part, root / "images" / part):
        if inside(name) and (folder / name).is_file():
            return folder / name
    return None


def entries(file: Path, content: dict, key: str, needed: tuple[str, ...]) -> Iterator[tuple[str, dict]]:
    """(place, entry) of a list of the file. Raises `BadInput` for an entry without what says where it belongs."""
    for number, entry in enumerate(content[key]):
        lacking = [name for name in needed if not isinstance(entry, dict) or name not in entry]
        if lacking:
            raise BadInput(f"{file}: {key}[{number}] has no {', '.join(lacking)}")
        yield f"{file.name}: {key}[{number}]", entry


def corners(bbox: Any, width: float, height: float) -> list[float]:
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(isinstance(value, int | float) for value in bbox):
        raise ValueError(f"bbox must be x, y, width, height, found {bbox!r}")
    x, y, w, h = bbox
    box = checked([x, y, x + w, y + h])
    if box[0] >= width or box[1] >= height or box[2] <= 0 or box[3] <= 0:
        raise ValueError(f"bbox {bbox} lies outside of the image of {width}x{height}")
    return box


def read_file(root: Path, file: Path, split: str | None, params: Mapped, labels: Labels) -> None:
    content = read_json(file)
    if not isinstance(content, dict) or any(not isinstance(content.get(key), list) for key in KEYS):
        raise BadInput(f"{file}: a COCO label file has the lists {', '.join(KEYS)}")
    names = {entry["id"]: str(entry["name"]) for _, entry in entries(file, content, "categories", ("id", "name"))}
    classes = Classes(params.classes, names.values(), file)
    needed = ("id", "file_name", "width", "height")
    images = {entry["id"]: entry for _, entry in entries(file, content, "images", needed)}
    boxes: dict[Any, list] = {key: [] for key in images}
    crowds: dict[Any, list] = {key: [] for key in images}
    faults: dict[Any, tuple[str, str]] = {}
    for place, entry in entries(file, content, "annotations", ("image_id", "category_id")):
        image = entry["image_id"]
        try:
            if image not in images:
                raise ValueError(f"image_id {image} is in no entry of images")
            if entry["category_id"] not in names:
                raise ValueError(f"category_id {entry['category_id']} is in no entry of categories")
            name = names[entry["category_id"]]
            number = classes.number(name)
            if number is None:
                labels.dropped[name] = labels.dropped.get(name, 0) + 1
                continue
            box = corners(entry.get("bbox"), images[image]["width"], images[image]["height"])
            crowds[image].append(box) if entry.get("iscrowd") else boxes[image].append((box, number))
        except ValueError as error:
            faults.setdefault(image, (place, str(error)))
    for key, (place, why) in faults.items():
        labels.broken[place] = why
        images.pop(key, None)
    where = file.parent.relative_to(root)
    for key, entry in images.items():
        path = image_file(root, file, str(entry["file_name"]))
        if path is None:
            labels.broken[f"{file.name}: image {key}"] = f"there is no image {entry['file_name']}"
            continue
        name = path.relative_to(root).as_posix()
        folder = path.relative_to(root).parent
        alone = folder.as_posix() in (".", "images", where.as_posix()) or folder.name == file.stem.rpartition("_")[2]
        mine, size_px = boxes[key], (entry["width"], entry["height"])
        numbers = np.array([number for _, number in mine], int)
        sequence = name if alone else folder.as_posix()
        labels.crowds += len(crowds[key])
        about = {"occupied": rows(crowds[key]), "size_px": size_px, "split": split}
        labels.images.append(Labelled(name, path, sequence, rows(box for box, _ in mine), numbers, **about))


def read(roots: list[Path], params: Mapped) -> Labels:
    files = label_files(roots)
    if not files:
        raise BadInput(f"{roots[0]}: no label file of COCO's layout; expected {WHAT}")
    labels = Labels(list(dict.fromkeys(name for name in params.classes.values() if name is not None)))
    for root, file in files:
        read_file(root, file, split_in(root, file), params, labels)
    return labels.sorted()
