"""What is wrong with a part: broken in two, bent, scraped to the bare metal; of a wheel see wheels.py.

Each keeps what is drawn within the box of the intact part, or nearly: size and place do not tell that it is damaged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tasks.yard.worlds.bikes.palette import bare
from tasks.yard.worlds.bikes.strokes import FILLED, Stroke, by, dense
from tasks.yard.worlds.bikes.wheels import buckled, flat
from tasks.yard.worlds.canvas import Colour

DEFAULT = ("gap", "scraped")
KINDS = {
    "back_wheel": ("flat", "buckled"), "front_wheel": ("flat", "buckled"), "kickstand": ("gap", "bent"),
    "back_hand_break": ("scraped",), "front_handbreak": ("scraped",), "back_handle": ("scraped",),
    "front_handle": ("scraped",), "back_mudguard": ("gap", "bent", "scraped"), "steer": ("scraped",),
    "front_mudguard": ("gap", "bent", "scraped"), "back_pedal": ("scraped",), "front_pedal": ("scraped",),
}  # fmt: skip
EDGE_M = 0.016  # the width of what is bright where an area broke
PATCH = 1.1  # of the width of a line: torn tape stands out
STRINGS = 6  # so many lines are a net: it is torn across
SLENDER = 6  # a line so many times as long as it is wide is scraped in patches, not across


def axes(strokes: Sequence[Stroke]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(middle, direction of the greatest extent, one across it, half extents along both)."""
    points = np.vstack([stroke.points for stroke in strokes])
    middle = (points.min(0) + points.max(0)) / 2
    _, across, along = np.linalg.eigh(np.cov(points.T))[1].T
    if abs(across[2]) > 0.9:  # all of it lies in one line in the plane of the frame
        across = by(-along[1], along[0], 0)
    thick = max(stroke.width_m for stroke in strokes) / 2
    return middle, along, across, np.abs((points - middle) @ np.stack([along, across], 1)).max(0) + thick


def clipped(points: np.ndarray, side: np.ndarray) -> np.ndarray:
    """The part of a polygon where `side` (n) is positive (Sutherland and Hodgman)."""
    made = []
    for i in range(len(points)):
        a, b = points[i - 1], points[i]
        if (side[i - 1] > 0) != (side[i] > 0):
            made.append(a + (b - a) * side[i - 1] / (side[i - 1] - side[i]))
        if side[i] > 0:
            made.append(b)
    return np.array(made).reshape(-1, 3)


def edge(cut: np.ndarray, colour: Colour) -> Stroke:
    """A line along a cut, that ends within it."""
    middle = cut.mean(0)
    long = float(np.linalg.norm(cut - middle, axis=1).max())
    return Stroke(middle + (cut - middle) * max(0.1, 1 - EDGE_M / 2 / long), EDGE_M, colour)


