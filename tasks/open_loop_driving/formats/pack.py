"""What networks read: pack/<route>/route.h5, everything of one route once, and pack/manifest.json.

attributes       town, source, rate_hz (2.0), origin; cameras: JSON of calibration.py, of the packed pictures; sensors:
                 JSON list (routes.py)
frame (n) int, time_s (n), pose (n, 3) x, y, yaw in the world, speed_ms (n)
control (n, 3) throttle, steer (right is positive), brake; command (n) 1..6; target (n, 2) ahead, left; should_brake (n)
images/<camera>  (n, h, w, 3) uint8 RGB
depth/<camera>   (n, h, w) uint16, centimetres, 0: not known
seg/<camera>     (n, h, w) uint8
lidar/points     (m, 4) float32 x, y, z, intensity; lidar/offsets (n + 1): row i has points offsets[i]:offsets[i + 1]
bev              (n, 15, h, w) uint8, compressed; 0 to 255 and not only 0 and 1: lane markings are 255, broken ones 120,
                 stop lines 80 for green, 170 for yellow, 255 for red. `Packed.bev` gives shares, 0 to 1
agents/boxes     (m, 9) class (an index of CLASSES), x, y, z, length, width, height, yaw, speed_ms, in the car's frame
agents/id        (m) text; agents/offsets (n + 1)
supervision/alpha (n, 2), beta (n, 2) of the Betas of acceleration and steer on [0, 1]; value (n); where the source has
                 them vector (n, 256), map0 (n, c, h, w), ...
windows (k) int  every row t of which t - 1 and t + 1 .. t + horizon are there too, each a step after the other

What a source lacks has no data set. manifest.json: {horizon, rate_hz, subset, routes: {name: {town, split, frames,
windows, sha256, sensors, cameras}}, splits: {split: {routes, frames, windows, towns}}, remarks, uneven (what of
cameras and lidar some routes lack), left_out: {route: why}}.

    for route in pack.load(folder, "train"):
        rows = route.windows
        route.images("front", rows), route.waypoints(rows), route.bev(rows), route.lidar(rows[0])
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tasks.open_loop_driving.formats import calibration, frames
from tasks.open_loop_driving.formats.calibration import Camera
from tasks.open_loop_driving.formats.routes import CLASSES
from tasks.yard.files import read_json, replacing
from tasks.yard.step import BadInput

FILE, MANIFEST = "route.h5", "manifest.json"
VERSION = ("v110", "v110")  # fixed, so that the bytes do not depend on the library's newest format
SMALL = ("frame", "time_s", "pose", "speed_ms", "control", "command", "target", "should_brake", "windows")
FULL = 255  # of a mask
CHUNK = 8  # frames of masks that are compressed together


@dataclass(frozen=True)
class Head:
    """What is said of a whole route."""

    town: str
    source: str
    rate_hz: float
    origin: str
    cameras: dict[str, Camera]
    sensors: tuple[str, ...]


@dataclass(frozen=True)
class Frame:
    """What is large, of one frame; None and {}: there is none in the route."""

    images: Mapping[str, np.ndarray] = field(default_factory=dict)
    depth: Mapping[str, np.ndarray] = field(default_factory=dict)
    seg: Mapping[str, np.ndarray] = field(default_factory=dict)
    lidar: np.ndarray | None = None
    bev: np.ndarray | None = None  # (15, h, w) uint8
    boxes: np.ndarray | None = None  # (m, 9)
    ids: Sequence[str] = ()


def path(folder: Path, name: str) -> Path:
    return folder / name / FILE


def windows(frame: np.ndarray, horizon: int) -> np.ndarray:
    """Rows t of which t - 1 and t + 1 .. t + horizon lie a step apart each. `frame` (n): numbers of the frames."""
    n, span = len(frame), horizon + 1
    if n <= span:
        return np.zeros(0, np.int64)
    rows = np.arange(1, n - horizon)
    return rows[frame[rows + horizon] - frame[rows - 1] == span].astype(np.int64)


def write(
    path: Path,
    head: Head,
    columns: Mapping[str, np.ndarray],
    rows: Iterable[Frame],
    supervision: Mapping[str, np.ndarray] | None = None,
) -> None:
    """`columns`: of SMALL, what there is; `rows`: a frame in memory at a time. Equal contents give equal bytes:
    `file["a/b"] = ...` would note the second at which it made the group a."""
    with replacing(path) as temporary, h5py.File(temporary, "w", libver=VERSION) as file:
        for key in ("town", "source", "rate_hz", "origin"):
            file.attrs[key] = getattr(head, key)
        file.attrs["cameras"] = json.dumps(calibration.documents(head.cameras))
        file.attrs["sensors"] = json.dumps(list(head.sensors))
        for key in SMALL:
            if key in columns:
                file[key] = columns[key]
        for key, value in (supervision or {}).items():
            file.create_dataset(f"supervision/{key}", data=value)
        _write_large(file, len(columns["frame"]), rows)


def _write_large(file: h5py.File, n: int, rows: Iterable[Frame]) -> None:
    points: list[np.ndarray] = []
    boxes: list[np.ndarray] = []
    ids: list[str] = []
    bev: list[np.ndarray] = []  # of one chunk: written one by one, each would be compressed as often as it has frames
    lidar_ends, box_ends = [0], [0]
    for row, frame in enumerate(rows):
        for kind in ("images", "depth", "seg"):
            for camera, picture in getattr(frame, kind).items():
                name = f"{kind}/{camera}"
                (file[name] if name in file else _room(file, name, n, picture))[row] = picture
        if frame.bev is not None:
            if "bev" not in file:
                _room(file, "bev", n, frame.bev, chunks=(min(CHUNK, n), *frame.bev.shape), compression=1)
            bev.append(frame.bev)
            if len(bev) == CHUNK or row == n - 1:
                file["bev"][row + 1 - len(bev) : row + 1] = np.stack(bev)
                bev.clear()
        if frame.lidar is not None:
            points.append(frame.lidar)
            lidar_ends.append(lidar_ends[-1] + len(frame.lidar))
        if frame.boxes is not None:
            boxes.append(frame.boxes)
            ids += frame.ids
            box_ends.append(box_ends[-1] + len(frame.boxes))
    if points:
        file.create_dataset("lidar/points", data=np.concatenate(points).astype(np.float32))
        file.create_dataset("lidar/offsets", data=np.array(lidar_ends))
    if boxes:
        file.create_dataset("agents/boxes", data=np.concatenate(boxes).astype(np.float32))
        file.create_dataset("agents/offsets", data=np.array(box_ends))
        file.create_dataset("agents/id", data=ids, shape=(len(ids),), dtype=h5py.string_dtype())


def _room(file: h5py.File, name: str, n: int, one: np.ndarray, **how: Any) -> h5py.Dataset:
    return file.create_dataset(name, (n, *one.shape), one.dtype, **how)


@dataclass(frozen=True)
class Packed:
    """One route; its large arrays stay on the disk."""

    name: str
    path: Path
    head: Head
    split: str
    horizon: int
    frame: np.ndarray
    time_s: np.ndarray
    pose: np.ndarray
    speed_ms: np.ndarray
    windows: np.ndarray
    control: np.ndarray | None = None
    command: np.ndarray | None = None
    target: np.ndarray | None = None
    should_brake: np.ndarray | None = None

    @property
    def town(self) -> str:
        return self.head.town

    @property
    def cameras(self) -> dict[str, Camera]:
        return self.head.cameras

    @property
    def sensors(self) -> tuple[str, ...]:
        return self.head.sensors

    def read(self, name: str, rows: Sequence[int] | np.ndarray | slice = slice(None)) -> np.ndarray:
        """Rows of a data set; in any order, and any of them twice."""
        with h5py.File(self.path) as file:
            if name not in file:
                raise BadInput(f"{self.path}: has no {name!r}; it has {', '.join(self.sensors)}")
            if isinstance(rows, slice):
                return file[name][rows]
            wanted, back = np.unique(np.asarray(rows, int), return_inverse=True)
            if len(wanted) and wanted[-1] - wanted[0] < 2 * len(wanted):  # a list of rows takes HDF5 far longer
                return file[name][wanted[0] : wanted[-1] + 1][wanted - wanted[0]][back]
            return file[name][wanted][back]

    def images(self, camera: str, rows: Sequence[int] | np.ndarray | slice = slice(None)) -> np.ndarray:
        """(k, h, w, 3) uint8 RGB"""
        return self.read(f"images/{camera}", rows)

    def depth(self, camera: str, rows: Sequence[int] | np.ndarray | slice = slice(None)) -> np.ndarray:
        """(k, h, w) uint16, centimetres, 0: not known"""
        return self.read(f"depth/{camera}", rows)

    def seg(self, camera: str, rows: Sequence[int] | np.ndarray | slice = slice(None)) -> np.ndarray:
        """(k, h, w) uint8"""
        return self.read(f"seg/{camera}", rows)

    def bev(self, rows: Sequence[int] | np.ndarray | slice = slice(None)) -> np.ndarray:
        """(k, 15, h, w) float32, 0 to 1"""
        return self.read("bev", rows).astype(np.float32) / FULL

    def supervision(self, name: str, rows: Sequence[int] | np.ndarray | slice = slice(None)) -> np.ndarray:
        return self.read(f"supervision/{name}", rows)

    def lidar(self, row: int) -> np.ndarray:
        """(m, 4) float32 x, y, z, intensity"""
        with h5py.File(self.path) as file:
            first, end = file["lidar/offsets"][row : row + 2]
            return file["lidar/points"][first:end]

    def agents(self, row: int) -> tuple[np.ndarray, list[str]]:
        """(m, 9) class, x, y, z, length, width, height, yaw, speed_ms in the car's frame of that row; ids"""
        with h5py.File(self.path) as file:
            first, end = file["agents/offsets"][row : row + 2]
            return file["agents/boxes"][first:end], list(file["agents/id"].asstr()[first:end])

    def waypoints(self, rows: Sequence[int] | np.ndarray, steps: int | None = None) -> np.ndarray:
        """(k, steps, 2): where the car is 1 .. steps later, in its frame at each of `rows`; metres. NaN where the route
        does not tell: after its end, and at a moment that is missing."""
        ahead = np.arange(1, (self.horizon if steps is None else steps) + 1)
        places = np.minimum(np.asarray(rows)[:, None] + ahead, len(self.frame) - 1)
        found = frames.ego_from_world(self.pose[places][..., :2], self.pose[rows][:, None])
        there = self.frame[places] - self.frame[rows][:, None] == ahead
        return np.where(there[..., None], found, np.nan)


