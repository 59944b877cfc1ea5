"""Cameras, the ground they look at, and the way between pixels and metres. Pure numpy; all lengths in metres.

A point of the world is X, Y, Z with the ground at Z = 0; x_camera = R X + T, pixel = K x_camera / depth, and a pixel's
centre is at whole numbers, as in OpenCV. The *plane* is a rectangle on the ground, divided into square cells: what a
network predicts and a map shows. Its coordinates are metres from its corner, x along its width and y along its height.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import cv2
import numpy as np

EDGE_M = 1e-6


@dataclass(frozen=True)
class Camera:
    """A camera without distortion."""

    K: np.ndarray  # (3, 3)
    R: np.ndarray  # (3, 3)
    T: np.ndarray  # (3)
    size: tuple[int, int]  # height, width in px
    roi: np.ndarray | None = None  # (n, 2) polygon u, v in px: where people may stand; None: anywhere

    @property
    def centre(self) -> np.ndarray:
        """Where the camera is, (3). By the inverse of R, not its transpose: files round R to a few digits."""
        return -np.linalg.solve(self.R, self.T)

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """World (N, 3) -> pixels (N, 2) and depths (N); a pixel means something only where the depth is above 0."""
        seen = np.asarray(points, float) @ self.R.T + self.T
        depth = seen[:, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            image = seen @ self.K.T
            return image[:, :2] / image[:, 2:], depth

    def homography(self) -> np.ndarray:
        """(3, 3) of the ground, X, Y, 1 -> u, v, 1 times the depth: K [r1 r2 t]."""
        return self.K @ np.column_stack([self.R[:, 0], self.R[:, 1], self.T])

    def ground(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (N, 2) -> X, Y (N, 2) where their rays meet the ground; NaN for those above the horizon."""
        rays = np.column_stack([np.asarray(pixels, float), np.ones(len(pixels))]) @ np.linalg.inv(self.K @ self.R).T
        centre = self.centre
        with np.errstate(divide="ignore", invalid="ignore"):
            far = -centre[2] / rays[:, 2]
            found = centre[:2] + far[:, None] * rays[:, :2]
        return np.where((far > 0)[:, None] & np.isfinite(found), found, np.nan)

    def resized(self, height: int, width: int) -> Camera:
        """The same camera after its image was resized: pixel edges, not centres, keep their places."""
        sy, sx = height / self.size[0], width / self.size[1]
        scale = np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])
        roi = None if self.roi is None else (np.asarray(self.roi, float) + 0.5) * [sx, sy] - 0.5
        return Camera(scale @ self.K, self.R, self.T, (height, width), roi)

    def sees(self, pixels: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """(N) bool: in front of the camera, in its image, and in its region of interest if it has one."""
        height, width = self.size
        with np.errstate(invalid="ignore"):
            inside = (depth > 1e-6) & (np.abs(pixels + 0.5 - [width / 2, height / 2]) <= [width / 2, height / 2]).all(1)
        if self.roi is not None and inside.any():
            polygon = np.asarray(self.roi, np.float32).reshape(-1, 1, 2)
            at = pixels[inside]
            inside[inside] = [cv2.pointPolygonTest(polygon, (float(u), float(v)), False) >= 0 for u, v in at]
        return inside


@dataclass(frozen=True)
class Plane:
    """A rectangle on the ground."""

    origin_m: tuple[float, float]  # of its corner, in the world
    size_m: tuple[float, float]  # width, height
    angle_rad: float = 0.0  # of its width against the world's X axis

    @property
    def axes(self) -> np.ndarray:
        """(2, 2): its x and y axes in the world, as columns."""
        c, s = np.cos(self.angle_rad), np.sin(self.angle_rad)
        return np.array([[c, -s], [s, c]])

    def to_world(self, xy: np.ndarray) -> np.ndarray:
        """(..., 2) in the plane -> (..., 2) in the world."""
        return np.asarray(xy, float) @ self.axes.T + self.origin_m

    def to_plane(self, xy: np.ndarray) -> np.ndarray:
        """(..., 2) in the world -> (..., 2) in the plane."""
        return (np.asarray(xy, float) - self.origin_m) @ self.axes

    def holds(self, xy: np.ndarray) -> np.ndarray:
        """(N) bool: plane coordinates that lie in it, or within a micrometre of it: its edge belongs to it."""
        return ((np.asarray(xy) >= -EDGE_M) & (np.asarray(xy) <= np.add(self.size_m, EDGE_M))).all(-1)

    def grid(self, cell_m: float) -> tuple[int, int]:
        """Rows and columns of cells that cover it."""
        return ceil(self.size_m[1] / cell_m - 1e-6), ceil(self.size_m[0] / cell_m - 1e-6)

    @staticmethod
    def around(points: np.ndarray) -> Plane:
        """The smallest rectangle around points of the ground (N, 2), as MARMOT's: cv2.minAreaRect.

        Its x axis is the side nearest to the world's, within 45 degrees: which side OpenCV calls the width, and from
        where it counts the angle, is another thing in each of its versions. Size and corner are those of the points as
        they were given: OpenCV's are of single precision.
        """
        points = np.asarray(points, float)
        _, _, degrees = cv2.minAreaRect((points - points.mean(0)).astype(np.float32))
        angle = float(np.deg2rad((degrees + 45) % 90 - 45))
        turn = Plane((0.0, 0.0), (0.0, 0.0), angle)
        turned = turn.to_plane(points)
        corner, (w, h) = turn.to_world(turned.min(0)), np.ptp(turned, axis=0)
        return Plane((float(corner[0]), float(corner[1])), (float(w), float(h)), angle)


def cells(grid: tuple[int, int], cell_m: float) -> np.ndarray:
    """Plane coordinates of the centres of the cells, (rows, columns, 2)."""
    rows, columns = grid
    y, x = np.mgrid[:rows, :columns]
    return np.stack([(x + 0.5) * cell_m, (y + 0.5) * cell_m], axis=-1)


def looked_up(camera: Camera, plane: Plane, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where a camera sees places of the plane (..., 2): (sampling (..., 2) float32, seen (...) bool).

    `sampling` is what torch's grid_sample takes with align_corners=False: -1 and 1 are the edges of the image, whatever
    the stride of its features; where nothing is seen it is 2, outside. Strided convolutions look up to half a stride
    beside that, the same everywhere: a network learns it.
    """
    flat = plane.to_world(np.reshape(xy, (-1, 2)))
    pixels, depth = camera.project(np.column_stack([flat, np.zeros(len(flat))]))
    seen = camera.sees(pixels, depth)
    height, width = camera.size
    found = np.where(seen[:, None], 2 * (pixels + 0.5) / [width, height] - 1, 2.0)
    return found.reshape(xy.shape).astype(np.float32), seen.reshape(xy.shape[:-1])


def polygon_on_ground(camera: Camera, polygon: Sequence[Sequence[float]]) -> np.ndarray:
    """A polygon in the image -> its corners on the ground (n, 2); those above the horizon are left out."""
    found = camera.ground(np.asarray(polygon, float))
    return found[np.isfinite(found).all(1)]
