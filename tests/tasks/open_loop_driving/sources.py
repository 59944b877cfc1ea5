"""Small sources in the layouts of the real world, brought by the step."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tasks.open_loop_driving import download
from tasks.open_loop_driving.formats import routes
from tasks.open_loop_driving.formats.routes import Route
from tasks.yard.files import read_json
from tests.tasks.open_loop_driving.tiny_routes import section

REPO = Path(__file__).parents[3]
REAL = REPO / "../shared/real"
SPEED_MS = 5.0
SIZE = 30, 50


def fetched(folder: Path, source: Path | str, **changes) -> dict:
    """download/report.json, after the step."""
    download.run(section("download", source=str(source), **changes), folder / "download")
    return read_json(folder / "download/report.json")


def brought(folder: Path, name: str) -> Route:
    return routes.read(folder / "download" / name)


def picture(path: Path, seed: int = 0, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    cv2.imwrite(str(path), rng.integers(0, 255, (*size, 3), np.uint8))


def turning_left(n: int, step_s: float, speed: float = SPEED_MS) -> list[tuple[float, float, float]]:
    """In CARLA's world: X, Y, yaw of a car that drives along X and, after a third of the way, bends to the left."""
    x = y = yaw = 0.0
    found = []
    for i in range(n):
        found.append((x, y, yaw))
        if i > n / 3:
            yaw -= 0.05 * step_s / 0.5
        x, y = x + speed * step_s * math.cos(yaw), y + speed * step_s * math.sin(yaw)
    return found


def lbc(folder: Path, n: int = 20, hz: float = 2.0, sides: tuple[str, ...] = ("rgb",), **changes: Any) -> Path:
    """A drive of Learning by Cheating. `changes`: of every measurement."""
    for i, (x, y, yaw) in enumerate(turning_left(n, 1 / hz)):
        said = {
            "x": -y, "y": x, "theta": yaw + math.pi / 2, "speed": SPEED_MS, "target_speed": 7.0, "x_command": -y + 0.0,
            "y_command": x + 20.0, "command": 4, "steer": -0.1, "throttle": 0.5, "brake": False, **changes,
        }  # fmt: skip
        write(folder / "measurements" / f"{i:04d}.json", said)
        for side in sides:
            picture(folder / side / f"{i:04d}.png", i)
    return folder


def write(path: Path, said: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = json.dumps(said).encode()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def carla(x: float, y: float, z: float, yaw: float) -> np.ndarray:
    """CARLA's transform (4, 4) of something that stands level in its world."""
    c, s = math.cos(yaw), math.sin(yaw)
    return np.array([[c, -s, 0, x], [s, c, 0, y], [0, 0, 1, z], [0, 0, 0, 1]])


def bench2drive(folder: Path, n: int = 30, packed: bool = True, speed: float = SPEED_MS) -> Path:
    """A clip of ten frames a second with one camera, and a parked car 5 m to the right of the start and 12 m ahead."""
    for i, (x, y, yaw) in enumerate(turning_left(n, 0.1, speed)):
        ego, cam = carla(x, y, 0.3, yaw), carla(0.8, 0, 1.6, 0)
        parked = np.array([12.0, 5.0, 0.3])
        world2ego = np.linalg.inv(ego)
        away = float(np.linalg.norm((world2ego @ [*parked, 1])[:3]))
        said = {
            "x": x + 0.4, "y": y - 0.3, "theta": yaw + math.pi / 2, "speed": speed, "throttle": 0.5, "steer": -0.1,
            "brake": 0.0, "x_command_far": x + 20, "y_command_far": y, "command_far": 4, "command_near": 4,
            "x_command_near": x + 5, "y_command_near": y, "should_brake": False, "x_target": x + 20, "y_target": y,
            "next_command": 4, "bounding_boxes": [
                {"class": "ego_vehicle", "id": "1", "location": [x, y, 0.3], "rotation": [0, 0, math.degrees(yaw)],
                 "extent": [2.4, 0.9, 0.75], "world2ego": world2ego.tolist()},
                {"class": "vehicle", "id": "2", "base_type": "car", "location": parked.tolist(),
                 "rotation": [0, 0, 90.0], "center": [12.0, 5.0, 1.0], "extent": [2.0, 1.0, 0.7], "distance": away,
                 "speed": 0.0},
            ],
            "sensors": {"CAM_FRONT": {
                "intrinsic": [[40.0, 0, 25], [0, 40.0, 15], [0, 0, 1]], "image_size_x": SIZE[1],
                "image_size_y": SIZE[0],
                "cam2ego": cam.tolist(), "world2cam": np.linalg.inv(ego @ cam).tolist()}},
        }  # fmt: skip
        write(folder / "anno" / f"{i:05d}.json{'.gz' if packed else ''}", said)
        picture(folder / "camera" / "rgb_front" / f"{i:05d}.jpg", i)
    return folder
