"""All lanes of a town in flat arrays, so that many cars are looked up at once; and the lights as functions of time."""

from __future__ import annotations

import numpy as np

from tasks.yard.worlds.town.streets import Streets, speeds

GREEN, YELLOW, RED = 0, 1, 2
GREEN_S, YELLOW_S, CLEAR_S = 4.0, 1.5, 0.5  # each arm in turn; CLEAR_S all are red


class Tracks:
    def __init__(self, streets: Streets) -> None:
        lanes = streets.lanes
        counts = np.array([len(lane.points) for lane in lanes])
        self.start = np.concatenate([[0], np.cumsum(counts)[:-1]])
        self.last = counts - 1
        self.step_m = np.array([lane.step_m for lane in lanes])
        self.length_m = np.array([lane.length_m for lane in lanes])
        self.points = np.concatenate([lane.points for lane in lanes])
        self.yaw = np.concatenate([lane.yaw for lane in lanes])
        self.lane_of = np.repeat(np.arange(len(lanes)), counts)
        self.limit = np.concatenate([speeds(lane.yaw, lane.step_m, lane.limit_mps) for lane in lanes])
        self.arm = np.array([lane.arm for lane in lanes])
        self.stop_m = np.array([lane.stop_m for lane in lanes])
        self.choices = np.array([len(found) for found in streets.after])
        self.after = np.array([(found * 3)[:3] for found in streets.after])
        self.is_street = np.array([lane.on_street for lane in lanes])
        self.zebra = np.full(len(lanes), -1)
        self.zebra_m = np.zeros(len(lanes))
        for number, zebra in enumerate(streets.zebras):
            for lane, at in zebra.lanes:
                self.zebra[lane], self.zebra_m[lane] = number, at

    def row(self, lane: np.ndarray, at_m: np.ndarray) -> np.ndarray:
        """The point of a lane that is nearest."""
        rows = (at_m / self.step_m[lane] + 0.5).astype(int)
        return self.start[lane] + np.clip(rows, 0, self.last[lane])

    def pose(self, lane: np.ndarray, at_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """x, y (n, 2) and yaw (n) on lanes, between their points."""
        along = np.clip(at_m / self.step_m[lane], 0, self.last[lane] - 1e-6)
        whole = along.astype(int)
        part, row = along - whole, self.start[lane] + whole
        points = self.points[row] * (1 - part)[:, None] + self.points[row + 1] * part[:, None]
        return points, self.yaw[row] * (1 - part) + self.yaw[row + 1] * part

    def _near(self, at: np.ndarray, reach_m: float) -> np.ndarray:
        """Rows of the points in a square around a place."""
        aside = np.abs(self.points[:, 0] - at[0]) < reach_m
        aside &= np.abs(self.points[:, 1] - at[1]) < reach_m
        return np.flatnonzero(aside)

    def nearest(self, at: np.ndarray) -> tuple[float, float | None]:
        """How far the middle of the nearest lane is, and its heading there, None on a crossing. 8 m and more are
        infinite."""
        rows = self._near(at, 8.0)
        if not len(rows):
            return np.inf, None
        apart = np.linalg.norm(self.points[rows] - at, axis=1)
        row = rows[apart.argmin()]
        return float(apart.min()), float(self.yaw[row]) if self.is_street[self.lane_of[row]] else None

    def beneath(self, points: np.ndarray, within_m: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Lanes whose middle is within reach of any of `points` (n, 2): lane, where on it is nearest to the first of
        them, heading there."""
        rows = self._near(points[0], 5.0)
        apart = ((self.points[rows] - points[:, None]) ** 2).sum(-1)
        best: dict[int, int] = {}
        nearest: dict[int, float] = {}
        for i in np.flatnonzero(apart.min(0) < within_m**2):
            lane, far = int(self.lane_of[rows[i]]), float(apart[0, i])
            if far < nearest.get(lane, np.inf):
                best[lane], nearest[lane] = int(rows[i]), far
        lanes, rows = np.array(list(best), int), np.array(list(best.values()), int)
        return lanes, (rows - self.start[lanes]) * self.step_m[lanes], self.yaw[rows]


class Lights:
    """One arm of a crossing after the other has green, so that no two ways cross."""

    def __init__(self, streets: Streets, rng: np.random.Generator) -> None:
        turn_s = GREEN_S + YELLOW_S + CLEAR_S
        self.cycle_s, self.offset_s = np.zeros(len(streets.arms)), np.zeros(len(streets.arms))
        for node in range(len(streets.nodes)):
            mine = streets.arms_of(node)
            began = float(rng.uniform(0, turn_s * max(1, len(mine))))
            for turn, arm in enumerate(rng.permutation(mine)):
                self.cycle_s[int(arm)] = turn_s * len(mine)
                self.offset_s[int(arm)] = began + turn_s * turn

    def states(self, time_s: float) -> np.ndarray:
        into = (time_s + self.offset_s) % np.maximum(self.cycle_s, 1)
        return np.where(into < GREEN_S, GREEN, np.where(into < GREEN_S + YELLOW_S, YELLOW, RED))
