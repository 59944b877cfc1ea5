"""The ground of a town from above: its colours, its classes, and the masks of road and lane markings.

Row 0 and column 0 are at y = 0 and x = 0: a place (x, y) in metres is at column x * scale, row y * scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tasks.yard.worlds.canvas import Colour
from tasks.yard.worlds.town.boxes import GROUND, PAVEMENT, ROAD, ROAD_LINE, TERRAIN
from tasks.yard.worlds.town.streets import BAY_M, FOLLOW, LANE_M, LINE_M, WALK_M, Streets, beside

PX_PER_M, MASK_PX_PER_M = 8, 5
LEVELS = 5  # of colours, each half as fine as the one before
SOLID, BROKEN = 255, 120  # in the mask of lane markings, as Roach's
WHITE, YELLOW = (205, 208, 210), (60, 170, 205)


@dataclass(frozen=True)
class Mark:
    """Something painted: an area, or a line of some width."""

    points: np.ndarray
    width_m: float  # 0: an area
    colour: Colour
    kind: int
    lane: int = 0  # in the mask of lane markings


@dataclass(frozen=True)
class Ground:
    colours: list[np.ndarray]  # of each level (h, w, 3) uint8
    kinds: np.ndarray  # (h, w) at PX_PER_M
    road: np.ndarray  # (h, w) 0 or 255 at MASK_PX_PER_M
    lanes: np.ndarray  # (h, w) 0, BROKEN or SOLID


def dashes(points: np.ndarray, on: int, off: int) -> list[np.ndarray]:
    return [points[i : i + on + 1] for i in range(1, len(points) - 1, on + off) if len(points[i : i + on + 1]) > 1]


def band(points: np.ndarray, left_m: float, right_m: float) -> np.ndarray:
    return np.concatenate([beside(points, left_m), beside(points, -right_m)[::-1]])


def _areas(streets: Streets, paving: Colour, walk: Colour, asphalt: Colour, brick: Colour) -> list[Mark]:
    lots, walks, roads = [], [], []
    hulls: dict[int, list[tuple[np.ndarray, float]]] = {}
    for street in streets.streets:
        left, right = (street.half_m + BAY_M[0] * street.parking[side] for side in (1, 0))
        lots.append(Mark(band(street.middle, left + 13, right + 13), 0, paving, GROUND))
        walks.append(Mark(band(street.middle, left + WALK_M, right + WALK_M), 0, walk, PAVEMENT))
        roads.append(Mark(band(street.middle, left, right), 0, brick if street.slow else asphalt, ROAD))
        for node, line in ((street.a, street.middle[:2]), (street.b, street.middle[:-3:-1])):
            hulls.setdefault(node, []).append((line, street.half_m))
    for ends in hulls.values():
        for extra, kind, colour, into in ((WALK_M, PAVEMENT, walk, walks), (0.3, ROAD, asphalt, roads)):
            if len(ends) > 2:
                corners = [beside(line, side * (half + extra))[0] for line, half in ends for side in (1, -1)]
                hull = cv2.convexHull(np.array(corners, np.float32))[:, 0]
                into.append(Mark(hull, 0, colour, kind))
    for lane in streets.lanes:
        if not lane.on_street:
            walks.append(Mark(lane.points, LANE_M + 2 * WALK_M, walk, PAVEMENT))
            roads.append(Mark(lane.points, LANE_M + 0.2, asphalt, ROAD))
    return lots + walks + roads


def _markings(streets: Streets) -> list[Mark]:
    marks: list[Mark] = []
    for lane, after in zip(streets.lanes, streets.after, strict=True):
        curve = not lane.on_street and lane.turn == FOLLOW
        if not lane.on_street and not curve:
            continue
        place = lane.place if lane.on_street else streets.lanes[after[0]].place
        number, street = place[2], streets.streets[place[0]]
        end = len(lane.points) - round(LINE_M / lane.step_m) * (lane.arm >= 0)
        points = lane.points[:end]
        if len(points) < 2:
            continue
        left, right = beside(points, LANE_M / 2), beside(points, -LANE_M / 2 + 0.15)
        if number == 0:
            marks.append(Mark(left, 0.22, YELLOW, ROAD_LINE, SOLID))
        else:
            marks += [Mark(dash, 0.16, WHITE, ROAD_LINE, BROKEN) for dash in dashes(left, 2, 3)]
        if number == street.lanes - 1:
            if not curve and street.parking[place[1]]:
                marks += [Mark(dash, 0.12, WHITE, ROAD_LINE, BROKEN) for dash in dashes(right, 1, 2)]
            else:
                marks.append(Mark(right, 0.14, WHITE, ROAD_LINE, SOLID))
        if lane.arm >= 0:
            for before, wide in ((LINE_M, 0.45), (LINE_M - 1.0, 0.15), (0.8, 0.15)):
                row = len(lane.points) - 1 - round(before / lane.step_m)
                across = [beside(lane.points, side)[row] for side in (LANE_M / 2, -LANE_M / 2)]
                marks.append(Mark(np.array(across), wide, WHITE, ROAD_LINE, SOLID if wide > 0.3 else 0))
    for zebra in streets.zebras:
        way = zebra.ends[1] - zebra.ends[0]
        long = np.linalg.norm(way)
        way, along = way / long, np.array([-way[1], way[0]]) / long
        for at in np.arange(1.6, long - 1.4, 0.95):
            middle = zebra.ends[0] + way * at
            marks.append(Mark(np.array([middle - 1.6 * along, middle + 1.6 * along]), 0.48, WHITE, ROAD_LINE))
    return marks


def paint(sheet: np.ndarray, scale: float, mark: Mark, value) -> None:
    points = np.round(np.asarray(mark.points) * scale * 16).astype(np.int32)
    if mark.width_m:
        if mark.width_m * scale > 8:  # a line of OpenCV has a whole number of pixels
            cv2.polylines(sheet, [points], False, value, round(mark.width_m * scale), cv2.LINE_8, 4)
        else:
            half = mark.width_m / 2
            outline = band(np.asarray(mark.points, float), half, half)
            cv2.fillPoly(sheet, [np.round(outline * scale * 16).astype(np.int32)], value, cv2.LINE_8, 4)
    else:
        cv2.fillPoly(sheet, [points], value, cv2.LINE_8, 4)


def _colour(values: np.ndarray) -> Colour:
    blue, green, red = (int(value) for value in values)
    return blue, green, red


def draw(streets: Streets, rng: np.random.Generator) -> Ground:
    grey = rng.uniform(62, 96)
    asphalt = _colour(grey + rng.uniform(-4, 4, 3))
    walk = _colour(rng.uniform(125, 165) + rng.uniform(-10, 10, 3))
    paving = _colour(rng.uniform(95, 130) + rng.uniform(-16, 16, 3))
    brick, grass = (
        _colour(rng.uniform((70, 80, 140), (90, 100, 165))),
        _colour(rng.uniform((45, 95, 70), (70, 125, 105))),
    )
    areas, markings = _areas(streets, paving, walk, asphalt, brick), _markings(streets)
    wide, high = streets.size_m
    sizes = [(int(high * scale), int(wide * scale)) for scale in (PX_PER_M, MASK_PX_PER_M)]
    colours = np.empty((*sizes[0], 3), np.uint8)
    colours[:] = grass
    kinds = np.full(sizes[0], TERRAIN, np.uint8)
    road, lanes = np.zeros(sizes[1], np.uint8), np.zeros(sizes[1], np.uint8)
    for mark in areas + markings:
        paint(colours, PX_PER_M, mark, mark.colour)
        paint(kinds, PX_PER_M, mark, mark.kind)
        if mark.kind == ROAD:
            paint(road, MASK_PX_PER_M, mark, 255)
        if mark.lane:
            paint(lanes, MASK_PX_PER_M, mark, mark.lane)
    tile = cv2.resize(rng.normal(0, 1, (64, 64)).astype(np.float32), (512, 512), interpolation=cv2.INTER_CUBIC)
    tile = 7 * tile + rng.normal(0, 4, (512, 512))
    repeats = -(-sizes[0][0] // 512), -(-sizes[0][1] // 512)
    noise = np.tile(np.round(tile).astype(np.int16), repeats)[: sizes[0][0], : sizes[0][1]]
    levels = [np.asarray(cv2.add(colours, cv2.merge([noise] * 3), dtype=cv2.CV_8U))]
    for _ in range(LEVELS - 1):
        levels.append(np.asarray(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)))
    return Ground(levels, kinds, road, lanes)
