"""One recorded route as `download` leaves it, whatever it came from: download/<route>/.

    route.json            {layout, town, source, origin, rendered, rate_hz, cameras: {name: see calibration.py},
                          sensors, usable, cut, weather, remarks} and of what was not whole faults: [every file that
                          is missing or bad, also of frames that are not here], unread: {file of ours, as lidar/0004:
                          why it is not there}
    frames.csv            frame, time_s, x, y, yaw, speed_ms, and as far as the source has them throttle, steer, brake,
                          command, target_x, target_y, should_brake
    rgb_<camera>/%04d.*   pictures, whatever kind they are
    depth_<camera>/%04d.png   16 bits, centimetres along the axis, 0: not known
    seg_<camera>/%04d.png     class of CARLA, 8 bits
    lidar/%04d.npy        (n, 4) float32: x, y, z, intensity 0 to 1
    bev/%04d.png          the 15 masks of Roach's expert, one below the other, (15 h, w) 8 bits, 0 to 255
    boxes.csv             frame, class, x, y, z (middle), length, width, height, yaw, speed_ms, id
    supervision.npz       frame (n), alpha (n, 2), beta (n, 2), value (n), and where the source has them vector (n, 256)
                          and map0 ... (n, c, h, w): the expert's Betas of acceleration and steer, and its features

All in the frames of frames.py. Frames are counted at `rate_hz`: a number that is missing is a moment that is missing.
Frames from `usable` on are not used; `cut` says why. What a source lacks is absent, and not among `sensors`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tasks.open_loop_driving.formats import calibration
from tasks.open_loop_driving.formats.calibration import Camera
from tasks.yard.files import read_json, replacing, write_json, write_text
from tasks.yard.layouts import images
from tasks.yard.step import BadInput

ABOUT, FRAMES, BOXES, SUPERVISION = "route.json", "frames.csv", "boxes.csv", "supervision.npz"
NEEDED = ("frame", "time_s", "x", "y", "yaw", "speed_ms")
CONTROL, TARGET = ("throttle", "steer", "brake"), ("target_x", "target_y")
OPTIONAL = (*CONTROL, "command", *TARGET, "should_brake")
BOX_COLUMNS = ("frame", "class", "x", "y", "z", "length", "width", "height", "yaw", "speed_ms", "id")
CLASSES = ("vehicle", "walker", "cyclist", "traffic_light", "traffic_sign", "object")  # numbers of a box's class
SENSORS = (
    "rgb", "depth", "seg", "lidar", "bev", "boxes", "control", "command", "target", "should_brake", "supervision",
    "features",
)  # fmt: skip
WORDS = {
    "rgb": "pictures", "seg": "classes", "bev": "masks from above", "control": "pedals and wheel",
    "target": "target point", "should_brake": "should brake", "supervision": "what the expert meant",
    "features": "the expert's maps",
}  # fmt: skip
COMMANDS = {1: "left", 2: "right", 3: "straight", 4: "follow lane", 5: "change lane left", 6: "change lane right"}
MASKS = 15
CM = 0.01
FARTHEST_M = 655.0  # of 16 bits; what is beyond is not known
FAST = [cv2.IMWRITE_PNG_COMPRESSION, 1]
NUMBER = re.compile(r"(\d+)\.(png|jpe?g|npy)", re.IGNORECASE)
KEYS = ("layout", "town", "source", "origin", "rendered", "rate_hz", "cameras", "sensors", "usable", "cut", "remarks")


@dataclass(frozen=True)
class Route:
    folder: Path
    about: dict[str, Any]
    cameras: dict[str, Camera]
    columns: dict[str, np.ndarray]  # of frames.csv, (n) each

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def frames(self) -> np.ndarray:
        return self.columns["frame"]

    @property
    def sensors(self) -> tuple[str, ...]:
        return tuple(self.about["sensors"])

    @property
    def pose(self) -> np.ndarray:
        return np.column_stack([self.columns[key] for key in ("x", "y", "yaw")])

    def files(self, kind: str) -> dict[int, Path]:
        """{frame: file} of rgb_front, lidar, bev, ..."""
        folder = self.folder / kind
        found = sorted(folder.iterdir()) if folder.is_dir() else []
        return {int(match[1]): path for path in found if (match := NUMBER.fullmatch(path.name))}

    @cached_property
    def boxes(self) -> dict[int, tuple[np.ndarray, list[str]]]:
        """{frame: ((m, 9) class, x, y, z, length, width, height, yaw, speed_ms; ids)}. Raises `BadInput`."""
        found: dict[int, tuple[list[list[float]], list[str]]] = {}
        path = self.folder / BOXES
        for line, row in enumerate(_rows(path, BOX_COLUMNS), start=2):
            try:
                numbers = [float(CLASSES.index(row["class"])), *(float(row[key]) for key in BOX_COLUMNS[2:-1])]
                mine = found.setdefault(int(row["frame"]), ([], []))
            except ValueError as error:
                raise BadInput(f"{path}: line {line}: {error}; mend it or take the line out") from None
            mine[0].append(numbers)
            mine[1].append(row["id"])
        return {frame: (np.array(rows), ids) for frame, (rows, ids) in found.items()}

    @cached_property
    def supervision(self) -> dict[str, np.ndarray]:
        with np.load(self.folder / SUPERVISION) as file:
            return {key: file[key] for key in file.files}


def _rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if missing := [key for key in columns if key not in (reader.fieldnames or ())]:
            raise BadInput(f"{path}: column {missing[0]!r} is missing; it has {', '.join(columns)}")
        return list(reader)


def read(folder: Path) -> Route:
    """Raises `BadInput` that names the file and the key."""
    path = folder / ABOUT
    try:
        about = read_json(path)
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read as JSON ({error}); run open_loop_driving-download") from None
    if missing := [key for key in KEYS if key not in about]:
        raise BadInput(f"{path}: key {missing[0]!r} is missing; it has {', '.join(KEYS)}")
    rows = _rows(folder / FRAMES, NEEDED)
    columns = {}
    for key in (*NEEDED, *OPTIONAL):
        if rows and key in rows[0]:
            try:
                columns[key] = np.array([float(row[key]) for row in rows])
            except (TypeError, ValueError):
                raise BadInput(f"{folder / FRAMES}: column {key!r} holds what is no number; mend it") from None
    if not rows:
        raise BadInput(f"{folder / FRAMES}: holds no frame")
    columns["frame"] = columns["frame"].astype(int)
    return Route(folder, about, calibration.parse_all(about["cameras"], str(path)), columns)


def write_frames(folder: Path, columns: Mapping[str, np.ndarray]) -> None:
    """frames.csv; six decimals are more than any source can tell."""
    names = [key for key in (*NEEDED, *OPTIONAL) if key in columns]
    whole = {"frame", "command", "should_brake"}
    lines = [",".join(names)]
    for row in zip(*(columns[key] for key in names), strict=True):
        cells = zip(names, row, strict=True)
        lines.append(",".join(f"{int(value)}" if key in whole else f"{float(value):.6f}" for key, value in cells))
    write_text(folder / FRAMES, "\n".join(lines) + "\n")


def sensors_of(folder: Path, columns: Mapping[str, np.ndarray]) -> list[str]:
    """What a folder and its table hold, by the names of SENSORS."""
    kinds = {path.name.split("_")[0] for path in folder.iterdir() if path.is_dir()}
    found = {kind for kind in ("rgb", "depth", "seg", "lidar", "bev") if kind in kinds}
    found |= {"boxes"} if (folder / BOXES).exists() else set()
    found |= {"control"} if set(CONTROL) <= set(columns) else set()
    found |= {"target"} if set(TARGET) <= set(columns) else set()
    found |= {key for key in ("command", "should_brake") if key in columns}
    if (folder / SUPERVISION).exists():
        with np.load(folder / SUPERVISION) as file:
            found |= {"supervision"} | ({"features"} if "vector" in file.files else set())
    return [kind for kind in SENSORS if kind in found]


def write_about(
    folder: Path, about: Mapping[str, Any], cameras: Mapping[str, Camera], columns: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """route.json, last of all files: what else lies in the folder is what it says."""
    said = {**about, "cameras": calibration.documents(cameras), "sensors": sensors_of(folder, columns)}
    write_json(folder / ABOUT, said)
    return said


def write_boxes(folder: Path, boxes: Mapping[int, list[tuple]]) -> None:
    """{frame: [(class, x, y, z, length, width, height, yaw, speed_ms, id), ...]}"""
    text = io.StringIO()
    text.write(",".join(BOX_COLUMNS) + "\n")
    for frame in sorted(boxes):
        for kind, *numbers, who in boxes[frame]:
            text.write(f"{frame},{kind},{','.join(f'{float(value):.4f}' for value in numbers)},{who}\n")
    write_text(folder / BOXES, text.getvalue())


def write_supervision(folder: Path, columns: Mapping[str, np.ndarray]) -> None:
    with replacing(folder / SUPERVISION) as temporary:
        np.savez(temporary, **columns)


def write_png(path: Path, picture: np.ndarray) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", picture, FAST)[1].tobytes())


def write_lidar(path: Path, points: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(points, np.float32))
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def coded_depth(depth_m: np.ndarray) -> np.ndarray:
    """Metres (h, w) -> uint16 centimetres, 0: not known."""
    near = np.isfinite(depth_m) & (depth_m > 0) & (depth_m < FARTHEST_M)
    return np.where(near, np.round(np.where(near, depth_m, 0) / CM), 0).astype(np.uint16)


def picture(path: Path) -> np.ndarray:
    """(h, w, 3) uint8 RGB. Raises `BadInput` for what cannot be read to its end."""
    found = images.decoded(path)
    if found is None:
        raise BadInput(f"{path}: {images.fault(path) or 'is no image that can be read to its end'}")
    return np.ascontiguousarray(found[..., ::-1])


def plain_png(path: Path, kind: type) -> np.ndarray:
    """(h, w) of depth, segmentation and masks, as stored. Raises `BadInput`."""
    data = path.read_bytes()
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if found is None or found.ndim != 2 or found.dtype != kind:
        bits = 8 * np.dtype(kind).itemsize
        raise BadInput(
            f"{path}: is no picture of one channel of {bits} bits that can be read to its end; bring it anew"
        )
    return found


def masks(path: Path) -> np.ndarray:
    """(15, h, w) uint8. Raises `BadInput`."""
    found = plain_png(path, np.uint8)
    if found.shape[0] % MASKS:
        raise BadInput(f"{path}: has {found.shape[0]} rows; expected {MASKS} masks below one another")
    return found.reshape(MASKS, -1, found.shape[1])


def lidar(path: Path) -> np.ndarray:
    """(n, 4) float32. Raises `BadInput`."""
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BadInput(f"{path}: cannot be read as an array ({error}); bring it anew") from None
    if found.ndim != 2 or found.shape[1] != 4 or not np.isfinite(found).all():
        raise BadInput(f"{path}: is not (n, 4) finite numbers: x, y, z, intensity; bring it anew")
    return found.astype(np.float32, copy=False)
