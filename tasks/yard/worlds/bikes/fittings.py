"""Parts that are mounted on a bike: guards, chain, lights, dynamo, kickstand, lock; each where it is told."""

from __future__ import annotations

import math

import numpy as np

from tasks.yard.worlds.bikes.palette import BRIGHT, METALS, PAINTS, RUBBERS, some
from tasks.yard.worlds.bikes.strokes import Stroke, arc, area, around, block, by, curve, disc, line, ring
from tasks.yard.worlds.canvas import Colour, darker


def dress_guard(rng: np.random.Generator, hub: np.ndarray, radius_m: float) -> tuple[Stroke, ...]:
    """A panel, or strings, over the upper back of the wheel."""
    from_deg, to_deg = rng.uniform(25, 45), rng.uniform(105, 140)
    colour = some(rng, (*PAINTS, *RUBBERS[:1]))
    outer = around(hub, radius_m, from_deg, to_deg, 10)
    inner = around(hub, radius_m * rng.uniform(0.28, 0.4), from_deg + 8, to_deg - 8, 10)
    if rng.random() < 0.5:
        return (area([*outer, *inner[::-1]], colour), line([inner[3], outer[3]], 0.012, darker(colour, 0.6)))
    strings = [line([a, b], 0.014, colour) for a, b in zip(inner, outer, strict=True)]
    return (*strings, Stroke(inner, 0.016, colour), Stroke(outer, 0.016, colour))


def chain(
    rng: np.random.Generator, hub: np.ndarray, bb: np.ndarray, sprocket_m: float, ring_m: float
) -> tuple[Stroke, ...]:
    colour, link = (((50, 55, 60), (170, 175, 180)), ((70, 120, 165), (30, 50, 80)), ((170, 175, 178), (40, 42, 45)))[
        int(rng.integers(3))
    ]
    back, front = around((*hub, 0.05), sprocket_m, 90, 270, 9), around((*bb, 0.05), ring_m, -90, 90, 9)
    upper, lower = np.linspace(front[-1], back[0], 12), np.linspace(back[-1], front[0], 12)
    points = np.vstack([back, lower[1:-1], front, upper[1:-1]])
    return Stroke(points, 0.03, colour, True), *(disc(at, 0.012, link) for at in points[::2])


def gear_case(
    rng: np.random.Generator, hub: np.ndarray, bb: np.ndarray, ring_m: float, paint: Colour
) -> tuple[Stroke, ...]:
    """A guard above the upper run of the chain, around the front of the chainring."""
    colour = some(rng, (paint, *METALS, *BRIGHT))
    z, over = 0.06, ring_m + 0.07
    front = around((*bb, z), over, rng.uniform(-5, 25), 100, 9)
    under = around((*bb, z), over - rng.uniform(0.05, 0.06), 100, 10, 9)
    x, y = hub + by(rng.uniform(0.03, 0.10), 0.125)
    panel = area([*front, (x, y, z), (x + 0.01, y - 0.055, z), *under], colour)
    return panel, line([front[-2] - by(0, 0.02, 0), (x + 0.04, y - 0.025, z)], 0.010, darker(colour, 1.4))


def back_light(rng: np.random.Generator, at: np.ndarray) -> tuple[Stroke, ...]:
    case, glass = some(rng, ((35, 35, 35), (70, 70, 75))), some(rng, ((40, 30, 210), (60, 50, 240)))
    return block(at, 0.12, 0.10, case), block(at[:2] + by(-0.02, 0), 0.07, 0.07, glass)


def reflector(rng: np.random.Generator, at: np.ndarray) -> tuple[Stroke, ...]:
    colour, high = some(rng, ((40, 90, 245), (30, 60, 235), (40, 150, 250))), rng.uniform(0.10, 0.125)
    return block(at, 0.09, high, (225, 225, 225)), block(at, 0.064, high - 0.028, colour)


def front_light(rng: np.random.Generator, at: np.ndarray) -> tuple[Stroke, ...]:
    """Its glass is forward."""
    glass = some(rng, ((200, 245, 250), (150, 230, 250)))
    body = [at + by(*off) for off in ((-0.075, 0.02), (0.02, 0.06), (0.02, -0.06), (-0.075, -0.02))]
    return area(body, some(rng, METALS)), block(at + by(0.036, 0), 0.036, 0.125, glass)


def dynamo(rng: np.random.Generator, at: np.ndarray) -> tuple[Stroke, ...]:
    """A bottle that leans on the tyre."""
    colour, tilt = some(rng, METALS), math.radians(rng.uniform(-25, 25))
    up = by(math.sin(tilt), math.cos(tilt))
    return (
        line([at - up * 0.05, at + up * 0.03], 0.076, colour),
        line([at + up * 0.05, at + up * 0.085], 0.042, darker(colour, 0.55)),
        line([at - up * 0.012, at + up * 0.012], 0.078, darker(colour, 0.6)),
    )


def kickstand(rng: np.random.Generator, at: np.ndarray) -> tuple[Stroke, ...]:
    colour = some(rng, METALS)
    foot = by(at[0] + rng.choice([-1, 1]) * rng.uniform(0.05, 0.14), 0.005)
    shoe = line([foot - by(0.035, 0), foot + by(0.04, 0)], 0.032, darker(colour, 0.7))
    return line([at - by(0, 0.03), foot], 0.034, colour), shoe


def lock(
    rng: np.random.Generator, hub: np.ndarray, cluster: np.ndarray, bb: np.ndarray, low: np.ndarray
) -> tuple[Stroke, ...]:
    """A ring on the stays, a cable hung on the seat tube, or a U on the lower tube."""
    colour, z = some(rng, BRIGHT), 0.03
    kind, along = int(rng.integers(3)), rng.random()
    if kind == 0:
        x, y = hub + (cluster - hub) * (0.58 + 0.17 * along)
        return arc((x, y, z), 0.065, -40, 220, 0.034, colour), block((x, y - 0.055, z), 0.12, 0.05, darker(colour, 0.7))
    if kind == 1:
        x, y = bb + (cluster - bb) * (0.5 + 0.3 * along) + by(0.02, -0.04)
        coil = [ring((x + 0.02 * i, y - 0.015 * i, z), 0.075 - 0.01 * i, 0.024, colour, 20) for i in range(2)]
        return (*coil, block((x, y - 0.085, z), 0.055, 0.06, darker(colour, 0.5)))
    x, y = bb + (low - bb) * (0.4 + 0.25 * along) + by(0.0, 0.02)
    bow = [(x + dx, y + dy, z) for dx, dy in ((-0.05, -0.05), (-0.05, 0.07), (0, 0.11), (0.05, 0.07), (0.05, -0.05))]
    foot = line([(x - 0.07, y - 0.05, z), (x + 0.07, y - 0.05, z)], 0.045, darker(colour, 0.6))
    return curve(bow, 0.028, colour, 5), foot
