"""A YOLO dataset: a data.yaml with `names` and the images of `train`, and perhaps of `val` and `test`, which are kept.

Each of them is a folder, a list of folders, or a .txt with an image a line. The labels of .../images/x.jpg are in
.../labels/x.txt: `class cx cy w h` as shares of the image, with key points behind it (keypoints.py), or `class x1 y1 x2
y2 x3 y3 ...`, a polygon, of which the box is taken. An image without a label file is background, as to the trainer.

How strict one is with the splits is decided here, in `splits_of`, for every line:

    train or val named, and absent or empty   refused
    test named, and absent or empty           passed over aloud: exporters always write it
    no val                                    said; the line draws it from train
    an image in two of them (val = train)     refused
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml

from tasks.yard.layouts import groups, keypoints
from tasks.yard.layouts.example import SHARES, Classes, Labelled, Labels, Mapped, rows, with_slashes
from tasks.yard.layouts.images import SUFFIXES as IMAGE_SUFFIXES
from tasks.yard.step import BadInput

WHAT = "a data.yaml with names, train and val, images/ and labels/"
SPLITS = ("train", "val", "test")
CALLED = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}  # in data.yaml
ROUNDING = 1e-4  # of shares that were written with few digits
LOOKED_AT = 500  # images whose boxes show together what their numbers are
FEWEST_BOXES = 3
OUTSIDE = 0.05  # of the picture by which boxes reach out of it
ABSOLUTE = re.compile(r"/|[A-Za-z]:/")


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
    """{number: name} of the classes; the numbers may be written as text."""
    names = content["names"]
    names = dict(enumerate(names)) if isinstance(names, list) else names
    digits = isinstance(names, dict) and all(
        str(key).strip().isdecimal() and not isinstance(key, bool | float) for key in names
    )
    if not names or not digits:
        raise BadInput(f"{file}: names must list the classes, or map their numbers to names")
    found = {int(str(key)): str(name) for key, name in names.items()}
    if len(found) < len(names):
        raise BadInput(f"{file}: names gives one number to two classes; found {names}")
    said = content.get("nc")
    if isinstance(said, int) and said != len(found):
        raise BadInput(f"{file}: nc is {said}, but names holds {len(found)} classes ({', '.join(found.values())[:80]})")
    return found


def place_of(base: Path, text: str) -> Path | None:
    """What a path of a data.yaml or of a list means, from the folder `base`: exporters write ../ too much."""
    tried = [text, text.removeprefix("../")]
    return next((base / name for name in tried if (base / name).exists()), None)


def moved(base: Path, text: str) -> Path | None:
    """The end of a path of another machine, or of a folder too high, that is here below `base`."""
    parts = PurePosixPath(text).parts
    ends = ("/".join(parts[start:]) for start in range(1, len(parts)))
    return next((base / end for end in ends if (base / end).exists()), None)


def listed_in(place: Path) -> list[Path]:
    """The images that a .txt lists, one a line."""
    lines = (with_slashes(line.strip()) for line in place.read_text(encoding="utf-8-sig").splitlines())
    return [place_of(place.parent, line) or moved(place.parent, line) or place.parent / line for line in lines if line]


def images_of(file: Path, content: dict, key: str) -> list[Path]:
    """The images of a split, by its key in the description. `path` may be that of another machine."""
    bases = [file.parent / with_slashes(str(content.get("path") or "")), file.parent]
    images: list[Path] = []
    for value in content[key] if isinstance(content[key], list) else [content[key]]:
        said = with_slashes(str(value))
        place = next((found for base in bases if (found := place_of(base, said))), None)
        if place is None and ABSOLUTE.match(said):
            place = moved(file.parent, said)
        if place is None:
            raise BadInput(f"{file}: {key}: there is no {value} beside it")
        if place.is_file():
            listed = listed_in(place)
            if listed and not any(image.is_file() for image in listed):
                raise BadInput(f"{place}: none of the {len(listed)} images that it lists is there, first {listed[0]}")
            images += listed
        else:
            shown = (path for path in place.rglob("*") if not path.name.startswith("."))
            images += [path for path in shown if path.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        raise BadInput(f"{file}: {key}: {content[key]} holds no images")
    return sorted(dict.fromkeys(images))


def splits_of(file: Path, content: dict) -> tuple[dict[str, list[Path]], list[str]]:
    """({split: its images}, remarks for people). Raises `BadInput` by the rule above."""
    keys = {split: next((key for key in CALLED[split] if content.get(key)), None) for split in SPLITS}
    splits: dict[str, list[Path]] = {}
    remarks: list[str] = []
    for split, key in keys.items():
        if key is None:
            continue
        try:
            splits[split] = images_of(file, content, key)
        except BadInput as error:
            if split != "test" or not set(splits):
                raise
            remarks.append(f"{error}; passed over, as exporters name a test split that was never made")
    if not splits:
        raise BadInput(f"{file}: none of the keys {', '.join(SPLITS)}, the folders of images")
    first: dict[Path, str] = {}
    for split, images in splits.items():
        for image in images:
            if (other := first.setdefault(image.resolve(), split)) != split:
                raise BadInput(
                    f"{file}: {image} is in {other} and in {split}; give each split images of its own, or take the "
                    f"key {split} out: it is then drawn from train"
                )
    if "train" in splits and "val" not in splits:
        remarks.append(f"{file}: no key 'val', the folder of the validation images: they are drawn from train")
    placed = [(image.with_suffix("").name, split) for split, images in splits.items() for image in images]
    if copies := groups.divided_copies(placed):
        remarks.append(
            f"{file}: copies of {len(copies)} pictures lie in several splits of the source, first {copies[0]}"
        )
    return splits, remarks


def label_file(image: Path) -> Path:
    """The last folder named images becomes labels; without one the label is beside the image."""
    parts = list(image.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def text_of(label: Path) -> list[str]:
    return label.read_text(encoding="utf-8-sig", errors="replace").splitlines() if label.is_file() else []


def keypoints_of(file: Path, content: dict, images: Iterable[Path]) -> keypoints.Shape | None:
    """How many key points follow each box: what the description says, else what the lines of these images show.

    Raises `BadInput` if these lines are no boxes by centre and size.
    """
    images = list(images)
    refuse_corners(file, images[:: len(images) // LOOKED_AT + 1])
    said = keypoints.said(file, content)
    return said or keypoints.shown(file, (line for image in images for line in text_of(label_file(image))))


def refuse_corners(file: Path, images: Iterable[Path]) -> None:
    """Raises `BadInput` if all boxes rise from the first two numbers to the others, and as centre and size half of them
    reach out of the picture: they are two corners."""
    found = []
    for line in (line for image in images for line in text_of(label_file(image))):
        with suppress(ValueError):
            values = [float(word) for word in line.split()]
            found += [values[1:]] if len(values) == 5 else []
    boxes = np.array(found).reshape(-1, 4)
    if len(boxes) < FEWEST_BOXES or not (boxes[:, 2:] > boxes[:, :2]).all() or boxes.max() > 1 + ROUNDING:
        return
    out = (np.abs(boxes[:, :2] - 0.5) + boxes[:, 2:] / 2 > 0.5 + OUTSIDE).any(1)
    if out.mean() >= 0.5:
        raise BadInput(
            f"{file}: {out.sum()} of {len(boxes)} boxes reach out of the picture as cx, cy, w, h, and all fit as two "
            f"corners; write centre and size"
        )


def box_of(line: str, names: dict[int, str], points_wanted: keypoints.Shape | None = None) -> tuple[int, list[float]]:
    """(class, corners as shares of the image) of a line, which may have key points. Raises `ValueError`."""
    words = line.split()
    try:
        values = [float(word) for word in words]
    except ValueError:
        raise ValueError(f"{line.strip()!r} is not all numbers") from None
    if points_wanted and len(values) > 5:
        keypoints.check(values, points_wanted)
        values = values[:5]
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
    names = names_of(file, content)
    classes = Classes(params.classes, names.values(), file)
    splits, remarks = splits_of(file, content)
    points = keypoints_of(file, content, (image for images in splits.values() for image in images))
    labels = Labels(classes.names, remarks=remarks, by_name=True)
    for split, images in splits.items():
        if not any(label_file(image).is_file() for image in images):
            raise BadInput(f"{file}: {split}: no image has a label file; {label_file(images[0])} is the first missing")
        shown = {image: shown_as(image, split, file.parent) for image in images}
        sequences = groups.groups(name.with_suffix("").as_posix() for name in shown.values())
        for image in images:
            sequence = sequences[shown[image].with_suffix("").as_posix()]
            read_image(image, (split, shown[image].as_posix(), sequence), (file.parent, names, classes, points), labels)
    return labels.sorted()


def shown_as(image: Path, split: str, root: Path) -> Path:
    return image.relative_to(root) if image.is_relative_to(root) else Path(split, image.name)


Dataset = tuple[Path, dict[int, str], Classes, keypoints.Shape | None]


def read_image(image: Path, about: tuple[str, str, str], dataset: Dataset, labels: Labels) -> None:
    (split, name, sequence), (root, names, classes, points) = about, dataset
    label = label_file(image)
    if not image.is_file():
        labels.broken[name] = "there is no such image"
        return
    boxes, numbers = [], []
    dropped: dict[str, int] = {}
    for place, line in enumerate(text_of(label), start=1):
        if not line.strip():
            continue
        try:
            theirs, box = box_of(line, names, points)
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
    for key, count in dropped.items():
        labels.dropped[key] = labels.dropped.get(key, 0) + count
    more: Any = {"size_px": SHARES, "split": split}
    labels.images.append(Labelled(name, image, sequence, rows(boxes), np.array(numbers, int), **more))
