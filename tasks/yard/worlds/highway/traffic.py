"""Car-following traffic on a three-lane motorway around one human driver, as arrays over the moments that are recorded.

Other vehicles follow the Intelligent Driver Model (Treiber, Hennecke, Helbing 2000) and change lanes by the incentive
of MOBIL (Kesting, Treiber, Helbing 2007). The driver of the recording wants what IDM wants, but sees it late and with
noise, and has one foot: it leaves the pedal, the car coasts, and after the time the foot takes it brakes. Waves of
braking that began further ahead, cut-ins, limits and hills disturb them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields

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
IDM_ACCEL, IDM_COMFORT, IDM_GAP_M = 1.4, 2.2, 2.5
LANE_CHANGE_S = 3.0
SETTLE_S = 20.0  # driven before the recording begins, for the gaps to become those that drivers keep
EGO_MASS_KG, DRAG_AREA_M2, ROLLING = 1250.0, 0.66, 0.012
ENGINE_BRAKE_N = 260.0
GRAVITY = 9.81
GAS, COAST, BRAKE = 0, 1, 2
ALERT_STEPS = 5  # a foot that has left the pedal answers within half a second; before, a driver is surprised


@dataclass(frozen=True)
class Drive:
    """F moments of one drive, N other vehicles. Positions are relative to the camera's car, in road coordinates."""

    t_s: np.ndarray  # (F) since the start
    speed_mps: np.ndarray  # (F) and so on, of the recording car
    accel_mps2: np.ndarray
    pedal: np.ndarray  # 0..1
    braking: np.ndarray  # bool
    travelled_m: np.ndarray
    lateral_m: np.ndarray  # of the car's middle; lane k is centred at k * LANE_M
    lane: np.ndarray
    yaw_rad: np.ndarray  # between the car and the road
    limit_kmh: np.ndarray
    ids: np.ndarray  # (F, N) one number per vehicle for as long as it is around
    kind: np.ndarray  # (F, N) CAR, VAN, TRUCK
    distance_m: np.ndarray  # (F, N) from the recording car's nose to the vehicle's rear
    offset_m: np.ndarray  # (F, N) lateral, from the middle of lane 0
    other_lane: np.ndarray
    other_speed_mps: np.ndarray
    brake_light: np.ndarray
    leader: np.ndarray  # (F) column of the vehicle ahead in the lane, -1 for none


@dataclass(frozen=True)
class Trace:
    """The recording car at every step of the simulation: what a diagnostic port could be asked for."""

    step_s: float
    start_s: float  # of the recording, after the beginning of the trace
    speed_mps: np.ndarray
    pedal: np.ndarray  # 0..1
    braking: np.ndarray  # bool
    power_kw: np.ndarray  # that the engine gives; negative while it is dragged


def drag_n(speed: float | np.ndarray) -> float | np.ndarray:
    """Air and rolling resistance of the recording car."""
    return 0.6 * DRAG_AREA_M2 * speed**2 + ROLLING * EGO_MASS_KG * GRAVITY


def engine_kw(speed: float) -> float:
    """Full-pedal power: a small engine turns slowly in the top gear, so it has less of it at low speed."""
    return 14.0 + 1.15 * speed


def smooth_noise(rng: np.random.Generator, steps: int, tau_s: float) -> np.ndarray:
    """Ornstein-Uhlenbeck noise of unit variance."""
    keep = np.exp(-STEP_S / tau_s)
    kicks = rng.standard_normal(steps) * np.sqrt(1 - keep**2)
    values, value = np.empty(steps), rng.standard_normal()
    for i in range(steps):
        value = keep * value + kicks[i]
        values[i] = value
    return values


def idm(speed, wanted, gap, closing, headway):
    """Acceleration in m/s^2; the free-road term is bounded so that a lower limit alone makes nobody brake hard."""
    free = np.maximum(1 - (speed / wanted) ** 4, -0.6)
    safe = IDM_GAP_M + np.maximum(0, speed * headway + speed * closing / (2 * np.sqrt(IDM_ACCEL * IDM_COMFORT)))
    # After a cut-in IDM brakes as for a wall; people allow a short gap to grow and brake as hard as the closing needs.
    needed = np.maximum(closing, 0) ** 2 / (2 * np.maximum(gap - 2.0, 0.5))
    return np.maximum(IDM_ACCEL * (free - (safe / np.maximum(gap, 0.5)) ** 2), -np.minimum(1.8 + 1.6 * needed, 8.5))


