"""COCO: JSON files of {"images", "annotations", "categories"}, at the top, in annotations/ or beside the images.

bbox = x, y, width, height in pixels of an image of the stated size. A crowd (iscrowd: 1) is one box around many: it is
no example, but hard negatives keep off it. A file that says train, val or test in its name is that split; where not all
do, images are split by their folder, and those without one by what their names show (groups.py).

    one file in several entries   its boxes are put together; one drawn twice counts once
    one id for several files      nobody knows whose the annotations are: all of them are left out
    an id as text                 is the number
    no size that is one           the picture's own is taken
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tasks.yard.layouts import groups
from tasks.yard.layouts.coco_entries import Entry, merged
from tasks.yard.layouts.example import (
    Classes,
    Labelled,
    Labels,
    Mapped,
    NoneWanted,
    checked,
    first_key,
    inside,
    is_file,
    read_json,
    rows,
    with_slashes,
)
from tasks.yard.layouts.images import image_size
from tasks.yard.step import BadInput

WHAT = "*.json or annotations/*.json with images, annotations and categories"
KEYS = ("images", "annotations", "categories")
FIRST_KEYS = (*KEYS, "info", "licenses", "type", "videos")
SPLIT_WORD = re.compile(r"(?<![a-z])(train|val|test)(?:ing|id|idation)?(?![a-z])")
FEWEST_BOXES = 3  # that together show what the numbers of a file's boxes are
LOOKED_AT = 400  # images whose sizes are held against the stated ones, spread evenly
SMALLER = 0.9  # of the stated size; less is no rounding
FEW_IN_A_CORNER = 10  # boxes that all lie in the upper left part by chance, at most
Called = Callable[[dict, str], str]
BEYOND = 1.02  # of an image's size: a box that reaches further is for another size, rounding apart


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
        if inside(name) and is_file(folder / name):
            return folder / name
    return None


def entries(file: Path, content: dict, key: str, needed: tuple[str, ...]) -> Iterator[tuple[str, dict]]:
    """(place, entry) of a list of the file. Raises `BadInput` for an entry without what says where it belongs."""
    for number, entry in enumerate(content[key]):
        lacking = [name for name in needed if not isinstance(entry, dict) or name not in entry]
        if lacking:
            raise BadInput(f"{file}: {key}[{number}] has no {', '.join(lacking)}")
        yield f"{file.name}: {key}[{number}]", entry


def ident(value: Any, place: str) -> int | str:
    """An id: 7, "7" and 7.0 are one."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise BadInput(f"{place}: the id {value!r} is neither a number nor a text")
    text = str(value).strip()
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else text


def side(value: Any) -> float | None:
    """A width or a height; None if it is none, such as null, 0 or words."""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except ValueError:
        return None
    if not (math.isfinite(number) and number > 0):
        return None
    return int(number) if number.is_integer() else number


def stated_size(entry: dict) -> tuple[float, float] | None:
    width, height = side(entry.get("width")), side(entry.get("height"))
    return None if width is None or height is None else (width, height)


def corners(bbox: Any, size_px: tuple[float, float], path: Path) -> list[float]:
    """Raises `ValueError` for a bbox that is none of an image of this size."""
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(isinstance(value, int | float) for value in bbox):
        raise ValueError(f"bbox must be x, y, width, height, found {bbox!r}")
    x, y, w, h = bbox
    width, height = size_px
    box = checked([x, y, x + w, y + h])
    if box[2] > BEYOND * width or box[3] > BEYOND * height:
        own = image_size(path)
        if own and own != size_px and box[2] <= BEYOND * own[0] and box[3] <= BEYOND * own[1]:
            raise ValueError(
                f"bbox {bbox} reaches beyond the stated size {width:g}x{height:g} and lies in the picture's own, "
                f"{own[0]}x{own[1]}: mend width and height"
            )
    if box[0] >= width or box[1] >= height or box[2] <= 0 or box[3] <= 0:
        raise ValueError(f"bbox {bbox} lies outside of the image of {width:g}x{height:g}")
    return box


def crowd(entry: dict) -> bool:
    """iscrowd: 1, or as a text, "1"."""
    return str(entry.get("iscrowd") or 0).strip().lower() not in ("0", "0.0", "false", "no", "")


