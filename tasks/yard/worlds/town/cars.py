"""The cars of a town: each drives along lanes for ever, by the Intelligent Driver Model (Treiber, Hennecke and Helbing,
2000), and stops for lights, people on zebra crossings, a full street behind a crossing, and now and then for nothing.
"""

from __future__ import annotations

import numpy as np

from tasks.yard.worlds.town.streets import LIMIT_MPS
from tasks.yard.worlds.town.tracks import RED, YELLOW, Lights, Tracks
from tasks.yard.worlds.town.walkers import Walkers

A_CAR_M = 58.0  # of lane
FASTER_MPS2, SLOWER_MPS2, GAP_S, GAP_M = 2.0, 2.5, 1.1, 2.0
HARDEST_MPS2 = 7.0
YELLOW_MPS2, ZEBRA_MPS2 = 2.6, 5.0  # who would have to brake harder goes on
BEFORE_ZEBRA_M = 3.0
HALTS = 12  # drawn for each car: a halt in the lane, as of one that lets somebody out
KINDS = ("car", "van", "truck")
SIZES_M = np.array([(4.4, 1.85, 1.5), (5.2, 2.0, 2.3), (7.0, 2.3, 3.0)])  # length, width, height
FAR_M = 1e3


def idm(speed, wanted, gap_m, lead_speed, faster=FASTER_MPS2):
    """Acceleration in m/s2, for arrays or numbers. A gap below 0 is as 0.1 m."""
    reach = GAP_M + np.maximum(0, speed * GAP_S + speed * (speed - lead_speed) / (2 * np.sqrt(faster * SLOWER_MPS2)))
    free = 1 - (speed / np.maximum(wanted, 0.1)) ** 4
    return np.maximum(faster * (free - (reach / np.maximum(gap_m, 0.1)) ** 2), -HARDEST_MPS2)


