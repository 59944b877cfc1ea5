"""The ground around the car from above: lidar, who else is there, the expert's way and the planned ones.

x ahead is up, y to the left is left. Where a source has the 15 masks, the road, the lanes, the route and the stop lines
of lights that are not green lie below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from tasks.open_loop_driving.page import inks
from tasks.open_loop_driving.page.moment import Moment
from tasks.yard.reporting.film import LIFTED

AHEAD_M, SIDE_M = 30.4, 19.2  # of the masks, as ThinkTwice's; they reach 8 m back
# Channel of the masks, from which value on, and in what colour: road, route, lanes; lights that are green, yellow, red.
PAINTED = (
    (0, 128, (33, 39, 48)), (1, 128, (47, 57, 72)), (2, 48, (74, 84, 98)),
    (14, 40, (46, 110, 70)), (14, 125, (190, 150, 50)), (14, 212, (214, 69, 65)),
)  # fmt: skip
LOW, HIGH = (58, 72, 92), (176, 206, 240)  # of the lidar's points, on the ground and 2 m above it
TALL_M = 2.0
SUB = 4  # fractional bits of OpenCV's lines


@dataclass(frozen=True)
class Window:
    """What part of the ground is shown, square; `times` 1 is that of the masks."""

    size_px: int
    times: float = 1.0

    @property
    def px_per_m(self) -> float:
        return self.size_px / (2 * SIDE_M * self.times)

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """x, y (..., 2) -> columns, rows (..., 2), edges of pixels at whole numbers."""
        points = np.asarray(points, float)
        far = np.array([SIDE_M, AHEAD_M]) * self.times
        return (far - points[..., ::-1]) * self.px_per_m


def window_of(size_px: int, reaches: Sequence[np.ndarray]) -> Window:
    """As large as the masks' window, or as the farthest of these places needs: one for a whole film."""
    times = 1.0
    for points in reaches:
        points = np.reshape(points, (-1, 2))
        points = points[np.isfinite(points).all(1)]
        if len(points):
            x, y = np.abs(points).max(0) * 1.05
            times = max(times, x / AHEAD_M, y / SIDE_M)
    return Window(size_px, float(times))


def fixed(pixels: np.ndarray) -> np.ndarray:
    """As OpenCV takes them, with fractional bits; its pixels have their middle at whole numbers."""
    return np.round((np.clip(pixels, -4000, 8000) - 0.5) * 2**SUB).astype(np.int32)


def line(sheet: np.ndarray, pixels: np.ndarray, ink: str, width: int) -> None:
    cv2.polylines(sheet, [fixed(pixels)], False, inks.rgb(ink), width, cv2.LINE_AA, SUB)


def disc(sheet: np.ndarray, at: np.ndarray, radius: float, ink: str, width: int = -1) -> None:
    column, row = fixed(at)
    cv2.circle(
        sheet, (int(column), int(row)), round(radius * 2**SUB), inks.rgb(ink), width, cv2.LINE_AA, SUB
    )  # fmt: skip


def footprint(x: float, y: float, length: float, width: float, yaw: float) -> np.ndarray:
    """Corners (4, 2) of a box on the ground."""
    corners = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) / 2 * [length, width]
    c, s = np.cos(yaw), np.sin(yaw)
    return corners @ np.array([[c, s], [-s, c]]) + [x, y]


def ground(window: Window, masks: np.ndarray | None) -> np.ndarray:
    sheet = np.empty((window.size_px, window.size_px, 3), np.uint8)
    sheet[:] = inks.rgb(LIFTED)
    if masks is None:
        return sheet
    small = np.zeros((*masks.shape[1:], 3), np.uint8)
    small[:] = inks.rgb(LIFTED)
    for channel, least, colour in PAINTED:
        small[masks[channel] >= least] = colour
    (left, top), (right, low) = window.pixels(np.array([[AHEAD_M, SIDE_M], [AHEAD_M - 2 * SIDE_M, -SIDE_M]]))
    size = max(1, round(right - left)), max(1, round(low - top))
    part = cv2.resize(small, size, interpolation=cv2.INTER_NEAREST)
    row, column = round(top), round(left)
    part = part[: window.size_px - row, : window.size_px - column]
    sheet[row : row + part.shape[0], column : column + part.shape[1]] = part
    return sheet