def gap(strokes: Sequence[Stroke], rng: np.random.Generator) -> tuple[Stroke, ...]:
    """A piece of its middle is gone; where it broke it is bright."""
    middle, along, _, half = axes(strokes)
    at, wide = rng.uniform(-0.15, 0.15) * half[0], max(0.3 * half[0], 0.02)
    bright, round_loop = bare([stroke.colour for stroke in strokes], rng), half[0] < 1.7 * half[1]
    made: list[Stroke] = []
    for stroke in strokes:
        if stroke.filled:
            far = (stroke.points - middle) @ along - at
            for sign in (1, -1):
                piece = clipped(stroke.points, sign * far - wide)
                if len(piece) > 2:
                    cut = piece[np.abs(np.abs((piece - middle) @ along - at) - wide) < 1e-6]
                    made.append(Stroke(piece, FILLED, stroke.colour, True))
                    made += [edge(cut, bright)] if len(cut) > 1 else []
            continue
        points = dense(stroke)
        shown = max(4, len(points) // 8)
        if stroke.closed and round_loop:  # of a ring one piece, not two
            keep = np.abs(np.arange(len(points)) / len(points) - 0.5) > 0.11
        else:
            keep = np.abs((points - middle) @ along - at) > wide
        for run in np.split(np.arange(len(points)), np.flatnonzero(np.diff(keep.astype(int))) + 1):
            if len(run) > 1 and keep[run[0]]:
                made.append(Stroke(points[run], stroke.width_m, stroke.colour))
                for end, cut in ((run[:shown], run[0] > 0), (run[-shown:], run[-1] < len(points) - 1)):
                    if cut:
                        made.append(Stroke(points[end], stroke.width_m, bright))
    return tuple(made)


def extent(strokes: Sequence[Stroke]) -> float:
    return float(np.ptp(np.vstack([stroke.points for stroke in strokes]), axis=0).sum())


def bent(strokes: Sequence[Stroke], rng: np.random.Generator) -> tuple[Stroke, ...]:
    """A kink in its middle, bare; to the side on which it takes less room."""
    middle, along, across, half = axes(strokes)
    across = np.array([across[0], across[1], 0.0])
    high, at = float(np.clip(0.5 * half[0], 0.04, 0.11)), rng.uniform(-0.2, 0.2)
    bright = bare([stroke.colour for stroke in strokes], rng)

    def made(by_m: float) -> tuple[Stroke, ...]:
        found = []
        for stroke in strokes:
            points = stroke.points if stroke.filled else dense(stroke)
            lift = np.clip(1 - np.abs(((points - middle) @ along) / half[0] - at) / 0.45, 0, 1)
            new = points + across * (by_m * lift)[:, None]
            found.append(Stroke(new, stroke.width_m, stroke.colour, stroke.closed))
            kink = np.flatnonzero(lift > 0.35)
            if not stroke.filled and not stroke.closed and len(kink) > 1:
                found.append(Stroke(new[kink], stroke.width_m * 0.8, bright))
        return tuple(found)

    return min(made(high), made(-high), key=extent)


def patches(line: Stroke, bright: Colour, rng: np.random.Generator) -> list[Stroke]:
    points = dense(line)
    waves = max(2.0, points.shape[0] / 11)  # a patch and what is left between two are about 13 cm long together
    gone = np.sin(np.linspace(0, 2 * math.pi * waves, len(points)) + rng.uniform(0, 2)) > -0.2
    runs = np.split(np.arange(len(points)), np.flatnonzero(np.diff(gone.astype(int))) + 1)
    return [Stroke(points[run], PATCH * line.width_m, bright) for run in runs if len(run) > 1 and gone[run[0]]]


def scraped(strokes: Sequence[Stroke], rng: np.random.Generator) -> tuple[Stroke, ...]:
    """Bare in a zigzag over it; of what is a slender line, in patches along it."""
    middle, along, across, half = axes(strokes)
    bright = bare([stroke.colour for stroke in strokes], rng)
    lines = [stroke for stroke in strokes if not stroke.filled]
    slender = [stroke for stroke in lines if extent([stroke]) > SLENDER * stroke.width_m]
    panels = max((extent([stroke]) for stroke in strokes if stroke.filled), default=0)
    if slender and len(lines) < STRINGS and max(extent([stroke]) for stroke in slender) > panels:
        return *strokes, *(patch for stroke in slender for patch in patches(stroke, bright, rng))
    turns, wide = max(4, min(9, round(half[0] / 0.02))), max(0.018, 0.28 * half[1])
    t = np.linspace(-0.8, 0.8, turns)[:, None] * half[0]
    s = np.where(np.arange(turns) % 2 == 0, 0.7, -0.7)[:, None] * half[1]
    low = np.min([stroke.points.min(0) - stroke.width_m / 2 for stroke in strokes], 0)
    high = np.max([stroke.points.max(0) + stroke.width_m / 2 for stroke in strokes], 0)
    room = np.maximum((high - low) / 2 - by(wide / 2, wide / 2, 0), 0)  # it stays on what it is on
    centre = (low + high) / 2
    return *strokes, Stroke(np.clip(middle + along * t + across * s, centre - room, centre + room), wide, bright)


MAKERS = {"gap": gap, "bent": bent, "scraped": scraped, "buckled": buckled, "flat": flat}


def damaged(part: str, strokes: Sequence[Stroke], rng: np.random.Generator) -> tuple[Stroke, ...]:
    kinds = KINDS.get(part, DEFAULT)
    return MAKERS[kinds[int(rng.integers(len(kinds)))]](strokes, rng)
