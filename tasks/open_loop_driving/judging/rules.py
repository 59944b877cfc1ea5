"""Drivers that nobody trains, with the `plan` of a trained one."""

from __future__ import annotations

import numpy as np

from tasks.open_loop_driving.formats import frames
from tasks.open_loop_driving.formats.plans import Observation, Plan, betas

EXPERT, CONSTANT_VELOCITY = "expert", "constant_velocity"
RULES = (EXPERT, CONSTANT_VELOCITY)


class ConstantVelocity:
    """Goes on as it went over the last step, neither gas nor brake. Closed loop it goes straight on at the speed
    that the expert has brought it to, and from a standstill nowhere."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def plan(self, before: Observation, now: Observation) -> Plan:
        was = frames.ego_from_world(np.array(before.pose[:2]), np.array(now.pose))
        waypoints = -was * np.arange(1, self.steps + 1)[:, None]
        alpha, beta = betas(np.zeros((1, self.steps)), np.zeros((1, self.steps)))
        return Plan(waypoints[None], alpha, beta)