class Foot:
    """The recording driver: one foot, a reaction time, and habits that differ from drive to drive."""

    def __init__(self, rng: np.random.Generator, steps: int) -> None:
        self.rng = rng
        self.state, self.since_s, self.pressure = COAST, 0.0, 0.0
        self.pedal = 0.0
        self.seen = deque([0.0] * int(round(rng.uniform(1.2, 1.7) / STEP_S)))
        self.lift_at, self.press_at = rng.uniform(1.2, 1.4), rng.uniform(1.4, 1.6)
        self.noise = smooth_noise(rng, steps, 2.0) * rng.uniform(0.05, 0.1)
        self.move_s = self.draw_move()
        self.whim_s = 0.0  # left of a braking that nothing in view explains
        self.rest_s = 0.0  # left of a pause of the foot, likewise

    def draw_move(self) -> float:
        return float(np.clip(0.25 * np.exp(0.4 * self.rng.standard_normal()), 0.1, 0.8))

    def enter(self, state: int) -> None:
        self.state, self.since_s = state, 0.0
        if state == COAST:
            self.move_s = self.draw_move()

    def step(self, demand: float, speed: float, too_fast: bool, slope_n: float, i: int) -> float:
        """From the wanted acceleration to the longitudinal force of pedals in N."""
        self.seen.append(demand)
        surprised = self.seen.popleft()
        wanted = (surprised if self.state == GAS else self.seen[-ALERT_STEPS]) + self.noise[i]
        if self.whim_s > 0:
            self.whim_s -= STEP_S
            wanted = min(wanted, -1.6)
        self.rest_s -= STEP_S
        idle = too_fast or self.rest_s > 0
        self.since_s += STEP_S
        if self.state == GAS and (wanted < -self.lift_at or idle):
            self.enter(COAST)
        elif self.state == COAST and wanted < -self.press_at and self.since_s >= self.move_s:
            self.enter(BRAKE)
        elif self.state == COAST and wanted > -0.6 and not idle and self.since_s >= 0.4:
            self.enter(GAS)
        elif self.state == BRAKE and wanted > -1.0 and self.since_s >= 0.6:
            self.enter(COAST)

        if self.state == GAS:
            wanted = max(wanted, -0.05)  # small excesses are let be: nobody lifts for each of them
        force = EGO_MASS_KG * wanted + drag_n(speed) + slope_n
        power_share = force * max(speed, 3.0) / (1000 * engine_kw(speed))
        target = np.clip(power_share, 0.0, 1.0) ** 0.8 if self.state == GAS else 0.0
        # A foot lifts within 0.2 s and presses with care.
        self.pedal += (target - self.pedal) * (STEP_S / (0.45 if target > self.pedal and self.state == GAS else 0.15))
        wanted_brake = min(max(0.8, -1.25 * wanted), 8.0) if self.state == BRAKE else 0.0
        self.pressure += (wanted_brake - self.pressure) * (STEP_S / 0.25)
        drive = self.pedal**1.25 * engine_kw(speed) * 1000 / max(speed, 3.0)
        drag = ENGINE_BRAKE_N if self.pedal < 0.05 else 0.0
        self.power_kw = (drive - drag) * speed / 1000
        return drive - drag - EGO_MASS_KG * self.pressure


