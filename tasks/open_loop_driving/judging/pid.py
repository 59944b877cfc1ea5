"""From planned waypoints to throttle, steer and brake: the controllers of TCP's and ThinkTwice's agents.

Their constants are CARLA's; the steer of a car whose wheels turn less has to be larger for the same way (LOCK_RAD).
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

import numpy as np

TURN, SPEED = (0.75, 0.75, 0.3), (5.0, 0.5, 1.0)  # gains of error, mean error and change
MEMORY = 40  # errors that the mean is of
AIM_M = 4.0  # the waypoint nearest to this is steered at
OFF_SHARE, NEAR_M = 0.3, 10.0  # the target point is steered at instead if it lies so far off a way and is so near
STOP_MPS, FAST_RATIO = 0.4, 1.1  # a plan slower than this stands; a car that is so much faster than its plan brakes
MOST_MPS, MOST_THROTTLE = 0.25, 0.75
LOCK_RAD = math.radians(70)  # of CARLA's wheels at full steer


class Control(NamedTuple):
    throttle: float
    steer: float  # to the right is positive
    brake: float


class PID:
    def __init__(self, gains: tuple[float, float, float]) -> None:
        self.gains = gains
        self.errors: deque[float] = deque(maxlen=MEMORY)

    def step(self, error: float) -> float:
        self.errors.append(error)
        mean = sum(self.errors) / len(self.errors) if len(self.errors) > 1 else 0.0
        change = self.errors[-1] - self.errors[-2] if len(self.errors) > 1 else 0.0
        return self.gains[0] * error + self.gains[1] * mean + self.gains[2] * change


def off_axis(point: np.ndarray) -> float:
    """Where a point lies beside the car's axis, as a share of a right angle; to the right is positive."""
    return -math.atan2(float(point[1]), float(point[0])) / (math.pi / 2)


def wanted_speed(waypoints: np.ndarray, step_s: float) -> float:
    return float(np.linalg.norm(np.diff(waypoints, axis=0), axis=1).mean() / step_s)


def aim(waypoints: np.ndarray, target: np.ndarray | None) -> float:
    """What is steered at, by `off_axis`."""
    middles = np.linalg.norm((waypoints[1:] + waypoints[:-1]) / 2, axis=1)
    angle = off_axis(waypoints[int(np.abs(middles - AIM_M).argmin())])
    if target is None or not np.isfinite(target).all():
        return angle
    last, there = off_axis(waypoints[-1] - waypoints[-2]), off_axis(target)
    outlier = abs(there - last) > OFF_SHARE and target[0] < NEAR_M
    return there if abs(there) < abs(angle) or outlier else angle


class Follower:
    """Follows waypoints; remembers its errors."""

    def __init__(self, lock_rad: float = LOCK_RAD) -> None:
        self.turn, self.pace = PID(TURN), PID(SPEED)
        self.lock = LOCK_RAD / lock_rad

    def control(self, waypoints: np.ndarray, speed: float, target: np.ndarray | None, step_s: float) -> Control:
        """`waypoints` (steps, 2) from where the car is now, `step_s` apart; at least two."""
        steer = float(np.clip(self.turn.step(aim(waypoints, target)) * self.lock, -1, 1))
        wanted = wanted_speed(waypoints, step_s)
        brake = wanted < STOP_MPS or speed > FAST_RATIO * wanted
        throttle = float(np.clip(self.pace.step(min(max(wanted - speed, 0.0), MOST_MPS)), 0, MOST_THROTTLE))
        return Control(0.0 if brake else throttle, steer, float(brake))
