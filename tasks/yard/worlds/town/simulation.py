"""One drive through a town, closed loop: what the sensors see, what an agent does, what comes of it.

    sim = Simulation(town.parse("synth://town"), town=5, route=3, traffic=0)
    while not sim.over:
        seen = sim.observe()
        sim.step(throttle, steer, brake, seconds=0.1)
    sim.route_completion, sim.infractions

Cars, walkers and lights are drawn from the seed, the town, the route and `traffic`: every agent meets the same, until
they have to make room for it. A tick is 0.05 s; cars, walkers and the judge go on every second tick.
"""

from __future__ import annotations

import functools
import math
from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from tasks.yard.worlds.town import birdview, boxes, expert, judge, lidar, routes, shapes, streets, things
from tasks.yard.worlds.town.birdview import HISTORY, Moment
from tasks.yard.worlds.town.cars import Cars
from tasks.yard.worlds.town.ego import SIZE_M, Control, Ego
from tasks.yard.worlds.town.judge import ENDS, LAYOUT, PEDESTRIAN, VEHICLE, Infraction, Judge
from tasks.yard.worlds.town.routes import CHANGE_M, FAR_REACHED_M, REACHED_M
from tasks.yard.worlds.town.sensors import Box, Observation, Sensors, draw_weather
from tasks.yard.worlds.town.tracks import Lights, Tracks
from tasks.yard.worlds.town.walkers import SIZE_M as WALKER_M
from tasks.yard.worlds.town.walkers import STROLLERS, Walkers

TICK_S, TRAFFIC_TICKS = 0.05, 2
WARM_S = 6.0  # of traffic before the drive begins
DONE_M = 2.5  # before the end of the route
SEEN_M, LABELS_M = 90.0, 50.0  # how far cameras see cars; how far boxes are told
STATES = ("green", "yellow", "red")
MEAN_MPS = 2.9  # of the expert, waiting at lights included


@dataclass(frozen=True)
class World:
    """What a whole world is drawn from; see `tasks/yard/worlds/town`."""

    routes: int = 36
    seconds: float = 40.0
    cameras: int = 2
    height: int = 64
    width: int = 112
    seed: int = 0
    astray: int = 0


class Place:
    """What does not change in a town."""

    def __init__(self, seed: int, town: int) -> None:
        self.seed, self.town = seed, town
        self.streets = streets.draw(np.random.default_rng([seed, town, 0]))
        self.tracks = Tracks(self.streets)
        self.things = things.draw(self.streets, np.random.default_rng([seed, town, 1]))


@functools.lru_cache(maxsize=8)
def place(seed: int, town: int) -> Place:
    return Place(seed, town)


@functools.lru_cache(maxsize=8)  # 20 MB a town
def sensors(seed: int, town: int, cameras: int, height: int, width: int) -> Sensors:
    here, rng = place(seed, town), np.random.default_rng([seed, town, 5])
    return Sensors(here.streets, here.things, rng, cameras, height, width)


