"""DelftBikes: a JSON file of {"<image>": {"image": {width, height}, "parts": {"<part>": {...}}}}; images lie anywhere
below.

Of a part `object_state` or `object_state_class` (or neither: the state is not labelled), `trust`, a number or a text
(1 if there is none), `absolute_bounding_box` in pixels or `relative_bounding_box` in shares of the picture, or both. A
part that is not there (absent) has the box where it would be. Parts may be missing from a photograph. A file that says
train, val or test in its name is that split.

    the two boxes contradict each other      the picture's own size decides, where it makes them agree; else refused
    state and class contradict each other    refused
    a name twice in one object               refused: JSON would keep the last
    an absent part without a box             left out, counted
    all of a file's photographs have the     nobody drew these labels (DelftBikes' test): left out, counted, where other
    same boxes, or each all parts in one     files have true ones

Refused is the photograph, by name: a part whose label is left out would teach that nothing is there.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tasks.bike_parts.formats.annotations import ABOUT, BOX, Part
from tasks.bike_parts.formats.photos import ABSENT, NOT_LABELLED, SPLITS, STATES
from tasks.bike_parts.importers.found import Found, Labelled, among, plain, unlisted
from tasks.bike_parts.params import Download
from tasks.yard.files import read_json
from tasks.yard.layouts.coco import split_in
from tasks.yard.layouts.example import first_key, inside, is_file, with_slashes
from tasks.yard.layouts.images import SUFFIXES, image_size
from tasks.yard.step import BadInput

WHAT = 'a *.json of {"<image>": {"image": {"width", "height"}, "parts": {"<part>": {"object_state", ...}}}}'
ABSOLUTE, RELATIVE = "absolute_bounding_box", "relative_bounding_box"
TWICE = "\0twice"  # no key of a file: the names that stood in an object more than once
INVENTED_BOXES, INVENTED_PHOTOS = 5, 10  # fewer boxes a photograph, or photographs, are equal by chance
AGREE_PX, AGREE_SHARE = 1.5, 0.002  # absolute boxes are whole pixels, shares have few digits


def label_files(root: Path) -> list[Path]:
    files = [file for pattern in ("*.json", "annotations/*.json") for file in sorted(root.glob(pattern))]
    return [file for file in files if first_key(file).lower().endswith(SUFFIXES)]


def found(root: Path) -> bool:
    return bool(label_files(root))


def with_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object that remembers names which JSON would drop."""
    made = dict(pairs)
    if len(made) < len(pairs):
        made[TWICE] = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    return made


def parsed(file: Path) -> dict[str, Any]:
    try:
        said = read_json(file, object_pairs_hook=with_twice)
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{file}: cannot be read as JSON ({error}); mend or remove it") from None
    if not isinstance(said, dict):
        raise BadInput(f"{file}: expected {WHAT}")
    return said


def names_in(files: Iterable[dict[str, Any]]) -> list[str]:
    """Every part of the source."""
    entries = [entry for said in files for entry in said.values() if isinstance(entry, dict)]
    parts = [entry["parts"] for entry in entries if isinstance(entry.get("parts"), dict)]
    return among(name for of in parts for name in of if name != TWICE)


class Pictures:
    """The images below a folder: by their path, or by their name alone where one has it."""

    def __init__(self, root: Path):
        self.root = root

    @cached_property
    def by_name(self) -> dict[str, list[Path]]:
        by: dict[str, list[Path]] = {}
        for path in sorted(self.root.rglob("*")):
            shown = not any(part.startswith(".") for part in path.relative_to(self.root).parts)
            if shown and path.suffix.lower() in SUFFIXES:
                by.setdefault(path.name, []).append(path)
        return by

    def find(self, file: Path, name: str) -> Path:
        """Raises `ValueError`. Beside the label file, in images/ or in the folder of its split, else the only one."""
        name = with_slashes(name)
        split = split_in(self.root, file) or "."
        for folder in (file.parent, self.root, file.parent / "images", self.root / "images", self.root / split):
            if inside(name) and is_file(folder / name):
                return folder / name
        same = self.by_name.get(Path(name).name, [])
        if len(same) > 1:
            both = " and ".join(path.relative_to(self.root).as_posix() for path in same[:2])
            raise ValueError(f"{len(same)} images have this name, such as {both}; write the path of the one")
        if not same:
            raise ValueError("there is no such image")
        return same[0]


def number(value: Any, place: str) -> float:
    """A number, or one written as text. Raises `ValueError`."""
    try:
        found = math.nan if isinstance(value, bool | list | dict) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{place} is {value!r}; expected a number")
    return found


def state_of(said: Mapping[str, Any], place: str) -> int:
    """Raises `ValueError` for a state that is none, or two that contradict each other."""
    word, code = said.get("object_state"), said.get("object_state_class")
    known = ", ".join(f"{i} {name}" for i, name in enumerate(STATES))
    by_word = by_code = None
    if word is not None:
        text = str(word).strip().lower()
        if text not in STATES:
            raise ValueError(f"{place}.object_state is {word!r}; expected one of {', '.join(STATES)}")
        by_word = STATES.index(text)
    if code is not None:
        value = number(code, f"{place}.object_state_class")
        if value not in range(len(STATES)):
            raise ValueError(f"{place}.object_state_class is {code!r}; expected {known}")
        by_code = int(value)
    if None not in (by_word, by_code) and by_word != by_code:
        raise ValueError(f"{place}: object_state {word!r} is not object_state_class {code!r}; they are {known}")
    found = by_word if by_word is not None else by_code
    return NOT_LABELLED if found is None else found


