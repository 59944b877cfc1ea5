"""One camera on the car: what training, evaluation and drawing see through.

    {"width": 112, "height": 64, "K": 3x3, "camera_from_ego": 4x4}

Pixels: u to the right, v down, edges at whole numbers: the middle of the first pixel is (0.5, 0.5). A camera has no
distortion; a source's lens is said in its route.json's remarks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.yard.step import BadInput

KEYS = ("width", "height", "K", "camera_from_ego")
ORDER = ("front", "f0", "left", "l0", "right", "r0")
NEAR_M = 0.1  # what is closer to the camera than this is not seen
ROTATION = 1e-3  # how far a rotation may be from one


@dataclass(frozen=True, eq=False)
class Camera:
    name: str
    size: tuple[int, int]  # height, width in px
    K: np.ndarray  # (3, 3)
    camera_from_ego: np.ndarray  # (4, 4)

    @property
    def ego_from_camera(self) -> np.ndarray:
        """(4, 4) by a true inverse: the transpose of a (4, 4) would lose where the camera is."""
        return np.linalg.inv(self.camera_from_ego)

    @property
    def centre(self) -> np.ndarray:
        """(3) where it is on the car."""
        return self.ego_from_camera[:3, 3]

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points of the car's frame (n, 3) -> pixels (n, 2), depths along the axis (n). A pixel means something only
        where the depth is above 0."""
        seen = np.asarray(points, float)[:, :3] @ self.camera_from_ego[:3, :3].T + self.camera_from_ego[:3, 3]
        image = seen @ self.K.T
        with np.errstate(divide="ignore", invalid="ignore"):
            return image[:, :2] / image[:, 2:], seen[:, 2]

    def lift(self, pixels: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """The inverse of `project`: pixels (n, 2) and depths along the axis (n) -> the car's frame (n, 3)."""
        flat = np.column_stack([np.asarray(pixels, float), np.ones(len(pixels))])
        seen = np.linalg.solve(self.K, flat.T).T * np.asarray(depth, float)[:, None]
        back = self.ego_from_camera
        return seen @ back[:3, :3].T + back[:3, 3]

    def sees(self, pixels: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """(n) bool: in front of it and in its picture."""
        height, width = self.size
        with np.errstate(invalid="ignore"):
            return (depth > NEAR_M) & (pixels >= 0).all(1) & (pixels < [width, height]).all(1)

    def resized(self, height: int, width: int) -> Camera:
        """The same camera after its picture was resized."""
        scale = np.diag([width / self.size[1], height / self.size[0], 1.0])
        return Camera(self.name, (height, width), scale @ self.K, self.camera_from_ego)

    def cropped(self, top: int, left: int, height: int, width: int) -> Camera:
        """The same camera after a part of its picture was cut out."""
        shift = np.array([[1.0, 0, -left], [0, 1, -top], [0, 0, 1]])
        return Camera(self.name, (height, width), shift @ self.K, self.camera_from_ego)

    def document(self) -> dict[str, Any]:
        return {
            "width": self.size[1], "height": self.size[0], "K": self.K.tolist(),
            "camera_from_ego": self.camera_from_ego.tolist(),
        }  # fmt: skip


def parse(said: Mapping[str, Any], name: str, where: str) -> Camera:
    """Raises `BadInput` that names the file, the camera and the key."""
    if not isinstance(said, Mapping) or (missing := [key for key in KEYS if key not in said]):
        lacks = f"key {missing[0]!r} is missing" if isinstance(said, Mapping) else "is no object"
        raise BadInput(f"{where}: camera {name}: {lacks}; a camera has {', '.join(KEYS)}")

    def numbers(key: str, shape: tuple[int, ...]) -> np.ndarray:
        try:
            found = np.array(said[key], float)
        except (TypeError, ValueError):
            found = np.empty(0)
        if found.shape != shape or not np.isfinite(found).all():
            raise BadInput(f"{where}: camera {name}: {key!r} is not {' x '.join(map(str, shape))} finite numbers")
        return found

    K, pose = numbers("K", (3, 3)), numbers("camera_from_ego", (4, 4))
    if K[0, 0] <= 0 or K[1, 1] <= 0 or not np.allclose(K[2], [0, 0, 1]):
        raise BadInput(f"{where}: camera {name}: 'K' is no camera matrix; expected fx, fy > 0 and [0, 0, 1] below")
    turned = pose[:3, :3]
    off = np.abs(turned @ turned.T - np.eye(3)).max()
    if off > ROTATION or np.linalg.det(turned) < 0 or not np.allclose(pose[3], [0, 0, 0, 1]):
        raise BadInput(
            f"{where}: camera {name}: 'camera_from_ego' is no rotation and shift of right-handed frames; turn CARLA's "
            "left-handed ones first (tasks/open_loop_driving/formats/frames.py)"
        )
    sides = [said["height"], said["width"]]
    if not all(isinstance(side, int) and side > 0 for side in sides):
        raise BadInput(f"{where}: camera {name}: 'height' and 'width' are {sides}; expected whole numbers above 0")
    return Camera(name, (sides[0], sides[1]), K, pose)


def documents(cameras: Mapping[str, Camera]) -> dict[str, dict[str, Any]]:
    return {name: camera.document() for name, camera in cameras.items()}


def parse_all(said: Mapping[str, Any], where: str) -> dict[str, Camera]:
    """By name; those that look ahead first, so that a page reads from the front to the back."""
    order = sorted(said, key=lambda name: (next((i for i, word in enumerate(ORDER) if word in name), len(ORDER)), name))
    return {name: parse(said[name], name, where) for name in order}


def loads(text: str, where: str) -> dict[str, Camera]:
    """Of the JSON text of `documents`."""
    return parse_all(json.loads(text), where)
