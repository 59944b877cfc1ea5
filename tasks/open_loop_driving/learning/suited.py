"""Which routes of a pack a network can learn from or plan on: those that have its cameras and, if it needs one, lidar.
It does without the others, by name.

plan/<network>/left_out.json: {split: {route: what it lacks}}, where there are some
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from models.open_loop_driving import variants
from tasks.open_loop_driving.formats.plans import SPLITS
from tasks.open_loop_driving.learning.drives import Drives
from tasks.yard.files import read_if_there, write_json
from tasks.yard.step import BadInput

log = logging.getLogger(__name__)
FILE = "left_out.json"
EVERY = ("train", *SPLITS)
NAMED = 3


def ahead_first(cameras: Mapping[str, Mapping]) -> list[str]:
    """Names, in the order of how far their axes turn from straight ahead."""
    return sorted(cameras, key=lambda name: (-round(cameras[name]["camera_from_ego"][2][0], 6), name))


def eyes(drives: Drives, name: str, cameras: Sequence[str] | None) -> list[str]:
    """What this network sees through: `cameras`, or as many as more than half of the routes to train on have, of those
    that have what else it needs; where so many have none in common, what the most have. Raises `BadInput` if no route
    has one of `cameras`."""
    if "rgb" not in variants.needs(name):
        return []
    if cameras:
        there = sorted({camera for of in drives.attrs for camera in of["cameras"]})
        if missing := [camera for camera in cameras if camera not in there]:
            raise BadInput(
                f"open_loop_driving.train.cameras: no route has a camera {missing[0]!r}, but {', '.join(there)}"
            )
        return list(cameras)
    mine = [of for of, said in zip(drives.attrs, drives.said, strict=True) if said["split"] == "train"]
    seeing = [of for of in mine if of["cameras"]]
    whole = [of for of in seeing if "lidar" not in variants.needs(name) or "lidar/points" in of["has"]]
    if not seeing:
        return []
    many = Counter(frozenset(of["cameras"]) for of in whole or seeing)
    have = {
        some: sum(count for theirs, count in many.items() if some <= theirs)
        for some in [*many, *(one & other for one, other in combinations(many, 2))]
        if some
    }
    most = {some: count for some, count in have.items() if 2 * count > many.total()}
    best = max(most, key=lambda some: (len(some), most[some])) if most else max(have, key=lambda some: have[some])
    first = next(of["cameras"] for of in whole or seeing if best <= set(of["cameras"]))
    return ahead_first({camera: first[camera] for camera in best})


def lacking(drives: Drives, name: str, cameras: Sequence[str]) -> dict[str, str]:
    """{route: what it lacks} of those that lack what this network needs."""
    needs = variants.needs(name)
    wanted = {f"images/{camera}": f"has no camera {camera!r}" for camera in cameras} if "rgb" in needs else {}
    wanted |= {"lidar/points": "has no lidar"} if "lidar" in needs else {}
    whys = [[why for column, why in wanted.items() if column not in of["has"]] for of in drives.attrs]
    return {route: ", ".join(of) for route, of in zip(drives.routes, whys, strict=True) if of}


def suited(drives: Drives, name: str, cameras: Sequence[str]) -> Drives:
    """Of the routes that this network can use."""
    without = lacking(drives, name, cameras)
    return drives.only(np.array([route not in without for route in drives.routes], bool)) if without else drives


def unsuited(drives: Drives, name: str, cameras: Sequence[str] | None) -> str | None:
    """Why a split has no route for this network, though it has routes; None: each has."""
    seen_through = eyes(drives, name, cameras)
    without = lacking(drives, name, seen_through)
    for split in EVERY:
        mine = {
            route: of["cameras"]
            for route, said, of in zip(drives.routes, drives.said, drives.attrs, strict=True)
            if said["split"] == split
        }
        if mine and split == "train" and "rgb" in variants.needs(name) and not seen_through:
            return "no route of train has a camera"
        if mine and all(route in without for route in mine):
            first = next(iter(mine))
            others = any(mine.values()) and "no camera" in without[first]
            fix = "; add routes that have it, or name others in open_loop_driving.train.cameras" if others else ""
            return f"no route of {split} has all that it needs: {first} {without[first]}{fix}"
    return None


def say(drives: Drives, name: str, cameras: Sequence[str]) -> dict[str, dict[str, str]]:
    """{split: {route: what it lacks}}, which is said."""
    without = lacking(drives, name, cameras)
    if without:
        log.warning("%s does without %s", name, words(without, len(drives.routes)))
    split = {route: said["split"] for route, said in zip(drives.routes, drives.said, strict=True)}
    found: dict[str, dict[str, str]] = {}
    for route, why in without.items():
        found.setdefault(split[route], {})[route] = why
    return found


def words(without: Mapping[str, str], many: int) -> str:
    first = "; ".join(f"{route} {why}" for route, why in list(without.items())[:NAMED])
    more = f"; and {len(without) - NAMED} more" if len(without) > NAMED else ""
    return f"{len(without)} of {many} routes, which lack what it needs: {first}{more}"


def write(out: Path, without: Mapping[str, Mapping[str, str]]) -> None:
    if without:
        write_json(out / FILE, without)
    else:
        (out / FILE).unlink(missing_ok=True)


def left_out(folder: Path) -> dict[str, dict[str, str]]:
    """{split: {route: what it lacks}} of plan/<network>."""
    return read_if_there(folder / FILE)