class Traffic:
    """State of the vehicles; index 0 is the recording car. x is the rear bumper's, along the road."""

    def __init__(self, rng: np.random.Generator, flow: float) -> None:
        n = VEHICLES
        self.rng, self.flow = rng, flow
        self.x, self.v, self.a = np.zeros(n), np.zeros(n), np.zeros(n)
        self.lane = np.zeros(n, int)
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
        if hasattr(self, "y"):
            self.y[i] = lane * LANE_M

    def length(self) -> np.ndarray:
        return LENGTH_M[self.kind]

    def neighbours(self, lane: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each vehicle, were it in `lane`: index of the one ahead and of the one behind, -1 for none."""
        ahead = self.x[None, :] - self.x[:, None]
        same = lane[:, None] == self.lane[None, :]
        np.fill_diagonal(same, False)
        front = np.where(same & (ahead >= 0), ahead, np.inf)
        back = np.where(same & (ahead < 0), -ahead, np.inf)
        first, last = front.argmin(1), back.argmin(1)
        rows = np.arange(len(lane))
        return np.where(np.isfinite(front[rows, first]), first, -1), np.where(np.isfinite(back[rows, last]), last, -1)

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
            front, back = self.neighbours(target)
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


def simulate(rng: np.random.Generator, times_s: np.ndarray) -> tuple[Drive, Trace]:
    """The drive, sampled at `times_s` (rising, from 0 on), and the car's own state at every step."""
    times_s = times_s + SETTLE_S
    steps = int(np.ceil(times_s[-1] / STEP_S)) + 2
    flow_level = rng.uniform(0.8, 1.1)
    flow = np.clip(flow_level + 0.07 * smooth_noise(rng, steps, 60.0), 0.65, 1.15)
    slope = 0.007 * smooth_noise(rng, steps, 15.0)
    traffic, foot = Traffic(rng, flow[0]), Foot(rng, steps)
    own_headway, eagerness = rng.uniform(0.9, 1.3), rng.uniform(1.05, 1.15)
    traffic.headway[0] = own_headway
    limit_kmh, limit_until_s = np.inf, 0.0
    next_wave_s, next_cut_in_s = rng.exponential(15), rng.exponential(25)
    next_whim_s, next_rest_s = rng.exponential(240), rng.exponential(40)
    everyone = np.arange(VEHICLES)
    rows: list[dict] = []
    trace = np.empty((4, steps))
    travelled, previous_y = 0.0, traffic.y[0]

    for i in range(steps):
        now = i * STEP_S
        traffic.flow = flow[i]
        if now >= limit_until_s:
            limit_kmh = float(rng.choice([np.inf, 130, 120, 100, 80], p=[0.3, 0.2, 0.25, 0.15, 0.1]))
            limit_until_s = now + rng.uniform(80, 160)
        cruise = eagerness * traffic.lane_speed(traffic.lane[0])
        traffic.wanted[0] = min(cruise, 1.05 * limit_kmh / 3.6)
        front, _ = traffic.neighbours(traffic.lane)
        wish = traffic.wish(everyone, front)
        leader = int(front[0])

        if now >= next_wave_s:
            next_wave_s = now + 16 + rng.exponential(24)
            first = leader if leader < 0 or rng.random() < 0.7 else int(front[leader])
            if first > 0 and traffic.x[first] - traffic.x[0] < 110 and traffic.v[first] > 14:
                traffic.slow_s[first], traffic.slow_mps2[first] = rng.uniform(1.0, 2.0), rng.uniform(2.5, 4.5)
        if now >= next_cut_in_s:
            next_cut_in_s = now + rng.exponential(60)
            ahead = traffic.x - traffic.x[0] - LENGTH_M[CAR]
            near = (np.abs(traffic.lane - traffic.lane[0]) == 1) & (ahead > 9) & (ahead < 32) & (traffic.kind != TRUCK)
            near &= (traffic.v < traffic.v[0] + 2) & (ahead > 9 + 1.5 * (traffic.v[0] - traffic.v))
            if near.any():
                i_cut = int(np.flatnonzero(near)[ahead[near].argmin()])
                traffic.lane[i_cut], traffic.wait_s[i_cut] = traffic.lane[0], 12.0
        if now >= next_whim_s:
            next_whim_s, foot.whim_s = now + rng.exponential(240), rng.uniform(1.5, 2.6)

        if now >= next_rest_s:
            next_rest_s, foot.rest_s = now + rng.exponential(30), rng.uniform(0.5, 1.6)

        accel = wish.copy()
        slowed = traffic.slow_s > 0
        accel[slowed] = np.minimum(accel[slowed], -traffic.slow_mps2[slowed])
        traffic.slow_s -= STEP_S
        slope_n = EGO_MASS_KG * GRAVITY * slope[i]
        force = foot.step(float(wish[0]), float(traffic.v[0]), traffic.v[0] > 1.12 * traffic.wanted[0], slope_n, i)
        accel[0] = (force - drag_n(traffic.v[0]) - slope_n) / EGO_MASS_KG
        # Others need a moment too: their acceleration follows the wish within 0.4 s.
        traffic.a += (accel - traffic.a) * (STEP_S / 0.4)
        traffic.a[0] = accel[0]
        traffic.v = np.maximum(traffic.v + traffic.a * STEP_S, 0.0)
        traffic.x += traffic.v * STEP_S
        travelled += traffic.v[0] * STEP_S
        traffic.wait_s -= STEP_S
        if i % 5 == 0:
            traffic.change_lanes(wish)
        target_y = traffic.lane * LANE_M
        pull = np.clip((target_y - traffic.y) * 1.3, -LANE_M / LANE_CHANGE_S, LANE_M / LANE_CHANGE_S)
        traffic.y = traffic.y + pull * STEP_S
        # Brake lights come on with the brake, not with the pedal lifted: about 1 m/s^2.
        traffic.light_s = np.where(traffic.a < -1.0, 0.3, traffic.light_s - STEP_S)

        relative = traffic.x - traffic.x[0]
        gone = np.flatnonzero((relative < -BEHIND_M - 20) | (relative > AHEAD_M + 20))
        for j in gone:
            slower_ahead = relative[j] < 0
            traffic.set_down(j, traffic.x[0] + (AHEAD_M if slower_ahead else -BEHIND_M) + rng.uniform(-15, 15))
            lane_mates = (traffic.lane == traffic.lane[j]) & (everyone != j)
            room = np.abs(traffic.x - traffic.x[j])[lane_mates]
            if room.size and room.min() < 25:  # no room now: wait out of sight
                traffic.x[j] = traffic.x[0] + (AHEAD_M + 50 if slower_ahead else -BEHIND_M - 50)
            elif not slower_ahead:
                traffic.v[j] = max(traffic.v[j], traffic.v[0] + rng.uniform(1, 6))
                traffic.wanted[j] = traffic.v[j]

        trace[:, i] = traffic.v[0], foot.pedal, foot.pressure > 0.25, foot.power_kw
        while len(rows) < len(times_s) and times_s[len(rows)] < now + STEP_S:
            rest = times_s[len(rows)] - now - STEP_S  # the state is that of the step's end
            front, _ = traffic.neighbours(traffic.lane)
            rows.append(
                {
                    "t_s": times_s[len(rows)] - SETTLE_S,
                    "speed_mps": traffic.v[0],
                    "accel_mps2": traffic.a[0],
                    "pedal": foot.pedal,
                    "braking": foot.pressure > 0.25,
                    "travelled_m": travelled + traffic.v[0] * rest,
                    "lateral_m": traffic.y[0],
                    "lane": traffic.lane[0],
                    "yaw_rad": (traffic.y[0] - previous_y) / STEP_S / max(traffic.v[0], 5.0),
                    "limit_kmh": limit_kmh,
                    "ids": traffic.ids[1:].copy(),
                    "kind": traffic.kind[1:].copy(),
                    "distance_m": (traffic.x - traffic.x[0] + (traffic.v - traffic.v[0]) * rest)[1:] - LENGTH_M[CAR],
                    "offset_m": traffic.y[1:].copy(),
                    "other_lane": traffic.lane[1:].copy(),
                    "other_speed_mps": traffic.v[1:].copy(),
                    "brake_light": (traffic.light_s > 0)[1:],
                    "leader": front[0] - 1 if front[0] > 0 else -1,
                }
            )
        previous_y = traffic.y[0]
    drive = Drive(**{f.name: np.array([row[f.name] for row in rows]) for f in fields(Drive)})
    return drive, Trace(STEP_S, SETTLE_S, trace[0], trace[1], trace[2] > 0, trace[3])
