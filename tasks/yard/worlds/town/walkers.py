"""People of a town: some walk along a pavement, some cross at a zebra crossing, there and back."""

from __future__ import annotations

import numpy as np

from tasks.yard.worlds.town.streets import BAY_M, WALK_M, Streets, beside, resampled

SIZE_M = (0.5, 0.6, 1.75)  # length, width, height
STROLLERS = 26
A_ZEBRA = 2  # who cross there
CLEAR_M = 1.9  # of a lane's middle: then cars go on
REACT_S, STOP_MPS2 = 0.8, 2.8  # a walker sets out only if every car can stop like this


class Walkers:
    def __init__(self, streets: Streets, rng: np.random.Generator) -> None:
        self.streets = streets
        count = A_ZEBRA * len(streets.zebras)
        self.zebra = np.repeat(np.arange(len(streets.zebras)), A_ZEBRA)
        ends = np.array([zebra.ends for zebra in streets.zebras]).reshape(-1, 2, 2)[self.zebra]
        self.start, self.across = ends[:, 0], ends[:, 1] - ends[:, 0]
        self.wide_m = np.linalg.norm(self.across, axis=1)
        self.aside = rng.uniform(-1.0, 1.0, count)  # from the middle of the crossing
        self.at_m = np.where(rng.random(count) < 0.5, 0.0, self.wide_m)
        self.way = np.zeros(count)  # -1 or 1 while crossing
        self.speed = rng.uniform(1.1, 1.7, count)
        self.wait_s = rng.uniform(0, 14, count)
        self.waits_s = rng.uniform(5, 16, (64, count))
        self.turns = np.zeros(count, int)
        self._strollers(rng)
        # Where each lane over a zebra crossing meets it, from its first end.
        self.met_m: dict[tuple[int, int], float] = {}
        for number, zebra in enumerate(streets.zebras):
            way = (zebra.ends[1] - zebra.ends[0]) / np.linalg.norm(zebra.ends[1] - zebra.ends[0])
            for lane, at in zebra.lanes:
                point = streets.lanes[lane].points[round(at / streets.lanes[lane].step_m)]
                self.met_m[number, lane] = float((point - zebra.ends[0]) @ way)

    def _strollers(self, rng: np.random.Generator) -> None:
        """Up and down a pavement each; their lines lie one after the other."""
        lines, began, speed = [], [], []
        for _ in range(STROLLERS):
            street = self.streets.streets[int(rng.integers(len(self.streets.streets)))]
            side = int(rng.integers(2))
            out = street.half_m + BAY_M[0] * street.parking[side] + rng.uniform(0.9, WALK_M - 0.4)
            lines.append(resampled(beside(street.middle, out * (2 * side - 1))))
            began.append(rng.uniform(0, 200))
            speed.append(rng.uniform(0.8, 1.6))
        self.lines, self.headings = (np.concatenate([line[i] for line in lines]) for i in (0, 1))
        self.first = np.concatenate([[0], np.cumsum([len(line[0]) for line in lines])[:-1]])
        self.steps_m = np.array([line[2] for line in lines])
        self.long_m = np.array([line[2] * (len(line[0]) - 1) for line in lines])
        self.began_m, self.pace = np.array(began), np.array(speed)

    def busy(self, zebra: int, lane: int) -> bool:
        """Does somebody cross who has not yet passed this lane?"""
        mine = (self.zebra == zebra) & (self.way != 0)
        return bool((((self.at_m - self.met_m[zebra, lane]) * self.way)[mine] < CLEAR_M).any())

    def step(self, seconds: float, coming: list[tuple[int, float, float]]) -> None:
        """`coming`: zebra, metres from a car's nose to it (below 0 once the nose is past), and its speed."""
        self.wait_s -= seconds
        for i in np.flatnonzero((self.way == 0) & (self.wait_s < 0)):
            safe = all(
                zebra != self.zebra[i] or left < -6 or left - 3 > speed * REACT_S + speed**2 / (2 * STOP_MPS2)
                for zebra, left, speed in coming
            )
            if safe:
                self.way[i] = 1.0 if self.at_m[i] < self.wide_m[i] / 2 else -1.0
        self.at_m += self.way * self.speed * seconds
        done = (self.way != 0) & ((self.at_m <= 0) | (self.at_m >= self.wide_m))
        self.at_m = np.clip(self.at_m, 0, self.wide_m)
        self.way[done] = 0
        self.turns[done] += 1
        self.wait_s[done] = self.waits_s[self.turns[done] % 64, np.flatnonzero(done)]

    def poses(self, time_s: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, y (n, 2), yaw (n) and speed (n): those of the crossings, then the strollers."""
        along = self.across / self.wide_m[:, None]
        points = (
            self.start + along * self.at_m[:, None] + np.column_stack([-along[:, 1], along[:, 0]]) * self.aside[:, None]
        )
        facing = np.where(self.way != 0, self.way, np.where(self.at_m < self.wide_m / 2, 1, -1))
        yaw = np.arctan2(along[:, 1] * facing, along[:, 0] * facing)
        at = (self.began_m + self.pace * time_s) % (2 * self.long_m)
        back = at > self.long_m
        at = np.where(back, 2 * self.long_m - at, at) / self.steps_m
        whole = np.minimum(at.astype(int), (self.long_m / self.steps_m).round().astype(int) - 1)
        part, row = (at - whole)[:, None], self.first + whole
        where = self.lines[row] * (1 - part) + self.lines[row + 1] * part
        speed = np.concatenate([self.speed * (self.way != 0), self.pace])
        return np.concatenate([points, where]), np.concatenate([yaw, self.headings[row] + np.pi * back]), speed
