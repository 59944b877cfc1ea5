"""A camera with a lens that bends straight lines: its calibration, and the way between the image as it was filmed and
the image without distortion, which is a pinhole camera's (camera.py).

K and dist (OpenCV's k1, k2, p1, p2, k3) belong to the image as filmed; K_new to the image without distortion, in whose
pixels the region of interest is. All lengths in metres.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from tasks.yard.geometry.camera import Camera


def carried(pixels: np.ndarray, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Pixels (n, 2) without distortion of a camera matrix -> of another one."""
    flat = np.column_stack([np.asarray(pixels, float), np.ones(len(pixels))])
    return flat[:, :2] if np.array_equal(old, new) else (flat @ np.linalg.inv(old).T @ new.T)[:, :2]


@dataclass(frozen=True)
class Calibration:
    name: str  # cam1
    K: np.ndarray  # (3, 3)
    K_new: np.ndarray  # (3, 3)
    R: np.ndarray  # (3, 3)
    T: np.ndarray  # (3)
    dist: np.ndarray
    size: tuple[int, int]  # height, width
    roi: np.ndarray | None  # (n, 2) polygon u, v in px without distortion; None: all of the image

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
