"""One route of the town, driven: by a pilot who is given what its planner needs, or by the expert."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from tasks.open_loop_driving.formats import frames
from tasks.open_loop_driving.formats.plans import Observation
from tasks.open_loop_driving.judging.pilot import Pilot
from tasks.yard.sources import uri as source_uri
from tasks.yard.step import BadInput
from tasks.yard.worlds import town
from tasks.yard.worlds.town import Simulation, World, judge
from tasks.yard.worlds.town.routes import REACHED_M

ACT_S = 0.05  # between two settings of pedals and wheel: CARLA's and the town's tick
EXPERT_ACT_S = 0.1  # as when it was recorded
KEPT_S = 0.5  # of the way that is written down
COLUMNS = ("time_s", "x", "y", "yaw", "speed_ms", "throttle", "steer", "brake", "completion")


@dataclass(frozen=True)
class Needs:
    """Of a planner: which cameras, in which size (height, width), and whether lidar. Nothing: it is blind."""

    cameras: dict[str, tuple[int, int]]
    lidar: bool = False

    @property
    def blind(self) -> bool:
        return not (self.cameras or self.lidar)


def simulated(sources: Sequence[str]) -> World | None:
    """The world that packed routes were driven in, None if they were recorded elsewhere. Raises `BadInput` if they are
    of several worlds."""
    worlds = {source for source in sources if source_uri.scheme(source) == "synth"}
    if not worlds or len(worlds) < len(set(sources)):
        return None
    if len(worlds) > 1:
        raise BadInput(
            f"routes of {len(worlds)} worlds in one pack ({', '.join(sorted(worlds)[:2])}); drive one at a time"
        )
    return town.parse(worlds.pop())


def target_of(sim: Simulation) -> tuple[np.ndarray, int]:
    """The next point of the route in the car's frame, and the command there."""
    row = sim.route.node_after(sim.along_m, REACHED_M)
    return sim.ego.local(sim.route.points[row]), int(sim.route.command[row])


def observed(sim: Simulation, needs: Needs) -> Observation:
    """What a planner is given; who needs no sensor costs no picture."""
    target, command = target_of(sim)
    ego = sim.ego
    images, lidar = None, None
    if not needs.blind:
        seen = sim.observe(masks=False)
        if missing := sorted(set(needs.cameras) - set(seen.views)):
            raise BadInput(f"the network needs the camera {missing[0]}; the world has {', '.join(seen.views)}")
        images = {name: _sized(seen.views[name].picture[..., ::-1], size) for name, size in needs.cameras.items()}
        lidar = seen.lidar if needs.lidar else None
    pose = (ego.x, ego.y, float(frames.wrapped(ego.yaw)))
    return Observation(pose, ego.speed, command, (float(target[0]), float(target[1])), images, lidar)


def _sized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """As pack makes it smaller."""
    if picture.shape[:2] == size:
        return np.ascontiguousarray(picture)
    return cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)


def drive(
    sim: Simulation, pilot: Pilot | None, needs: Needs, begin_s: float = 0.0
) -> tuple[dict[str, Any], np.ndarray]:
    """To the route's end, or until the judge stops it. `pilot` None: the expert drives; it drives the first `begin_s`
    in any case. Returns the judgement, and the way (n, COLUMNS)."""
    rows: list[tuple] = []
    while not sim.over:
        time_s, ego = sim.time_s, sim.ego
        if pilot is None or time_s < begin_s - 1e-6:
            done, seconds = sim.expert(), EXPERT_ACT_S
            if pilot is not None and abs(time_s - (begin_s - pilot.step_s)) < EXPERT_ACT_S / 2:
                pilot.see(time_s, observed(sim, needs))
        else:
            if pilot.wants(time_s):
                pilot.look(time_s, observed(sim, needs))
            done = pilot.drive(time_s, (ego.x, ego.y, ego.yaw), ego.speed, target_of(sim)[0])
            seconds = ACT_S
        if sim.ticks % round(KEPT_S / town.simulation.TICK_S) == 0:
            rows.append((time_s, ego.x, ego.y, ego.yaw, ego.speed, *done, sim.route_completion))
        sim.step(*done, seconds)
    return judgement(sim), np.array(rows).reshape(-1, len(COLUMNS))


def judgement(sim: Simulation) -> dict[str, Any]:
    """By the leaderboard's penalties (worlds/town/judge.py says which); `km` is what was driven of the route, `outside`
    the share of it that was not on the route's lanes."""
    ended = [found.kind for found in sim.infractions if found.kind in judge.ENDS]
    return {
        **sim.scores, "outside": sim.outside, "completed": sim.route_completion >= 1,
        "ended_by": ended[0] if ended else None, "seconds": sim.time_s, "route_m": sim.route.length_m,
        "km": sim.route.length_m * sim.route_completion / 1000,
        "infractions": [asdict(found) for found in sim.infractions],
    }  # fmt: skip
