"""From what the sensors say to pedals and wheel: plans now and then, follows its plan in between.

Both branches of a plan are driven, as TCP's agent does it: the waypoints by PID, the Betas by their likeliest value. Of
the two the trajectory counts more on straight ways and the control in turns; the harder brake of both is pressed.

A network that stands where it need not sees the same from then on, and plans to stand for ever. So whoever has stood
for long creeps on, as agents of CARLA's leaderboard do (TransFuser's after 55 s; ThinkTwice's after 1 s, where its plan
is not sure to brake), unless its lidar says that something is right ahead.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

import numpy as np

from tasks.open_loop_driving.formats import frames
from tasks.open_loop_driving.formats.plans import Observation, Plan, control
from tasks.open_loop_driving.judging.pid import LOCK_RAD, Control, Follower

LESS = 0.3  # of the branch that counts less
STANDS_MPS, CREEP_MPS, CREEP_S, CREEP_THROTTLE = 0.5, 2.0, 1.5, 0.5  # it creeps for so long, no faster than this
AHEAD_M, ASIDE_M, ABOVE_M = (2.3, 6.0), 1.2, (0.3, 2.0)  # from the middle of the car: where something is in its way
TURN_STEER, TURN_S, TURN_SHARE = 0.1, 1.0, 0.5  # it turns if it steered so much in so much of the last second
WEAK_BRAKE, FULL_BRAKE = 0.05, 0.5


class Planner(Protocol):
    def plan(self, before: Observation, now: Observation) -> Plan: ...


def mixed(traj: Control, ctrl: Control, turning: bool) -> Control:
    a, b = (LESS, 1 - LESS) if turning else (1 - LESS, LESS)
    throttle, steer = a * traj.throttle + b * ctrl.throttle, a * traj.steer + b * ctrl.steer
    brake = max(0.0 if traj.brake < WEAK_BRAKE else traj.brake, 0.0 if ctrl.brake < WEAK_BRAKE else ctrl.brake)
    return Control(0.0 if brake > FULL_BRAKE else throttle, steer, brake)


class Pilot:
    """`step_s`: of the plan, and between the two moments that it is made from; `every_s`: between two plans; `creep_s`:
    it creeps on when it has stood so long, None: never."""

    def __init__(
        self, planner: Planner, step_s: float = 0.5, every_s: float = 0.5, lock_rad: float = LOCK_RAD,
        follow: str = "both", creep_s: float | None = None,
    ) -> None:  # fmt: skip
        self.planner, self.step_s, self.every_s, self.follow = planner, step_s, every_s, follow
        self.follower = Follower(lock_rad)
        self.seen: deque[tuple[float, Observation]] = deque()
        self.steers: deque[tuple[float, float]] = deque()
        self.plan: Plan | None = None
        self.planned_s, self.planned_at = -np.inf, np.zeros(3)
        self.creep_s, self.moved_s, self.creeps_until_s = creep_s, np.inf, -np.inf

    def wants(self, time_s: float) -> bool:
        """Will it plan at this time, and so needs what the sensors say?"""
        return time_s - self.planned_s >= self.every_s - 1e-6

    def see(self, time_s: float, now: Observation) -> None:
        """To be the moment before of a later plan."""
        self.seen.append((time_s, now))

    def look(self, time_s: float, now: Observation) -> Plan:
        """Plans anew. The moment before is that nearest to a step ago; at the start it is this one: it stands."""
        self.see(time_s, now)
        while len(self.seen) > 1 and abs(time_s - self.seen[1][0] - self.step_s) <= abs(
            time_s - self.seen[0][0] - self.step_s
        ):
            self.seen.popleft()
        self.plan = self.planner.plan(self.seen[0][1], now)
        self.planned_s, self.planned_at = time_s, np.array(now.pose)
        return self.plan

    def drive(self, time_s: float, pose: tuple[float, float, float], speed: float, target: np.ndarray) -> Control:
        """What to do now by the last plan; `pose` and `target` as they are now."""
        assert self.plan is not None, "look first"
        waypoints, apart = self.plan.waypoints[-1].astype(float), time_s - self.planned_s
        # Where the plan wants it to be, from now on: the plan's own clock runs on while the car drives.
        clock = np.arange(len(waypoints) + 1) * self.step_s
        way = np.concatenate([np.zeros((1, 2)), waypoints])
        asked = np.minimum(apart + clock[1:], clock[-1])
        soon = np.stack([np.interp(asked, clock, axis) for axis in way.T], axis=-1)
        if apart > 0:  # beyond its end it goes on as at its end
            late = np.maximum(apart + clock[1:] - clock[-1], 0)[:, None]
            soon = soon + late * (way[-1] - way[-2]) / self.step_s
        local = frames.ego_from_world(frames.world_from_ego(soon, self.planned_at), np.array(pose))
        traj = self.follower.control(local, speed, target, self.step_s)
        number = min(int(apart / self.step_s + 1e-6), self.plan.alpha.shape[1] - 1)
        ctrl = Control(*(float(v) for v in control(self.plan.alpha[-1, number], self.plan.beta[-1, number])))
        done = {"waypoints": traj, "controls": ctrl}.get(self.follow) or mixed(traj, ctrl, self.turning(time_s))
        if self.creeping(time_s, speed):
            done = Control(CREEP_THROTTLE if speed < CREEP_MPS else 0.0, done.steer, 0.0)
        self.steers.append((time_s, done.steer))
        return done

    def creeping(self, time_s: float, speed: float) -> bool:
        self.moved_s = time_s if speed > STANDS_MPS else min(self.moved_s, time_s)
        if self.creep_s is not None and time_s - self.moved_s >= self.creep_s:
            self.moved_s, self.creeps_until_s = time_s, time_s + CREEP_S
        return time_s < self.creeps_until_s and not self.something_ahead()

    def something_ahead(self) -> bool:
        """By the last sweep; who has no lidar creeps blindly."""
        points = self.seen[-1][1].lidar if self.seen else None
        if points is None:
            return False
        ahead, aside, above = points[:, 0], np.abs(points[:, 1]), points[:, 2]
        inside = (ahead > AHEAD_M[0]) & (ahead < AHEAD_M[1]) & (aside < ASIDE_M)
        return bool((inside & (above > ABOVE_M[0]) & (above < ABOVE_M[1])).any())

    def turning(self, time_s: float) -> bool:
        while self.steers and self.steers[0][0] < time_s - TURN_S:
            self.steers.popleft()
        much = sum(abs(steer) > TURN_STEER for _, steer in self.steers)
        return much > TURN_SHARE * max(len(self.steers), 1)
