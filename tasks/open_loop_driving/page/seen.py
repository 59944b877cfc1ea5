"""What the cameras see, with the ways drawn on the road and a mark wherever a layer looked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from tasks.open_loop_driving.formats.calibration import Camera
from tasks.open_loop_driving.page import inks
from tasks.open_loop_driving.page.above import disc, line
from tasks.open_loop_driving.page.moment import Moment

NEAR_M = 0.5  # what is closer to the camera than this is not drawn
PIECES = 12  # of a line between two waypoints: what is partly behind the camera is partly drawn
LOOK_M = 2.0  # how high the mark of a look stands


@dataclass(frozen=True)
class Tile:
    """Where a camera's picture stands in the frame, px."""

    name: str
    x: int
    y: int
    width: int
    height: int


def ahead(camera: Camera) -> float:
    """1: it looks where the car does; -1: back."""
    return round(float(camera.camera_from_ego[2, 0]), 6)


def tiles(cameras: Mapping[str, Camera], x0: int, y0: int, width: int, height: int, name_px: int) -> list[Tile]:
    """The camera that looks ahead most is large, all others stand in a row below it."""
    first, *others = sorted(cameras, key=lambda name: (-ahead(cameras[name]), name))
    share = 1.0 if not others else 0.72
    made = []
    for names, top, high in (([first], y0, height * share), (others, y0 + height * share, height * (1 - share))):
        left = float(x0)
        for name in names:
            room = width / len(names), high - name_px
            scale = min(room[0] / cameras[name].size[1], room[1] / cameras[name].size[0])
            w, h = (max(1, int(scale * side)) for side in cameras[name].size[::-1])
            made.append(Tile(name, round(left), round(top) + name_px, w, h))
            left += min(room[0], w + 8.0)
    return made


def along(places: np.ndarray) -> np.ndarray:
    """Waypoints (steps, 2) -> the way to them from the car, (n, 3) on the ground."""
    corners = np.vstack([[0.0, 0.0], places])
    share = np.arange(PIECES)[:, None] / PIECES
    parts = [a + share * (b - a) for a, b in pairwise(corners)]
    flat = np.vstack([*parts, corners[-1:]])
    return np.column_stack([flat, np.zeros(len(flat))])


def project(camera: Camera, points: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Points of the car's frame (n, 3) -> pixels of the drawn picture (n, 2), and which (n) lie before the camera."""
    pixels, depth = camera.project(points)
    near = depth > NEAR_M
    return np.where(near[:, None], pixels, 0.0) * scale, near


def strokes(pixels: np.ndarray, drawn: np.ndarray) -> list[np.ndarray]:
    """The parts of a line all of whose points are drawn."""
    cuts = np.flatnonzero(np.diff(np.concatenate([[False], drawn, [False]]).astype(int)))
    return [pixels[a:b] for a, b in zip(cuts[::2], cuts[1::2], strict=True) if b - a > 1]


def inside(pixels: np.ndarray, near: np.ndarray, tile: Tile) -> np.ndarray:
    return near & (pixels >= 0).all(1) & (pixels < [tile.width, tile.height]).all(1)


def picture(moment: Moment, tile: Tile) -> np.ndarray:
    """(height, width, 3) RGB of one camera."""
    camera = moment.cameras[tile.name]
    image = moment.images[tile.name]
    enlarged = tile.width > image.shape[1]
    sheet = cv2.resize(image, (tile.width, tile.height), interpolation=cv2.INTER_CUBIC if enlarged else cv2.INTER_AREA)
    sheet = np.ascontiguousarray(sheet)
    scale = tile.width / camera.size[1]
    layers = inks.of_layers(moment.layers)
    if moment.look is not None:
        for places, ink in zip(moment.look, layers[1:], strict=True):
            looked(sheet, camera, tile, places, ink, scale)
    ways = [(moment.driven, inks.TRUTH, 5), *((w, ink, 2) for w, ink in zip(moment.waypoints, layers, strict=True))]
    for places, ink, width in ways:
        pixels, near = project(camera, along(places), scale)
        for stroke in strokes(pixels, near):
            line(sheet, stroke, ink, width)
        marks, near = project(camera, np.column_stack([places, np.zeros(len(places))]), scale)
        for at in marks[inside(marks, near, tile)]:
            disc(sheet, at, width / 2 + 2, ink)
    return sheet


def looked(sheet: np.ndarray, camera: Camera, tile: Tile, places: np.ndarray, ink: str, scale: float) -> None:
    """A ring on the ground at each place, and a stem up from it: a layer looks at several heights."""
    foot, near = project(camera, np.column_stack([places, np.zeros(len(places))]), scale)
    head, above = project(camera, np.column_stack([places, np.full(len(places), LOOK_M)]), scale)
    for a, b, shown in zip(foot, head, inside(foot, near & above, tile), strict=True):
        if shown:
            line(sheet, np.stack([a, b]), ink, 1)
            disc(sheet, a, 8, ink, 1)
            disc(sheet, b, 2, ink)