def read(file: Path, name: str = "", split: str = "", horizon: int = 4) -> Packed:
    """Raises `BadInput` where there is no such file, or another."""
    try:
        with h5py.File(file) as held:
            said = held.attrs
            head = Head(
                str(said["town"]), str(said["source"]), float(said["rate_hz"]), str(said["origin"]),
                calibration.loads(said["cameras"], str(file)), tuple(json.loads(said["sensors"])),
            )  # fmt: skip
            columns = {key: held[key][:] for key in SMALL if key in held}
    except (OSError, KeyError) as error:
        raise BadInput(f"{file}: no packed route ({error}); run open_loop_driving-pack") from None
    return Packed(name or file.parent.name, file, head, split, horizon, **columns)


def manifest(folder: Path) -> dict[str, Any]:
    """Raises `BadInput` where there is none."""
    if not (folder / MANIFEST).exists():
        raise BadInput(f"{folder / MANIFEST}: there is none; run open_loop_driving-pack")
    return read_json(folder / MANIFEST)


def load(folder: Path, split: str | None = None) -> list[Packed]:
    """All routes, or those of a split, by name."""
    said = manifest(folder)
    return [
        read(path(folder, name), name, route["split"], said["horizon"])
        for name, route in sorted(said["routes"].items())
        if split in (None, route["split"])
    ]


__all__ = ["CLASSES", "FILE", "Frame", "Head", "Packed", "load", "manifest", "path", "read", "windows", "write"]
