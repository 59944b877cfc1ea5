"""One turn of the lidar: where its rays first meet the ground, a wall, or a box of anything else."""

from __future__ import annotations

import numpy as np

from tasks.yard.worlds.town import boxes
from tasks.yard.worlds.town.boxes import Boxes
from tasks.yard.worlds.town.ego import Ego
from tasks.yard.worlds.town.rig import LIDAR_M, RANGE_NOISE_M, REACH_M, RINGS_DEG, TURNS

SHINE = np.full(32, 0.4)
SHINE[[boxes.VEHICLE, boxes.PEDESTRIAN, boxes.BUILDING, boxes.VEGETATION, boxes.POLE]] = 0.7, 0.5, 0.45, 0.3, 0.6
THIN_M = 0.05  # no ray is spent on what is flatter
FADE_1PM = 0.004  # CARLA's attenuation


def turn(ego: Ego, houses: Boxes, others: Boxes, rng: np.random.Generator) -> np.ndarray:
    """(n, 4) float32 of what answers: x, y, z in the car's frame (z 0 on the ground), intensity 0 to 1."""
    angles = (np.arange(TURNS) + rng.random()) * (2 * np.pi / TURNS)
    slopes = np.tan(np.radians(RINGS_DEG))
    with np.errstate(divide="ignore"):
        away = np.where(slopes < 0, -LIDAR_M / slopes, np.inf)[:, None].repeat(TURNS, 1)  # along the ground
    shine = np.full(away.shape, 0.2)
    ways = np.column_stack([np.cos(angles), np.sin(angles)])
    for those in (houses, others):
        near = (np.abs(those.xy - ego.xy).max(1) < REACH_M) & (those.size[:, 2] > THIN_M)
        _meet(ego, those[near], ways, slopes, away, shine)
    ring, column = np.nonzero(away * np.sqrt(1 + slopes[:, None] ** 2) < REACH_M)
    found = away[ring, column]
    stretch = np.sqrt(1 + slopes[ring] ** 2)
    found = np.maximum(found + rng.normal(0, RANGE_NOISE_M, len(found)) / stretch, 0.1)
    strength = shine[ring, column] * np.exp(-FADE_1PM * found * stretch)
    points = np.column_stack([ways[column] * found[:, None], LIDAR_M + slopes[ring] * found, strength])
    return points.astype(np.float32)


def _meet(ego: Ego, those: Boxes, ways: np.ndarray, slopes: np.ndarray, away: np.ndarray, shine: np.ndarray) -> None:
    """Shorten rays that meet one of these boxes: first seen from above, then ring by ring."""
    if not len(those):
        return
    middle, yaw = ego.local(those.xy), those.yaw - ego.yaw
    c, s = np.cos(yaw)[:, None], np.sin(yaw)[:, None]
    entry, leave = np.full((len(those), len(ways)), 0.05), np.full((len(those), len(ways)), np.inf)
    start = (-(middle[:, :1] * c + middle[:, 1:] * s), middle[:, :1] * s - middle[:, 1:] * c)
    step = (ways[:, 0] * c + ways[:, 1] * s, -ways[:, 0] * s + ways[:, 1] * c)
    for axis in (0, 1):
        half = those.size[:, axis : axis + 1] / 2
        with np.errstate(divide="ignore"):
            one, two = (-half - start[axis]) / step[axis], (half - start[axis]) / step[axis]
        entry, leave = np.maximum(entry, np.minimum(one, two)), np.minimum(leave, np.maximum(one, two))
    which, column = np.nonzero(entry < leave)
    first, last = entry[which, column], leave[which, column]
    base, top = those.base[which], those.base[which] + those.size[which, 2]
    slope = slopes[:, None]
    enters, leaves = LIDAR_M + slope * first, LIDAR_M + slope * last  # (rings, pairs)
    above, below = (enters > top) & (leaves < top), (enters < base) & (leaves > base)
    at = np.where(above, (top - LIDAR_M) / slope, np.where(below, (base - LIDAR_M) / slope, first))
    at[~(above | below | ((enters >= base) & (enters <= top)))] = np.inf
    places = np.broadcast_to(np.arange(len(slopes))[:, None] * len(ways) + column, at.shape)
    flat = away.ravel()
    np.minimum.at(flat, places.ravel(), at.ravel())
    ring, pair = np.nonzero((at == flat[places]) & np.isfinite(at))
    shine[ring, column[pair]] = SHINE[those.kind[which[pair]]]
