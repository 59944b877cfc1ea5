"""The car led astray, so that a recording holds how the expert brings it back (Laskey et al., DART, 2017).

An expert that never errs shows nobody what to do beside the lane's middle, or standing before a free road; whoever has
learnt from it alone goes on standing there, as standing cars do in all that it has seen. Three ways, none of which
overrules the expert's brake:

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
    """From a recorded moment on, for at least two steps: one moment at least is not recorded, so that no plan that is
    learnt from reaches into it."""

    def __init__(self, rng: np.random.Generator, step_s: float) -> None:
        """`step_s`: between two recorded moments."""
        self.rng, self.step_s = rng, step_s
        self.way: Control | None = Control(0.0, 0.0, BRAKE[0])  # None: the expert has the car, and is recorded
        self.next_s, self.acts_until_s, self.until_s = math.inf, 2 * step_s, 2 * step_s

    def control(self, sim: Simulation, expert: Control, hazard: str) -> Control:
        """What is done now."""
        now = sim.time_s
        if self.way is not None:
            if self.until_s == math.inf and sim.ego.speed == 0:
                self._ends(now, self.rng.uniform(*STANDS_S))
            if now >= self.until_s - 1e-6:
                self.way, self.next_s = None, now + self.rng.uniform(*EVERY_S)
        elif now >= self.next_s and self._on_step(now) and not hazard and sim.ego.speed > LEAST_MPS:
            self._begin(sim, expert)
        swerves = self.way is not None and self.way.steer != 0
        if self.way is None or now >= self.acts_until_s - 1e-6 or (swerves and hazard):
            return expert
        return Control(self.way.throttle, expert.steer + self.way.steer, max(self.way.brake, expert.brake))

    def keeps(self, time_s: float) -> bool:
        """Is this moment recorded? The last one before the expert has the car is, as the moment before of the next."""
        return self.way is None or self.until_s - time_s <= self.step_s + 1e-6

    def _begin(self, sim: Simulation, expert: Control) -> None:
        kind = self.rng.choice(("stop", "slow", "swerve"), p=(STOP, SLOW, SWERVE))
        if kind != "swerve":
            self.way = Control(0.0, 0.0, self.rng.uniform(*BRAKE))
            self.acts_until_s = self.until_s = math.inf
            if kind == "slow":
                self._ends(sim.time_s, self.rng.uniform(*SLOW_S))
        elif self._room(sim):
            aside = self.rng.choice((-1.0, 1.0)) * self.rng.uniform(*STEER)
            self.way = Control(expert.throttle, aside, 0.0)
            self._ends(sim.time_s, seconds := self.rng.uniform(*SWERVE_S))
            self.acts_until_s = sim.time_s + seconds  # longer, it would leave the lane

    def _ends(self, now: float, seconds: float) -> None:
        whole = max(math.ceil((now + seconds) / self.step_s), math.ceil(now / self.step_s) + 2)
        self.acts_until_s = self.until_s = whole * self.step_s

    def _on_step(self, time_s: float) -> bool:
        return abs(time_s / self.step_s - round(time_s / self.step_s)) < 1e-6

    def _room(self, sim: Simulation) -> bool:
        yaw = sim.route.yaw[max(0, sim.row - 5) : sim.row + TURN_M]
        straight = np.abs((yaw - yaw[0] + np.pi) % (2 * np.pi) - np.pi).max() < STRAIGHT_RAD
        return bool(straight) and not len(sim.around(ROOM_M)[0])
