"""What things of a street or a square are drawn on: a small picture in metres, drawn finely and then averaged."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

cv2.setNumThreads(1)  # units are rendered in parallel, one process a core

Colour = tuple[int, int, int]  # BGR
Point = tuple[float, float]  # metres to the right of where the thing stands, metres up

BELOW_M = 0.1  # of the canvas under the feet
FINEST_PX_PER_M = 150  # a larger canvas shows no more


def darker(colour: Colour, share: float) -> Colour:
    return tuple(min(255, int(value * share)) for value in colour)


@dataclass(frozen=True)
class Cutout:
    """A drawn thing: premultiplied BGRA, and the pixel of the picture that its first pixel falls on."""

    image: np.ndarray
    x: int
    y: int

    def windows(self, height: int, width: int) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
        """Where it meets a picture of this size: rows and columns of the picture, and those of the cutout."""
        x1, y1 = max(self.x, 0), max(self.y, 0)
        x2, y2 = min(self.x + self.image.shape[1], width), min(self.y + self.image.shape[0], height)
        if x1 >= x2 or y1 >= y2:
            return None
        own = slice(y1 - self.y, y2 - self.y), slice(x1 - self.x, x2 - self.x)
        return (slice(y1, y2), slice(x1, x2)), own

    def paste(self, picture: np.ndarray) -> None:
        found = self.windows(*picture.shape[:2])
        if found is not None:
            region, own = picture[found[0]], self.image[found[1]]
            keep = 255 - cv2.merge([own[..., 3]] * 3)
            region[:] = cv2.add(cv2.multiply(region, keep, scale=1 / 255), own[..., :3])


class Canvas:
    """Draws in metres around `stand`, the pixel (x, y) of the picture where the thing stands. BGRA."""

    def __init__(self, stand: Point, px_per_m: float, half_width_m: float, height_m: float) -> None:
        self.fine = max(1, min(4, int(FINEST_PX_PER_M / px_per_m)))
        self.px_per_m = px_per_m * self.fine
        left, top = stand[0] - half_width_m * px_per_m, stand[1] - height_m * px_per_m
        self.corner = math.floor(left), math.floor(top)
        self.feet = (stand[0] - self.corner[0]) * self.fine, (stand[1] - self.corner[1]) * self.fine
        wide, high = math.ceil(2 * half_width_m * px_per_m) + 1, math.ceil((height_m + BELOW_M) * px_per_m) + 1
        self.image = np.zeros((high * self.fine, wide * self.fine, 4), np.uint8)

    def px(self, points) -> np.ndarray:
        return np.array([self.pixel(point) for point in points], np.int32)

    def pixel(self, point: Point) -> tuple[int, int]:
        """Column and row with 4 fractional bits, as OpenCV takes them."""
        x = (self.feet[0] + point[0] * self.px_per_m - 0.5) * 16
        y = (self.feet[1] - point[1] * self.px_per_m - 0.5) * 16
        return round(x), round(y)

    def poly(self, points, colour: Colour) -> None:
        cv2.fillPoly(self.image, [self.px(points)], (*colour, 255), shift=4)

    def disc(self, centre: Point, radius_m: float, colour: Colour) -> None:
        radius = max(1, round(radius_m * self.px_per_m * 16))
        cv2.circle(self.image, self.pixel(centre), radius, (*colour, 255), -1, shift=4)

    def oval(
        self, centre: Point, wide_m: float, high_m: float, colour: Colour, start: float = 0, end: float = 360
    ) -> None:
        axes = (round(wide_m * self.px_per_m * 16), round(high_m * self.px_per_m * 16))
        cv2.ellipse(self.image, self.pixel(centre), axes, 0, start, end, (*colour, 255), -1, shift=4)

    def capsule(self, a: Point, b: Point, from_m: float, to_m: float, colour: Colour) -> None:
        """A bar with round ends, of radius `from_m` at a and `to_m` at b."""
        (ax, ay), (bx, by) = a, b
        long = max(math.hypot(bx - ax, by - ay), 1e-6)
        nx, ny = -(by - ay) / long, (bx - ax) / long
        quad = [(ax + nx * from_m, ay + ny * from_m), (bx + nx * to_m, by + ny * to_m)]
        quad += [(bx - nx * to_m, by - ny * to_m), (ax - nx * from_m, ay - ny * from_m)]
        self.poly(quad, colour)
        self.disc(a, from_m, colour)
        self.disc(b, to_m, colour)

    def limb(self, a: Point, b: Point, from_m: float, to_m: float, colour: Colour, lit: float) -> None:
        """A capsule with a dark edge on the side that looks away from the light."""
        self.capsule(a, b, from_m, to_m, darker(colour, 0.68))
        off = 0.22 * lit
        inner = (a[0] + off * from_m, a[1]), (b[0] + off * to_m, b[1])
        self.capsule(*inner, 0.76 * from_m, 0.76 * to_m, colour)

    def box(self, x1: float, y1: float, x2: float, y2: float, colour: Colour) -> None:
        self.poly([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], colour)

    def done(self) -> Cutout:
        # Where nothing was drawn all four are 0, so that averaging gives premultiplied colours.
        size = self.image.shape[1] // self.fine, self.image.shape[0] // self.fine
        return Cutout(cv2.resize(self.image, size, interpolation=cv2.INTER_AREA), *self.corner)
