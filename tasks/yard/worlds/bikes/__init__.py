"""The bike world, `synth://bikes?bikes=480&rides=1&seed=0`: side views of bicycles before and after a ride.

Each bike has its own frame, sizes, colours and places where its 22 parts are mounted. A ride is two photographs, each
with its own camera, light, ground, wall and things in the way; in between one part may be damaged or lost, and before
the next ride some of what is wrong is mended. A ride is a pure function of the seed, the bike and the number of the
ride: more bikes or rides change none of the others.

    bikes      0, 1, 2, ...
    rides      of each bike
    seed       another seed is another world
    width, height   of a photograph, in pixels

A photograph gives its picture and of each part the state and the box. A part is intact, damaged (broken in two, bent,
scraped, flat: another picture than intact at the same place), absent (nothing is drawn; the box is where it would be on
this bike) or occluded (something hides at least half of its box, whatever is behind). Front and back handle, brake and
pedal are those further forward and nearer, and those further back. Who needs files: `importers/bikes.py` of a line.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from tasks.yard.worlds import query
from tasks.yard.worlds.bikes import backdrop, camera, cover, life, light, wear
from tasks.yard.worlds.bikes.anatomy import ORDER, PARTS, Bike, build
from tasks.yard.worlds.bikes.life import Condition
from tasks.yard.worlds.bikes.strokes import Stroke

STATES = ("intact", "damaged", "absent", "occluded")
MOMENTS = ("before", "after")
EXAMPLE = "synth://bikes?bikes=480&rides=1&seed=0"
THINGS = (0.2, 0.5, 0.3)  # probabilities of 0, 1, 2 things in front


@dataclass(frozen=True)
class Bikes:
    bikes: int = 480
    rides: int = 1
    seed: int = 0
    width: int = 192
    height: int = 160


LIMITS = {"bikes": (1, 9999), "rides": (1, 99), "seed": (0, 2**31), "width": (96, 1920), "height": (80, 1600)}


def parse(uri: str) -> Bikes:
    """Raises `BadInput` that names the key and what is allowed."""
    return query.parse(uri, Bikes, LIMITS, EXAMPLE)


@dataclass(frozen=True)
class Seen:
    state: str  # of STATES
    box: tuple[float, float, float, float]  # x, y, width, height in px; may reach out of the picture


@dataclass(frozen=True)
class Photo:
    picture: np.ndarray  # (H, W, 3) BGR uint8
    parts: dict[str, Seen]


class Ridden:
    """One bike of the world, with all its rides."""

    def __init__(self, world: Bikes, number: int) -> None:
        self.world, self.number = world, number
        self.faces_left = bool(self._rng(1).random() < 0.5)

    def _rng(self, *what: int) -> np.random.Generator:
        return np.random.default_rng([self.world.seed, self.number, *what])

    @cached_property
    def bike(self) -> Bike:
        return build(self._rng(0))

    @cached_property
    def conditions(self) -> list[tuple[Condition, Condition]]:
        """Before and after each ride."""
        made: list[tuple[Condition, Condition]] = []
        now = life.first(self._rng(2))
        never = now.absent
        for ride in range(self.world.rides):
            if ride:
                now = life.mended(self._rng(3, ride), now, never)
            after = life.ridden(self._rng(4, ride), now)
            made.append((now, after))
            now = after
        return made

    def photo(self, ride: int, moment: int) -> Photo:
        """`moment` is a place in MOMENTS."""
        return taken(self, self.conditions[ride][moment], [5, ride, moment])

    def worn(self, condition: Condition) -> dict[str, tuple[Stroke, ...]]:
        """The damaged parts."""
        return {
            part: wear.damaged(part, self.bike.pieces[part], np.random.default_rng([self.world.seed, seed]))
            for part, seed in condition.damaged.items()
        }


def taken(ridden: Ridden, condition: Condition, stream: list[int]) -> Photo:
    """A photograph; `stream` decides all that is not the bike's own."""
    world = ridden.world
    size = world.width, world.height
    rng = [ridden._rng(*stream, what) for what in range(5)]
    pose = camera.Pose.draw(rng[0])
    bike = ridden.bike
    # The camera is set up by the whole bike: what is wrong with it moves nothing in the picture.
    whole = {name: camera.held(bike, name, strokes, pose) for name, strokes in bike.pieces.items()}
    eye = camera.Camera(pose, whole.values(), ridden.faces_left, size)
    worn = {name: camera.held(bike, name, strokes, pose) for name, strokes in ridden.worn(condition).items()}
    drawn = eye.seen(whole)
    wheels = [drawn[part].box for part in ("back_wheel", "front_wheel")]
    drawn |= eye.seen(worn) if worn else {}
    boxes = {part: drawn[part].box for part in PARTS}
    ground = max(y + h for _, y, _, h in wheels)
    scene = backdrop.draw(rng[1], size, ground)
    light.on_ground(rng[1], scene, min(x for x, *_ in wheels), max(x + w for x, _, w, _ in wheels), ground)
    canvas = cv2.resize(scene, (world.width * camera.FINE, world.height * camera.FINE), interpolation=cv2.INTER_LINEAR)
    for name in ORDER:
        if name not in condition.absent:
            drawn[name].paint(canvas)
    things = int(rng[2].choice(len(THINGS), p=THINGS))
    hidden = cover.put(rng[2], canvas, boxes, {part: prior[2] for part, prior in life.PRIORS.items()}, things, size)
    picture = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA)
    parts = {part: Seen(state_of(part, condition, hidden[part]), boxes[part]) for part in PARTS}
    return Photo(light.develop(rng[3], picture), parts)


def state_of(part: str, condition: Condition, hidden: float) -> str:
    if hidden >= cover.OCCLUDED:
        return "occluded"
    if part in condition.absent:
        return "absent"
    return "damaged" if part in condition.damaged else "intact"
