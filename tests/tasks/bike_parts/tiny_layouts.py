"""Rides whose photographs need no pixel: parts of a flat thing that each camera sees by another affine map, with what a
network would have found in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.bike_parts.formats.photos import ABSENT, DAMAGED, INTACT, Photo, Photos
from tasks.bike_parts.judging.verdicts import Seen

PARTS = [f"part{k}" for k in range(12)]
SIZE = 400


@dataclass(frozen=True)
class Shot:
    """One photograph: (K, 4) x, y, width, height, and (K) states."""

    boxes: np.ndarray
    states: np.ndarray


def thing(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Middles (K, 2) and edges (K, 2): a little different of each thing; parts 0 and 1 turn together, see `shot`."""
    usual = np.random.default_rng(99)
    middles, edges = usual.uniform(-1, 1, (len(PARTS), 2)) * (1, 0.6), usual.uniform(0.15, 0.3, (len(PARTS), 2))
    return middles + random.normal(0, 0.05, middles.shape), edges * np.exp(random.normal(0, 0.1, edges.shape))


def shot(of: tuple[np.ndarray, np.ndarray], states: np.ndarray, random: np.random.Generator) -> Shot:
    middles, edges = of
    middles = middles.copy()
    middles[:2, 0] += random.uniform(-0.2, 0.2)
    scale, mirror = random.uniform(60, 120), random.choice([-1, 1])
    places = (middles + middles[:, ::-1] * (random.uniform(-0.15, 0.15), 0)) * (mirror * scale, scale)
    places += random.uniform(150, 250, 2)
    return Shot(np.concatenate([places - edges * scale / 2, edges * scale], 1), states)


def rides(count: int, seed: int = 0, changed: float = 0.5) -> list[tuple[Shot, Shot]]:
    random, made = np.random.default_rng(seed), []
    for _ in range(count):
        of, states = thing(random), random.choice(3, len(PARTS), p=[0.8, 0.1, 0.1])
        after = states.copy()
        whole = np.flatnonzero(states == INTACT)
        if random.random() < changed:
            after[random.choice(whole)] = random.choice([DAMAGED, ABSENT])
        made.append((shot(of, states, random), shot(of, after, random)))
    return made


def photos_of(of: list[tuple[Shot, Shot]], first: int = 0) -> Photos:
    named, rows = [], []
    for i, sides in enumerate(of):
        for turn, side in zip(("before", "after"), sides, strict=True):
            number = first + len(named) + 1
            named.append(Photo(number, f"unit/thing{first + i}_{turn}.png", SIZE, SIZE, f"thing{first + i}"))
            rows += [(100 * number + k, number, k + 1, side.boxes[k], side.states[k], 1.0) for k in range(len(PARTS))]
    return Photos(PARTS, named, *(np.array(list(column)) for column in zip(*rows, strict=True)))


def seen(of: Shot, random: np.random.Generator, off: float = 0.05) -> Seen:
    """All parts found, their boxes a little off, their states told for sure."""
    boxes = of.boxes + random.normal(0, 1, of.boxes.shape) * off * np.tile(of.boxes[:, 2:], 2)
    states = 0.02 + 0.92 * np.eye(4)[of.states]
    return Seen(np.arange(1, len(PARTS) + 1), boxes, random.uniform(0.7, 0.95, len(PARTS)), states)