def trust_of(said: Mapping[str, Any], place: str) -> float:
    if said.get("trust") is None:
        return 1.0
    found = number(said["trust"], f"{place}.trust")
    if not 0 <= found <= 1:
        raise ValueError(f"{place}.trust is {said['trust']!r}; expected 0 to 1")
    return found


def four(said: Mapping[str, Any], key: str, place: str) -> tuple[float, ...] | None:
    """left, top, width and height as they stand there; None if there is no such box."""
    box = said.get(key)
    if box is None:
        return None
    if not isinstance(box, dict) or any(name not in box for name in BOX):
        raise ValueError(f"{place}.{key} is {str(box)[:60]!r}; expected {', '.join(BOX)}")
    values = tuple(number(box[name], f"{place}.{key}.{name}") for name in BOX)
    if min(values[2:]) < 0:
        raise ValueError(f"{place}.{key} has the size {values[2]:g} x {values[3]:g}; expected width and height")
    return values


def agree(absolute: tuple[float, ...], relative: tuple[float, ...], size: tuple[float, float]) -> bool:
    return all(
        abs(share * whole - pixels) <= AGREE_PX + AGREE_SHARE * whole
        for pixels, share, whole in zip(absolute, relative, size * 2, strict=True)
    )


def stated_size(entry: Mapping[str, Any]) -> tuple[float, float] | None:
    about = entry.get("image")
    if not isinstance(about, dict) or about.get("width") is None or about.get("height") is None:
        return None
    width, height = (number(about[side], f"image.{side}") for side in ("width", "height"))
    if min(width, height) <= 0:
        raise ValueError(f"image has the size {width:g} x {height:g}")
    return width, height


class Reader:
    """One label file, entry by entry, with what is counted over all."""

    def __init__(self, wanted: list[str], other_parts: str):
        self.wanted, self.other_parts = wanted, other_parts
        self.dropped: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    def part(self, key: str, said: Any, size: tuple[float, float]) -> tuple[Part | None, bool]:
        """(the part with its box in pixels of `size`, None if it is left out; has it a box in shares?)."""
        place = f"parts.{key}"
        if not isinstance(said, dict):
            raise ValueError(f"{place} is {str(said)[:60]!r}; expected its state, trust and boxes")
        if said.get(TWICE):
            raise ValueError(f"{place}.{said[TWICE][0]} stands there twice")
        name = plain(str(key), self.wanted)
        stated = said.get("part_name")
        if stated is not None and plain(str(stated), self.wanted) != name:
            raise ValueError(f"{place}.part_name is {stated!r}; a part is called as its key")
        if name not in self.wanted:
            if self.other_parts == "refuse":
                raise ValueError(unlisted(str(key), self.wanted))
            self.dropped[str(key)] += 1
            return None, True
        state, trust = state_of(said, place), trust_of(said, place)
        absolute, relative = four(said, ABSOLUTE, place), four(said, RELATIVE, place)
        if absolute is None and relative is None:
            if state != ABSENT:
                raise ValueError(f"{place} has no box; expected {ABSOLUTE} or {RELATIVE}")
            self.counts["absent parts have no box and are left out"] += 1
            return None, True
        if relative is not None and max(relative) > 10:
            raise ValueError(f"{place}.{RELATIVE} is {list(relative)}; expected shares of the picture, 0 to 1")
        if absolute is not None and relative is not None and not agree(absolute, relative, size):
            raise ValueError(
                f"{place}: {ABSOLUTE} is {list(absolute)}, and {RELATIVE} is "
                f"{[round(share * whole, 1) for share, whole in zip(relative, size * 2, strict=True)]} px of "
                f"{size[0]:g} x {size[1]:g}; mend the one that is wrong"
            )
        if absolute is None and relative is not None:
            absolute = tuple(share * whole for share, whole in zip(relative, size * 2, strict=True))
        if "trust" not in said or said["trust"] is None:
            self.counts["boxes have no trust: it is taken as 1"] += 1
        self.counts["boxes have no state: they are not labelled as intact, nor as anything else"] += (
            state == NOT_LABELLED
        )
        return Part(name, state, trust, absolute), relative is not None

    def parts(self, said: Mapping[str, Any], size: tuple[float, float]) -> tuple[tuple[Part, ...], bool]:
        """(the parts, does each have a box in shares?). Raises `ValueError`."""
        found = [self.part(key, part, size) for key, part in said.items()]
        return tuple(part for part, _ in found if part is not None), all(shares for _, shares in found)

    def photo(self, name: str, entry: Any, path: Path) -> tuple[tuple[float, float], tuple[Part, ...], bool]:
        """(the size that its boxes are for, its parts, do they hold for another size?). Raises `ValueError`."""
        if not isinstance(entry, dict) or not isinstance(entry.get("parts"), dict):
            raise ValueError("expected an object with the object 'parts'")
        said = entry["parts"]
        if twice := entry.get(TWICE) or said.get(TWICE):
            raise ValueError(f"{twice[0]!r} stands there twice; remove one of the two")
        stated = stated_size(entry)
        size = stated or image_size(path)
        if size is None:
            raise ValueError("it has no image.width and image.height, and is no image that can be read")
        before = Counter(self.counts), Counter(self.dropped)
        try:
            return size, *self.parts(said, size)
        except ValueError:
            self.counts, self.dropped = before
            own = image_size(path)
            if stated is None or own is None or own == stated:
                raise
            try:  # is it the stated size that is wrong?
                found = self.parts(said, own)
            except ValueError:
                found = None
            if found is None:
                raise
            self.counts["photographs state a size that their boxes contradict: the picture's own is taken"] += 1
            return own, *found


