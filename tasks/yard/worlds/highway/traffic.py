"""Car-following traffic on a three-lane motorway around one car, which somebody else drives (foot.py).

The other vehicles follow the Intelligent Driver Model (Treiber, Hennecke, Helbing 2000) and change lanes by the
incentive of MOBIL (Kesting, Treiber, Helbing 2007).
"""

from __future__ import annotations

import numpy as np

STEP_S = 0.1
LANE_M = 3.75  # German motorways; lane 0 is the right one, y grows to the left
LANES = 3
AHEAD_M, BEHIND_M = 240.0, 70.0  # vehicles beyond this are set down anew at the other end
CAR, VAN, TRUCK = 0, 1, 2
LENGTH_M, WIDTH_M, HEIGHT_M = np.array([4.4, 5.4, 13.5]), np.array([1.82, 2.0, 2.5]), np.array([1.48, 2.4, 3.8])
LANE_SPEED_MPS = np.array([26.0, 30.0, 35.0])
TRUCK_MPS = 24.0
VEHICLES = 19
OTHERS = ~np.eye(VEHICLES, dtype=bool)
IDM_ACCEL, IDM_COMFORT, IDM_GAP_M = 1.4, 2.2, 2.5
IDM_BRAKING = 2 * np.sqrt(IDM_ACCEL * IDM_COMFORT)
LANE_CHANGE_S = 3.0


def idm(speed, wanted, gap, closing, headway):
    """Acceleration in m/s^2; the free-road term is bounded so that a lower limit alone makes nobody brake hard."""
    free = np.maximum(1 - (speed / wanted) ** 4, -0.6)
    safe = IDM_GAP_M + np.maximum(0, speed * headway + speed * closing / IDM_BRAKING)
    # After a cut-in IDM brakes as for a wall; people allow a short gap to grow and brake as hard as the closing needs.
    needed = np.maximum(closing, 0) ** 2 / (2 * np.maximum(gap - 2.0, 0.5))
    return np.maximum(IDM_ACCEL * (free - (safe / np.maximum(gap, 0.5)) ** 2), -np.minimum(1.8 + 1.6 * needed, 8.5))


