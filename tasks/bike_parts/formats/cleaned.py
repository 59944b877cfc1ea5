"""What check_data leaves to learn from and to judge on: cleaned.json.

    {"parts": [names in the order of their ids], "remarks": [...], "dropped": {reason: count},
     "photos": [{"name": path below download/, "file": "<data set>/<file>", "also": [files of copies that were left
                 out], "width", "height", "group": "<data set>/<group>", "split": that the source publishes, or null,
                 "parts": [{"part", "state": 0..3 or -1, "trust", "box": [x, y, width, height] in pixels}],
                 "doubted": [parts that are labelled with a box that was left out]}]}

A box lies within its picture and is a pixel wide and high at least. State -1: not labelled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.bike_parts.formats.annotations import Part
from tasks.yard.files import read_json, write_json
from tasks.yard.step import BadInput

FILE = "cleaned.json"


@dataclass(frozen=True)
class Clean:
    """One photograph with the parts that are left."""

    name: str
    file: str
    also: tuple[str, ...]
    width: int
    height: int
    group: str
    split: str | None
    parts: tuple[Part, ...]
    doubted: tuple[str, ...]


def write(
    folder: Path, parts: Sequence[str], photos: Iterable[Clean], remarks: Sequence[str], dropped: Mapping[str, int]
) -> None:
    said = [
        {
            "name": of.name, "file": of.file, "also": list(of.also), "width": of.width, "height": of.height,
            "group": of.group, "split": of.split,
            "parts": [
                {"part": part.name, "state": part.state, "trust": part.trust, "box": list(part.box)}
                for part in of.parts
            ],
            "doubted": list(of.doubted),
        }
        for of in photos
    ]  # fmt: skip
    write_json(folder / FILE, {
        "parts": list(parts), "photos": said, "remarks": list(remarks), "dropped": dict(dropped),
    })  # fmt: skip


def read(folder: Path) -> tuple[list[str], list[Clean]]:
    """(names of the parts, the photographs). Raises `BadInput`."""
    path = folder / FILE
    try:
        said = read_json(path)
        photos = [
            Clean(
                of["name"], of["file"], tuple(of["also"]), of["width"], of["height"], of["group"], of["split"],
                tuple(Part(p["part"], p["state"], p["trust"], tuple(p["box"])) for p in of["parts"]),
                tuple(of["doubted"]),
            )
            for of in said["photos"]
        ]  # fmt: skip
        return said["parts"], photos
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path}: not a file of bike_parts-check_data ({error!r}); run it again") from None
