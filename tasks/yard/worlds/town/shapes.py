"""What the cameras see of cars, people, lights and trees: polygons in the world, made of boxes and of flat patches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.yard.worlds.town import boxes
from tasks.yard.worlds.town.boxes import TRAFFIC_LIGHT, VEHICLE, Boxes
from tasks.yard.worlds.town.things import HEAD_BASE_M, HEAD_M, Things
from tasks.yard.worlds.town.tracks import GREEN, RED, YELLOW

# Corners of the six sides of a box, and how bright each is.
SIDES = np.array([(1, 2, 6, 5), (3, 0, 4, 7), (2, 3, 7, 6), (0, 1, 5, 4), (4, 5, 6, 7), (0, 3, 2, 1)])
LIT = np.array([0.92, 0.78, 1.0, 0.7, 1.12, 0.45])
LAMP_M, LAMP_HEIGHTS_M = 0.29, {RED: 1.42, YELLOW: 0.87, GREEN: 0.32}  # radius; above the lower end of the head
LAMP_COLOURS = {RED: (50, 40, 255), YELLOW: (40, 205, 255), GREEN: (120, 240, 60)}
OFF = (34, 36, 40)
GLASS, TYRE = (58, 50, 44), (30, 30, 32)
TAIL, BRAKE_LAMP, HEAD_LAMP = (36, 34, 120), (70, 60, 255), (215, 225, 230)
ROUND = np.linspace(0, 2 * np.pi, 8, endpoint=False)


@dataclass(frozen=True)
class Patches:
    """m flat polygons of eight points that are seen from one side only."""

    points: np.ndarray  # (m, 8, 3)
    facing: np.ndarray  # (m, 2) the side that they are seen from, on the ground
    colour: np.ndarray  # (m, 3)
    kind: np.ndarray  # (m)
    owner: np.ndarray  # (m, 2) where the thing is that they belong to
    shines: np.ndarray  # (m) bool


@dataclass(frozen=True)
class Shapes:
    boxes: Boxes
    owner: np.ndarray  # (n, 2) where the thing is that each is a part of
    layer: np.ndarray  # (n) which of two parts of one thing is drawn later
    patches: Patches
    shadows: np.ndarray  # (k, 4, 2) under the vehicles


def part(whole: Boxes, ahead, left, size, base, colour, kind=None) -> Boxes:
    """A box on each of some others: offsets in their frames, sizes; numbers or arrays."""
    c, s = np.cos(whole.yaw), np.sin(whole.yaw)
    xy = whole.xy + np.column_stack([c * ahead - s * left, s * ahead + c * left])
    size = np.column_stack([np.broadcast_to(v, len(whole)) for v in size])
    return boxes.boxes(xy, whole.yaw, size, base, whole.kind if kind is None else kind, colour)


def patch(whole: Boxes, side: int, at, up, half, colour, kind=VEHICLE, shines=False) -> Patches:
    """A patch on the front (side 1) or the back (-1) of boxes: at metres to the left, up above the ground."""
    ahead = side * (whole.size[:, 0] / 2 + 0.02)
    sign = [(-1, -1), (-1, -1), (1, -1), (1, -1), (1, 1), (1, 1), (-1, 1), (-1, 1)]
    offset = np.array(sign, float) * half
    return _flat(whole, ahead, at, up, offset, side, colour, kind, shines)


def _flat(whole: Boxes, ahead, at, up, offset, side, colour, kind, shines) -> Patches:
    count = len(whole)
    c, s = np.cos(whole.yaw)[:, None], np.sin(whole.yaw)[:, None]
    left = np.broadcast_to(at, count)[:, None] + offset[:, 0]
    forth = np.broadcast_to(ahead, count)[:, None]
    x, y = whole.xy[:, :1] + c * forth - s * left, whole.xy[:, 1:] + s * forth + c * left
    z = np.broadcast_to(np.broadcast_to(up, count)[:, None] + offset[:, 1], x.shape)
    return Patches(
        np.stack([x, y, z], -1), side * np.column_stack([c, s]), np.broadcast_to(colour, (count, 3)),
        np.full(count, kind), whole.xy, np.broadcast_to(shines, count),
    )  # fmt: skip


def vehicles(cars: Boxes, braking: np.ndarray) -> tuple[list[tuple[Boxes, int]], list[Patches]]:
    long, wide, high = cars.size.T
    tall = high > 2.0
    skirt = part(cars, 0, 0, (long - 0.5, wide - 0.12, 0.4), 0, TYRE)
    body_top = np.where(tall, high, 0.62 * high)
    body = part(cars, 0, 0, (long, wide, body_top - 0.28), 0.28, cars.colour)
    low = cars[~tall]
    cabin = part(
        low,
        -0.06 * long[~tall],
        0,
        (0.56 * long[~tall], wide[~tall] - 0.22, 0.36 * high[~tall]),
        0.62 * high[~tall],
        GLASS,
    )
    roof = part(
        low,
        -0.06 * long[~tall],
        0,
        (0.5 * long[~tall], wide[~tall] - 0.26, 0.02 * high[~tall]),
        0.98 * high[~tall],
        low.colour,
    )
    lamps = np.where(braking[:, None], BRAKE_LAMP, TAIL)
    flat = []
    for sign in (-1, 1):
        flat.append(patch(cars, -1, sign * (wide / 2 - 0.26), 0.82, (0.22, 0.15), lamps, VEHICLE, braking))
        flat.append(patch(cars, 1, sign * (wide / 2 - 0.3), 0.66, (0.2, 0.1), HEAD_LAMP))
    if tall.any():
        big = cars[tall]
        flat.append(patch(big, 1, 0, 0.72 * high[tall], (0.8, 0.35), GLASS))
        flat.append(patch(big, -1, 0, 0.68 * high[tall], (0.7, 0.3), GLASS))
    return [(skirt, 0), (body, 1), (cabin, 2), (roof, 3)], flat


def people(walkers: Boxes, clothes: np.ndarray) -> list[tuple[Boxes, int]]:
    """`clothes` (n, 2, 3): of legs and body."""
    legs = part(walkers, 0, 0, (0.3, 0.36, 0.85), 0, clothes[:, 0])
    body = part(walkers, 0, 0, (0.36, 0.56, 0.62), 0.85, clothes[:, 1])
    head = part(walkers, 0, 0, (0.26, 0.24, 0.28), 1.47, (120, 150, 190))
    return [(legs, 0), (body, 1), (head, 2)]


def lights(heads: Boxes, states: np.ndarray) -> list[Patches]:
    """The three lamps of every light, on the side that the traffic comes from."""
    disc = LAMP_M * np.column_stack([np.cos(ROUND), np.sin(ROUND)])
    found = []
    for state, up in LAMP_HEIGHTS_M.items():
        on = states == state
        colour = np.where(on[:, None], LAMP_COLOURS[state], OFF)
        found.append(_flat(heads, -HEAD_M[0] / 2 - 0.02, 0, HEAD_BASE_M + up, disc, -1, colour, TRAFFIC_LIGHT, on))
    return found


def gather(
    eye_xy: np.ndarray,
    reach_m: float,
    things: Things,
    cars: Boxes,
    braking: np.ndarray,
    walkers: Boxes,
    clothes: np.ndarray,
    states: np.ndarray,
) -> Shapes:
    """Everything within reach but the ground and the houses. `states`: of every arm's light."""

    def near(those: Boxes) -> np.ndarray:
        return ((those.xy - eye_xy) ** 2).sum(1) < reach_m**2

    here = near(cars)
    cars, braking = cars[here], braking[here]
    parts, flat = vehicles(cars, braking)
    whose = [cars.xy, cars.xy, cars.xy[cars.size[:, 2] <= 2.0], cars.xy[cars.size[:, 2] <= 2.0]]
    here = near(walkers)
    shown = people(walkers[here], clothes[here])
    parts += shown
    whose += [walkers.xy[here]] * len(shown)
    here = near(things.heads)
    flat += lights(things.heads[here], states[things.arms[here]])
    for those in (
        things.heads[here],
        things.posts[near(things.posts)],
        things.trunks[near(things.trunks)],
        things.crowns[near(things.crowns)],
    ):
        parts.append((those, 0))
        whose.append(those.xy)
    layers = [np.full(len(found), layer) for found, layer in parts]
    patches = Patches(*(np.concatenate([getattr(one, name) for one in flat]) for name in Patches.__dataclass_fields__))
    spread = cars.size * [1.03, 1.12, 1]
    shadows = Boxes(cars.xy, cars.yaw, spread, cars.base, cars.kind, cars.colour).corners()[:, :4, :2]
    return Shapes(
        boxes.together(*(found for found, _ in parts)), np.concatenate(whose), np.concatenate(layers), patches, shadows
    )
