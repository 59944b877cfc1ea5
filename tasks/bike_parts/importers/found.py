"""What a layout's reader finds in a data set, the same for all of them, and which names it may call parts by.

A reader is a module with

    WHAT                        what a folder of it holds, for people
    found(root)                 is this what the folder holds
    read(root, wanted, params)  `Found`: every photograph with its parts, and every entry that cannot be used
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tasks.bike_parts.formats.annotations import Part
from tasks.yard.step import BadInput, suggestion

NUMBERED = re.compile(r"(.+)_([2-9]|[1-9]\d)")  # headlamp_2: DelftBikes has one box a name
PARTS_KEY, OTHERS_KEY = "bike_parts.download.parts", "bike_parts.download.other_parts"


@dataclass(frozen=True)
class Labelled:
    """One photograph as its source labels it."""

    name: str  # its path in the data set
    path: Path
    size_px: tuple[float, float]  # (width, height) that the boxes are for; (1, 1): shares of the picture
    parts: tuple[Part, ...]
    split: str | None = None
    group: str | None = None  # where the source says it
    scalable: bool = True  # do the boxes hold for a picture of this shape and another size?


@dataclass
class Found:
    photos: list[Labelled] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)  # {"<label file>: <place>": why it cannot be used}
    dropped: dict[str, int] = field(default_factory=dict)  # boxes by name of a part that is not asked for
    remarks: list[str] = field(default_factory=list)  # how contradictions were settled, for people
    files: list[Path] = field(default_factory=list)  # that labels were read from
    dataset: str | None = None  # that it was a batch of, where the source says so


def plain(name: str, known: Collection[str]) -> str:
    """The part that a name is of: headlamp_2 is another headlamp where `known` has that and not this."""
    numbered = NUMBERED.fullmatch(name)
    return numbered[1] if numbered and name not in known and numbered[1] in known else name


def among(names: Iterable[str]) -> list[str]:
    """The parts of a source that is asked for all it has, in the order of the alphabet."""
    names = set(names)
    twins = {name for name in names if (found := NUMBERED.fullmatch(name)) and found[1] in names}
    return sorted(names - twins)


def unlisted(name: str, wanted: Collection[str]) -> str:
    """What is wrong with a part that is not asked for, and the fix."""
    near = suggestion(name, wanted, "it has")
    near += "" if near.endswith("?") else "."
    return (
        f"the part {name!r} is not in {PARTS_KEY}; {near} Mend it, add it there, set that to null to take what the "
        f"source has, or {OTHERS_KEY} to drop"
    )


def refuse_unlisted(found: Found, wanted: Collection[str], where: str, other_parts: str) -> None:
    """Raises `BadInput` for names that a label file declares for all of its boxes and nobody asks for."""
    if found.dropped and other_parts == "refuse":
        raise BadInput(f"{where}: {unlisted(next(iter(found.dropped)), wanted)}")
