"""A dashcam's frames of a drive, with the true boxes of the vehicles in them.

A pinhole camera over a flat, bending road. The ground is one remap of a top-down texture, the far background a cyclic
panorama, and everything that stands on the ground is a flat picture warped to where its corners project: rear and side
of each vehicle, trees, signs, bridges, painted from far to near. Textures are made once a drive.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from tasks.yard.worlds.highway import scenery, sprites
from tasks.yard.worlds.highway.drive import Drive
from tasks.yard.worlds.highway.traffic import CAR, HEIGHT_M, LENGTH_M, WIDTH_M

cv2.setNumThreads(1)  # recordings are rendered in parallel, one process a core

WIDTH_PX, HEIGHT_PX = 640, 360
FOCAL_PX = 700.0
HORIZON_PX = 166.0  # so that rows 104..296, the crop that detection looks at, hold the vehicles
NOSE_M = 1.8  # from the camera to the front bumper
DRAW_M = 210.0
BONNET_ROW_PX = 322
MIN_BOX_PX = 8.0  # smaller than this nobody labels
MIN_VISIBLE = 0.4
JPEG_QUALITY = 85


@dataclass(frozen=True)
class Box:
    """One vehicle as a labeller would draw it, in pixels of the frame, clipped to it; `rear` is None out of view."""

    column: int  # in the arrays of the drive
    whole: tuple[float, float, float, float]
    rear: tuple[float, float, float, float] | None
    visible: float  # share of it that nothing nearer hides


@dataclass(frozen=True)
class Bends:
    """Curvature along the road as a sum of sines: its integral, the heading, is exact."""

    amplitude: np.ndarray
    wave_m: np.ndarray
    phase: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Bends:
        return cls(rng.uniform(0.5, 1.5, 3) / 4500, np.array([700.0, 1900.0, 4100.0]), rng.uniform(0, 6.28, 3))

    def curvature(self, s_m: float) -> float:
        return float(np.sum(self.amplitude * np.sin(6.28319 * s_m / self.wave_m + self.phase)))

    def heading(self, s_m: float) -> float:
        return float(-np.sum(self.amplitude * self.wave_m / 6.28319 * np.cos(6.28319 * s_m / self.wave_m + self.phase)))


@dataclass(frozen=True)
class View:
    """Where a point of the road lands in one frame. X is metres to the right, z metres ahead."""

    centre_px: float
    horizon_px: float
    height_m: float
    lateral_m: float
    curvature: float
    yaw_rad: float

    def right_m(self, y_m, z_m):
        return self.lateral_m - y_m + 0.5 * self.curvature * z_m**2 + self.yaw_rad * z_m

    def u(self, y_m, z_m):
        return self.centre_px + FOCAL_PX * self.right_m(y_m, z_m) / z_m

    def v(self, up_m, z_m):
        return self.horizon_px + FOCAL_PX * (self.height_m - up_m) / z_m

    def quad(self, left: tuple[float, float], right: tuple[float, float], low_m: float, high_m: float) -> np.ndarray:
        """Upright rectangle over two ground points (y, z): its corners from top left clockwise."""
        (ul, zl), (ur, zr) = ((self.u(*point), point[1]) for point in (left, right))
        return np.array(
            [[ul, self.v(high_m, zl)], [ur, self.v(high_m, zr)], [ur, self.v(low_m, zr)], [ul, self.v(low_m, zl)]]
        )


def extent(points: np.ndarray) -> tuple[float, float, float, float]:
    xs, ys = points.T.tolist()
    return min(xs), min(ys), max(xs), max(ys)


def window(points: np.ndarray) -> tuple[slice, slice]:
    """The pixels above the bonnet that an outline may own."""
    x1, y1, x2, y2 = (int(min(max(value, 0.0), float(WIDTH_PX))) for value in extent(points))
    return slice(y1, min(y2 + 2, BONNET_ROW_PX)), slice(x1, x2 + 2)


def clipped(box: tuple[float, float, float, float]) -> tuple[float, float, float, float] | None:
    """The part of a box inside the frame, None if a labeller would not see it."""
    x1, x2 = (min(max(x, 0.0), float(WIDTH_PX)) for x in (box[0], box[2]))
    y1, y2 = (min(max(y, 0.0), float(HEIGHT_PX)) for y in (box[1], box[3]))
    return (x1, y1, x2, y2) if min(x2 - x1, y2 - y1) >= MIN_BOX_PX else None


class Camera:
    """The camera of one drive: mounting, weather and everything drawn from `seed`, which fixes all of it."""

    def __init__(self, seed: list[int], light: scenery.Light) -> None:
        rng = np.random.default_rng(seed)
        self.light = light
        self.centre_px = WIDTH_PX / 2 + rng.uniform(-6, 6)
        self.horizon_px = HORIZON_PX + rng.uniform(-5, 5)
        self.height_m = rng.uniform(1.25, 1.4)
        self.bends = Bends.draw(rng)
        self.ground = scenery.ground(rng, light)
        self.panorama = scenery.panorama(rng, light, FOCAL_PX)
        self.roadside = scenery.Roadside(rng, light)
        self.bonnet = scenery.bonnet(rng, light, WIDTH_PX, HEIGHT_PX, BONNET_ROW_PX)
        self.lens = scenery.Lens(rng, light, WIDTH_PX, HEIGHT_PX)
        self.wardrobe = sprites.Wardrobe(rng, light.ambient)
        self.rng = rng  # from here on: bumps, noise

    def frame(self, drive: Drive, i: int, caption: str) -> tuple[np.ndarray, list[Box]]:
        """The picture at moment i, (360, 640, 3) BGR uint8, and the vehicles in it from near to far."""
        s_m = float(drive.travelled_m[i])
        view = View(
            centre_px=self.centre_px,
            # Bumps, and the nose that dips under braking.
            horizon_px=self.horizon_px + 0.6 * self.rng.standard_normal() + 0.7 * float(drive.accel_mps2[i]),
            height_m=self.height_m,
            lateral_m=float(drive.lateral_m[i]),
            curvature=self.bends.curvature(s_m + 40.0),
            yaw_rad=float(drive.yaw_rad[i]),
        )
        picture = self.backdrop(view, s_m)
        standing = self.roadside.standing(s_m, DRAW_M)
        distance = drive.distance_m[i] + NOSE_M
        near = distance + LENGTH_M[drive.kind[i]] > 2.5
        vehicles = np.flatnonzero(near & (distance < DRAW_M))
        things = [(distance[k], k, None) for k in vehicles] + [(thing.z_m, -1, thing) for thing in standing]
        owner = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
        drawn: list[tuple[int, np.ndarray, np.ndarray | None, int]] = []
        for _, column, thing in sorted(things, key=lambda item: -item[0]):
            if thing is not None:
                thing.paint(picture, view, self.light)
                continue
            hull, rear = self.vehicle(picture, view, drive, i, int(column))
            cv2.fillConvexPoly(owner, np.round(hull).astype(np.int32), len(drawn) + 1)
            painted = int(np.count_nonzero(owner[window(hull)] == len(drawn) + 1))
            drawn.append((int(column), hull, rear, painted))
        self.lens.finish(picture, self.rng)
        scenery.overlay(picture, self.bonnet, caption)
        left = self.counted(owner, [hull for _, hull, _, _ in drawn])
        boxes = []
        for index, (column, hull, rear, painted) in reversed(list(enumerate(drawn, 1))):
            visible = left[index] / max(painted, 1)
            whole = clipped(extent(hull))
            if whole and visible >= MIN_VISIBLE and distance[column] < 130:
                boxes.append(Box(column, whole, None if rear is None else clipped(extent(rear)), float(visible)))
        return picture, boxes

    @staticmethod
    def counted(owner: np.ndarray, hulls: list[np.ndarray]) -> np.ndarray:
        """Pixels of each owner from 1 on: nobody owns one outside of the hulls."""
        if not hulls:
            return np.zeros(1, int)
        return np.bincount(owner[window(np.concatenate(hulls))].ravel(), minlength=len(hulls) + 1)

    @cached_property
    def pixels(self) -> tuple[np.ndarray, np.ndarray]:
        columns = np.arange(WIDTH_PX, dtype=np.float32)[None, :]
        return columns, np.arange(HEIGHT_PX, dtype=np.float32)

    def backdrop(self, view: View, s_m: float) -> np.ndarray:
        """Sky, hills and the ground."""
        columns, rows = self.pixels
        first = int(np.ceil(view.horizon_px + 1.5))
        picture = np.empty((HEIGHT_PX, WIDTH_PX, 3), np.uint8)
        heading = self.bends.heading(s_m) - view.yaw_rad
        picture[:first] = self.panorama.crop(heading * FOCAL_PX, view.horizon_px, first, WIDTH_PX)
        z = FOCAL_PX * view.height_m / (rows[first:] - view.horizon_px)
        right = (columns - view.centre_px) * (z / FOCAL_PX)[:, None]
        y = view.lateral_m + (0.5 * view.curvature * z**2 + view.yaw_rad * z)[:, None] - right
        self.ground.paint(picture[first:], y, z, s_m)
        self.roadside.rails(picture, view, s_m)
        return picture

    def vehicle(self, picture, view: View, drive: Drive, i: int, k: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Paint one vehicle; returns the outline of all of it and of its rear, which is None behind the camera."""
        kind, z = int(drive.kind[i, k]), float(drive.distance_m[i, k]) + NOSE_M
        width, high, front = float(WIDTH_M[kind]), float(HEIGHT_M[kind]), z + float(LENGTH_M[kind])
        y = float(drive.offset_m[i, k])
        look = self.wardrobe.look(int(drive.ids[i, k]), kind)
        haze = self.light.haze(z)
        lit = bool(drive.brake_light[i, k])
        rear_z, near_z = max(z, 0.3), max(z, 2.2)
        left, right = y + width / 2, y - width / 2
        footprint = (left, front), (right, front), (right, near_z), (left, near_z)
        ground = np.array([[view.u(*point), view.v(0.0, point[1])] for point in footprint])
        sprites.paste(picture, look.shadow, ground, 0.0, self.light.haze_bgr)
        points = []
        rear = view.quad((left, rear_z), (right, rear_z), 0.0, high) if z > 1.2 else None
        side_y = left if view.right_m(left, near_z) > 0 else right if view.right_m(right, near_z) < 0 else None
        if side_y is not None:
            # The front end of a car is lower and narrower than its rear: pull the far edge in a little.
            side = view.quad((side_y, near_z), (side_y, front), 0.0, high)
            seen = (near_z - z) / (front - z)
            sprites.paste(picture, look.side, side, haze, self.light.haze_bgr, from_share=seen)
            points.append(side)
        if rear is not None:
            sprites.paste(picture, look.rear_lit if lit else look.rear, rear, haze, self.light.haze_bgr)
            if self.light.glow:
                sprites.glow(picture, rear, lit, self.light.glow * (1 - haze), wet=self.light.wet, high=kind == CAR)
            points.append(rear)
        outline = np.concatenate(points) if points else ground
        return cv2.convexHull(outline.astype(np.float32))[:, 0], rear