def about_of(root: Path) -> dict[str, Any]:
    """unit.json, where the folder is one that the step download, or the embedded world, has written."""
    try:
        said = read_json(root / ABOUT) if (root / ABOUT).is_file() else {}
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{root / ABOUT}: cannot be read as JSON ({error}); mend or remove it") from None
    texts = [said.get(key, {}) for key in ("groups", "splits")] if isinstance(said, dict) else [None]
    ours = all(isinstance(of, dict) and all(isinstance(text, str) for text in of.values()) for of in texts)
    return said if ours and set(said.get("splits", {}).values()) <= set(SPLITS) else {}


def invented(photos: Sequence[Labelled]) -> bool:
    """Are the labels of one file none that anybody drew?"""
    if len(photos) < INVENTED_PHOTOS or any(len(photo.parts) < INVENTED_BOXES for photo in photos):
        return False
    boxes, shares = set(), set()
    for photo in photos:
        said, size = sorted((part.name, part.box) for part in photo.parts), photo.size_px * 2
        boxes.add(tuple(said))
        shares.add(tuple((name, *(round(v / of, 3) for v, of in zip(box, size, strict=True))) for name, box in said))
    return 1 in (len(boxes), len(shares)) or all(len({part.box for part in photo.parts}) == 1 for photo in photos)


def without_invented(made: Found, file_of: Mapping[Path, Path]) -> None:
    """Leaves out the photographs of such files, aloud, where other files have true labels."""
    by_file: dict[Path, list[Labelled]] = {}
    for photo in made.photos:
        by_file.setdefault(file_of[photo.path], []).append(photo)
    no_labels = [file for file, mine in by_file.items() if invented(mine)]
    if len(no_labels) == len(by_file):
        return  # a bike in a rig, perhaps, with one drawing for all; check_data says that boxes are equal
    for file in no_labels:
        made.remarks.append(
            f"{file.name}: all {len(by_file[file])} photographs have the same boxes, or each all parts in one box: "
            "labels that nobody drew, as DelftBikes publishes of its test photographs; they are left out, and neither "
            "taught nor judged by"
        )
        made.files += [photo.path for photo in by_file[file]]
    made.photos = [photo for photo in made.photos if file_of[photo.path] not in no_labels]


def read(root: Path, wanted: list[str] | None, params: Download) -> Found:
    """Raises `BadInput` for a file that cannot be read, or a photograph in two splits."""
    files = {file: parsed(file) for file in label_files(root)}
    made = Found(files=list(files))
    reader = Reader(names_in(files.values()) if wanted is None else wanted, params.other_parts)
    about = about_of(root)
    groups, splits = about.get("groups", {}), about.get("splits", {})
    made.dataset = about.get("dataset")
    pictures = Pictures(root)
    first: dict[Path, tuple[str, Labelled]] = {}
    file_of: dict[Path, Path] = {}
    for file, said in files.items():
        for name in said.pop(TWICE, []):
            made.broken[f"{file.name}: {name}"] = "it stands there twice; remove one of the two"
            said.pop(name, None)
        for name, entry in said.items():
            place, path = f"{file.name}: {name}", None
            try:
                path = pictures.find(file, name)
                size, parts, scalable = reader.photo(name, entry, path)
            except ValueError as error:
                made.broken[place] = str(error)
                made.files += [] if path is None else [path]
                continue
            inner, split = path.relative_to(root).as_posix(), splits.get(name) or split_in(root, file)
            photo = Labelled(inner, path, size, parts, split, groups.get(name), scalable)
            if path not in first:
                first[path], file_of[path] = (place, photo), file
                made.photos.append(photo)
                continue
            other, same = first[path]
            if same.split != split:
                raise BadInput(f"{path} is in {same.split} ({other}) and in {split} ({place}); give each its own")
            if same.parts != parts:
                made.broken[place] = f"{other} says something else of the same image; remove one of the two"
                made.photos = [photo for photo in made.photos if photo.path != path]
    made.files += [root / ABOUT] if about else []
    made.dropped = dict(reader.dropped)
    without_invented(made, file_of)
    made.remarks += [f"{count} {what}" for what, count in sorted(reader.counts.items()) if count]
    return made
