"""The driver who knows everything: pure pursuit of the route (Coulter, 1992), speed by the Intelligent Driver Model.

What makes it brake, but for curves: a light, a vehicle or a walker in the way.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tasks.yard.worlds.town.cars import idm
from tasks.yard.worlds.town.ego import AXLES_M, BRAKE_MPS2, REAR_M, SIZE_M, STEER_RAD, Control, Ego, pedals
from tasks.yard.worlds.town.tracks import RED, YELLOW

if TYPE_CHECKING:
    from tasks.yard.worlds.town.simulation import Simulation

SEEN_M = 45  # ahead on the route
NOSE_M = SIZE_M[0] / 2
BESIDE_M = SIZE_M[1] / 2 + 0.4  # from the route to the near edge of what is in the way
WALKER_S = (0.0, 0.7, 1.4)  # where a walker who crosses will be then
FREE_MPS2 = 1.8
YELLOW_MPS2, ZEBRA_MPS2, BEFORE_ZEBRA_M = 2.8, 5.5, 3.2
HOLD = 0.3  # of the brake, while something keeps it standing
LIGHT, VEHICLE, WALKER = "light", "vehicle", "walker"


def steer(ego: Ego, points: np.ndarray, row: int) -> float:
    """Towards the point of the route that is some metres ahead of the rear axle; to the right is above 0."""
    rear = ego.along(-REAR_M)
    reach = 3.2 + 0.45 * ego.speed
    ahead = points[max(0, row - 2) : row + 16]
    far = np.linalg.norm(ahead - rear, axis=1)
    beyond = np.flatnonzero(far[far.argmin() :] > reach)
    aim = ahead[far.argmin() + beyond[0]] if len(beyond) else ahead[-1]
    x, y = ego.local(aim)
    x += REAR_M
    wheels = math.atan2(2 * AXLES_M * y, max(x * x + y * y, 1.0))
    return float(np.clip(-wheels / STEER_RAD, -1, 1))


def in_the_way(sim: Simulation) -> list[tuple[float, float, str]]:
    """Metres from the nose to it, how fast it goes along the route, and what it is."""
    route, ego, row = sim.route, sim.ego, sim.row
    first = max(0, row - 1)
    points, yaw = route.points[first : row + SEEN_M], route.yaw[first : row + SEEN_M]
    found: list[tuple[float, float, str]] = []
    where, _, velocity, kinds, rings = sim.around(SEEN_M)
    if not len(where):
        return found
    apart = np.linalg.norm(rings[:, :, None] - points, axis=-1)  # (n, corners, rows)
    nearest = apart.argmin(-1)
    side = np.take_along_axis(apart, nearest[..., None], -1)[..., 0]
    for i in np.flatnonzero((side < BESIDE_M).any(1)):
        here = nearest[i][side[i] < BESIDE_M]
        at = int(here.min())
        ahead = (at + first) - sim.along_m - NOSE_M
        if ahead > -NOSE_M and not (at == 0 and ego.local(where[i])[0] < 0):
            onward = float(velocity[i] @ [math.cos(yaw[at]), math.sin(yaw[at])])
            found.append((ahead, max(0.0, onward), VEHICLE if kinds[i] == 0 else WALKER))
    return found


def _lines(sim: Simulation) -> list[tuple[float, str]]:
    """Metres from the nose to each line that it must stop at now, and why."""
    speed, found = sim.ego.speed, []
    states = sim.lights.states(sim.time_s)

    def must(left: float, hardest: float) -> bool:
        return speed**2 / (2 * max(left, 0.1)) < hardest

    for at, arm, lane in sim.route.stops:
        left = at - sim.along_m - NOSE_M
        if -1.2 < left < SEEN_M and (states[arm] == RED or (states[arm] == YELLOW and must(left, YELLOW_MPS2))):
            found.append((left, LIGHT))
        elif -1.2 < left < 12 and sim.tail[lane] < 8.5:
            found.append((left, VEHICLE))
    for at, zebra, lane in sim.route.zebras:
        left = at - BEFORE_ZEBRA_M - sim.along_m - NOSE_M
        if -1.2 < left < 30 and must(left, ZEBRA_MPS2) and sim.walkers.busy(zebra, lane):
            found.append((left, WALKER))
    for at, lane, there in sim.route.changes:
        left = at - sim.along_m - NOSE_M
        behind = there - left - NOSE_M - sim.cars.at_m  # of the cars on the other lane
        reach = 8.0 + np.maximum(0, sim.cars.speed - 0.5 * speed) * 1.5
        beside = (sim.cars.lane == lane) & (behind > -7.0) & (behind < reach)
        if -1.2 < left < 10 and beside.any():
            found.append((left, VEHICLE))
    return found


def drive(sim: Simulation) -> tuple[Control, str]:
    """What it does now, and what makes it brake: "" if nothing does."""
    ego, route = sim.ego, sim.route
    row = min(int(sim.along_m), len(route.points) - 1)
    wanted = float(route.limit[row : row + 2].min())
    free = float(np.clip(idm(ego.speed, wanted, 1e3, 0.0, FREE_MPS2), -3.0, FREE_MPS2))
    change, why = free, ""
    for gap, lead, what in in_the_way(sim):
        found = float(idm(ego.speed, wanted, gap, lead, FREE_MPS2))
        if found < change:
            change, why = found, what
    for left, what in _lines(sim):
        found = float(idm(ego.speed, wanted, left + 0.8, 0.0, FREE_MPS2))
        if found < change:
            change, why = found, what
    throttle, brake = pedals(max(change, -BRAKE_MPS2), ego.speed)
    if why and ego.speed < 0.3 and change < 0.3:
        throttle, brake = 0.0, max(brake, HOLD)
    return Control(throttle, steer(ego, route.points, row), brake), why if brake > 0.02 else ""
