"""The calibration of one camera: MARMOT's camN.json, and what follows from it.

    {"K": 3x3, "K_new": 3x3, "R": 3x3, "T": 3, "dist": 5, "view_id": 1, "ROI": [[u, v], ...] or null,
     "bounding_box": null, "size": [height, width]}

K and dist (OpenCV's k1, k2, p1, p2, k3) belong to the image as it was filmed; K_new to the image without distortion, in
whose pixels ROI is drawn. T is in centimetres in the file, in metres here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tasks.yard.files import read_json
from tasks.yard.geometry.camera import Camera
from tasks.yard.step import BadInput

CM = 0.01
KEYS = ("K", "K_new", "R", "T", "dist", "view_id", "ROI", "bounding_box", "size")
SHAPES = {"K": (3, 3), "K_new": (3, 3), "R": (3, 3), "T": (3,)}


@dataclass(frozen=True)
class Calibration:
    name: str  # cam1
    K: np.ndarray
    K_new: np.ndarray
    R: np.ndarray
    T: np.ndarray  # metres
    dist: np.ndarray
    size: tuple[int, int]  # height, width
    roi: np.ndarray | None

    def camera(self) -> Camera:
        """Of the image without distortion."""
        return Camera(self.K_new, self.R, self.T, self.size, self.roi)

    @cached_property
    def maps(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Where each pixel without distortion is in the image as filmed; None where it is the same one."""
        if not self.dist.any() and np.array_equal(self.K, self.K_new):
            return None
        height, width = self.size
        return cv2.initUndistortRectifyMap(self.K, self.dist, None, self.K_new, (width, height), cv2.CV_32FC1)

    def undistorted(self, image: np.ndarray) -> np.ndarray:
        """An image as filmed -> as K_new has it."""
        return image if self.maps is None else cv2.remap(image, *self.maps, cv2.INTER_LINEAR)

    def as_filmed(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (N, 2) without distortion -> of the image as filmed."""
        if not len(pixels):  # which OpenCV refuses
            return np.empty((0, 2))
        flat = np.column_stack([np.asarray(pixels, float), np.ones(len(pixels))]) @ np.linalg.inv(self.K_new).T
        found, _ = cv2.projectPoints(flat, np.zeros(3), np.zeros(3), self.K, self.dist)
        return found.reshape(-1, 2)

    def document(self) -> dict[str, Any]:
        """What camN.json holds."""
        return {
            "K": self.K.tolist(), "K_new": self.K_new.tolist(), "R": self.R.tolist(), "T": (self.T / CM).tolist(),
            "dist": self.dist.tolist(), "view_id": int("".join(filter(str.isdigit, self.name)) or 0),
            "ROI": None if self.roi is None else np.asarray(self.roi).tolist(), "bounding_box": None,
            "size": list(self.size),
        }  # fmt: skip


def parse(said: Mapping[str, Any], name: str, where: str, metres_per_unit: float = CM) -> Calibration:
    """Raises `BadInput` that names the file and the key."""
    if missing := [key for key in KEYS if key not in said]:
        raise BadInput(f"{where}: key {missing[0]!r} is missing; a calibration has {', '.join(KEYS)}")

    def matrix(key: str, shape: tuple[int, ...] | None) -> np.ndarray:
        try:
            value = np.asarray(said[key], float)
        except (TypeError, ValueError):
            value = np.empty(0)
        value = value.ravel() if shape is None or len(shape) == 1 else value
        if (shape is not None and value.shape != shape) or not value.size or not np.isfinite(value).all():
            raise BadInput(f"{where}: {key!r} is not {' x '.join(map(str, shape or ('n',)))} finite numbers")
        return value

    found = {key: matrix(key, shape) for key, shape in SHAPES.items()}
    for key in ("K", "K_new"):
        if found[key][0, 0] <= 0 or found[key][1, 1] <= 0 or not np.allclose(found[key][2], [0, 0, 1]):
            raise BadInput(f"{where}: {key!r} is no camera matrix; expected fx, fy > 0 and [0, 0, 1] below, in px")
    if abs(np.linalg.det(found["R"]) - 1) > 1e-3 or np.abs(found["R"] @ found["R"].T - np.eye(3)).max() > 1e-3:
        raise BadInput(f"{where}: 'R' is no rotation (R R^T is not 1); mend it")
    dist = matrix("dist", None)
    if len(dist) not in (4, 5, 8, 12, 14):
        raise BadInput(f"{where}: 'dist' has {len(dist)} numbers; expected k1, k2, p1, p2, k3")
    size = matrix("size", (2,))
    if (size < 1).any() or (size % 1).any():
        raise BadInput(f"{where}: 'size' is {said['size']}; expected height, width in px")
    roi = None
    if said["ROI"]:
        try:
            roi = np.asarray(said["ROI"], float)
        except (TypeError, ValueError):
            roi = np.empty(0)
        if roi.ndim != 2 or roi.shape[0] < 3 or roi.shape[1] != 2 or not np.isfinite(roi).all():
            raise BadInput(f"{where}: 'ROI' is no polygon; expected 3 or more [u, v], or null")
    return Calibration(
        name, found["K"], found["K_new"], found["R"], found["T"] * metres_per_unit, dist,
        (int(size[0]), int(size[1])), roi,
    )  # fmt: skip


def read(path: Path, metres_per_unit: float = CM) -> Calibration:
    """Raises `BadInput` that names the file and the key."""
    try:
        said = read_json(path)
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(said, dict):
        raise BadInput(f"{path}: expected an object with the keys {', '.join(KEYS)}")
    return parse(said, path.stem.removesuffix("_new"), str(path), metres_per_unit)


def above_ground(of: Calibration, where: Path) -> None:
    """Raises `BadInput` if the camera is below the ground, or sees none of it: its world is upside down."""
    camera, (height, width) = of.camera(), of.size
    if camera.centre[2] <= 0 or np.isnan(camera.ground(np.array([[width / 2, height - 1.0]]))).any():
        raise BadInput(f"{where}: the bottom of the camera's image shows no ground below it; mend rotation and shift")
