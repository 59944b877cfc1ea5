"""What MLflow serves of this line: two moments half a second apart in, the last layer's plan out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tasks.open_loop_driving.formats.plans import Observation
from tasks.open_loop_driving.learning.planner import Planner

MOMENTS = ("before", "now")
PARTS = ("waypoints", "alpha", "beta")
POINTS = 65536  # of a sweep; a signature of MLflow has no room for a number that varies


class Served:
    def __init__(self, path: str):
        self.planner = Planner.load(Path(path))

    def predict(self, inputs: dict[str, np.ndarray], params: dict | None = None) -> dict[str, np.ndarray]:
        """Of n moments: pose_before and pose_now (n, 3), speed_ms (n), command (n), target (n, 2); and what the network
        needs of images_before, images_now (n, cameras, h, w, 3) uint8 RGB and lidar_before, lidar_now (n, POINTS, 4),
        as `padded` makes them -> waypoints, alpha, beta (n, steps, 2). Raises `BadInput` where something lacks.
        """
        plans = [
            self.planner.plan(*(self.observation(inputs, row, moment) for moment in MOMENTS))
            for row in range(len(inputs["command"]))
        ]
        return {part: np.stack([getattr(plan, part)[-1] for plan in plans]).astype(np.float32) for part in PARTS}

    def observation(self, inputs: dict[str, np.ndarray], row: int, moment: str) -> Observation:
        images, lidar = (inputs.get(f"{kind}_{moment}") for kind in ("images", "lidar"))
        points = None if lidar is None else np.asarray(lidar[row], np.float32)
        return Observation(
            pose=tuple(inputs[f"pose_{moment}"][row]), speed_ms=float(inputs["speed_ms"][row]),
            command=int(inputs["command"][row]), target=tuple(inputs["target"][row]),
            images=None if images is None else dict(zip(self.planner.needs.cameras, images[row], strict=True)),
            lidar=None if points is None else points[np.isfinite(points).all(1)],
        )  # fmt: skip


def padded(points: np.ndarray) -> np.ndarray:
    """A sweep (n, 4) as (POINTS, 4) with NaN after its last point; of a larger one some points are left out, evenly."""
    found = np.full((POINTS, 4), np.nan, np.float32)
    kept = points if len(points) <= POINTS else points[np.linspace(0, len(points) - 1, POINTS).astype(int)]
    found[: len(kept)] = kept
    return found


def example(checkpoint: Path) -> dict[str, np.ndarray]:
    """One moment, of what the network of a checkpoint needs."""
    planner = Planner.load(checkpoint)
    found: dict[str, Any] = {
        "speed_ms": np.zeros(1, np.float32), "command": np.array([4]), "target": np.array([[10.0, 0.0]], np.float32)
    }  # fmt: skip
    for moment in MOMENTS:
        found[f"pose_{moment}"] = np.zeros((1, 3))
        if "rgb" in planner.needs.sensors:
            size = planner.calibration[planner.needs.cameras[0]].size
            found[f"images_{moment}"] = np.zeros((1, len(planner.needs.cameras), *size, 3), np.uint8)
        if "lidar" in planner.needs.sensors:
            found[f"lidar_{moment}"] = padded(np.array([[8.0, 0.0, 0.0, 0.5]]))[None]
    return found


def _load_pyfunc(path: str) -> Served:
    """The name that MLflow looks for in a loader module."""
    return Served(path)
