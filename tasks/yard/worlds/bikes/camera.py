"""From a bike's space to a picture: where the camera stands, how the bike is held, and boxes in pixels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from tasks.yard.worlds.bikes.anatomy import CRANK_M, Bike
from tasks.yard.worlds.bikes.strokes import Stroke, by, moved, turned

FINE = 2  # drawn so many times larger, then averaged
BITS = 4  # fractional, of a pixel, as OpenCV takes them
LEAST_PX = 0.9  # a thinner line is drawn so wide
Box = tuple[float, float, float, float]  # x, y, width, height in px


@dataclass(frozen=True)
class Pose:
    """How a bike is held and seen. Angles in radians."""

    yaw: float  # the camera stands to the front (positive) or to the back of the bike
    above: float
    tilt: float
    shear: float
    distance_m: float
    steer: float  # the near handle is forward where positive
    crank: float  # of the near pedal, above forward
    share: float  # of the picture that the bike fills
    at: tuple[float, float]  # where in what is left free, 0..1

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Pose:
        u = rng.uniform
        yaw = u(-0.38, 0.38)
        # Both handles must be seen: the near one is the front one, so it stands forward, by 13 cm at least.
        steer = float(np.clip(u(0.28, 0.68) - yaw, -0.3, 0.75))
        # Nor may the frame or the gear case hide the far pedal.
        crank = u(-1.3, -0.95) if rng.random() < 0.25 else u(0.6, 1.25)
        share = u(1.0, 1.05) if rng.random() < 0.04 else u(0.66, 0.97)
        return cls(
            yaw, u(0.05, 0.30), float(np.clip(rng.normal(0, 0.06), -0.16, 0.16)), u(-0.12, 0.12), u(2.2, 6.0), steer,
            crank, share, (u(0, 1), u(0, 1)),
        )  # fmt: skip


def held(bike: Bike, name: str, strokes: tuple[Stroke, ...], pose: Pose) -> tuple[Stroke, ...]:
    """A piece of the bike as it stands with the steer and the cranks turned as the pose says."""
    if name in bike.steered:
        return turned(strokes, *bike.steering, pose.steer)
    if name in ("near_crank", "far_crank"):
        return turned(strokes, bike.crank, np.array([0.0, 0.0, 1.0]), pose.crank)
    if name in ("front_pedal", "back_pedal"):
        arm = CRANK_M * by(math.cos(pose.crank) - 1, math.sin(pose.crank))
        return moved(strokes, arm if name == "front_pedal" else -arm)
    return strokes


@dataclass(frozen=True)
class Drawn:
    """A piece in pixels of a picture."""

    strokes: list[tuple[Stroke, np.ndarray, float]]  # each with its points (n, 2) and the width of a line
    box: Box

    def paint(self, canvas: np.ndarray) -> None:
        """On a canvas `FINE` times as large as the picture."""
        for stroke, points, width in self.strokes:
            at = np.round((points * FINE - 0.5) * (1 << BITS)).astype(np.int32)
            if stroke.filled:
                cv2.fillPoly(canvas, [at], stroke.colour, cv2.LINE_8, BITS)
            else:
                wide = max(1, round(width * FINE))
                cv2.polylines(canvas, [at], stroke.closed, stroke.colour, wide, cv2.LINE_8, BITS)


class Camera:
    """Sees a bike whose pieces are `pieces`, in a picture of this size, so that all of it is in the picture."""

    def __init__(
        self, pose: Pose, pieces: Iterable[tuple[Stroke, ...]], mirrored: bool, size_px: tuple[int, int]
    ) -> None:
        self.pose, self.mirrored = pose, mirrored
        points = np.vstack([stroke.points for strokes in pieces for stroke in strokes])
        self.middle = (points.min(0) + points.max(0)) / 2
        flat = self.flat(points)
        low, high = flat.min(0) - 0.02 / pose.distance_m, flat.max(0) + 0.02 / pose.distance_m
        width, height = size_px
        self.scale = pose.share * min(width / (high[0] - low[0]), height / (high[1] - low[1]))
        free = np.array([width, height]) - self.scale * (high - low)
        self.offset = free * pose.at - self.scale * low
        self.px_per_m = self.scale / pose.distance_m

    def flat(self, points: np.ndarray) -> np.ndarray:
        """(n, 2) on a plane one metre before the camera, y down."""
        x, y, z = (points - self.middle).T
        c, s = math.cos(self.pose.yaw), math.sin(self.pose.yaw)
        x, z = x * c + z * s, z * c - x * s
        c, s = math.cos(self.pose.above), math.sin(self.pose.above)
        y, z = y * c - z * s, y * s + z * c
        u, v = x / (self.pose.distance_m - z), -y / (self.pose.distance_m - z)
        u = u + self.pose.shear * v
        c, s = math.cos(self.pose.tilt), math.sin(self.pose.tilt)
        u, v = u * c - v * s, u * s + v * c
        return np.stack([-u if self.mirrored else u, v], 1)

    def px(self, points: np.ndarray) -> np.ndarray:
        return self.flat(points) * self.scale + self.offset

    def seen(self, pieces: Mapping[str, tuple[Stroke, ...]]) -> dict[str, Drawn]:
        """All pieces in pixels; projected at once, since there are hundreds of strokes."""
        strokes = [stroke for mine in pieces.values() for stroke in mine]
        counts = [len(stroke.points) for stroke in strokes]
        widths = np.array(
            [0.0 if stroke.filled else max(stroke.width_m * self.px_per_m, LEAST_PX) for stroke in strokes]
        )
        points = self.px(np.vstack([stroke.points for stroke in strokes]))
        half = np.repeat(widths / 2, counts)[:, None]
        low, high = points - half, points + half
        ends = np.cumsum(counts).tolist()
        made, first, start = {}, 0, 0
        for name, mine in pieces.items():
            last = first + len(mine)
            end = ends[last - 1] if mine else start
            box = (0.0, 0.0, 0.0, 0.0)
            if mine:
                (x, y), (right, bottom) = low[start:end].min(0).tolist(), high[start:end].max(0).tolist()
                box = x, y, right - x, bottom - y
            cuts = [points[to - count : to] for to, count in zip(ends[first:last], counts[first:last], strict=True)]
            made[name] = Drawn(list(zip(mine, cuts, widths[first:last].tolist(), strict=True)), box)
            first, start = last, end
        return made
