"""Networks that a source cannot train: it lacks a sensor, or no route of a split is for them. The line goes on with
those that need less, and every step that has nothing to do with such a network says so.

train/<network>/untrained.json, and so in plan/ and export/: {network, why}
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from models.open_loop_driving import variants
from tasks.open_loop_driving.formats import pack as packed
from tasks.open_loop_driving.learning.drives import Drives
from tasks.open_loop_driving.learning.suited import EVERY, unsuited
from tasks.yard.files import read_if_there, write_json

log = logging.getLogger(__name__)
FILE = "untrained.json"
COLUMNS = {"rgb": "images/", "lidar": "lidar/points"}  # how the columns begin that a sensor has
WORDS = {"rgb": "camera", "lidar": "lidar"}


def lacks(drives: Drives, name: str) -> str | None:
    """The sensor that a network needs and no route has."""
    there = {column for of in drives.attrs for column in of["has"]}
    for sensor in variants.needs(name):
        if not any(column.startswith(COLUMNS[sensor]) for column in there):
            return sensor
    return None


def reason(pack: Path, name: str, cameras: Sequence[str] | None) -> str | None:
    """Why the routes of a pack cannot train this network, which sees through `cameras`; None: they can, or somebody can
    mend it."""
    drives = Drives(pack, EVERY)
    if (sensor := lacks(drives, name)) is not None:
        less = f"; {name}-lidar does without" if sensor == "lidar" and name in variants.SIZES else ""
        return f"no route of the source has a {WORDS[sensor]}, which it needs{less}"
    said = packed.manifest(pack)
    if any(of["split"] == "train" and of["windows"] for of in said["routes"].values()) or said.get("left_out"):
        return unsuited(drives, name, cameras)
    remarks = "; ".join(said.get("remarks", ()))
    return "no route of the source trains" + (f" ({remarks})" if remarks else "")


def say(out: Path, name: str, why: str, what: str) -> None:
    """`what`: that is not done."""
    log.warning("%s: %s: %s", name, what, why)
    write_json(out / FILE, {"network": name, "why": why})


def why_not(folder: Path) -> str | None:
    """Of train/<network> or plan/<network>; None: there is one."""
    return read_if_there(folder / FILE).get("why")


def clear(out: Path, files: Iterable[str]) -> None:
    """What an earlier run left, which would be taken for this one's."""
    for name in files:
        (out / name).unlink(missing_ok=True)


def all_of(folders: Mapping[str, Path]) -> dict[str, str]:
    """{network: why} of those that could not be trained."""
    return {name: why for name, folder in sorted(folders.items()) if (why := why_not(folder))}
