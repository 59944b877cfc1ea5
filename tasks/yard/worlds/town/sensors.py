"""All sensors of the car in one town, and the weather of one drive."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tasks.yard.worlds import houses
from tasks.yard.worlds.town import ground, rig
from tasks.yard.worlds.town.film import WALL_PX_PER_M, Camera, Seen, Weather
from tasks.yard.worlds.town.streets import Streets
from tasks.yard.worlds.town.things import FACADES, Things

WEATHERS = (
    Weather("day", (1.0, 1.0, 1.02), ((205, 150, 95), (228, 214, 200)), 190.0, 1.0, 2.5),
    Weather("overcast", (0.86, 0.85, 0.84), ((196, 190, 184), (214, 210, 206)), 140.0, 0.35, 3.0),
    Weather("evening", (0.62, 0.68, 0.80), ((150, 110, 90), (150, 180, 225)), 160.0, 0.8, 4.0),
    Weather("fog", (0.92, 0.92, 0.92), ((200, 200, 200), (206, 205, 204)), 55.0, 0.25, 3.0),
)
SHARES = (0.4, 0.25, 0.2, 0.15)
FACADE_M = (24.0, 13.5)


@dataclass(frozen=True)
class Box:
    """A thing around the car, in the car's frame."""

    id: int
    kind: str  # vehicle, walker, traffic_light
    centre: tuple[float, float, float]  # of the box
    size: tuple[float, float, float]  # length, width, height
    yaw: float  # to the left
    speed: float
    braking: bool = False
    state: str = ""  # green, yellow, red


@dataclass(frozen=True)
class Observation:
    """What is known at one moment; metres, radians, seconds, in the car's frame unless said otherwise."""

    time_s: float
    x: float  # of the middle of the car in the world
    y: float
    yaw: float
    speed: float
    acceleration: tuple[float, float]  # ahead, to the left
    turning: float  # rad/s, to the left
    views: dict[str, Seen]
    lidar: np.ndarray  # (n, 4) float32: x, y, z, intensity
    masks: np.ndarray | None  # (15, 192, 192) uint8, see birdview.py
    boxes: tuple[Box, ...]
    near: tuple[float, float, int]  # the next points of the route in the world, and what to do there
    far: tuple[float, float, int]
    target: tuple[float, float, int]
    weather: Weather


def facades(rng: np.random.Generator) -> np.ndarray:
    found = []
    for _ in range(FACADES):
        wall = houses.wall(rng, *FACADE_M)[::-1]
        size = int(FACADE_M[0] * WALL_PX_PER_M), int(FACADE_M[1] * WALL_PX_PER_M)
        found.append(cv2.resize(wall, size, interpolation=cv2.INTER_AREA))
    return np.stack(found)


class Sensors:
    def __init__(
        self, streets: Streets, things: Things, rng: np.random.Generator, cameras: int, height: int, width: int
    ):
        self.ground = ground.draw(streets, rng)
        pictures = facades(rng)
        self.eyes = rig.eyes(cameras, height, width)
        self.cameras = [Camera(eye, self.ground, things.houses, pictures, things.facades) for eye in self.eyes]


def draw_weather(rng: np.random.Generator) -> Weather:
    return WEATHERS[int(rng.choice(len(WEATHERS), p=SHARES))]