def refuse_other_boxes(file: Path, annotations: list) -> None:
    """Raises `BadInput` if the file's boxes are shares of the image, or corners, as all of them show together."""
    about = [entry for entry in annotations if isinstance(entry, dict)]
    found = [(entry["bbox"], entry.get("area")) for entry in about if _four(entry.get("bbox"))]
    if len(found) < FEWEST_BOXES:
        return
    wanted = "write x, y, width and height in pixels"
    if max(max(box) for box, _ in found) <= 1:
        raise BadInput(f"{file}: no bbox reaches beyond 1, the first is {found[0][0]}: shares of the image? {wanted}")
    areas = [(box, area) for box, area in found if isinstance(area, int | float) and area > 0 and box[0] * box[1] > 0]
    as_corners = [abs((x2 - x) * (y2 - y) - area) <= 0.01 * area for (x, y, x2, y2), area in areas]
    if len(areas) >= FEWEST_BOXES and all(as_corners):
        raise BadInput(f"{file}: bbox are two corners, as each area says, the first is {areas[0][0]}; {wanted}")


def _four(bbox: Any) -> bool:
    return isinstance(bbox, list) and len(bbox) == 4 and all(isinstance(value, int | float) for value in bbox)


def refuse_other_scale(entries_: list[Entry], file: Path) -> None:
    """Raises `BadInput` if pictures are smaller than the sizes that are stated for them, and all boxes lie in the part
    that the pictures as they are would fill: then the boxes are right and the sizes are not."""
    some = [entry for entry in entries_ if entry.boxes]
    sized = [(entry, size) for entry in some[:: len(some) // LOOKED_AT + 1] if (size := image_size(entry.path))]
    smaller = [(entry, size) for entry, size in sized if max(np.divide(size, entry.size_px)) < SMALLER]
    boxes = [(np.array(box[2:]), size) for entry, size in smaller for box, _ in entry.boxes]
    if len(boxes) >= FEW_IN_A_CORNER and all((end <= BEYOND * np.array(size)).all() for end, size in boxes):
        entry, size = smaller[0]
        raise BadInput(
            f"{file}: {entry.path.name} is {size[0]}x{size[1]}, its stated size {entry.size_px[0]:g}x"
            f"{entry.size_px[1]:g}, and all {len(boxes)} boxes of such images lie within the picture as it is: "
            "state the sizes of the pictures, or scale the boxes"
        )


def categories_of(file: Path, content: dict) -> dict[int | str, str]:
    names: dict[int | str, str] = {}
    for place, entry in entries(file, content, "categories", ("id", "name")):
        key, name = ident(entry["id"], place), str(entry["name"])
        if names.setdefault(key, name) != name:
            raise BadInput(f"{file}: category id {key} is {names[key]} and {name}; give each an id of its own")
    return names


def sequence_of(root: Path, file: Path, path: Path) -> str | None:
    """The folder of an image that is one drive's; None for the folder of all."""
    folder, where = path.relative_to(root).parent, file.parent.relative_to(root)
    alone = folder.as_posix() in (".", "images", where.as_posix()) or folder.name == file.stem.rpartition("_")[2]
    return None if alone else folder.as_posix()


def images_in(root: Path, file: Path, content: dict, split: str | None, labels: Labels) -> tuple[dict, set]:
    """({id: Entry}, the ids of images that cannot be used); what is wrong with these goes to `labels.broken`."""
    used: dict[int | str, Entry] = {}
    bad: set[int | str] = set()
    unsized: list[str] = []
    names: dict[int | str, list[str]] = {}
    listed = [
        (ident(entry["id"], place), entry) for place, entry in entries(file, content, "images", ("id", "file_name"))
    ]
    for key, entry in listed:
        if (name := with_slashes(str(entry["file_name"]))) not in names.setdefault(key, []):
            names[key].append(name)
    for key, entry in listed:
        name = with_slashes(str(entry["file_name"]))
        place = f"{file.name}: image {key}"
        if len(names[key]) > 1:
            bad.add(key)
            labels.broken[f"{place} ({name})"] = (
                f"the id {key} stands for {len(names[key])} images ({', '.join(names[key][:2])}): nobody knows whose "
                f"its annotations are; give each image an id of its own"
            )
            continue
        if key in used or key in bad:
            continue  # the same entry again
        path = image_file(root, file, name)
        if path is None:
            bad.add(key)
            labels.broken[place] = f"there is no image {entry['file_name']}"
            continue
        size = stated_size(entry)
        if size is None:
            size = image_size(path)
            if size is None:
                bad.add(key)
                labels.broken[place] = f"{name} has no size, and is no image that can be read"
                continue
            unsized.append(name)
        used[key] = Entry(place, path, size, split, sequence_of(root, file, path) or "")
    if unsized:
        labels.remarks.append(
            f"{file.name}: {len(unsized)} images have no width and height that can be used, first {unsized[0]}: "
            f"the picture's own is taken"
        )
    return used, bad


def by_category(entry: dict, category: str) -> str:
    """What an annotation is called for `classes`: a line whose annotations say more brings a function of its own."""
    return category


def read_file(
    root: Path, file: Path, split: str | None, params: Mapped, labels: Labels, called: Called = by_category
) -> list[Entry]:
    content = read_json(file)
    if not isinstance(content, dict) or any(not isinstance(content.get(key), list) for key in KEYS):
        yolo = (root / "classes.txt").is_file() or (root / "labels").is_dir()
        hint = "; labels/ beside it is a YOLO dataset that lacks its data.yaml: write one" if yolo else ""
        raise BadInput(f"{file}: a COCO label file has the lists {', '.join(KEYS)}{hint}")
    names = categories_of(file, content)
    classes = Classes(params.classes, names.values(), file)
    used, bad = images_in(root, file, content, split, labels)
    refuse_other_boxes(file, content["annotations"])
    faults: dict[int | str, tuple[str, str]] = {}
    for place, entry in entries(file, content, "annotations", ("image_id", "category_id")):
        image, category = ident(entry["image_id"], place), ident(entry["category_id"], place)
        if image in bad:
            continue
        try:
            if image not in used:
                raise ValueError(f"image_id {image} is in no entry of images")
            if category not in names:
                raise ValueError(f"category_id {category} is in no entry of categories")
            number = classes.number(name := called(entry, names[category]))
            if number is None:
                labels.dropped[name] = labels.dropped.get(name, 0) + 1
                continue
            one = used[image]
            box = corners(entry.get("bbox"), one.size_px, one.path)
            one.crowds.append(box) if crowd(entry) else one.boxes.append((box, number))
        except ValueError as error:
            faults.setdefault(image, (place, str(error)))
    for key, (place, why) in faults.items():
        labels.broken[place] = why
        used.pop(key, None)
    return list(used.values())


def read(roots: list[Path], params: Mapped, called: Called = by_category) -> Labels:
    """`called`: what an annotation is for `classes`, by itself and the name of its category; raises `ValueError`."""
    files = label_files(roots)
    if not files:
        raise BadInput(f"{roots[0]}: no label file of COCO's layout; expected {WHAT}")
    labels = Labels(list(dict.fromkeys(name for name in params.classes.values() if name is not None)))
    found_entries: list[tuple[Path, Entry]] = []
    unwanted: list[NoneWanted] = []
    for root, file in files:
        try:
            mine = read_file(root, file, split_in(root, file), params, labels, called)
            found_entries += [(root, entry) for entry in mine]
        except NoneWanted as error:
            unwanted.append(error)
    if len(unwanted) == len(files):
        raise unwanted[0]
    labels.remarks += [f"{str(error).partition(' is in ')[0]} is asked for: passed over" for error in unwanted]
    if not found_entries and not labels.broken:
        raise BadInput(f"{files[0][1]}: its list of images is empty, so there is nothing to learn from")
    kept = merged(found_entries, labels)
    refuse_other_scale([entry for _, entry in kept], files[0][1])
    alone = [entry.path.relative_to(root).with_suffix("").as_posix() for root, entry in kept if not entry.sequence]
    of_names = groups.groups(alone)
    for root, entry in kept:
        name = entry.path.relative_to(root).as_posix()
        numbers = np.array([number for _, number in entry.boxes], int)
        sequence = entry.sequence or of_names[entry.path.relative_to(root).with_suffix("").as_posix()]
        labels.crowds += len(entry.crowds)
        about: dict[str, Any] = {"occupied": rows(entry.crowds), "size_px": entry.size_px, "split": entry.split}
        labels.images.append(Labelled(name, entry.path, sequence, rows(b for b, _ in entry.boxes), numbers, **about))
    labels.by_name = len(alone) == len(kept)
    placed = [(entry.path.with_suffix("").name, entry.split) for _, entry in kept if entry.split]
    if copies := groups.divided_copies(placed):
        labels.remarks.append(
            f"copies of {len(copies)} pictures lie in several splits of the source, first {copies[0]}"
        )
    return labels.sorted()
