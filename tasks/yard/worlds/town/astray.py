"""The car led astray, so that a recording holds how the expert brings it back (Laskey et al., DART, 2017).

An expert that never errs shows nobody what to do beside the lane's middle, or standing before a free road; whoever has
learnt from it alone goes on standing there, as standing cars do in all that it has seen. Three ways:

    stop    it brakes for nothing until it stands, and stands for a moment; so it does at the very start
    slow    it brakes for nothing
    swerve  it steers aside for some tenths of a second, where there is room
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tasks.yard.worlds.town.ego import Control

if TYPE_CHECKING:
    from tasks.yard.worlds.town.simulation import Simulation

EVERY_S = (5.0, 9.0)  # from the end of one to the begin of the next
STOP, SLOW, SWERVE = 0.5, 0.25, 0.25  # of all; a swerve for which there is no room is another try a moment later
BRAKE, SLOW_S, STANDS_S = (0.3, 0.55), (0.5, 2.0), (0.5, 1.5)  # 2.4 to 4.4 m/s2
STEER, SWERVE_S = (0.1, 0.25), (0.4, 1.0)
ROOM_M = 14.0  # around the car without anybody, for a swerve
STRAIGHT_RAD, TURN_M = 0.15, 15  # that the way turns, at most, so far ahead, for a swerve
LEAST_MPS = 2.5


class Astray:
    def __init__(self, rng: np.random.Generator, step_s: float) -> None:
        """`step_s`: between two recorded moments."""
        self.rng, self.step_s = rng, step_s
        self.next_s, self.until_s = math.inf, 2 * step_s
        self.way: Control | None = Control(0.0, 0.0, BRAKE[0])

    def control(self, sim: Simulation, expert: Control, hazard: str) -> Control | None:
        """What leads it astray now; None: the expert drives."""
        now = sim.time_s
        if self.way is not None:
            if self.until_s == math.inf and sim.ego.speed == 0:
                self._until(now + self.rng.uniform(*STANDS_S))
            if now >= self.until_s - 1e-6:
                self.way, self.next_s = None, now + self.rng.uniform(*EVERY_S)
        elif now >= self.next_s and not hazard and sim.ego.speed > LEAST_MPS:
            self._begin(sim, expert)
        return self.way and Control(self.way.throttle, expert.steer + self.way.steer, self.way.brake)

    def _begin(self, sim: Simulation, expert: Control) -> None:
        kind = self.rng.choice(("stop", "slow", "swerve"), p=(STOP, SLOW, SWERVE))
        if kind != "swerve":
            self.way, self.until_s = Control(0.0, 0.0, self.rng.uniform(*BRAKE)), math.inf
            if kind == "slow":
                self._until(sim.time_s + self.rng.uniform(*SLOW_S))
        elif self._room(sim):
            aside = self.rng.choice((-1.0, 1.0)) * self.rng.uniform(*STEER)
            self.way = Control(expert.throttle, aside, 0.0)
            self._until(sim.time_s + self.rng.uniform(*SWERVE_S))

    def ends_soon(self, time_s: float) -> bool:
        """Within a step: the moment before the first one at which the expert has the car back."""
        return self.way is not None and self.until_s - time_s <= self.step_s + 1e-6

    def _until(self, time_s: float) -> None:
        self.until_s = math.ceil(time_s / self.step_s) * self.step_s

    def _room(self, sim: Simulation) -> bool:
        yaw = sim.route.yaw[max(0, sim.row - 5) : sim.row + TURN_M]
        straight = np.abs((yaw - yaw[0] + np.pi) % (2 * np.pi) - np.pi).max() < STRAIGHT_RAD
        return bool(straight) and not len(sim.around(ROOM_M)[0])
