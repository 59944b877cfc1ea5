"""One unit of the step download: some photographs of a source, and what is labelled on them, in DelftBikes' layout.

    <unit>/images/<file>       as shown: what EXIF turns is written anew
    <unit>/annotations.json    {file: {"image": {"width", "height", "channels"}, "parts": {key: {"part_name",
                               "object_state", "object_state_class", "trust", "absolute_bounding_box",
                               "relative_bounding_box"}}}}
    <unit>/unit.json           {"dataset", "source", "rendered", "groups": {file: group}, "splits": {file: split} where
                               the source divides them, "pictures": {file: hash of its bytes}, "remarks"}

A key is the name of the part; what a photograph has twice is <part> and <part>_2, of one `part_name`. A state that
nobody labelled is null.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.bike_parts.formats.photos import NOT_LABELLED, STATES
from tasks.yard.files import read_json, write_json
from tasks.yard.step import BadInput

FILE, ABOUT, IMAGES = "annotations.json", "unit.json", "images"
BATCHES = ("batch of photographs", "batches of photographs")  # what a unit of work is called
BOX = ("left", "top", "width", "height")
DECIMALS, SHARE_DECIMALS = 3, 6  # of pixels, and of shares of the picture


@dataclass(frozen=True)
class Part:
    """One part on one photograph."""

    name: str
    state: int  # place in STATES, or NOT_LABELLED
    trust: float  # 0..1
    box: tuple[float, float, float, float]  # x, y, width, height


@dataclass(frozen=True)
class Photo:
    file: str
    width: int  # pixels, as shown
    height: int
    group: str
    split: str | None  # that the source publishes
    picture: str  # hash of its bytes
    parts: tuple[Part, ...]  # boxes in pixels


def entry(photo: Photo) -> dict[str, Any]:
    """One photograph of annotations.json."""
    parts: dict[str, Any] = {}
    size = (photo.width, photo.height) * 2
    for part in photo.parts:
        number = 1
        while (key := part.name if number == 1 else f"{part.name}_{number}") in parts:
            number += 1
        known = part.state != NOT_LABELLED
        parts[key] = {
            "part_name": part.name,
            "object_state": STATES[part.state] if known else None,
            "object_state_class": part.state if known else None,
            "trust": part.trust,
            "absolute_bounding_box": {k: round(v, DECIMALS) for k, v in zip(BOX, part.box, strict=True)},
            "relative_bounding_box": {
                k: round(v / whole, SHARE_DECIMALS) for k, v, whole in zip(BOX, part.box, size, strict=True)
            },
        }
    return {"image": {"width": photo.width, "height": photo.height, "channels": 3}, "parts": parts}


def write(folder: Path, photos: Iterable[Photo], about: Mapping[str, Any]) -> None:
    """annotations.json and unit.json, with `about` what unit.json says besides."""
    photos = list(photos)
    write_json(folder / FILE, {photo.file: entry(photo) for photo in photos})
    more = {
        "groups": {photo.file: photo.group for photo in photos},
        "splits": {photo.file: photo.split for photo in photos if photo.split},
        "pictures": {photo.file: photo.picture for photo in photos},
    }
    write_json(folder / ABOUT, {**about, **more})


def read(folder: Path) -> tuple[list[Photo], dict[str, Any]]:
    """(the photographs of a unit by name, its unit.json). Raises `BadInput` where download did not write it."""
    try:
        said, about = read_json(folder / FILE), read_json(folder / ABOUT)
        photos = [
            Photo(
                file, one["image"]["width"], one["image"]["height"], about["groups"][file],
                about["splits"].get(file), about["pictures"][file],
                tuple(_part(part) for part in one["parts"].values()),
            )
            for file, one in sorted(said.items())
        ]  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{folder}: not a unit of bike_parts-download ({error!r}); run it again") from None
    return photos, about


def _part(said: Mapping[str, Any]) -> Part:
    state = said["object_state_class"]
    x, y, width, height = (float(said["absolute_bounding_box"][key]) for key in BOX)
    known = NOT_LABELLED if state is None else int(state)
    return Part(said["part_name"], known, float(said["trust"]), (x, y, width, height))
