"""The bike world (tasks/yard/worlds/bikes) as a source in DelftBikes' layout, with what is wrong in such sources.

Writes, for a unit of some bikes:
    annotations.json                        all keys of DelftBikes; trust as a number or a text
    images/<bike>_<ride>_<before|after>.jpg
    unit.json                               {"groups": {file: bike}}

What is wrong, so that the line is tried on it from the first run: some trusts are below .5, and most of those boxes are
beside their part; a few boxes reach out of the picture; in one photograph of the world one part is missing from the
JSON, and one photograph cannot be read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tasks.yard.files import replacing, write_json
from tasks.yard.layouts.images import JPEG_QUALITY, encoded
from tasks.yard.worlds.bikes import MOMENTS, STATES, Bikes, Photo, Ridden
from tasks.yard.worlds.bikes.anatomy import PARTS

BATCH = 30  # bikes in a unit
OF_SIZE = ("bikes",)  # keys of the world that change no unit: its name says which bikes it holds
DOUBTED = 0.01  # of the boxes
MISSING = (5, "bell")  # this bike's first photograph says nothing of this part
UNREADABLE = 13  # this bike's first photograph is cut off
BOX = ("left", "top", "width", "height")


def unit_names(world: Bikes) -> list[str]:
    """bikes-<first>-<last>: a bike more makes a unit more, or one other."""
    starts = range(0, world.bikes, BATCH)
    return [f"bikes-{first:04d}-{min(first + BATCH, world.bikes) - 1:04d}" for first in starts]


def file_of(bike: int, ride: int, moment: str) -> str:
    return f"{group_of(bike)}_{ride}_{moment}.jpg"


def group_of(bike: int) -> str:
    return f"bike-{bike:04d}"


def trust(rng: np.random.Generator, doubted: bool) -> float | str:
    found = round(float(rng.uniform(0.05, 0.45) if doubted else rng.choice([1.0, 1.0, 0.9, 0.8, 0.67])), 2)
    return str(found) if rng.random() < 0.5 else found


def entry(photo: Photo, world: Bikes, rng: np.random.Generator) -> dict[str, Any]:
    """One photograph of annotations.json."""
    size = (world.width, world.height) * 2
    parts: dict[str, Any] = {}
    for name in PARTS:
        seen, doubted = photo.parts[name], rng.random() < DOUBTED
        beside = rng.normal(0, 0.06, 2) * size[:2] * doubted
        box = [round(value + off, 1) for value, off in zip(seen.box, (*beside, 0, 0), strict=True)]
        parts[name] = {
            "part_name": name,
            "object_state": seen.state,
            "object_state_class": STATES.index(seen.state),
            "trust": trust(rng, doubted),
            "absolute_bounding_box": dict(zip(BOX, box, strict=True)),
            "relative_bounding_box": {
                key: round(value / whole, 5) for key, value, whole in zip(BOX, box, size, strict=True)
            },
        }
    return {"image": {"width": world.width, "height": world.height, "channels": 3}, "parts": parts}


def write_unit(world: Bikes, name: str, folder: Path) -> None:
    """All files of one unit under `folder`. `name` is one of `unit_names`."""
    first, last = (int(number) for number in name.split("-")[1:])
    said: dict[str, Any] = {}
    groups: dict[str, str] = {}
    for bike in range(first, last + 1):
        ridden = Ridden(world, bike)
        for ride in range(world.rides):
            for moment, word in enumerate(MOMENTS):
                file, photo = file_of(bike, ride, word), ridden.photo(ride, moment)
                said[file] = entry(photo, world, np.random.default_rng([world.seed, bike, 9, ride, moment]))
                groups[file] = group_of(bike)
                data = encoded(photo.picture, ".jpg", JPEG_QUALITY)
                if (ride, moment) == (0, 0) and bike == UNREADABLE:
                    data = data[: len(data) // 3]
                if (ride, moment, bike) == (0, 0, MISSING[0]):
                    del said[file]["parts"][MISSING[1]]
                with replacing(folder / "images" / file) as temporary:
                    temporary.write_bytes(data)
    write_json(folder / "annotations.json", said)
    write_json(folder / "unit.json", {"groups": groups})