def points(sheet: np.ndarray, window: Window, lidar: np.ndarray) -> None:
    """Each point a pixel or four, the brighter the higher."""
    at = window.pixels(lidar[:, :2]).astype(int)
    inside = ((at >= 0) & (at < window.size_px - 1)).all(1)
    (column, row), height = at[inside].T, np.clip(lidar[inside, 2] / TALL_M, 0, 1)[:, None]
    colour = (np.array(LOW) * (1 - height) + np.array(HIGH) * height).astype(np.uint8)
    order = np.argsort(height[:, 0], kind="stable")
    for down in (0, 1):
        for right in (0, 1):
            sheet[row[order] + down, column[order] + right] = colour[order]


def agents(sheet: np.ndarray, window: Window, boxes: np.ndarray, names: Sequence[str]) -> None:
    """Each box, and where it is in a second if it moves on."""
    for box, name in zip(boxes, names, strict=True):
        _, x, y, _, length, width, _, yaw, speed = (float(v) for v in box)
        ink = inks.AGENTS.get(name, inks.OTHERS)
        corners = window.pixels(footprint(x, y, length, max(width, 0.3), yaw))
        cv2.polylines(sheet, [fixed(corners)], True, inks.rgb(ink), 2, cv2.LINE_AA, SUB)
        if np.isfinite(speed) and speed > 0.3:
            nose = np.array([x, y]) + np.array([np.cos(yaw), np.sin(yaw)]) * (length / 2 + np.array([[0.0], [speed]]))
            line(sheet, window.pixels(nose), ink, 1)


def way(sheet: np.ndarray, window: Window, waypoints: np.ndarray, ink: str, width: int, radius: float) -> None:
    """A line from the car through its waypoints (steps, 2), a disc on each."""
    pixels = window.pixels(np.vstack([[0.0, 0.0], waypoints]))
    line(sheet, pixels, ink, width)
    for at in pixels[1:]:
        disc(sheet, at, radius, ink)


def picture(moment: Moment, window: Window) -> np.ndarray:
    """(size, size, 3) RGB."""
    sheet = ground(window, moment.masks)
    if moment.lidar is not None and len(moment.lidar):
        points(sheet, window, moment.lidar)
    agents(sheet, window, moment.boxes, moment.kinds)
    length, width, ahead = moment.car
    own = window.pixels(footprint(ahead, 0.0, length, width, 0.0))
    cv2.fillPoly(sheet, [fixed(own)], (38, 46, 58), cv2.LINE_AA, SUB)
    cv2.polylines(sheet, [fixed(own)], True, inks.rgb(inks.EGO), 2, cv2.LINE_AA, SUB)
    if moment.target is not None:
        at = np.clip(window.pixels(np.array(moment.target)), 8, window.size_px - 8)
        diamond = at + 7 * np.array([[0, -1], [1, 0], [0, 1], [-1, 0]])
        cv2.polylines(sheet, [fixed(diamond)], True, inks.rgb(inks.TARGET), 2, cv2.LINE_AA, SUB)
    layers = inks.of_layers(moment.layers)
    if moment.look is not None:
        for places, ink in zip(moment.look, layers[1:], strict=True):
            for at in window.pixels(places):
                disc(sheet, at, 9, ink, 1)
    way(sheet, window, moment.driven, inks.TRUTH, 6, 6)
    for place, (waypoints, ink) in enumerate(zip(moment.waypoints, layers, strict=True)):
        last = place == len(layers) - 1
        way(sheet, window, waypoints, ink, 3 if last else 2, 4.5 if last else 3)
    return sheet
