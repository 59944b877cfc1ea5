"""A YOLO dataset: a data.yaml with `names` and the images of `train`, `val` and perhaps `test`; its splits are kept.

Each of them is a folder, a list of folders, or a .txt with an image a line. The labels of .../images/x.jpg are in
.../labels/x.txt: `class cx cy w h` as shares of the image, or `class x1 y1 x2 y2 x3 y3 ...`, a polygon, of which the
box is taken. An image without a label file is background, as it is to the trainer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tasks.yard.layouts.example import IMAGE_SUFFIXES, SHARES, Classes, Labelled, Labels, Mapped, rows, with_slashes
from tasks.yard.step import BadInput

WHAT = "a data.yaml with names, train and val, images/ and labels/"
SPLITS = ("train", "val", "test")
ROUNDING = 1e-4  # of shares that were written with few digits


def parsed(file: Path) -> dict:
    """What a YAML file says; nothing if that is no mapping."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{file}: not YAML ({error})") from None
    return content if isinstance(content, dict) else {}


def descriptions(roots: list[Path]) -> list[tuple[Path, dict]]:
    """The YAML files at the top that describe a dataset."""
    known = []
    for file in sorted(file for root in roots for pattern in ("*.yaml", "*.yml") for file in root.glob(pattern)):
        content = {} if file.name.startswith(".") else parsed(file)  # macOS leaves ._data.yaml, no text
        if {"names", "train"} <= content.keys():
            known.append((file, content))
    return known


def found(roots: list[Path]) -> bool:
    return bool(descriptions(roots))


def names_of(file: Path, content: dict) -> dict[int, str]:
    names = content["names"]
    names = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(names, dict) or not names or not all(isinstance(key, int) for key in names):
        raise BadInput(f"{file}: names must list the classes, or map their numbers to names")
    return {key: str(name) for key, name in names.items()}


def images_of(file: Path, content: dict, split: str) -> list[Path]:
    """The images of a split. `path` may be that of another machine, and exporters write ../ too much."""
    bases = [file.parent / with_slashes(str(content.get("path") or "")), file.parent]
    images: list[Path] = []
    for value in content[split] if isinstance(content[split], list) else [content[split]]:
        said = with_slashes(str(value))
        tried = [base / text for base in bases for text in (said, said.removeprefix("../"))]
        place = next((path for path in tried if path.exists()), None)
        if place is None:
            raise BadInput(f"{file}: {split}: there is no {value} beside it")
        if place.is_file():
            lines = place.read_text(encoding="utf-8-sig").splitlines()
            images += [place.parent / with_slashes(line.strip()) for line in lines if line.strip()]
        else:
            shown = (path for path in place.rglob("*") if not path.name.startswith("."))
            images += [path for path in shown if path.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        raise BadInput(f"{file}: {split}: {content[split]} holds no images")
    return sorted(images)


def label_file(image: Path) -> Path:
    """The last folder named images becomes labels; without one the label is beside the image."""
    parts = list(image.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def box_of(line: str, names: dict[int, str]) -> tuple[int, list[float]]:
    """(class, corners as shares of the image). Raises `ValueError`."""
    words = line.split()
    try:
        values = [float(word) for word in words]
    except ValueError:
        raise ValueError(f"{line.strip()!r} is not all numbers") from None
    if len(values) < 5 or (len(values) > 5 and (len(values) < 7 or len(values) % 2 == 0)):
        raise ValueError(f"{len(values)} values; expected class, cx, cy, w, h, or class and the points of a polygon")
    number, points = values[0], np.array(values[1:])
    if number not in names:
        raise ValueError(f"class {words[0]} is not among the {len(names)} names")
    if not (points >= -ROUNDING).all() or not (points <= 1 + ROUNDING).all():
        raise ValueError(f"{line.strip()!r} is out of range: all must be shares of the image, from 0 to 1")
    if len(points) == 4:
        centre, half = points[:2], points[2:] / 2
        low, high = centre - half, centre + half
    else:
        low, high = points.reshape(-1, 2).min(0), points.reshape(-1, 2).max(0)
    if not (low < high).all():
        raise ValueError(f"{line.strip()!r} has no area")
    return int(number), [*low.tolist(), *high.tolist()]


def read(roots: list[Path], params: Mapped) -> Labels:
    known = descriptions(roots)
    if not known:
        raise BadInput(f"{roots[0]}: no description of a YOLO dataset; expected {WHAT}")
    if len(known) > 1:
        files = ", ".join(file.name for file, _ in known)
        raise BadInput(f"{roots[0]}: {files} each describe a dataset; keep one of them")
    file, content = known[0]
    if "val" not in content:
        raise BadInput(f"{file}: no key 'val', the folder of the validation images")
    names = names_of(file, content)
    classes = Classes(params.classes, names.values(), file)
    labels = Labels(classes.names)
    seen: dict[Path, str] = {}
    for split in (split for split in SPLITS if content.get(split)):
        images = images_of(file, content, split)
        if not any(label_file(image).is_file() for image in images):
            raise BadInput(f"{file}: {split}: no image has a label file; {label_file(images[0])} is the first missing")
        for image in images:
            if (other := seen.setdefault(image.resolve(), split)) != split:
                raise BadInput(f"{file}: {image} is in {other} and in {split}; give each split images of its own")
            read_image(image, split, (file.parent, names, classes), labels)
    return labels.sorted()


def read_image(image: Path, split: str, dataset: tuple[Path, dict[int, str], Classes], labels: Labels) -> None:
    root, names, classes = dataset
    shown = image.relative_to(root) if image.is_relative_to(root) else Path(split, image.name)
    label = label_file(image)
    if not image.is_file():
        labels.broken[shown.as_posix()] = "there is no such image"
        return
    boxes, numbers = [], []
    dropped: dict[str, int] = {}
    lines: Any = label.read_text(encoding="utf-8-sig", errors="replace").splitlines() if label.is_file() else []
    for place, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            theirs, box = box_of(line, names)
        except ValueError as error:
            where = label.relative_to(root) if label.is_relative_to(root) else label
            labels.broken[f"{where}, line {place}"] = str(error)
            return
        number = classes.number(names[theirs])
        if number is None:
            dropped[names[theirs]] = dropped.get(names[theirs], 0) + 1
        else:
            boxes.append(box)
            numbers.append(number)
    for name, count in dropped.items():
        labels.dropped[name] = labels.dropped.get(name, 0) + count
    about = {"size_px": SHARES, "split": split}
    name = shown.as_posix()
    labels.images.append(Labelled(name, image, name, rows(boxes), np.array(numbers, int), **about))
