"""The sensors on the car: up to four cameras without distortion, level, and a lidar on the roof.

Frames: the car's is x ahead, y left, z up, on the ground below its middle; a camera's x right, y down, z on its axis.
Pixels: u right, v down; the middle of the first one is (0.5, 0.5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

FOV_RAD = math.radians(80)  # across; a light at 20 m is then three pixels of 112 wide
# x, y, z in metres and the angle to the left in degrees. ThinkTwice's places, the sides turned 65 degrees, not 90.
MOUNTS = {
    "front": (1.5, 0.0, 2.5, 0.0),
    "left": (0.0, 0.3, 2.5, 65.0),
    "right": (0.0, -0.3, 2.5, -65.0),
    "back": (-1.6, 0.0, 2.5, 180.0),
}
CHOSEN = {1: ("front",), 2: ("front", "back"), 3: ("front", "left", "right"), 4: ("front", "left", "right", "back")}
LIDAR_M = 2.5  # above the middle of the car
RINGS_DEG = np.concatenate([np.linspace(-24, -2, 15), [0.5, 3.5]])
TURNS, REACH_M, RANGE_NOISE_M = 180, 60.0, 0.02


@dataclass(frozen=True)
class Eye:
    name: str
    size: tuple[int, int]  # height, width in px
    K: np.ndarray  # (3, 3)
    camera_from_ego: np.ndarray  # (4, 4)

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points of the car's frame (n, 3) -> pixels (n, 2), depths along the axis (n)."""
        seen = np.asarray(points, float) @ self.camera_from_ego[:3, :3].T + self.camera_from_ego[:3, 3]
        image = seen @ self.K.T
        with np.errstate(divide="ignore", invalid="ignore"):
            return image[:, :2] / image[:, 2:], seen[:, 2]


def eye(name: str, height: int, width: int) -> Eye:
    x, y, z, degrees = MOUNTS[name]
    focal = width / 2 / math.tan(FOV_RAD / 2)
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    rotation = np.array([[s, -c, 0], [0, 0, -1], [c, s, 0]])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ [x, y, z]
    return Eye(name, (height, width), K, pose)


def eyes(cameras: int, height: int, width: int) -> list[Eye]:
    return [eye(name, height, width) for name in CHOSEN[cameras]]
