"""People on the square: they stroll from here to there, stop for a while, keep clear of each other and of what stands
in their way, and now and then one leaves and another comes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tasks.yard.worlds.plaza.rig import CENTRE, PLANE

FPS = 2.0
STEPS = 5  # of the simulation in a frame
APART_M = 0.5  # no two people are nearer
CLEAR_M = 0.3  # from the middle of a person to a thing
OUTSIDE_M = 1.4  # how far beyond the edge people come from and go to
STRIDE_M = 0.72  # one step of an average person
PEOPLE = (5, 8)  # of a scene; with who comes and goes 4 to 9 are on the square


@dataclass(frozen=True)
class Thing:
    """What stands on the square: round if it has no `half_m`, else a box along the axes."""

    xy_m: tuple[float, float]
    radius_m: float  # people keep out of it
    height_m: float
    half_m: tuple[float, float] | None = None


@dataclass(frozen=True)
class Standing:
    """Somebody at one moment. `heading` is the direction of walking, radians from the X axis."""

    person: int
    xy_m: tuple[float, float]
    heading: float
    phase: float  # of the step
    speed_mps: float


class Walker:
    def __init__(self, rng: np.random.Generator, person: int, xy: np.ndarray) -> None:
        self.person, self.xy, self.velocity = person, xy, np.zeros(2)
        self.heading, self.phase = float(rng.uniform(-math.pi, math.pi)), float(rng.uniform(0, 6.28))
        self.pace = float(rng.uniform(0.7, 1.35))
        self.goal, self.rest_s, self.leaving = xy.copy(), float(rng.uniform(0, 2)), False

    def at(self) -> Standing:
        speed = float(np.linalg.norm(self.velocity))
        return Standing(self.person, (float(self.xy[0]), float(self.xy[1])), self.heading, self.phase, speed)


def _inside(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(0.35, np.array(PLANE.size_m) - 0.35)


def _beyond(rng: np.random.Generator) -> np.ndarray:
    """A place beside the square."""
    angle = rng.uniform(0, 2 * math.pi)
    out = np.array([math.cos(angle), math.sin(angle)])
    return CENTRE + out * ((PLANE.size_m[0] / 2 + OUTSIDE_M) / np.abs(out).max())


def _apart(walkers: list[Walker], things: list[Thing], rounds: int = 40) -> bool:
    """Push people off each other and off things; says whether all are clear."""
    for _ in range(rounds):
        clear = True
        for i, one in enumerate(walkers):
            for thing in things:
                away = one.xy - thing.xy_m
                far = float(np.linalg.norm(away))
                if far < thing.radius_m + CLEAR_M:
                    one.xy = thing.xy_m + away / max(far, 1e-9) * (thing.radius_m + CLEAR_M + 0.01)
                    clear = False
            for other in walkers[:i]:
                away = one.xy - other.xy
                far = float(np.linalg.norm(away))
                if far < APART_M + 0.04:
                    push = away / max(far, 1e-9) * (APART_M + 0.06 - far) / 2
                    one.xy, other.xy = one.xy + push, other.xy - push
                    clear = False
        if clear:
            return True
    return False


def _step(rng: np.random.Generator, walkers: list[Walker], things: list[Thing], dt: float) -> bool:
    before = [one.xy for one in walkers]
    for one in walkers:
        to = one.goal - one.xy
        far = float(np.linalg.norm(to))
        if far < 0.4 and not one.leaving:
            one.goal = _inside(rng)
            one.rest_s = float(rng.uniform(1, 4)) if rng.random() < 0.25 else 0.0
        one.rest_s = max(0.0, one.rest_s - dt)
        wish = np.zeros(2) if one.rest_s > 0 else to / max(far, 1e-9) * one.pace
        for centre, radius, reach in [(other.xy, 0.5, 0.35) for other in walkers if other is not one] + [
            (np.array(thing.xy_m), thing.radius_m + CLEAR_M, 0.3) for thing in things
        ]:
            away = one.xy - centre
            gap = float(np.linalg.norm(away))
            if gap < radius + 1.2:
                away = away / max(gap, 1e-9)
                # Straight off it, and a little to the right: two who meet pass each other.
                aside = np.array([-away[1], away[0]])
                wish = wish + (1.5 * away + 0.6 * aside) * math.exp(-max(gap - radius, 0) / reach)
        fast = float(np.linalg.norm(wish))
        wish = wish * min(1.0, 1.5 / max(fast, 1e-9))
        one.velocity = one.velocity + (wish - one.velocity) * min(1.0, dt / 0.35)
        one.xy = one.xy + one.velocity * dt
    clear = _apart(walkers, things)
    for one, was in zip(walkers, before, strict=True):
        moved = one.xy - was
        far = float(np.linalg.norm(moved))
        one.velocity = moved / dt
        one.phase += math.pi * far / STRIDE_M
        if far / dt > 0.15:
            turn = (math.atan2(moved[1], moved[0]) - one.heading + math.pi) % (2 * math.pi) - math.pi
            one.heading += turn * min(1.0, dt / 0.25)
    return clear


def _try(rng: np.random.Generator, frames: int, things: list[Thing]) -> list[list[Standing]] | None:
    """None if somebody could not keep clear."""
    count = int(rng.integers(PEOPLE[0], PEOPLE[1] + 1))
    walkers = [Walker(rng, person, _inside(rng)) for person in range(count)]
    if not _apart(walkers, things, 400):
        return None
    for one in walkers:
        one.goal = _inside(rng)
    shown, following, dt = [], count, 1 / FPS / STEPS
    for frame in range(frames):
        for _ in range(STEPS if frame else 0):
            if not _step(rng, walkers, things, dt):
                return None
        walkers = [one for one in walkers if not (one.leaving and np.linalg.norm(one.goal - one.xy) < 0.5)]
        strangers = [one for one in walkers if not PLANE.holds(PLANE.to_plane(one.xy))]
        if rng.random() < 0.12 and not strangers and not any(one.leaving for one in walkers):
            if rng.random() < 0.5 and len(walkers) > PEOPLE[0]:
                one = walkers[int(rng.integers(len(walkers)))]
                one.goal, one.leaving, one.rest_s = _beyond(rng), True, 0.0
            elif len(walkers) < PEOPLE[1]:
                walkers.append(Walker(rng, following, _beyond(rng)))
                walkers[-1].goal, walkers[-1].rest_s = _inside(rng), 0.0
                following += 1
        if not _apart(walkers, things):
            return None
        shown.append([one.at() for one in walkers])
    return shown


def walk(seed: list[int], frames: int, things: list[Thing]) -> list[list[Standing]]:
    """Everybody on and around the square in each frame, two frames a second."""
    for attempt in range(100):
        shown = _try(np.random.default_rng([*seed, attempt]), frames, things)
        if shown is not None:
            return shown
    raise AssertionError(f"nobody finds a way in {seed}")
