"""What happens to the parts of a bike: what it never had, what breaks or is stolen in a ride, what is mended after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tasks.yard.worlds.bikes.anatomy import CARRIED, PARTS

CHANGED = 0.6  # of the rides something breaks or is lost
LOST = 0.4  # of those changes
MENDED = 0.4  # of what is wrong, before the next ride
# Shares of bikes (absent, damaged) at the first ride, and how often a photograph's clutter is aimed at the part.
PRIORS: dict[str, tuple[float, float, float]] = {
    "back_hand_break": (0.17, 0.06, 1.0), "back_handle": (0.06, 0.06, 1.0), "back_light": (0.22, 0.06, 1.2),
    "back_mudguard": (0.12, 0.08, 0.7), "back_pedal": (0.05, 0.05, 1.3), "back_reflector": (0.22, 0.06, 1.2),
    "back_wheel": (0.03, 0.09, 0.6), "bell": (0.24, 0.05, 1.0), "chain": (0.08, 0.08, 0.9),
    "dress_guard": (0.34, 0.06, 0.7), "dynamo": (0.32, 0.04, 1.2), "front_handbreak": (0.17, 0.06, 1.0),
    "front_handle": (0.06, 0.06, 1.0), "front_light": (0.20, 0.07, 1.2), "front_mudguard": (0.13, 0.08, 0.7),
    "front_pedal": (0.05, 0.05, 1.2), "front_wheel": (0.03, 0.09, 0.6), "gear_case": (0.28, 0.07, 0.9),
    "kickstand": (0.18, 0.06, 1.1), "lock": (0.26, 0.04, 1.0), "saddle": (0.05, 0.08, 1.0), "steer": (0.01, 0.06, 0.8),
}  # fmt: skip


@dataclass(frozen=True)
class Condition:
    """Of a bike at one moment: the parts that are not there, and the damaged ones, each with the seed of its damage."""

    absent: frozenset[str]
    damaged: Mapping[str, int]

    def without(self, part: str) -> Condition:
        """The part is lost, and what is on it."""
        gone = {part, *(CARRIED if part == "steer" else ())}
        return Condition(self.absent | gone, {name: seed for name, seed in self.damaged.items() if name not in gone})

    def broken(self, part: str, seed: int) -> Condition:
        return Condition(self.absent, {**self.damaged, part: seed})


def first(rng: np.random.Generator) -> Condition:
    found = Condition(frozenset(), {})
    rolls, seeds = rng.random(len(PARTS)), rng.integers(2**31, size=len(PARTS))
    for part, roll, seed in zip(PARTS, rolls, seeds.tolist(), strict=True):
        absent, damaged, _ = PRIORS[part]
        if roll < absent:
            found = found.without(part)
        elif roll < absent + damaged and part not in found.absent:
            found = found.broken(part, seed)
    return found


def ridden(rng: np.random.Generator, before: Condition) -> Condition:
    """After a ride: as before, or one intact part is damaged or lost."""
    whole = [part for part in PARTS if part not in before.absent and part not in before.damaged]
    roll, lost, pick, seed = rng.random(), rng.random() < LOST, rng.random(), int(rng.integers(2**31))
    if roll >= CHANGED or not whole:
        return before
    if lost:
        whole = [part for part in whole if part != "steer"]
    part = whole[int(pick * len(whole))]
    return before.without(part) if lost else before.broken(part, seed)


def mended(rng: np.random.Generator, before: Condition, never: frozenset[str]) -> Condition:
    """Some of what is wrong is put right; what the bike never had (`never`) it does not get."""
    rolls = dict(zip(PARTS, rng.random(len(PARTS)), strict=True))
    absent = {part for part in before.absent if part in never or rolls[part] >= MENDED}
    damaged = {part: seed for part, seed in before.damaged.items() if rolls[part] >= MENDED}
    return Condition(frozenset(absent), damaged)
