"""What MLflow serves of this line: two moments half a second apart in, the last layer's plan out.

    {"inputs": {
        "pose_before", "pose_now": (n, 3)   x, y in m and yaw in radians, x ahead and y left, of any one frame
        "speed_ms": (n), "command": (n), "target": (n, 2)       the point that the command leads to, ahead and left in m
        "images_before", "images_now": (n, cameras)             base64 of an image each
        "lidar_before", "lidar_now": (n, points, 4)             x, y, z, intensity; null after the last point
    }}

of which images and lidar are those that the network was trained with. Answers {"predictions": {"waypoints", "alpha",
"beta": (n, steps, 2)}}.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tasks.open_loop_driving.formats.plans import Observation
from tasks.open_loop_driving.learning.planner import Planner
from tasks.yard import serving
from tasks.yard.step import BadInput

MOMENTS = ("before", "now")
PARTS = ("waypoints", "alpha", "beta")


class Served:
    def __init__(self, path: str):
        self.planner = Planner.load(Path(path))

    def predict(self, inputs: dict[str, np.ndarray], params: dict | None = None) -> dict[str, np.ndarray]:
        """Of n moments. Raises `BadInput` where something lacks."""
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
            images=None if images is None else self.seen(images[row], f"images_{moment}[{row}]"),
            lidar=None if points is None else points[np.isfinite(points).all(1)],
        )  # fmt: skip

    def seen(self, images: np.ndarray, name: str) -> dict[str, np.ndarray]:
        cameras, found = self.planner.needs.cameras, serving.pictures(images, name)
        if len(found) != len(cameras):
            raise BadInput(f"{name}: {len(found)} images; the network looks through {', '.join(cameras)}")
        return dict(zip(cameras, found, strict=True))


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
            grey = serving.text_of(np.full((*size, 3), 128, np.uint8))
            found[f"images_{moment}"] = np.array([[grey] * len(planner.needs.cameras)])
        if "lidar" in planner.needs.sensors:
            found[f"lidar_{moment}"] = np.array([[[8.0, 0.0, 0.0, 0.5]]])
    return found


def _load_pyfunc(path: str) -> Served:
    """The name that MLflow looks for in a loader module."""
    return Served(path)
