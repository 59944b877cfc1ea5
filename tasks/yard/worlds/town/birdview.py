"""What surrounds the car from above: the 15 masks of Roach's expert (Zhang et al., 2021), as ThinkTwice records them.

192 x 192 px at 5 px/m. Row 0 is 30.4 m ahead, the last one 8 m behind; column 0 is 19.2 m to the left. Channels, up to
255:

     0      road
     1      route: the next 80 m of it
     2      lane markings: 255, broken ones 120
     3..6   vehicles 1.5, 1.0, 0.5 and 0 s ago, where they were then
     7..10  walkers at those times, twice as large as they are and at least 1.6 m
    11..14  stop lines of lights at those times: green 80, yellow 170, red 255
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from tasks.yard.worlds.town.boxes import Boxes
from tasks.yard.worlds.town.ego import Ego
from tasks.yard.worlds.town.ground import MASK_PX_PER_M as SCALE
from tasks.yard.worlds.town.ground import Ground
from tasks.yard.worlds.town.tracks import GREEN, RED, YELLOW

SIZE_PX, AHEAD_M, LEFT_M = 192, 30.4, 19.2
HISTORY = (-16, -11, -6, -1)  # of moments a tenth of a second apart; the last one is now
CHANNELS = 15
ROUTE_M, ROUTE_PX, LINE_PX = 80, 16, 6
WALKER_LEAST_M = 1.6
VALUES = {GREEN: 80, YELLOW: 170, RED: 255}
COLOURS = {GREEN: (0, 255, 0), YELLOW: (0, 255, 255), RED: (0, 0, 255)}  # BGR


class Moment(NamedTuple):
    vehicles: Boxes
    walkers: Boxes
    states: np.ndarray  # of every arm's light


def pixels(ego: Ego, points: np.ndarray) -> np.ndarray:
    """World (..., 2) -> columns and rows (..., 2), edges of pixels at whole numbers."""
    local = ego.local(points)
    return np.stack([(LEFT_M - local[..., 1]) * SCALE, (AHEAD_M - local[..., 0]) * SCALE], axis=-1)


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.round((points - 0.5) * 16).astype(np.int32)


def _still(ego: Ego, sheet: np.ndarray) -> np.ndarray:
    """The part of a picture of the whole town that lies in the window, by the nearest pixel."""
    c, s = np.cos(ego.yaw), np.sin(ego.yaw)
    corner = ego.xy + AHEAD_M * np.array([c, s]) + LEFT_M * np.array([-s, c])
    right, down = np.array([s, -c]), -np.array([c, s])
    origin = corner * SCALE + 0.5 * (right + down) - 0.5
    matrix = np.column_stack([right, down, origin])
    return cv2.warpAffine(sheet, matrix, (SIZE_PX, SIZE_PX), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)


def _filled(ego: Ego, those: Boxes, size: np.ndarray) -> np.ndarray:
    mask = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
    near = np.abs(those.xy - ego.xy).max(1) < 48
    grown = Boxes(those.xy[near], those.yaw[near], size[near], those.base[near], those.kind[near], those.colour[near])
    for corners in _fixed(pixels(ego, grown.corners()[:, :4, :2])):
        cv2.fillConvexPoly(mask, corners, 255, cv2.LINE_8, 4)
    return mask


def masks(
    ego: Ego, ground: Ground, route: np.ndarray, lines: np.ndarray, arms: np.ndarray, moments: Sequence[Moment]
) -> np.ndarray:
    """(15, 192, 192) uint8. `route` (n, 2): what is left of it; `lines` (m, 2, 2): stop lines, of the light `arms` (m);
    `moments`: a tenth of a second apart, now the last; the first one stands for those before it."""
    found = np.zeros((CHANNELS, SIZE_PX, SIZE_PX), np.uint8)
    found[0], found[2] = _still(ego, ground.road), _still(ego, ground.lanes)
    cv2.polylines(found[1], [_fixed(pixels(ego, route[:ROUTE_M]))], False, 255, ROUTE_PX, cv2.LINE_8, 4)
    near = np.abs(lines.mean(1) - ego.xy).max(1) < 48 if len(lines) else np.zeros(0, bool)
    ends = _fixed(pixels(ego, lines[near]))
    for place, back in enumerate(HISTORY):
        then = moments[max(back, -len(moments))]
        found[3 + place] = _filled(ego, then.vehicles, then.vehicles.size)
        found[7 + place] = _filled(ego, then.walkers, np.maximum(2 * then.walkers.size, WALKER_LEAST_M))
        for (one, two), state in zip(ends, then.states[arms[near]], strict=True):
            cv2.line(found[11 + place], one, two, VALUES[int(state)], LINE_PX, cv2.LINE_8, 4)
    return found


def picture(found: np.ndarray, ego: Ego) -> np.ndarray:
    """(192, 192, 3) BGR, for people."""
    shown = np.zeros((SIZE_PX, SIZE_PX, 3), np.uint8)
    shown[found[0] > 0] = (54, 52, 46)
    shown[found[1] > 0] = (133, 138, 136)
    shown[found[2] > 0] = (255, 0, 255)
    for state, value in VALUES.items():
        shown[found[14] == value] = COLOURS[state]
    shown[found[6] > 0] = (255, 80, 0)
    shown[found[10] > 0] = (255, 255, 0)
    corners = _fixed(pixels(ego, ego.box.corners()[:, :4, :2]))
    cv2.fillConvexPoly(shown, corners[0], (255, 255, 255), cv2.LINE_8, 4)
    return shown
