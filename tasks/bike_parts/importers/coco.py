"""COCO with parts (tasks/yard/layouts/coco.py): one label file or several that share their images.

A state is one of an annotation's `state_id` (as the step split writes it) and `state`, at its top or among its
`attributes`. Where no annotation has one, and a category of `damage_categories` says where damage is, the state follows
from that in the images of the label files that declare such a category: a part is damaged if `damage_overlap` of a
damage's box lies within its box, else intact. Else states are not labelled.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.bike_parts.formats.annotations import Part
from tasks.bike_parts.formats.photos import DAMAGED, INTACT, NOT_LABELLED, STATES
from tasks.bike_parts.importers.delft import state_of
from tasks.bike_parts.importers.found import Found, Labelled, among, plain, refuse_unlisted, unlisted
from tasks.bike_parts.params import Download
from tasks.yard.layouts import coco
from tasks.yard.layouts.example import NoneWanted, read_json
from tasks.yard.step import BadInput

WHAT = coco.WHAT
BETWEEN = "\0"  # of a part and its state


def found(root: Path) -> bool:
    return coco.found([root])


def label_files(root: Path) -> list[Path]:
    return [file for _, file in coco.label_files([root])]


def categories(files: list[Path]) -> list[str]:
    """The names of all label files; what is wrong with one is said by the reader."""
    names: dict[str, None] = {}
    for file in files:
        content = read_json(file)
        if isinstance(content, dict) and isinstance(content.get("categories"), list):
            names |= dict.fromkeys(coco.categories_of(file, content).values())
    return list(names)


@dataclass(frozen=True)
class Classes:
    """What the reader of COCO wants to know: what each name is for us."""

    classes: dict[str, str | None]


def stated(entry: dict, category: str) -> str:
    """The category, and with it the state that the annotation itself has. Raises `ValueError`."""
    attributes = entry.get("attributes")
    more = attributes if isinstance(attributes, dict) else {}
    about = {
        "object_state": entry.get("state", more.get("state")),
        "object_state_class": entry.get("state_id", more.get("state_id")),
    }
    if about["object_state_class"] == NOT_LABELLED:
        return category
    try:
        state = state_of(about, category)
    except ValueError as error:
        why = str(error).replace("object_state_class", "state_id").replace("object_state", "state")
        raise ValueError(why) from None
    return category if state == NOT_LABELLED else f"{category}{BETWEEN}{state}"


def by_damage(boxes: np.ndarray, damages: np.ndarray, overlap: float) -> list[int]:
    """The state of each box (n, 4): damaged where a share `overlap` of a damage's box (m, 4) lies within it."""
    if not len(damages) or not len(boxes):
        return [INTACT] * len(boxes)
    low = np.maximum(boxes[:, None, :2], damages[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], damages[None, :, 2:])
    inside = (high - low).clip(0).prod(axis=2)  # (n, m)
    area = (damages[:, 2:] - damages[:, :2]).prod(axis=1)
    return np.where((inside >= overlap * area).any(1), DAMAGED, INTACT).tolist()


def searched(root: Path, files: list[Path], damages: list[str]) -> set[Path]:
    """The images in which somebody has looked for damage: those that a file with such a category lists."""
    found = set()
    for file in files:
        content = read_json(file)
        if not set(damages).isdisjoint(coco.categories_of(file, content).values()):
            paths = (coco.image_file(root, file, str(image["file_name"])) for image in content["images"])
            found |= {path.resolve() for path in paths if path is not None}
    return found


def read(root: Path, wanted: list[str] | None, params: Download) -> Found:
    files = label_files(root)
    theirs = categories(files)
    damages = [name for name in theirs if name in params.damage_categories]
    parts = among(name for name in theirs if name not in damages) if wanted is None else wanted
    known = {name: plain(name, parts) for name in theirs if name not in damages and plain(name, parts) in parts}
    classes: dict[str, str | None] = {**known, **{name: BETWEEN for name in damages}}
    classes |= {
        f"{name}{BETWEEN}{state}": f"{ours}{BETWEEN}{state}"
        for name, ours in known.items()
        for state in range(len(STATES))
    }
    try:
        if not known:
            raise NoneWanted("")
        labels = coco.read([root], Classes(classes), stated)
    except NoneWanted:
        where = files[0] if len(files) == 1 else root
        raise BadInput(f"{where}: {unlisted(next(iter(theirs), ''), parts)}") from None
    made = Found(broken=labels.broken, remarks=labels.remarks, files=files)
    made.dropped = {name.partition(BETWEEN)[0]: count for name, count in labels.dropped.items()}
    refuse_unlisted(made, parts, str(root), params.other_parts)
    says_state = any(
        BETWEEN in labels.names[number][:-1] for of in labels.images for number in set(of.classes.tolist())
    )
    by_rule = searched(root, files, damages) if damages and not says_state else set()
    for image in labels.images:
        names = [labels.names[number] for number in image.classes]
        is_damage = np.array([name == BETWEEN for name in names], bool)
        boxes, damaged = image.boxes[~is_damage], image.boxes[is_damage]
        ours = [name.partition(BETWEEN)[::2] for name in names if name != BETWEEN]
        states = [int(state) if state else NOT_LABELLED for _, state in ours]
        if image.path.resolve() in by_rule:
            states = by_damage(boxes, damaged, params.damage_overlap)
        mine = tuple(
            Part(name, state, 1.0, (x1, y1, x2 - x1, y2 - y1))
            for (name, _), state, (x1, y1, x2, y2) in zip(ours, states, boxes.tolist(), strict=True)
        )
        more: dict[str, Any] = {"size_px": image.size_px or (1, 1), "split": image.split}
        made.photos.append(Labelled(image.name, image.path, parts=mine, **more))
    if crowds := sum(len(image.occupied) for image in labels.images):
        made.remarks.append(f"{crowds} boxes are around many (iscrowd) and are no parts: left out")
    if damages and not says_state:
        marks = sum(name == BETWEEN for of in labels.images for name in map(labels.names.__getitem__, of.classes))
        made.remarks.append(
            f"states follow from {marks} boxes of {' and '.join(damages)}: a part is damaged if "
            f"{params.damage_overlap:.0%} of one lie within its box, else intact; a rule of this line, nobody's label"
        )
        if rest := sum(image.path.resolve() not in by_rule for image in labels.images):
            made.remarks.append(
                f"{rest} images are in no label file that has {' or '.join(damages)}: states of their parts are not "
                "labelled"
            )
    return made
