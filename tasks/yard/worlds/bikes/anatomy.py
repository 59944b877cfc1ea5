"""One bike: its frame, and the 22 parts where this bike has them, each as it is when nothing is wrong with it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tasks.yard.worlds.bikes import fittings, wheels
from tasks.yard.worlds.bikes.palette import BRIGHT, LEATHERS, METALS, PAINTS, some
from tasks.yard.worlds.bikes.strokes import Stroke, arc, area, around, block, by, curve, disc, line, place, ring
from tasks.yard.worlds.canvas import Colour, darker

PARTS = (
    "back_hand_break", "back_handle", "back_light", "back_mudguard", "back_pedal", "back_reflector", "back_wheel",
    "bell", "chain", "dress_guard", "dynamo", "front_handbreak", "front_handle", "front_light", "front_mudguard",
    "front_pedal", "front_wheel", "gear_case", "kickstand", "lock", "saddle", "steer",
)  # fmt: skip
CRANK_M = 0.17
NEAR, FAR = 0.27, -0.27  # of the handles, to the side of the frame
# The far side first, but for the far pedal and brake: behind the others they could not be judged. All but the parts is
# the frame, which has no state.
ORDER = (
    "back_handle", "far_crank", "back_wheel", "front_wheel", "dress_guard", "back_mudguard", "front_mudguard", "rack",
    "frame", "fork", "dynamo", "chainring", "chain", "gear_case", "kickstand", "back_pedal", "lock", "back_light",
    "back_reflector", "front_light", "saddle", "steer", "back_hand_break", "front_handbreak", "bell",
    "front_handle", "near_crank", "front_pedal",
)  # fmt: skip
CARRIED = ("back_hand_break", "back_handle", "front_handbreak", "front_handle", "bell")  # by the steer: gone with it
Pieces = dict[str, tuple[Stroke, ...]]


@dataclass(frozen=True)
class Bike:
    pieces: Pieces  # of every name in ORDER
    steered: frozenset[str]  # what turns with the steer
    steering: tuple[np.ndarray, np.ndarray]  # a point of that axis, and its direction
    crank: np.ndarray  # (3) its axle: the pedals and the cranks are given as they are at an angle of 0


@dataclass(frozen=True)
class Frame:
    """Points (2) m, forward and up; the ground is at 0, the back hub above the origin."""

    hubs: tuple[np.ndarray, np.ndarray]  # back, front
    radii_m: tuple[float, float]  # of the wheels
    bb: np.ndarray  # bottom bracket
    cluster: np.ndarray  # where the stays meet the seat tube
    top: np.ndarray  # of the seat post
    axis: np.ndarray  # direction of the steering axis
    foot: np.ndarray  # a point of it
    crown: np.ndarray  # of the fork
    head: np.ndarray
    clamp: np.ndarray  # of the stem

    @property
    def low(self) -> np.ndarray:
        return self.crown + (self.head - self.crown) * 0.2


def direction(degrees: float) -> np.ndarray:
    """Upwards, leaning back."""
    return by(-math.cos(math.radians(degrees)), math.sin(math.radians(degrees)))


def sizes(rng: np.random.Generator) -> Frame:
    u = rng.uniform
    back = u(0.29, 0.36)
    front = back if rng.random() < 0.8 else u(0.25, 0.36)
    hubs = by(0, back), by(u(0.98, 1.16), front)
    bb, seat, axis = by(u(0.40, 0.48), u(0.25, 0.31)), direction(u(64, 75)), direction(u(62, 74))
    foot = hubs[1] - by(u(0.03, 0.06), 0)
    crown = foot + axis * (front + u(0.07, 0.11))
    head = max(foot + axis * u(0.60, 0.72), crown + axis * 0.12, key=lambda point: point[1])
    clamp = head + axis * u(0.08, 0.20)
    cluster, top = bb + seat * u(0.42, 0.56), bb + seat * u(0.62, 0.74)
    return Frame(hubs, (back, front), bb, cluster, top, axis, foot, crown, head, clamp)


def tubes(rng: np.random.Generator, of: Frame, paint: Colour, metal: Colour) -> Pieces:
    wide = rng.uniform(0.030, 0.044)
    bb, cluster, head, low, hub = of.bb, of.cluster, of.head, of.low, of.hubs[0]
    up = (cluster - bb) / np.linalg.norm(cluster - bb)
    kinds = (
        (line([low, bb], wide, paint), line([head - (head - of.crown) * 0.2, cluster], wide, paint)),
        (line([low, bb], wide, paint), line([head, bb + up * 0.24], wide * 0.8, paint)),
        (line([low, bb], wide, paint), line([head, bb + by(0.09, 0.07), bb + up * 0.13], wide * 0.9, paint)),
        (curve([low, (low + bb) / 2 - by(0.03, 0.09), bb], wide * 1.3, paint),),
    )
    bend = of.crown + (of.hubs[1] - of.crown) * 0.55 - by(0.01, 0)
    return {
        "frame": (
            line([bb, cluster], wide, paint), line([cluster, of.top], 0.026, metal),
            line([head, of.crown], wide * 1.15, paint), line([hub, cluster], wide * 0.55, paint),
            line([hub, bb], wide * 0.6, paint), *kinds[int(rng.integers(len(kinds)))],
        ),
        "fork": (curve([of.crown, bend, of.hubs[1]], wide * 0.75, some(rng, (paint, metal))),),
    }  # fmt: skip


def wheels_and_guards(rng: np.random.Generator, of: Frame, paint: Colour, guards_end: float) -> Pieces:
    u = rng.uniform
    look = wheels.Look.draw(rng)
    (back, front), (radius, front_radius) = of.hubs, of.radii_m
    guard, wide = some(rng, (paint, METALS[0], METALS[3], *BRIGHT)), u(0.036, 0.05)
    return {
        "back_wheel": wheels.wheel(rng, back, radius, look),
        "front_wheel": wheels.wheel(rng, front, front_radius, look),
        "back_mudguard": (arc(back, radius + 0.042, u(40, 75), guards_end, wide, guard),),
        "front_mudguard": (arc(front, front_radius + 0.042, u(35, 70), u(150, 185), wide, guard),),
        "dress_guard": fittings.dress_guard(rng, back, radius - look.tyre_m),
    }


def bar(rng: np.random.Generator, of: Frame) -> tuple[Pieces, np.ndarray]:
    """(the steer and what it carries, where it is clamped)."""
    u = rng.uniform
    rise, sweep = u(-0.03, 0.13), u(-0.20, 0.02)
    at = of.clamp + by(u(-0.02, 0.06), 0)
    ends = [by(at[0] + sweep, at[1] + rise, z) for z in (FAR, NEAR)]
    inner = [by(at[0] + 0.02, at[1] + rise * u(0.6, 1.0), z * 0.4) for z in (FAR, NEAR)]
    colour, grip, lever = some(rng, METALS), some(rng, LEATHERS), some(rng, METALS)
    made: Pieces = {
        "steer": (
            line([of.head, of.clamp, at], 0.038, colour),
            curve([ends[0], inner[0], by(*at, 0), inner[1], ends[1]], 0.032, colour, 8),
        )
    }
    for end, side in ((ends[0], "back"), (ends[1], "front")):
        # From the lever to the end of the bar: backwards, outwards.
        along = by(-0.075 - 0.25 * abs(sweep), 0.02 * rise - 0.01, math.copysign(0.06, end[2]))
        made[f"{side}_handle"] = (
            line([end - along * 0.5, end + along * 1.1], 0.064, grip),
            line([end + along * 0.9, end + along * 1.1], 0.070, darker(grip, 0.7)),
        )
        root = end - along * 1.1 + by(0.02, -0.005, 0)
        hook = [root, root + by(0.05, -0.025, 0), root + by(0.045, -0.09, 0) + along * 0.3]
        made["back_hand_break" if side == "back" else "front_handbreak"] = (
            line([*hook, root + by(0, -0.135, 0) + along * 0.8], 0.028, lever),
            block(root + by(0.015, -0.01, 0), 0.055, 0.055, darker(lever, 0.7)),
        )
    centre = inner[1] + by(0.02, u(0.07, 0.085), 0)
    chrome = some(rng, (*METALS, *BRIGHT))
    made["bell"] = disc(centre, u(0.054, 0.064), darker(chrome, 0.6)), disc(centre + by(0.004, 0.008, 0), 0.04, chrome)
    return made, at


def saddle(rng: np.random.Generator, top: np.ndarray, metal: Colour) -> tuple[Stroke, ...]:
    long, nose = rng.uniform(0.25, 0.30), rng.uniform(-0.01, 0.03)
    x, y = top + by(rng.uniform(-0.02, 0.04), 0.01)
    outline = [
        (-0.52, 0.095), (-0.3, 0.105), (0, 0.08), (0.46, 0.08 + nose), (0.5, 0.05 + nose), (0.2, 0.03), (-0.3, 0.01),
        (-0.5, 0.035),
    ]  # fmt: skip
    return (
        line([(x - 0.07, y + 0.015), (x + 0.07, y + 0.015)], 0.018, metal),
        area([(x + long * forward, y + up) for forward, up in outline], some(rng, LEATHERS)),
    )


def drive(rng: np.random.Generator, of: Frame, paint: Colour, metal: Colour) -> Pieces:
    ring_m, x, y = rng.uniform(0.085, 0.11), *of.bb
    pedal, spot = some(rng, (METALS[2], METALS[0], BRIGHT[1])), some(rng, ((30, 130, 235), (40, 190, 240)))
    made: Pieces = {
        "chainring": (
            ring((x, y, 0.04), ring_m - 0.012, 0.022, some(rng, METALS), 24),
            disc((x, y, 0.04), 0.03, darker(metal, 0.7)),
        ),
        "chain": fittings.chain(rng, of.hubs[0], of.bb, rng.uniform(0.035, 0.05), ring_m),
        "gear_case": fittings.gear_case(rng, of.hubs[0], of.bb, ring_m, paint),
    }
    for crank, part, z, shade in (("far_crank", "back_pedal", -0.13, 0.75), ("near_crank", "front_pedal", 0.13, 1.0)):
        end = x + math.copysign(CRANK_M, z)
        made[crank] = (line([(x, y, 0.6 * z), (end, y, 0.6 * z)], 0.024, darker(metal, shade)),)
        spots = [block((end + off, y, z), 0.034, 0.044, spot) for off in (-0.042, 0.042)]
        made[part] = block((end, y, z), 0.14, 0.076, pedal), *spots
    return made


def mounted(
    rng: np.random.Generator, of: Frame, bar_at: np.ndarray, rack: bool, guards_end: float
) -> tuple[Pieces, bool]:
    """(what is mounted here on one bike and there on another, does the dynamo turn with the steer?)."""
    u, (hub, _), radius = rng.uniform, of.hubs, of.radii_m[0]
    stay = hub + (of.cluster - hub) * u(0.78, 1.0) + by(-0.06, 0.03)
    tail, below = (around(hub, radius + 0.06, guards_end - off, guards_end - off, 1)[0] for off in (20, 2))
    behind = [by(-0.38, 2 * radius + 0.07, 0) if rack else below, tail, stay]
    light, reflector = rng.permutation(3)[:2].tolist()
    front = (of.crown + by(0.08, 0.05), of.head + by(0.09, u(-0.02, 0.05)), bar_at + by(0.10, -0.05))
    on_fork = bool(rng.random() < 0.55)
    bottle = of.crown + by(-0.075, -0.02) if on_fork else hub + (of.cluster - hub) * 0.62 + by(-0.085, 0.03)
    return {
        "back_light": fittings.back_light(rng, behind[light]),
        "back_reflector": fittings.reflector(rng, behind[reflector]),
        "front_light": fittings.front_light(rng, front[int(rng.integers(3))]),
        "dynamo": fittings.dynamo(rng, bottle),
        "kickstand": fittings.kickstand(rng, of.bb if rng.random() < 0.5 else hub + by(0.10, -0.01)),
        "lock": fittings.lock(rng, hub, of.cluster, of.bb, of.low),
    }, on_fork


def build(rng: np.random.Generator) -> Bike:
    """A bike of its own: sizes, kind of frame, colours, and where each part is mounted."""
    of = sizes(rng)
    paint, metal = some(rng, PAINTS), some(rng, METALS)
    guards_end, rack, level = rng.uniform(168, 205), rng.random() < 0.6, 2 * of.radii_m[0] + rng.uniform(0.04, 0.09)
    carrier = line([(-0.36, level), (0.14, level)], 0.022, metal), line([(-0.22, level), of.hubs[0]], 0.014, metal)
    carried, bar_at = bar(rng, of)
    fitted, on_fork = mounted(rng, of, bar_at, rack, guards_end)
    pieces = {
        **tubes(rng, of, paint, metal),
        "rack": carrier if rack else (),
        **wheels_and_guards(rng, of, paint, guards_end),
        **carried,
        "saddle": saddle(rng, of.top, metal),
        **drive(rng, of, paint, metal),
        **fitted,
    }
    turning = [
        "fork",
        "front_wheel",
        "front_mudguard",
        "steer",
        "front_light",
        *CARRIED,
        *(["dynamo"] if on_fork else []),
    ]
    return Bike(pieces, frozenset(turning), (place([of.foot])[0], place([of.axis])[0]), place([of.bb])[0])
