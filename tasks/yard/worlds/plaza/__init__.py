"""The plaza world, `synth://plaza?cameras=4&scenes=96&frames=5&seed=0`: people walk on a square of 8 x 8 m that still,
calibrated cameras look at from all sides.

A scene has its own cameras (poses, lenses, sensors), ground, walls, light, things in the way and people: nothing of a
scene of validation or test has been seen in training. A unit is one scene, and a pure function of the seed, its name
and the other params: more scenes change none of the others.

    cameras    in each scene, 2 to 8
    scenes     of training, train-00, ...; there are eight of validation and eight to test on
    frames     of each scene of training, two a second; those of validation have five, the others ten
    seed       another seed is another world

A scene gives its cameras' calibrations and, moment by moment, their pictures, who is on the square, and the boxes
around them. Who needs them as files writes them: see `importers/plaza.py` of a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from tasks.yard.geometry.lens import Calibration
from tasks.yard.step import BadInput
from tasks.yard.worlds import query
from tasks.yard.worlds.people import Look, draw_look
from tasks.yard.worlds.plaza import crowd, rig, scenery
from tasks.yard.worlds.plaza.crowd import Standing
from tasks.yard.worlds.plaza.film import Eye, Sensor
from tasks.yard.worlds.plaza.rig import PLANE

HELD_OUT = {"val": (8, 5), "test": (8, 10)}  # scenes, frames of each
STREAMS = {"train": 1, "val": 2, "test": 3}  # keep the random numbers of the splits apart
EXAMPLE = "synth://plaza?cameras=4&scenes=96&frames=5&seed=0"


@dataclass(frozen=True)
class Plaza:
    cameras: int = 4
    scenes: int = 96  # of training
    frames: int = 5  # of each scene of training
    seed: int = 0


LIMITS = {"cameras": (2, 8), "scenes": (1, 99), "frames": (1, 10_000), "seed": (0, 2**31)}


def parse(uri: str) -> Plaza:
    """Raises `BadInput` that names the key and what is allowed."""
    return query.parse(uri, Plaza, LIMITS, EXAMPLE)


def unit_names(world: Plaza) -> list[str]:
    counts = {"train": world.scenes, **{split: scenes for split, (scenes, _) in HELD_OUT.items()}}
    return [f"{split}-{number:02d}" for split, count in counts.items() for number in range(count)]


@dataclass(frozen=True)
class Moment:
    """One moment of a scene, as all its cameras film it."""

    pictures: list[np.ndarray]  # of each camera (H, W, 3) BGR uint8
    boxes: list[dict[int, tuple]]  # of each camera {person: (x1, y1, x2, y2)} of who is seen, in px as filmed
    standing: list[Standing]  # on the square


@dataclass(frozen=True)
class Scene:
    name: str
    seed: int  # of the world
    eyes: tuple[Eye, ...]
    frames: tuple[list[Standing], ...]  # everybody on the square and beside it
    looks: dict[int, Look]

    @property
    def split(self) -> str:
        return self.name.split("-")[0]

    @property
    def calibrations(self) -> list[Calibration]:
        return [eye.calibration for eye in self.eyes]

    def film(self) -> Iterator[Moment]:
        noise = [np.random.default_rng([*self.name.encode(), self.seed, place]) for place in range(len(self.eyes))]
        for standing in self.frames:
            seen = [eye.seen(standing, self.looks) for eye in self.eyes]
            pictures = [
                eye.sensor.develop(picture, rng) for eye, (picture, _), rng in zip(self.eyes, seen, noise, strict=True)
            ]
            on_it = [one for one in standing if PLANE.holds(PLANE.to_plane(np.array(one.xy_m)))]
            yield Moment(pictures, [boxes for _, boxes in seen], on_it)


def draw_scene(world: Plaza, name: str) -> Scene:
    """Raises `BadInput` if this world has no such unit."""
    known = unit_names(world)
    if name not in known:
        raise BadInput(f"{name}: no unit of this world; it has {', '.join(known[:3])} ... {known[-1]}")
    split, number = re.fullmatch(r"(\w+)-(\d+)", name).groups()
    seed = [world.seed, STREAMS[split], int(number)]
    cameras = rig.draw(np.random.default_rng([*seed, 0]), world.cameras)
    things = scenery.draw_things(np.random.default_rng([*seed, 1]))
    around = scenery.draw(np.random.default_rng([*seed, 2]), things, [one.camera().centre for one in cameras])
    count = world.frames if split == "train" else HELD_OUT[split][1]
    frames = crowd.walk([*seed, 3], count, things)
    looks = {}
    for person in {one.person for standing in frames for one in standing}:
        rng = np.random.default_rng([*seed, 4, person])
        looks[person] = replace(draw_look(rng), height_m=float(rng.uniform(1.55, 1.9)))
    eyes = [
        Eye(one, around, Sensor.draw(np.random.default_rng([*seed, 5, place])), place)
        for place, one in enumerate(cameras)
    ]
    return Scene(name, world.seed, tuple(eyes), tuple(frames), looks)
