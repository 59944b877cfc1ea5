"""Small routes in the line's own layout, written without a world: a car that turns left at a steady speed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.open_loop_driving.formats import frames, routes
from tasks.open_loop_driving.formats.calibration import Camera
from tasks.open_loop_driving.importers.drives import pinhole
from tests import sections

SPEED_MS, TURN_RADPS = 6.0, 0.1
SIZE = 24, 40


def camera() -> Camera:
    return pinhole("front", (1.5, 0.0, 2.5, 0.0, 80.0), SIZE)


def poses(n: int) -> np.ndarray:
    """(n, 3) of an arc, half a second apart."""
    yaw = TURN_RADPS * np.arange(n) / 2
    radius = SPEED_MS / TURN_RADPS
    return np.column_stack([radius * np.sin(yaw), radius * (1 - np.cos(yaw)), yaw])


def columns(n: int) -> dict[str, np.ndarray]:
    where = poses(n)
    ahead = frames.ego_from_world(np.array([20.0, 5.0]), where)
    return {
        "frame": np.arange(n), "time_s": np.arange(n) / 2, "x": where[:, 0], "y": where[:, 1],
        "yaw": frames.wrapped(where[:, 2]), "speed_ms": np.full(n, SPEED_MS), "throttle": np.full(n, 0.3),
        "steer": np.full(n, -0.2), "brake": np.zeros(n), "command": np.full(n, 4), "target_x": ahead[:, 0],
        "target_y": ahead[:, 1],
    }  # fmt: skip


def write(folder: Path, n: int = 12, town: str = "town01", **changes: np.ndarray) -> Path:
    """`changes`: other columns of frames.csv, or None for none."""
    rng = np.random.default_rng(n)
    table = {key: values for key, values in {**columns(n), **changes}.items() if values is not None}
    for frame in table["frame"]:
        routes.write_png(folder / "rgb_front" / f"{frame:04d}.png", rng.integers(0, 255, (*SIZE, 3), np.uint8))
        routes.write_lidar(folder / "lidar" / f"{frame:04d}.npy", rng.uniform(-9, 9, (int(frame) % 3 + 1, 4)))
    routes.write_boxes(folder, {int(f): [("vehicle", 9, 1, 0.8, 4, 2, 1.6, 0.1, 3, 7)] for f in table["frame"]})
    routes.write_frames(folder, table)
    about = {
        "layout": "routes", "town": town, "source": "tiny", "origin": "rear axle", "rendered": False, "rate_hz": 2.0,
        "usable": n, "cut": None, "weather": None, "remarks": [],
    }  # fmt: skip
    routes.write_about(folder, about, {"front": camera()}, table)
    return folder


def section(step: str, **changes):
    from tasks.open_loop_driving import params

    model = {"download": params.Download, "check_data": params.CheckData, "pack": params.Pack}[step]
    return model.model_validate({**sections.values("open_loop_driving", step), **changes})
