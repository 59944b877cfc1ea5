"""What a drive did wrong, by the names of CARLA's leaderboard: each with its time and place."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tasks.yard.worlds.town import boxes
from tasks.yard.worlds.town.boxes import Boxes
from tasks.yard.worlds.town.ego import SIZE_M, Ego
from tasks.yard.worlds.town.streets import BAY_M, LANE_M, WALK_M, Streets
from tasks.yard.worlds.town.tracks import RED, Tracks

PEDESTRIAN, VEHICLE, LAYOUT = "collisions_pedestrian", "collisions_vehicle", "collisions_layout"
RED_LIGHT, OUTSIDE, DEVIATION = "red_light", "outside_route_lanes", "route_dev"
BLOCKED, TIMEOUT = "vehicle_blocked", "route_timeout"
KINDS = (PEDESTRIAN, VEHICLE, LAYOUT, RED_LIGHT, OUTSIDE, DEVIATION, BLOCKED, TIMEOUT)
ENDS = (DEVIATION, BLOCKED, TIMEOUT)  # after these the drive is over
AGAIN_S = 2.0  # a collision that lasts, or comes back within this time, counts once
BLOCKED_S, DEVIATION_M = 60.0, 30.0
STANDS_MPS = 0.1
LANES_M = LANE_M / 2 + (BAY_M[0] + WALK_M) / 2  # from the middle of a lane: past where cars park
AGAINST_RAD = math.radians(150)  # between a lane and the route, as in CARLA: it is another's
SLOWEST_MPS, LATE_S = 1.6, 40.0  # a route may take its length at this speed, and this much more


@dataclass(frozen=True)
class Infraction:
    kind: str
    time_s: float
    x: float
    y: float


class Judge:
    def __init__(self, streets: Streets, tracks: Tracks, length_m: float) -> None:
        lanes = [lane for lane in streets.lanes if lane.arm >= 0]
        rows = [round(lane.stop_m / lane.step_m) for lane in lanes]
        self.lines = np.array([lane.points[row] for lane, row in zip(lanes, rows, strict=True)]).reshape(-1, 2)
        self.ahead = np.array(
            [(np.cos(lane.yaw[row]), np.sin(lane.yaw[row])) for lane, row in zip(lanes, rows, strict=True)]
        )
        across = np.column_stack([-self.ahead[:, 1], self.ahead[:, 0]]) if lanes else np.zeros((0, 2))
        self.ends = np.stack([self.lines + across * LANE_M / 2, self.lines - across * LANE_M / 2], axis=1)
        self.arms = np.array([lane.arm for lane in lanes], int)
        self.tracks, self.limit_s = tracks, LATE_S + length_m / SLOWEST_MPS
        self.found: list[Infraction] = []
        self.last: dict[str, float] = {}
        self.stood_s = 0.0
        self.outside, self.outside_m = False, 0.0

    def note(self, kind: str, time_s: float, ego: Ego) -> None:
        if time_s - self.last.get(kind, -1e9) > AGAIN_S or kind in ENDS:
            self.found.append(Infraction(kind, round(time_s, 3), round(ego.x, 3), round(ego.y, 3)))
        self.last[kind] = time_s

    def hit(self, time_s: float, ego: Ego, others: dict[str, Boxes]) -> list[np.ndarray]:
        """Notes collisions; the middles of what was hit. A car that stands is not to blame for who runs into it."""
        places = []
        for kind, those in others.items():
            touched = those.xy[boxes.overlap(ego.box, those)]
            if len(touched) and ego.speed > STANDS_MPS:
                self.note(kind, time_s, ego)
                places += list(touched)
        return places

    def watch(
        self, time_s: float, seconds: float, before: Ego, ego: Ego, states: np.ndarray,
        route_m: float, route_yaw: float, onward_m: float,
    ) -> None:  # fmt: skip
        """The route: how far it is, how it is headed there, and how much further along it the car is than before. Red
        lights by the nose, lanes by the middle of the car."""
        was, now = (car.along(SIZE_M[0] / 2) for car in (before, ego))
        if len(self.arms):
            side = [((at - self.lines) * self.ahead).sum(1) for at in (was, now)]
            over = (side[0] < 0) & (side[1] >= 0) & (side[1] < 2) & (states[self.arms] == RED)
            if (over & (self._across(now) < LANE_M / 2 + 0.3)).any():
                self.note(RED_LIGHT, time_s, ego)
        apart_m, lane_yaw = self.tracks.nearest(ego.xy)
        against = lane_yaw is not None and math.cos(lane_yaw - route_yaw) < math.cos(AGAINST_RAD)
        outside = apart_m > LANES_M or against
        if outside and not self.outside:
            self.note(OUTSIDE, time_s, ego)
        self.outside = outside
        self.outside_m += onward_m * outside
        self.stood_s = self.stood_s + seconds if ego.speed < STANDS_MPS else 0.0
        if self.stood_s > BLOCKED_S:
            self.note(BLOCKED, time_s, ego)
        if route_m > DEVIATION_M:
            self.note(DEVIATION, time_s, ego)
        if time_s > self.limit_s:
            self.note(TIMEOUT, time_s, ego)

    def _across(self, at: np.ndarray) -> np.ndarray:
        """Metres beside the middle of each lane that has a stop line."""
        apart = at - self.lines
        return np.abs(apart[:, 0] * self.ahead[:, 1] - apart[:, 1] * self.ahead[:, 0])


# By what each one multiplies the driving score (CARLA leaderboard 1.0); the others do not.
PENALTY = {PEDESTRIAN: 0.5, VEHICLE: 0.6, LAYOUT: 0.65, RED_LIGHT: 0.7}


def scores(completion: float, found: list[Infraction], outside: float) -> dict[str, float]:
    """`score_route` and `score_composed` 0 to 100, `score_penalty` 0 to 1. `completion` 0 to 1; `outside`: the share
    of what was driven of the route that lay off the road or on lanes of those who come towards it, which is lost."""
    penalty = float(np.prod([PENALTY.get(one.kind, 1.0) for one in found])) * (1 - outside)
    return {"score_route": 100 * completion, "score_penalty": penalty, "score_composed": 100 * completion * penalty}
