"""A wheel: spokes, rim, tyre and hub; and what may be wrong with it: it is buckled, or its tyre is flat."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.yard.worlds.bikes.palette import METALS, RUBBERS, bare, some
from tasks.yard.worlds.bikes.strokes import Stroke, by, dense, disc, line, ring
from tasks.yard.worlds.canvas import Colour

RIM_M = 0.022


@dataclass(frozen=True)
class Look:
    """Both wheels of a bike are alike."""

    tyre_m: float
    tyre: Colour
    rim: Colour
    hub: Colour
    spokes: int
    spoke_m: float
    spoke: Colour

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Look:
        rubber, rim, hub, spoke = (some(rng, colours) for colours in (RUBBERS, METALS, METALS, METALS))
        return cls(
            rng.uniform(0.036, 0.056), rubber, rim, hub, int(rng.integers(9, 17)), rng.uniform(0.006, 0.010), spoke
        )


def wheel(rng: np.random.Generator, hub: np.ndarray, radius_m: float, look: Look) -> tuple[Stroke, ...]:
    inner, start = radius_m - look.tyre_m, rng.uniform(0, 2 * math.pi)
    spokes = [
        line([hub, hub + inner * by(math.cos(angle), math.sin(angle))], look.spoke_m, look.spoke)
        for angle in start + np.arange(look.spokes) * 2 * math.pi / look.spokes
    ]
    return (
        *spokes,
        ring(hub, inner, RIM_M, look.rim),
        ring(hub, radius_m - look.tyre_m / 2, look.tyre_m, look.tyre),
        disc(hub, 0.032, look.hub),
    )


def wheel_of(strokes: Sequence[Stroke]) -> tuple[np.ndarray, float]:
    """(its hub, its outer radius)."""
    tyre = max(
        (stroke for stroke in strokes if stroke.closed and not stroke.filled), key=lambda stroke: np.ptp(stroke.points)
    )
    hub = tyre.points.mean(0)
    return hub, float(np.linalg.norm(tyre.points - hub, axis=1).max() + tyre.width_m / 2)


def buckled(strokes: Sequence[Stroke], rng: np.random.Generator) -> tuple[Stroke, ...]:
    """Pushed in at two places; spokes are gone there, and the tyre is torn."""
    hub, radius = wheel_of(strokes)
    first = rng.uniform(0, 2 * math.pi)
    dents = np.array([first, first + rng.uniform(2.2, 3.6)])
    bright, made, torn = bare([stroke.colour for stroke in strokes], rng), [], []
    for stroke in strokes:
        if stroke.filled:
            made.append(stroke)
            continue
        points = dense(stroke, 0.03) if stroke.closed else stroke.points
        out = points - hub
        off = np.arctan2(out[:, 1], out[:, 0])[:, None] - dents
        off = np.abs((off + math.pi) % (2 * math.pi) - math.pi)
        depth = 0.26 * np.exp(-((off / 0.42) ** 2)).sum(1)
        if not stroke.closed and depth[-1] > 0.09:
            continue
        far = np.linalg.norm(out, axis=1) > 0.2 * radius
        new = hub + out * np.where(far, 1 - depth, 1.0)[:, None]
        made.append(Stroke(new, stroke.width_m, stroke.colour, stroke.closed))
        if stroke.closed and stroke.width_m > RIM_M:
            for dent in off.T:
                tear = np.flatnonzero(dent < 0.42)
                torn += np.split(new[tear], np.flatnonzero(np.diff(tear) > 1) + 1)
    return *made, *(Stroke(points, 0.034, bright) for points in torn if len(points) > 1)


def flat(strokes: Sequence[Stroke], rng: np.random.Generator) -> tuple[Stroke, ...]:
    """No air: the tyre lies on the ground in a wide fold, and comes off the rim at one side."""
    hub, radius = wheel_of(strokes)
    floor = hub[1] - radius * rng.uniform(0.72, 0.8)
    tube = bare([stroke.colour for stroke in strokes], rng)
    made = []
    for stroke in strokes:
        if stroke.filled:
            made.append(stroke)
            continue
        points = dense(stroke, 0.03) if stroke.closed else stroke.points.copy()
        deep = np.clip(floor - points[:, 1], 0, None)
        points[:, 1] = np.maximum(points[:, 1], floor)
        points[:, 0] += np.sign(points[:, 0] - hub[0]) * 0.5 * deep
        made.append(Stroke(points, stroke.width_m, stroke.colour, stroke.closed))
    tyre = max((stroke for stroke in made if stroke.closed and not stroke.filled), key=lambda stroke: stroke.width_m)
    wide, under = 0.62 * radius, hub[1] - radius

    def below(*places: tuple[float, float]) -> np.ndarray:
        """In shares of the width forward, and in metres up."""
        return np.array([(hub[0] + share * wide, up, hub[2]) for share, up in places])

    fold = below((-1, under + 0.035), (-0.4, under + 0.02), (0.4, under + 0.02), (1, under + 0.035))
    loose = below((-0.1, floor), (0.45, under + 0.05), (0.85, floor + 0.02))
    return *made, Stroke(fold, 0.042, tyre.colour), Stroke(loose, 0.038, tube)
