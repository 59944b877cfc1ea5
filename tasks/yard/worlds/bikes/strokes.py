"""What a bike is made of: lines and areas in its own space, metres (forward, up, towards the camera)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.yard.worlds.canvas import Colour

FILLED = 0.0
Place = Sequence[float] | np.ndarray  # forward, up and towards the camera, m; the last is 0 if it is left out
Places = Sequence[Place] | np.ndarray


@dataclass(frozen=True)
class Stroke:
    points: np.ndarray  # (n, 3) m
    width_m: float  # of a line; FILLED: an area within the points
    colour: Colour
    closed: bool = False

    @property
    def filled(self) -> bool:
        return self.width_m == FILLED


def place(points: Places) -> np.ndarray:
    """(n, 3): points without a third coordinate lie in the plane of the frame."""
    found = np.zeros((len(points), 3))
    for row, point in zip(found, points, strict=True):
        row[: len(point)] = point
    return found


def by(*step_m: float) -> np.ndarray:
    """What is added to a point to come to another."""
    return np.array(step_m)


def line(points: Places, width_m: float, colour: Colour) -> Stroke:
    return Stroke(place(points), width_m, colour)


def area(points: Places, colour: Colour) -> Stroke:
    return Stroke(place(points), FILLED, colour, True)


def curve(points: Places, width_m: float, colour: Colour, steps: int = 12) -> Stroke:
    """A smooth line through 3 points or more (Catmull-Rom)."""
    at = place(points)
    at = np.vstack([2 * at[0] - at[1], at, 2 * at[-1] - at[-2]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    made = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(at[:-3], at[1:-2], at[2:-1], at[3:], strict=True)
    ]
    return Stroke(np.vstack([*made, at[-2:-1]]), width_m, colour)


def around(centre: Place, radius_m: float, from_deg: float, to_deg: float, steps: int) -> np.ndarray:
    """(steps, 3) on a circle; 0 degrees is forward, 90 up."""
    angle = np.radians(np.linspace(from_deg, to_deg, steps))
    points = place(np.stack([centre[0] + radius_m * np.cos(angle), centre[1] + radius_m * np.sin(angle)], 1))
    return points + by(0, 0, centre[2] if len(centre) > 2 else 0)


def ring(centre: Place, radius_m: float, width_m: float, colour: Colour, steps: int = 40) -> Stroke:
    return Stroke(around(centre, radius_m, 0, 360, steps + 1)[:-1], width_m, colour, True)


def arc(centre: Place, radius_m: float, from_deg: float, to_deg: float, width_m: float, colour: Colour) -> Stroke:
    steps = max(6, round(abs(to_deg - from_deg) / 8))
    return Stroke(around(centre, radius_m, from_deg, to_deg, steps), width_m, colour)


def disc(centre: Place, radius_m: float, colour: Colour) -> Stroke:
    return Stroke(around(centre, radius_m, 0, 360, 17)[:-1], FILLED, colour, True)


def block(centre: Place, wide_m: float, high_m: float, colour: Colour, tilt_deg: float = 0) -> Stroke:
    """A rectangle, turned by `tilt_deg`."""
    c, s = math.cos(math.radians(tilt_deg)), math.sin(math.radians(tilt_deg))
    corners = [
        (-wide_m / 2, -high_m / 2),
        (wide_m / 2, -high_m / 2),
        (wide_m / 2, high_m / 2),
        (-wide_m / 2, high_m / 2),
    ]
    z = centre[2] if len(centre) > 2 else 0.0
    return area([(centre[0] + c * x - s * y, centre[1] + s * x + c * y, z) for x, y in corners], colour)


def moved(strokes: Sequence[Stroke], by: Place) -> tuple[Stroke, ...]:
    return tuple(Stroke(s.points + place([by])[0], s.width_m, s.colour, s.closed) for s in strokes)


def turned(strokes: Sequence[Stroke], at: np.ndarray, axis: np.ndarray, by_rad: float) -> tuple[Stroke, ...]:
    """About the axis (unit vector) through `at`, by Rodrigues' formula."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    matrix = np.eye(3) + math.sin(by_rad) * cross + (1 - math.cos(by_rad)) * cross @ cross
    return tuple(Stroke((s.points - at) @ matrix.T + at, s.width_m, s.colour, s.closed) for s in strokes)


def dense(stroke: Stroke, step_m: float = 0.012) -> np.ndarray:
    """The points of a line, none further than `step_m` from the next."""
    points = np.vstack([stroke.points, stroke.points[:1]]) if stroke.closed else stroke.points
    way = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    at = np.linspace(0, way[-1], max(3, math.ceil(way[-1] / step_m)))
    return np.stack([np.interp(at, way, points[:, axis]) for axis in range(3)], 1)