def nearest(way_m: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Column of the candidate at the least way in each row, -1 for none."""
    return np.where(candidates.any(1), np.where(candidates, way_m, np.inf).argmin(1), -1)


class Traffic:
    """State of the vehicles; index 0 is the recording car. x is the rear bumper's, along the road; y the middle's."""

    def __init__(self, rng: np.random.Generator, flow: float) -> None:
        n = VEHICLES
        self.rng, self.flow = rng, flow
        self.x, self.v, self.a = np.zeros(n), np.zeros(n), np.zeros(n)
        self.lane, self.y = np.zeros(n, int), np.zeros(n)
        self.kind = np.zeros(n, int)
        self.wanted, self.headway = np.full(n, 30.0), np.full(n, 1.3)
        self.ids, self.next_id = np.zeros(n, int), 1
        self.wait_s = np.zeros(n)  # until the next lane change may be thought about
        self.slow_s, self.slow_mps2 = np.zeros(n), np.zeros(n)  # a braking that began further ahead
        self.light_s = np.zeros(n)
        self.lane[0] = rng.choice(LANES, p=[0.25, 0.5, 0.25])
        self.wait_s[0] = 8.0
        self.v[0] = 0.95 * self.lane_speed(self.lane[0])
        places = rng.permutation(np.arange(n - 1)) * (AHEAD_M + BEHIND_M) / (n - 1) - BEHIND_M
        for i in range(1, n):
            self.set_down(i, places[i - 1])
        near = (np.abs(self.x) < 25) & (self.lane == self.lane[0])
        near[0] = False
        self.x[near] += 60.0
        self.y = self.lane * LANE_M

    def lane_speed(self, lane: int) -> float:
        return LANE_SPEED_MPS[lane] * self.flow

    def set_down(self, i: int, x: float) -> None:
        """Make vehicle `i` a new one at `x`, in a lane and of a kind that go together."""
        rng = self.rng
        lane = int(rng.choice(LANES, p=[0.4, 0.35, 0.25]))
        truck = rng.random() < (0.5, 0.12, 0.0)[lane]
        self.kind[i] = TRUCK if truck else (VAN if rng.random() < 0.15 else CAR)
        self.lane[i], self.x[i] = lane, x
        wanted = self.lane_speed(lane) * (1 + 0.07 * rng.standard_normal())
        self.wanted[i] = min(wanted, TRUCK_MPS * rng.uniform(0.95, 1.05)) if truck else wanted
        self.v[i], self.a[i] = self.wanted[i], 0.0
        self.headway[i] = rng.uniform(1.0, 1.6)
        self.wait_s[i], self.slow_s[i], self.light_s[i] = rng.uniform(1, 10), 0.0, 0.0
        self.ids[i], self.next_id = self.next_id, self.next_id + 1
        self.y[i] = lane * LANE_M

    def length(self) -> np.ndarray:
        return LENGTH_M[self.kind]

    def ahead(self, lane: np.ndarray) -> np.ndarray:
        """For each vehicle, were it in `lane`: index of the one ahead, -1 for none."""
        way = self.x[None, :] - self.x[:, None]
        return nearest(way, (lane[:, None] == self.lane[None, :]) & (way >= 0) & OTHERS)

    def behind(self, lane: np.ndarray) -> np.ndarray:
        """As `ahead`: the one behind."""
        way = self.x[:, None] - self.x[None, :]
        return nearest(way, (lane[:, None] == self.lane[None, :]) & (way > 0))

    def gap(self, follower: np.ndarray, ahead: np.ndarray) -> np.ndarray:
        gap = self.x[ahead] - self.x[follower] - self.length()[follower]
        return np.where(ahead < 0, 500.0, gap)

    def wish(self, who: np.ndarray, ahead: np.ndarray) -> np.ndarray:
        """IDM acceleration of `who` behind `ahead` (-1: free road)."""
        closing = np.where(ahead < 0, 0.0, self.v[who] - self.v[ahead])
        return idm(self.v[who], self.wanted[who], self.gap(who, ahead), closing, self.headway[who])

    def change_lanes(self, now: np.ndarray) -> None:
        """MOBIL without politeness; to the right for less, so that people keep right."""
        everyone = np.arange(len(self.x))
        for side in (-1, 1):
            target = self.lane + side
            front, back = self.ahead(target), self.behind(target)
            room = np.where(back < 0, 500.0, self.x - self.x[back] - self.length()[back])
            closing = self.v[back] - self.v
            harm = np.where(back < 0, 0.0, idm(self.v[back], self.wanted[back], room, closing, self.headway[back]))
            gain = self.wish(everyone, front) - now
            good = (target >= 0) & (target < LANES) & (self.wait_s <= 0) & (gain > (0.5 if side > 0 else -0.05))
            good &= (harm > -2.0) & (room > 6) & (self.gap(everyone, front) > 8)
            good &= (self.kind != TRUCK) | (target < 2)  # lorries keep out of the fast lane
            if good.any():  # one at a time: two might want the same gap
                i = int(self.rng.choice(np.flatnonzero(good)))
                self.lane[i], self.wait_s[i] = target[i], self.rng.uniform(8, 25)

    def move(self, wish: np.ndarray, own_accel: float) -> None:
        """One step along the road. The recording car does what its pedals give; the others follow their `wish` within
        0.4 s, but for those that a wave of braking has reached."""
        accel = wish.copy()
        slowed = self.slow_s > 0
        accel[slowed] = np.minimum(accel[slowed], -self.slow_mps2[slowed])
        self.slow_s -= STEP_S
        self.a += (accel - self.a) * (STEP_S / 0.4)
        self.a[0] = own_accel
        self.v = np.maximum(self.v + self.a * STEP_S, 0.0)
        self.x += self.v * STEP_S
        self.wait_s -= STEP_S

    def move_aside(self) -> None:
        """One step across the road, to the middle of the lane that each has chosen; and the brake lights."""
        fastest = LANE_M / LANE_CHANGE_S
        pull = np.minimum(np.maximum((self.lane * LANE_M - self.y) * 1.3, -fastest), fastest)  # np.clip is slower
        self.y = self.y + pull * STEP_S
        # Brake lights come on with the brake, not with the pedal lifted: about 1 m/s^2.
        self.light_s = np.where(self.a < -1.0, 0.3, self.light_s - STEP_S)

    def replace_gone(self) -> None:
        """Set down anew at the other end who is too far behind or ahead."""
        relative = self.x - self.x[0]
        for i in np.flatnonzero((relative < -BEHIND_M - 20) | (relative > AHEAD_M + 20)):
            fell_behind = relative[i] < 0
            self.set_down(i, self.x[0] + (AHEAD_M if fell_behind else -BEHIND_M) + self.rng.uniform(-15, 15))
            lane_mates = (self.lane == self.lane[i]) & (np.arange(len(self.x)) != i)
            room = np.abs(self.x - self.x[i])[lane_mates]
            if room.size and room.min() < 25:  # no room now: wait out of sight
                self.x[i] = self.x[0] + (AHEAD_M + 50 if fell_behind else -BEHIND_M - 50)
            elif not fell_behind:  # who comes from behind is faster
                self.v[i] = max(self.v[i], self.v[0] + self.rng.uniform(1, 6))
                self.wanted[i] = self.v[i]
