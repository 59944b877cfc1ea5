"""One drive through the traffic of a motorway, as arrays over the moments that are recorded.

Waves of braking that began further ahead, cut-ins, speed limits, hills, and moods of the driver disturb it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from tasks.yard.worlds.highway.foot import EGO_MASS_KG, GRAVITY, Foot, drag_n, smooth_noise
from tasks.yard.worlds.highway.traffic import CAR, LENGTH_M, STEP_S, TRUCK, VEHICLES, Traffic

SETTLE_S = 20.0  # driven before the recording begins, for the gaps to become those that drivers keep
LANE_CHANGE_STEPS = 5  # lane changes are thought about twice a second


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


class Disturbances:
    """What keeps the driver busy, each thing at its own random times (seconds since the simulation began)."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.limit_kmh, self.limit_until_s = np.inf, 0.0
        self.wave_at_s, self.cut_in_at_s = rng.exponential(15), rng.exponential(25)
        self.whim_at_s, self.rest_at_s = rng.exponential(240), rng.exponential(40)

    def speed_limit_kmh(self, now_s: float) -> float:
        if now_s >= self.limit_until_s:
            self.limit_kmh = float(self.rng.choice([np.inf, 130, 120, 100, 80], p=[0.3, 0.2, 0.25, 0.15, 0.1]))
            self.limit_until_s = now_s + self.rng.uniform(80, 160)
        return self.limit_kmh

    def step(self, now_s: float, traffic: Traffic, foot: Foot, front: np.ndarray) -> None:
        """`front`: of each vehicle the one ahead, -1 for none."""
        rng = self.rng
        if now_s >= self.wave_at_s:
            self.wave_at_s = now_s + 16 + rng.exponential(24)
            self.send_wave(traffic, front)
        if now_s >= self.cut_in_at_s:
            self.cut_in_at_s = now_s + rng.exponential(60)
            self.cut_in(traffic)
        if now_s >= self.whim_at_s:
            self.whim_at_s, foot.whim_s = now_s + rng.exponential(240), rng.uniform(1.5, 2.6)
        if now_s >= self.rest_at_s:
            self.rest_at_s, foot.rest_s = now_s + rng.exponential(30), rng.uniform(0.5, 1.6)

    def send_wave(self, traffic: Traffic, front: np.ndarray) -> None:
        """A braking that began further ahead reaches the leader, or the one ahead of it."""
        leader = int(front[0])
        first = leader if leader < 0 or self.rng.random() < 0.7 else int(front[leader])
        if first > 0 and traffic.x[first] - traffic.x[0] < 110 and traffic.v[first] > 14:
            traffic.slow_s[first], traffic.slow_mps2[first] = self.rng.uniform(1.0, 2.0), self.rng.uniform(2.5, 4.5)

    def cut_in(self, traffic: Traffic) -> None:
        """The nearest vehicle of a lane beside that is not much faster moves in ahead, if there is one close by."""
        ahead = traffic.x - traffic.x[0] - LENGTH_M[CAR]
        near = (np.abs(traffic.lane - traffic.lane[0]) == 1) & (ahead > 9) & (ahead < 32) & (traffic.kind != TRUCK)
        near &= (traffic.v < traffic.v[0] + 2) & (ahead > 9 + 1.5 * (traffic.v[0] - traffic.v))
        if near.any():
            i = int(np.flatnonzero(near)[ahead[near].argmin()])
            traffic.lane[i], traffic.wait_s[i] = traffic.lane[0], 12.0


def moment(traffic: Traffic, foot: Foot, late_s: float) -> dict:
    """What `Drive` holds of one moment, `late_s` after the end of the last step."""
    front = traffic.ahead(traffic.lane)
    ahead = traffic.x - traffic.x[0] + (traffic.v - traffic.v[0]) * late_s
    return {
        "speed_mps": traffic.v[0],
        "accel_mps2": traffic.a[0],
        "pedal": foot.pedal,
        "braking": foot.braking,
        "lateral_m": traffic.y[0],
        "lane": traffic.lane[0],
        "ids": traffic.ids[1:].copy(),
        "kind": traffic.kind[1:].copy(),
        "distance_m": ahead[1:] - LENGTH_M[CAR],
        "offset_m": traffic.y[1:].copy(),
        "other_lane": traffic.lane[1:].copy(),
        "other_speed_mps": traffic.v[1:].copy(),
        "brake_light": (traffic.light_s > 0)[1:],
        "leader": front[0] - 1 if front[0] > 0 else -1,
    }


def simulate(rng: np.random.Generator, times_s: np.ndarray) -> tuple[Drive, Trace]:
    """The drive, sampled at `times_s` (rising, from 0 on), and the car's own state at every step."""
    times_s = times_s + SETTLE_S
    steps = int(np.ceil(times_s[-1] / STEP_S)) + 2
    flow_level = rng.uniform(0.8, 1.1)
    flow = np.clip(flow_level + 0.07 * smooth_noise(rng, steps, 60.0), 0.65, 1.15)
    slope_n = EGO_MASS_KG * GRAVITY * (0.007 * smooth_noise(rng, steps, 15.0))
    traffic, foot = Traffic(rng, flow[0]), Foot(rng, steps)
    traffic.headway[0], eagerness = rng.uniform(0.9, 1.3), rng.uniform(1.05, 1.15)
    disturbances = Disturbances(rng)
    moments: list[dict] = []
    trace = np.empty((4, steps))
    travelled_m, everyone = 0.0, np.arange(VEHICLES)

    for i in range(steps):
        now_s, y_before = i * STEP_S, traffic.y[0]
        traffic.flow = flow[i]
        limit_kmh = disturbances.speed_limit_kmh(now_s)
        traffic.wanted[0] = min(eagerness * traffic.lane_speed(traffic.lane[0]), 1.05 * limit_kmh / 3.6)
        front = traffic.ahead(traffic.lane)
        wish = traffic.wish(everyone, front)
        disturbances.step(now_s, traffic, foot, front)

        speed = traffic.v[0]
        force_n = foot.step(float(wish[0]), float(speed), speed > 1.12 * traffic.wanted[0], slope_n[i], i)
        traffic.move(wish, (force_n - drag_n(speed) - slope_n[i]) / EGO_MASS_KG)
        travelled_m += traffic.v[0] * STEP_S
        if i % LANE_CHANGE_STEPS == 0:
            traffic.change_lanes(wish)
        traffic.move_aside()
        traffic.replace_gone()

        trace[:, i] = traffic.v[0], foot.pedal, foot.braking, foot.power_kw
        while len(moments) < len(times_s) and times_s[len(moments)] < now_s + STEP_S:
            time_s = times_s[len(moments)]
            late_s = time_s - now_s - STEP_S  # below 0: the state is that of the step's end
            moments.append({
                **moment(traffic, foot, late_s),
                "t_s": time_s - SETTLE_S,
                "travelled_m": travelled_m + traffic.v[0] * late_s,
                "yaw_rad": (traffic.y[0] - y_before) / STEP_S / max(traffic.v[0], 5.0),
                "limit_kmh": limit_kmh,
            })  # fmt: skip
    drive = Drive(**{field.name: np.array([each[field.name] for each in moments]) for field in fields(Drive)})
    return drive, Trace(STEP_S, SETTLE_S, trace[0], trace[1], trace[2] > 0, trace[3])
