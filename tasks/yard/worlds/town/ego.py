"""The car that is driven: a kinematic bicycle with pedals. Its origin is on the ground below its middle, as CARLA's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tasks.yard.worlds.town import boxes
from tasks.yard.worlds.town.boxes import Boxes

SIZE_M = (4.6, 1.9, 1.55)
AXLES_M, REAR_M = 2.9, 1.45  # between the axles; from the middle back to the rear one
STEER_RAD, STEER_RADPS = 0.65, 1.6  # at full lock, and how fast it turns
PUSH_MPS2, BRAKE_MPS2, DRAG_1PS = 3.0, 8.0, 0.03
STAND_MPS = 0.05


class Control(NamedTuple):
    """As CARLA's: throttle and brake 0 to 1, steer -1 (left) to 1 (right)."""

    throttle: float
    steer: float
    brake: float


def pedals(acceleration: float, speed: float) -> tuple[float, float]:
    """Throttle and brake that give this acceleration in m/s2."""
    wanted = acceleration + DRAG_1PS * speed
    return (min(wanted / PUSH_MPS2, 1.0), 0.0) if wanted >= 0 else (0.0, min(-wanted / BRAKE_MPS2, 1.0))


@dataclass(frozen=True)
class Ego:
    """Where it is; world metres, radians, m/s."""

    x: float
    y: float
    yaw: float
    speed: float = 0.0
    steer_rad: float = 0.0  # of the wheels, to the left
    acceleration: float = 0.0  # along its way
    turning: float = 0.0  # rad/s, to the left

    @property
    def xy(self) -> np.ndarray:
        return np.array([self.x, self.y])

    @property
    def box(self) -> Boxes:
        return boxes.boxes([(self.x, self.y)], self.yaw, SIZE_M)

    def along(self, metres: float) -> np.ndarray:
        """A point on its axis, before its middle or (below 0) behind."""
        return self.xy + metres * np.array([math.cos(self.yaw), math.sin(self.yaw)])

    def local(self, points: np.ndarray) -> np.ndarray:
        """World (..., 2) -> its frame: x ahead, y to the left."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        return (np.asarray(points, float) - self.xy) @ np.array([[c, -s], [s, c]])

    def moved(self, control: Control, seconds: float) -> Ego:
        throttle, brake = (min(max(float(v), 0.0), 1.0) for v in (control.throttle, control.brake))
        wanted = -min(max(float(control.steer), -1.0), 1.0) * STEER_RAD
        most = STEER_RADPS * seconds
        wheels = self.steer_rad + min(max(wanted - self.steer_rad, -most), most)
        change = throttle * PUSH_MPS2 - brake * BRAKE_MPS2 - DRAG_1PS * self.speed
        speed = max(0.0, self.speed + change * seconds)
        if brake > 0 and speed < STAND_MPS:
            speed = 0.0
        turning = speed * math.tan(wheels) / AXLES_M
        yaw = self.yaw + turning * seconds
        rear = self.along(-REAR_M)
        middle = self.yaw + turning * seconds / 2
        x = rear[0] + speed * seconds * math.cos(middle) + REAR_M * math.cos(yaw)
        y = rear[1] + speed * seconds * math.sin(middle) + REAR_M * math.sin(yaw)
        return Ego(float(x), float(y), yaw, speed, wheels, (speed - self.speed) / seconds, turning)