class Cars:
    def __init__(self, tracks: Tracks, rng: np.random.Generator, ego: np.ndarray) -> None:
        """`ego` (2): where none may stand."""
        self.tracks = tracks
        streets = np.flatnonzero(tracks.is_street & (tracks.length_m > 14))
        wanted = int(tracks.length_m[tracks.is_street].sum() / A_CAR_M * rng.uniform(0.75, 1.2))
        taken: list[tuple[int, float]] = []
        for _ in range(3 * wanted):
            lane = int(rng.choice(streets, p=tracks.length_m[streets] / tracks.length_m[streets].sum()))
            at = float(rng.uniform(4, tracks.length_m[lane] - 9))
            point, _ = tracks.pose(np.array([lane]), np.array([at]))
            apart = all(other != lane or abs(at - where) > 11 for other, where in taken)
            if apart and np.linalg.norm(point[0] - ego) > 13 and len(taken) < wanted:
                taken.append((lane, at))
        count = len(taken)
        self.lane, self.at_m = np.array([t[0] for t in taken]), np.array([t[1] for t in taken])
        self.kind = rng.choice(3, count, p=[0.72, 0.18, 0.10])
        self.size_m = SIZES_M[self.kind] * rng.uniform(0.93, 1.07, (count, 1))
        self.speed, self.change = np.zeros(count), np.zeros(count)
        self.temper = rng.uniform(0.8, 1.05, count)
        self.draws = rng.integers(0, 6, (count, 64))
        self.crossed = np.zeros(count, int)
        starts = np.cumsum(rng.exponential(45, (count, HALTS)) + 12, axis=1)
        self.halts_s = np.stack([starts, starts + rng.uniform(4, 9, (count, HALTS))], axis=-1)
        self.then = self._after(self.lane, 0)
        self.later = self._after(self.then, 1)

    def _after(self, lane: np.ndarray, ahead: int, who: np.ndarray | None = None) -> np.ndarray:
        who = np.arange(len(self.lane)) if who is None else who
        draw = self.draws[who, (self.crossed[who] + ahead) % 64]
        return self.tracks.after[lane, draw % self.tracks.choices[lane]]

    def poses(self) -> tuple[np.ndarray, np.ndarray]:
        return self.tracks.pose(self.lane, self.at_m)

    def coming(self) -> list[tuple[int, float, float]]:
        """Of every car on a street with a zebra crossing: which, metres from its nose to it, speed."""
        zebra = self.tracks.zebra[self.lane]
        left = self.tracks.zebra_m[self.lane] - self.at_m - self.size_m[:, 0] / 2
        return [(int(zebra[i]), float(left[i]), float(self.speed[i])) for i in np.flatnonzero(zebra >= 0)]

    def leaders(self, guests: list[tuple[int, float, float, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Gap and speed of what each car follows along its way; and of every lane, where its last car's tail is.

        `guests`: lane, where, speed and half the length of what is no car of these and stands on a lane too.
        """
        tracks = self.tracks
        lane = np.concatenate([self.lane, [g[0] for g in guests]]).astype(int)
        at = np.concatenate([self.at_m, [g[1] for g in guests]])
        speed = np.concatenate([self.speed, [g[2] for g in guests]])
        half = np.concatenate([self.size_m[:, 0] / 2, [g[3] for g in guests]])
        order = np.lexsort((at, lane))
        sorted_lane = lane[order]
        first = np.full(len(tracks.start), -1)
        heads = np.flatnonzero(np.diff(sorted_lane, prepend=-1))
        first[sorted_lane[heads]] = order[heads]
        next_one = np.full(len(lane), -1)
        same = sorted_lane[1:] == sorted_lane[:-1]
        next_one[order[:-1][same]] = order[1:][same]
        mine = np.arange(len(self.lane))
        nose = self.at_m + self.size_m[:, 0] / 2
        rest = tracks.length_m[self.lane] - nose
        gap, lead = np.full(len(mine), FAR_M), np.zeros(len(mine))
        beyond = (
            (first[self.later], rest + tracks.length_m[self.then]),
            (first[self.then], rest),
            (next_one[mine], -nose),
        )
        for who, offset in beyond:  # the nearest is written last
            there = who >= 0
            gap = np.where(there, offset + at[who] - half[who], gap)
            lead = np.where(there, speed[who], lead)
        tail = np.full(len(tracks.start), FAR_M)
        np.minimum.at(tail, lane, at - half)
        return gap, lead, tail

    def step(
        self,
        seconds: float,
        time_s: float,
        lights: Lights,
        walkers: Walkers,
        guests: list[tuple[int, float, float, float]],
    ) -> np.ndarray:
        """Returns, for every lane, where the tail of its last car is; none: FAR_M."""
        tracks, nose = self.tracks, self.at_m + self.size_m[:, 0] / 2
        gap, lead, tail = self.leaders(guests)
        wanted = np.full(len(self.lane), LIMIT_MPS)
        for ahead in (0.0, 4.0, 8.0, 12.0):
            there = self.at_m + ahead
            over = there > tracks.length_m[self.lane]
            row = tracks.row(
                np.where(over, self.then, self.lane), np.where(over, there - tracks.length_m[self.lane], there)
            )
            wanted = np.minimum(wanted, np.sqrt(tracks.limit[row] ** 2 + 2 * 2.0 * ahead))
        wanted = wanted * self.temper
        halted = ((self.halts_s[..., 0] < time_s) & (time_s < self.halts_s[..., 1])).any(1)
        wanted[halted & tracks.is_street[self.lane] & (tracks.length_m[self.lane] - self.at_m > 16)] = 0.1
        change = idm(self.speed, wanted, gap, lead)

        left = tracks.stop_m[self.lane] - nose
        needed = self.speed**2 / (2 * np.maximum(left, 0.1))
        state = np.where(tracks.arm[self.lane] >= 0, lights.states(time_s)[tracks.arm[self.lane]], 0)
        full = (tail[self.later] < 8.0) & (tracks.arm[self.lane] >= 0)
        stop = (left > -1.0) & ((state == RED) | full | ((state == YELLOW) & (needed < YELLOW_MPS2)))
        change = np.where(stop, np.minimum(change, idm(self.speed, wanted, left + 1.0, 0.0)), change)
        left = tracks.zebra_m[self.lane] - BEFORE_ZEBRA_M - nose
        needed = self.speed**2 / (2 * np.maximum(left, 0.1))
        for i in np.flatnonzero((tracks.zebra[self.lane] >= 0) & (left > -1.0) & (left < 30) & (needed < ZEBRA_MPS2)):
            if walkers.busy(int(tracks.zebra[self.lane[i]]), int(self.lane[i])):
                change[i] = min(change[i], idm(self.speed[i], wanted[i], left[i] + 1.5, 0.0))

        self.change = change
        self.speed = np.maximum(0, self.speed + change * seconds)
        self.at_m = self.at_m + self.speed * seconds
        over = np.flatnonzero(self.at_m > tracks.length_m[self.lane])
        if len(over):
            self.at_m[over] -= tracks.length_m[self.lane[over]]
            self.lane[over], self.then[over] = self.then[over], self.later[over]
            self.crossed[over] += 1
            self.later[over] = self._after(self.then[over], 1, over)
        return tail
