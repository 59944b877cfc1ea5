"""The calibrated cameras of one scene: on poles around the square, looking in through lenses that bend lines."""

from __future__ import annotations

import math

import cv2
import numpy as np

from tasks.yard.geometry.camera import Plane
from tasks.yard.geometry.lens import Calibration

SIZE = (144, 256)  # height, width in px
PLANE = Plane((0.0, 0.0), (8.0, 8.0), 0.0)
CENTRE = np.array(PLANE.size_m) / 2
HEIGHT_M = (2.5, 3.5)  # of a camera over the ground
BESIDE_M = (0.4, 1.6)  # from the edge of the square to a pole, seen from its middle
FOCAL_PX = (140.0, 172.0)  # 73 to 85 degrees across


def looking(eye: np.ndarray, at: np.ndarray, roll_rad: float) -> tuple[np.ndarray, np.ndarray]:
    """R (3, 3) and T (3) of a camera at `eye` that looks at `at`; a roll of 0 keeps it upright."""
    ahead = (at - eye) / np.linalg.norm(at - eye)
    right = np.cross(ahead, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(ahead, right)
    c, s = math.cos(roll_rad), math.sin(roll_rad)
    rotation = np.stack([c * right + s * down, c * down - s * right, ahead])
    return rotation, -rotation @ eye


def lens(rng: np.random.Generator) -> np.ndarray:
    """k1, k2, p1, p2, k3 of a barrel. With k2 above 0.45 k1^2 what is further out stays further out, however far."""
    k1 = -float(rng.uniform(0.15, 0.30))
    return np.array([k1, k1 * k1 * rng.uniform(0.9, 1.3), *rng.uniform(-0.002, 0.002, 2), 0.0])


def region(found: Calibration) -> np.ndarray:
    """The part of the square that the camera filmed, as a polygon (n, 2) in the image without distortion: looked up
    at every pixel, so that it is up to a pixel too small."""
    height, width = found.size
    pixels = np.column_stack([axis.ravel().astype(float) for axis in np.mgrid[:height, :width][::-1]])
    ground = found.camera().ground(pixels)
    inside = np.isfinite(ground).all(1)
    inside[inside] = PLANE.holds(PLANE.to_plane(ground[inside]))
    filmed = found.as_filmed(pixels[inside]) + 0.5
    inside[inside] = ((filmed >= 0) & (filmed <= [width, height])).all(1)
    mask = inside.reshape(height, width).astype(np.uint8)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    polygon = cv2.approxPolyDP(max(outlines, key=cv2.contourArea), 0.4, closed=True).reshape(-1, 2)
    return polygon.astype(float)


def camera(rng: np.random.Generator, number: int, angle_rad: float) -> Calibration:
    """cam`number`, seen from the middle of the square at an angle."""
    out = np.array([math.cos(angle_rad), math.sin(angle_rad)])
    edge = PLANE.size_m[0] / 2 / np.abs(out).max()
    eye = np.array([*(CENTRE + out * (edge + rng.uniform(*BESIDE_M))), rng.uniform(*HEIGHT_M)])
    at = np.array([*(CENTRE + rng.normal(0, 0.5, 2) + 0.4 * out), rng.uniform(0.1, 0.6)])
    rotation, shift = looking(eye, at, float(rng.normal(0, 0.02)))
    height, width = SIZE
    focal = float(rng.uniform(*FOCAL_PX))
    middle = np.array([width, height]) / 2 - 0.5 + rng.normal(0, 2.5, 2)
    K = np.array([[focal, 0, middle[0]], [0, focal * rng.uniform(0.99, 1.01), middle[1]], [0, 0, 1]])
    dist = lens(rng)
    # At 0 nothing but filmed pixels is kept, at 1 all of them, with black beside them.
    K_new, _ = cv2.getOptimalNewCameraMatrix(K, dist, (width, height), float(rng.choice([0.0, 0.5])))
    bare = Calibration(f"cam{number}", K, K_new, rotation, shift, dist, SIZE, None)
    return Calibration(f"cam{number}", K, K_new, rotation, shift, dist, SIZE, region(bare))


def draw(rng: np.random.Generator, cameras: int) -> list[Calibration]:
    """All cameras of a scene: all around, not quite evenly."""
    first, step = float(rng.uniform(0, 2 * math.pi)), 2 * math.pi / cameras
    angles = first + step * (np.arange(cameras) + rng.uniform(-0.22, 0.22, cameras))
    return [camera(rng, number + 1, float(angle)) for number, angle in enumerate(angles)]
