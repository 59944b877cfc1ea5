"""One labelled image as every layout gives it, and what readers share: finding files, checking boxes, mapping names."""

from __future__ import annotations

import errno
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np

from tasks.yard import files
from tasks.yard.step import BadInput

SHARES = (1, 1)  # the `size_px` of boxes that are given as shares of the image
SAME_BOX = 0.7  # IoU from which two entries for one image show one thing, drawn twice
REASONS = 4  # that a message counts
NUMBERS = re.compile(r"'[^']*'|\[[^]]*\]|[\w./\\-]*\d[\w./\\-]*")  # what differs between two reasons of one kind


def rows(boxes: Iterable[list[float]] = ()) -> np.ndarray:
    return np.array(list(boxes), float).reshape(-1, 4)


@dataclass(frozen=True)
class Labelled:
    """One image's boxes as (n, 4) x1, y1, x2, y2 in pixels of an image of `size_px`; a box may reach beyond it."""

    name: str  # path in the source; its own for each image
    path: Path
    sequence: str  # what must not be divided between splits: a drive, or the image itself
    boxes: np.ndarray
    classes: np.ndarray  # (n,) place in Labels.names; -1: by the third of the image that holds the box's centre
    occupied: np.ndarray = field(default_factory=rows)  # (m, 4) where vehicles are too: crowds, whole outlines
    size_px: tuple[float, float] | None = None  # (width, height); None: the image's own
    split: str | None = None  # the one it is in already
    bonnet: bool = False  # the recording car's own may be among the boxes


@dataclass
class Labels:
    names: list[str]  # of the classes
    images: list[Labelled] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)  # {"<label file>: <entry>": why it cannot be used}
    absent: list[str] = field(default_factory=list)  # sequences that are labelled, and not in the source
    dropped: dict[str, int] = field(default_factory=dict)  # boxes by class of the source that is none of ours
    crowds: int = 0  # boxes around many, which are no examples
    remarks: list[str] = field(default_factory=list)  # how contradictions were settled, for people
    by_name: bool = False  # sequences are what the names show, and may be runs of neighbours where they show too few

    def sorted(self) -> Labels:
        self.images.sort(key=lambda image: image.name)
        return self


def checked(corners: Any) -> list[float]:
    """[x1, y1, x2, y2] as floats. Raises `ValueError` that says what is wrong with them."""
    numbers = isinstance(corners, list) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in corners)
    if not numbers or len(corners) != 4:
        raise ValueError(f"a box must be four numbers, found {corners!r}")
    x1, y1, x2, y2 = values = [float(value) for value in corners]
    if not all(map(math.isfinite, values)) or x1 >= x2 or y1 >= y2:
        raise ValueError(f"the box {corners} has no area")
    return values


def kind_of(reason: str) -> str:
    """A reason without what names the one place."""
    return NUMBERS.sub("..", reason)


def refuse_too_many(broken: Mapping[str, str], entries: int, largest_share: float, where: str, param: str) -> None:
    """The rule for entries of label files that cannot be used: they are left out by name, up to a share of all.

    Raises `BadInput` beyond it, or if nothing is left, with the first place and how often there is which reason.
    """
    if not broken or (len(broken) <= largest_share * entries and len(broken) < entries):
        return
    place, why = next(iter(broken.items()))
    kinds = Counter(kind_of(reason) for reason in broken.values())
    first = {kind_of(reason): reason for reason in reversed(list(broken.values()))}
    counted = "; ".join(f"{count} x {first[kind]}" for kind, count in kinds.most_common(REASONS))
    more = f" ({counted})" if len(kinds) > 1 else ""
    raise BadInput(
        f"{where}: {len(broken)} of {entries} label entries cannot be used, first {place}: {why}{more}. "
        f"Mend them, or raise {param} ({largest_share:g})"
    )


def first_key(file: Path) -> str:
    """The first key of a JSON object, without reading all of a large file; empty if it is none."""
    with file.open("rb") as bytes_:
        start = bytes_.read(4096)
    text = start.decode(json.detect_encoding(start), errors="replace")
    found = re.match(r'\s*\{\s*"((?:[^"\\]|\\.)*)"', text)
    return found[1] if found else ""


def read_json(file: Path, **arguments: Any) -> Any:
    try:
        return files.read_json(file, **arguments)
    except ValueError as error:
        raise BadInput(f"{file}: not JSON ({error})") from None


def with_slashes(path: str) -> str:
    """A path of a label file that a program of Windows wrote, with backslashes between its folders, as any other."""
    return path.replace("\\", "/")


def inside(relative: str) -> bool:
    """Does a path in a label file stay where it belongs?"""
    path = PurePosixPath(with_slashes(relative))
    return bool(relative) and not path.is_absolute() and ".." not in path.parts


def is_file(path: Path) -> bool:
    """False for what no system takes for a name too: a label file may hold anything."""
    try:
        return path.is_file()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise


def locate(roots: Iterable[Path], relative: str) -> Path | None:
    """Where a path of a label file is, in whichever folder of the source has it.

    An archive of one sequence becomes that sequence's own folder, so a root may itself be where the path begins.
    """
    relative = with_slashes(relative)
    parts = PurePosixPath(relative).parts
    for root in roots:
        begun = [root.parents[k - 1] for k in range(1, len(parts) + 1) if root.parts[-k:] == parts[:k]]
        for base in (root, *begun):
            if (base / relative).exists():
                return base / relative
    return None


class Mapped(Protocol):
    """What a reader wants of a step's params."""

    classes: Mapping[str, str | None]  # the source's class name -> ours; None: dropped


class NoneWanted(BadInput):
    """A source has classes, and not one of them is asked for."""


class Classes:
    """The source's class names -> ours by the params' `classes`; of a dotted name the longest part listed decides."""

    def __init__(self, mapping: Mapping[str, str | None], theirs: Iterable[str], where: Path):
        self.mapping, self.seen = mapping, list(theirs)
        self.names = list(dict.fromkeys(name for name in mapping.values() if name is not None))
        if all(self.number(name) is None for name in self.seen):
            shown = ", ".join(self.seen[:12]) + (", ..." if len(self.seen) > 12 else "")
            raise NoneWanted(f"{where}: none of its classes ({shown}) is in detector_data.classes")

    def number(self, name: str) -> int | None:
        """Place of our class in `names`; None: dropped."""
        parts = name.split(".")
        for end in range(len(parts), 0, -1):
            if (key := ".".join(parts[:end])) in self.mapping:
                ours = self.mapping[key]
                return None if ours is None else self.names.index(ours)
        return None