class Simulation:
    def __init__(self, world: World, town: int, route: int, traffic: int = 0) -> None:
        """`world.seconds`: about how long the expert needs for the route."""
        self.world, self.place = world, place(world.seed, town)
        here, seed = self.place, [world.seed, town]
        length_m = MEAN_MPS * world.seconds
        self.route = routes.draw(here.streets, here.tracks, np.random.default_rng([*seed, 2, route]), length_m)
        rng = np.random.default_rng([*seed, 3, route, traffic])
        self.lights = Lights(here.streets, rng)
        self.walkers = Walkers(here.streets, rng)
        self.cars = Cars(here.tracks, rng, self.route.points[0])
        self.clothes = rng.uniform(25, 215, (len(self.walkers.way) + STROLLERS, 2, 3))
        self.weather = draw_weather(np.random.default_rng([*seed, 4, route, traffic]))
        self.noise_seed = [*seed, 6, route, traffic]
        x, y = self.route.points[0]
        self.ego = Ego(float(x), float(y), float(self.route.yaw[0]))
        self.judge = Judge(here.streets, here.tracks, self.route.length_m)
        self.ticks, self.row, self.along_m = 0, 0, 0.0
        self.time_s = 0.0
        self.tail = np.full(len(here.streets.lanes), 1e3)
        self.moments: deque[Moment] = deque(maxlen=-HISTORY[0])
        self._solid = here.things.solid
        colours = things.CAR_COLOURS[np.arange(len(self.cars.lane)) % len(things.CAR_COLOURS)]
        cars = boxes.boxes(*self.cars.poses(), self.cars.size_m, 0.0, boxes.VEHICLE, colours)
        self.vehicles = boxes.together(cars, here.things.parked)
        self.people = boxes.boxes(self.walkers.poses(0.0)[0], 0.0, WALKER_M, 0.0, boxes.PEDESTRIAN)
        self.checked = self.ego  # where it was when the judge last looked
        for tick in range(round(WARM_S / (TICK_S * TRAFFIC_TICKS))):
            self._traffic((tick + 1) * TICK_S * TRAFFIC_TICKS - WARM_S)

    @property
    def route_completion(self) -> float:
        """0 to 1."""
        return min(1.0, self.along_m / (self.route.length_m - DONE_M))

    @property
    def infractions(self) -> list[Infraction]:
        return list(self.judge.found)

    @property
    def outside(self) -> float:
        """The share, 0 to 1, of what was driven of the route that was not on its lanes."""
        return self.judge.outside_m / self.along_m if self.along_m else 0.0

    @property
    def scores(self) -> dict[str, float]:
        return judge.scores(self.route_completion, self.infractions, self.outside)

    @property
    def over(self) -> bool:
        return self.route_completion >= 1 or any(found.kind in ENDS for found in self.judge.found)

    def expert(self) -> Control:
        return expert.drive(self)[0]

    def hazard(self) -> str:
        """What makes the expert brake now: light, vehicle, walker; "" if nothing does."""
        return expert.drive(self)[1]

    def observe(self, masks: bool = True) -> Observation:
        """What the sensors say now. Their noise is drawn from the moment: to look twice is to see the same."""
        here, ego = self.place, self.ego
        fitted = sensors(here.seed, here.town, self.world.cameras, self.world.height, self.world.width)
        rng = np.random.default_rng([*self.noise_seed, self.ticks])
        states = self.lights.states(self.time_s)
        args = (here.things, self.vehicles, self.braking, self.people, self.clothes, states)
        seen = shapes.gather(ego.xy, SEEN_M, *args)
        views = {cam.eye.name: cam.look(ego.xy, ego.yaw, seen, self.weather, rng) for cam in fitted.cameras}
        route = self.route

        def given(row: int) -> tuple[float, float, int]:
            return float(route.points[row, 0]), float(route.points[row, 1]), int(route.command[row])

        above = None
        if masks:
            left = route.points[self.row :]
            above = birdview.masks(ego, fitted.ground, left, self.judge.ends, self.judge.arms, self.moments)
        return Observation(
            self.time_s, ego.x, ego.y, ego.yaw, ego.speed, (ego.acceleration, ego.speed * ego.turning), ego.turning,
            views, lidar.turn(ego, here.things.houses, seen.boxes, rng), above, self._labels(states),
            given(min(self.row + int(REACHED_M) + 1, len(route.points) - 1)),
            given(route.node_after(self.along_m, FAR_REACHED_M)), given(route.node_after(self.along_m, REACHED_M)),
            self.weather,
        )  # fmt: skip

    def _labels(self, states: np.ndarray) -> tuple[Box, ...]:
        found, ego, heads = [], self.ego, self.place.things.heads
        speeds = np.concatenate([self.cars.speed, np.zeros(len(self.vehicles) - len(self.cars.speed))])
        for kind, first, those, pace in (
            ("vehicle", 100, self.vehicles, speeds),
            ("walker", 1000, self.people, self.pace),
            ("traffic_light", 2000, heads, np.zeros(len(heads))),
        ):
            local = ego.local(those.xy)
            for i in np.flatnonzero((local**2).sum(1) < LABELS_M**2):
                yaw = float((those.yaw[i] - ego.yaw + np.pi) % (2 * np.pi) - np.pi)
                long, wide, high = (float(v) for v in those.size[i])
                centre = (float(local[i, 0]), float(local[i, 1]), float(those.base[i]) + high / 2)
                braking = kind == "vehicle" and bool(self.braking[i])
                state = STATES[int(states[self.place.things.arms[i]])] if kind == "traffic_light" else ""
                found.append(Box(first + int(i), kind, centre, (long, wide, high), yaw, float(pace[i]), braking, state))
        return tuple(found)

    def around(self, reach_m: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """What moves within reach: place (n, 2), speed, velocity (n, 2), kind (0 vehicle, 1 walker), and points around
        it (n, 8, 2); those of a walker are where it will be soon."""
        near = np.abs(self.vehicles.xy - self.ego.xy).max(1) < reach_m
        vehicles = self.vehicles[near]
        corners = vehicles.corners()[:, :4, :2]
        rings = np.concatenate([corners, (corners + np.roll(corners, 1, 1)) / 2], axis=1)
        speed = np.concatenate([self.cars.speed, np.zeros(len(near) - len(self.cars.speed))])[near]
        xy, yaw, pace = self.people.xy, self.people.yaw, self.pace
        close = np.abs(xy - self.ego.xy).max(1) < reach_m
        close[len(self.walkers.way) :] = False  # a stroller stays on the pavement
        xy, yaw, pace = xy[close], yaw[close], pace[close]
        headings = np.concatenate([vehicles.yaw, yaw])
        ahead = np.column_stack([np.cos(headings), np.sin(headings)])
        speeds = np.concatenate([speed, pace])
        velocity = ahead * speeds[:, None]
        later = np.array([*expert.WALKER_S, *([0.0] * 5)])
        steps = xy[:, None] + velocity[len(vehicles) :, None] * later[:, None]
        kinds = np.repeat([0, 1], [len(vehicles), len(xy)])
        return np.concatenate([vehicles.xy, xy]), speeds, velocity, kinds, np.concatenate([rings, steps])

    def step(self, throttle: float, steer: float, brake: float, seconds: float = TICK_S) -> None:
        control = Control(throttle, steer, brake)
        if not all(map(math.isfinite, control)):
            raise ValueError(f"a control must be finite: {control}")
        for _ in range(max(1, round(seconds / TICK_S))):
            if self.over:
                return
            self._tick(control)

    def _tick(self, control: Control) -> None:
        before = self.ego
        self.ticks += 1
        self.time_s = round(self.ticks * TICK_S, 6)
        self.ego = before.moved(control, TICK_S)
        if self.ticks % TRAFFIC_TICKS == 0:
            self._traffic(self.time_s)
            others = {VEHICLE: self.vehicles, PEDESTRIAN: self.people, LAYOUT: self._solid}
            for at in self.judge.hit(self.time_s, self.ego, others):
                was = self.checked
                if np.linalg.norm(self.ego.xy - at) < np.linalg.norm(was.xy - at):  # not further into it
                    self.ego = Ego(was.x, was.y, was.yaw, 0.0, was.steer_rad, -was.speed / TICK_S, 0.0)
            was_m = self.along_m
            self._progress()
            apart_m = float(np.linalg.norm(self.route.points[self.row] - self.ego.xy))
            route = apart_m, float(self.route.yaw[self.row]), self.along_m - was_m
            states = self.lights.states(self.time_s)
            self.judge.watch(self.time_s, TRAFFIC_TICKS * TICK_S, self.checked, self.ego, states, *route)
            self.checked = self.ego

    def _progress(self) -> None:
        """Along the route, never back, and never by a short cut to where the route comes by again."""
        ahead = self.route.points[self.row : self.row + 8]
        self.row += int(np.linalg.norm(ahead - self.ego.xy, axis=1).argmin())
        way = np.array([math.cos(self.route.yaw[self.row]), math.sin(self.route.yaw[self.row])])
        beyond = float(np.clip((self.ego.xy - self.route.points[self.row]) @ way, -0.5, 0.5))
        if np.linalg.norm(self.ego.xy - self.route.points[self.row]) < 6:
            self.along_m = max(self.along_m, self.row + beyond)

    def _guests(self) -> list[tuple[int, float, float, float]]:
        ego = self.ego
        lanes, at, yaw = self.place.tracks.beneath(np.array([ego.along(v) for v in (0.0, -1.8, 1.8)]), 1.4)
        turned = np.abs(np.cos(yaw - ego.yaw))
        half = 0.5 * (SIZE_M[0] * turned + SIZE_M[1] * (1 - turned))
        onward = np.maximum(0, ego.speed * np.cos(yaw - ego.yaw))
        found = [(int(i), float(s), float(v), float(h)) for i, s, v, h in zip(lanes, at, onward, half, strict=True)]
        for begin, lane, there in self.route.changes:  # it shows where it goes, and is let in
            if -1.5 < self.along_m - begin < CHANGE_M[1] and lane not in lanes:
                found.append((lane, there + self.along_m - begin, ego.speed, SIZE_M[0] / 2))
        return found

    def _traffic(self, time_s: float) -> None:
        seconds = TICK_S * TRAFFIC_TICKS
        guests = self._guests()
        coming = self.cars.coming()
        for at, zebra, _ in self.route.zebras:
            coming.append((zebra, at - self.along_m - SIZE_M[0] / 2, self.ego.speed))
        self.walkers.step(seconds, coming)
        self.tail = self.cars.step(seconds, time_s, self.lights, self.walkers, guests)
        self._look(time_s)
        self.moments.append(Moment(self.vehicles, self.people, self.lights.states(time_s)))

    def _look(self, time_s: float) -> None:
        """Where everybody is now: the cars, then the parked ones; the walkers and their speed."""
        xy, yaw = self.cars.poses()
        all_xy, all_yaw = self.vehicles.xy.copy(), self.vehicles.yaw.copy()
        all_xy[: len(yaw)], all_yaw[: len(yaw)] = xy, yaw
        self.vehicles = replace(self.vehicles, xy=all_xy, yaw=all_yaw)
        self.braking = np.zeros(len(all_yaw), bool)
        self.braking[: len(yaw)] = (self.cars.change < -0.6) | (self.cars.speed < 0.1)
        xy, yaw, self.pace = self.walkers.poses(time_s)
        self.people = replace(self.people, xy=xy, yaw=yaw)
