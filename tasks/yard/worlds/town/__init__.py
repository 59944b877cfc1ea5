"""The town world, `synth://town?routes=36&seconds=40&cameras=2&height=64&width=112&seed=0`: drives through towns that
differ in streets, houses, colours and traffic.

An expert who knows everything drives its routes; an agent may drive them too (`Simulation`). The command, the speed and
the next point of the route do not tell a red light, a stopped car or somebody on the crossing: that must be seen.

    routes     of all towns, taken in turn: town01_r000, town02_r000, ...
    seconds    about how long the expert needs for a route, waiting included; after half as much more recording ends,
               where one led astray is at 85 % of its way on average
    cameras    1: front; 2: front and back; 3: front, left, right; 4: all
    height     of a picture in px
    width      likewise
    seed       another seed is another world
    astray     1: the car is led astray now and then, see astray.py; 0: the expert alone drives

A route is a pure function of the seed, its name and the other params: more routes change none of the others. Two towns
are kept for validation and test (HELD_OUT): no street or house of them is seen in training.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from tasks.yard.step import BadInput
from tasks.yard.worlds import query
from tasks.yard.worlds.town.astray import Astray
from tasks.yard.worlds.town.ego import Control
from tasks.yard.worlds.town.expert import drive
from tasks.yard.worlds.town.rig import Eye, eyes
from tasks.yard.worlds.town.sensors import Box, Observation
from tasks.yard.worlds.town.simulation import TICK_S, Simulation, World

TOWNS = (1, 2, 3, 4, 5, 6)
HELD_OUT = {"val": ("town02",), "test": ("town05",)}  # as ThinkTwice's
RATE_HZ = 2.0
THINK_TICKS = 2  # the expert acts ten times a second
STEER_NOISE = 0.01  # on what is done, not on what is recorded as the expert's wish
LONGEST = 1.5  # times `seconds`
EXAMPLE = "synth://town?routes=36&seconds=40&cameras=2&height=64&width=112&seed=0"
LIMITS = {
    "routes": (1, 10_000), "seconds": (8, 600), "cameras": (1, 4), "height": (32, 1080), "width": (32, 1920),
    "seed": (0, 2**31), "astray": (0, 1),
}  # fmt: skip


def parse(uri: str) -> World:
    """Raises `BadInput` that names the key and what is allowed."""
    return query.parse(uri, World, LIMITS, EXAMPLE)


def uri(world: World) -> str:
    """What a route of this world is a pure function of, beside its name: all but how many of them there are."""
    said = {key: value for key, value in asdict(world).items() if key != "routes"}
    return "synth://town?" + "&".join(f"{key}={value:g}" for key, value in said.items())


def route_names(world: World) -> list[str]:
    return [f"town{TOWNS[i % len(TOWNS)]:02d}_r{i // len(TOWNS):03d}" for i in range(world.routes)]


def begin(world: World, name: str, traffic: int = 0) -> Simulation:
    """A drive over a route of this world, from its start. Raises `BadInput` if there is no such route."""
    match = re.fullmatch(r"town(\d\d)_r(\d{3,})", name)
    if match is None or int(match[1]) not in TOWNS:
        raise BadInput(f"{name}: no route of this world; they are called {', '.join(route_names(World())[:2])}, ...")
    return Simulation(world, int(match[1]), int(match[2]), traffic)


@dataclass(frozen=True)
class Moment:
    """One recorded moment: what was seen, and what the expert did and why."""

    frame: int  # counts from 0, twice a second; those at which the car was led astray are missing
    seen: Observation
    control: Control
    hazard: str  # light, vehicle, walker: what makes it brake; "" if nothing does
    completion: float


def recording(world: World, sim: Simulation) -> Iterator[Moment]:
    """The expert's drive over a route, twice a second, until its end or LONGEST * seconds.

    Where the world leads it astray, nothing is recorded until the expert has it back: who learns from it sees how to
    come back to the lane, and to speed, and nothing of how to leave them.
    """
    rng = np.random.default_rng([*sim.noise_seed, 7])
    astray = Astray(np.random.default_rng([*sim.noise_seed, 8]), 1 / RATE_HZ) if world.astray else None
    every = round(1 / (RATE_HZ * TICK_S))
    while not sim.over and sim.time_s < LONGEST * world.seconds:
        control, hazard = drive(sim)
        done = astray.control(sim, control, hazard) if astray else control
        if sim.ticks % every == 0 and (astray is None or astray.keeps(sim.time_s)):
            yield Moment(sim.ticks // every, sim.observe(), control, hazard, sim.route_completion)
        throttle, steer, brake = done
        sim.step(throttle, steer + STEER_NOISE * rng.standard_normal(), brake, THINK_TICKS * TICK_S)


__all__ = [
    "EXAMPLE", "HELD_OUT", "RATE_HZ", "TOWNS", "Box", "Control", "Eye", "Moment", "Observation", "Simulation", "World",
    "begin", "eyes", "parse", "recording", "route_names",
    "uri",
]  # fmt: skip
