"""What a network sees in photographs, kept in blocks so that a killed run loses little and a new photograph costs one.

A block holds neighbours in the order of their names and ends after a name that a hash picks: a photograph that is added
or taken away changes the block that it is in, and no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tasks.bike_parts.importers.inspected import Asked
from tasks.bike_parts.judging.verdicts import Again, Seen
from tasks.yard.files import digest, read_json, write_json

FILE = "seen.json"
USUAL, MOST = 16, 48  # photographs of a block
NAME = 60  # letters of the first one's name that a block is called by


def again_entry(again: Again) -> dict:
    """Of a second look; where a part was not found nothing is off."""
    entry_of = entry(again.seen, (0, 0), None)
    off = [None if np.isnan(of) else round(float(of), 4) for of in again.off]
    return {name: entry_of[name] for name in ("part", "box", "score", "states")} | {"off": off}


def again_of(said: dict) -> Again:
    return Again(seen_of(said), np.array([np.nan if of is None else of for of in said["off"]], float))


def blocks_of(photos: Sequence[Asked]) -> dict[str, list[Asked]]:
    """{name of its folder: photographs}"""
    found: list[list[Asked]] = [[]]
    for photo in photos:
        found[-1].append(photo)
        if int(digest(photo.name), 16) % USUAL == 0 or len(found[-1]) >= MOST:
            found.append([])
    return {f"{block[0].key[:NAME]}-{digest(block[0].name)[:8]}": block for block in found if block}


def write(folder: Path, seen: dict[str, dict]) -> None:
    write_json(folder / FILE, seen)


def entry(seen: Seen, size_px: tuple[int, int], crop: list[int] | None) -> dict:
    """Numbers as many digits as they are worth, so that a result reads the same on every machine."""
    return {
        "width": size_px[0], "height": size_px[1], "crop": crop, "part": seen.part.tolist(),
        "box": np.round(seen.box.astype(float), 2).tolist(), "score": np.round(seen.score.astype(float), 5).tolist(),
        "states": np.round(seen.states.astype(float), 5).tolist(),
    }  # fmt: skip


def read(folder: Path) -> dict[str, dict]:
    """{key: what `entry` made, or {"why": ...} of one that is no image}"""
    return read_json(folder / FILE)


def seen_of(said: dict) -> Seen:
    return Seen(
        np.array(said["part"], np.int64), np.array(said["box"], float).reshape(-1, 4),
        np.array(said["score"], float), np.array(said["states"], float).reshape(-1, 4),
    )  # fmt: skip
