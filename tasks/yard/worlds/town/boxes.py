"""Upright boxes: what stands in a town, and what a sensor sees of it. Classes are CARLA's (0.9.10)."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

BUILDING, PEDESTRIAN, POLE, ROAD_LINE, ROAD, PAVEMENT, VEGETATION = 1, 4, 5, 6, 7, 8, 9
VEHICLE, SKY, GROUND, TRAFFIC_LIGHT, TERRAIN = 10, 13, 14, 18, 22
CORNERS = np.array([(x, y, z) for z in (0, 1) for x, y in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))])


@dataclass(frozen=True)
class Boxes:
    """n boxes."""

    xy: np.ndarray  # (n, 2) of their middle
    yaw: np.ndarray  # (n)
    size: np.ndarray  # (n, 3) length, width, height
    base: np.ndarray  # (n) of their lower side above the ground
    kind: np.ndarray  # (n) class
    colour: np.ndarray  # (n, 3) BGR

    def __len__(self) -> int:
        return len(self.yaw)

    def __getitem__(self, who) -> Boxes:
        return Boxes(*(getattr(self, field.name)[who] for field in fields(self)))

    def corners(self) -> np.ndarray:
        """(n, 8, 3): the lower four anticlockwise from behind on the right, then the upper four."""
        local = CORNERS * self.size[:, None]
        c, s = np.cos(self.yaw)[:, None], np.sin(self.yaw)[:, None]
        x, y = local[..., 0] * c - local[..., 1] * s, local[..., 0] * s + local[..., 1] * c
        return np.stack([x + self.xy[:, :1], y + self.xy[:, 1:], local[..., 2] + self.base[:, None]], axis=-1)


def together(*parts: Boxes) -> Boxes:
    return Boxes(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Boxes)))


def boxes(xy, yaw, size, base=0.0, kind=VEHICLE, colour=(0, 0, 0)) -> Boxes:
    """Values of one box are those of all."""
    xy = np.asarray(xy, float).reshape(-1, 2)
    count = len(xy)

    def every(value, *shape: int) -> np.ndarray:
        found = np.empty((count, *shape))
        found[:] = value
        return found

    return Boxes(xy, every(yaw), every(size, 3), every(base), every(kind).astype(int), every(colour, 3))


def overlap(one: Boxes, others: Boxes) -> np.ndarray:
    """(n) bool: whose footprints meet that of `one`, a single box."""
    reach = np.hypot(*one.size[0, :2]) / 2
    c, s = np.cos(others.yaw), np.sin(others.yaw)
    x, y = (others.xy - one.xy).T
    met = np.abs(x * c + y * s) < others.size[:, 0] / 2 + reach
    met &= np.abs(y * c - x * s) < others.size[:, 1] / 2 + reach
    near = np.flatnonzero(met)
    if len(near):
        met[near] = _crossed(one, others[near])
    return met


def _crossed(one: Boxes, others: Boxes) -> np.ndarray:
    """The same, by separating axes."""
    mine, theirs = one.corners()[:, :4, :2], others.corners()[:, :4, :2]
    apart = np.zeros(len(others), bool)
    for yaw in (one.yaw, one.yaw + np.pi / 2, others.yaw, others.yaw + np.pi / 2):
        axis = np.broadcast_to(np.column_stack([np.cos(yaw), np.sin(yaw)]), (len(others), 2))
        a, b = np.einsum("kij,nj->ni", mine, axis), np.einsum("nij,nj->ni", theirs, axis)
        apart |= (a.max(1) < b.min(1)) | (b.max(1) < a.min(1))
    return ~apart
