"""What a car's diagnostic port says during a drive.

Each value is the last cached reply: some tenths of a second old, quantised as its one or two bytes are, now and then
missing. Now and then a whole sample cannot be completed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.yard.worlds.highway.drive import Trace

KMH_PER_RPM = np.array([9.5, 16.5, 27.5, 40.5, 53.5]) / 1000  # of gears 1 to 5 of an Audi A1 8X
IDLE_RPM = 920.0
SHIFT_UP_KMH, SHIFT_DOWN_KMH = (16.0, 31.0, 50.0, 70.0), (10.0, 23.0, 40.0, 58.0)
CLUTCH_S = 0.7
PEDAL_RAW_PCT = (14.12, 81.56)  # what the pedal sensor gives at its stops
BYTE_PCT = 100 / 255
REPLY_AGE_S = (0.05, 0.3)
MISSING, FAILED = 0.0015, 0.002  # shares of replies, of samples


@dataclass(frozen=True)
class Replies:
    """What the port said at each of n samples, (n) float64; NaN is a missing reply."""

    speed_kmh: np.ndarray
    rpm: np.ndarray
    pedal_pct: np.ndarray  # of its travel
    load_pct: np.ndarray
    brake: np.ndarray  # 1, 0
    failure: np.ndarray  # (n) str: why a sample could not be completed, "no frame" or "incomplete"; else ""


def driven_gears(speed_kmh: np.ndarray, step_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Gear 1..5 over time with a driver's hysteresis, and whether the clutch is open."""
    gear, out = 1 + int(np.searchsorted(SHIFT_UP_KMH, speed_kmh[0])), np.empty(len(speed_kmh), int)
    for i, speed in enumerate(speed_kmh):
        if gear < 5 and speed > SHIFT_UP_KMH[gear - 1]:
            gear += 1
        elif gear > 1 and speed < SHIFT_DOWN_KMH[gear - 2]:
            gear -= 1
        out[i] = gear
    changed = np.flatnonzero(np.diff(out, prepend=out[0]))
    clutch = np.zeros(len(out), bool)
    for i in changed:
        clutch[max(0, i - int(CLUTCH_S / step_s / 2)) : i + int(CLUTCH_S / step_s / 2)] = True
    return out, clutch | (speed_kmh < 6)


def replies(rng: np.random.Generator, trace: Trace, times_s: np.ndarray) -> Replies:
    """One sample at each of `times_s`, seconds since the start of the recording."""
    step_s = trace.step_s
    speed_kmh = trace.speed_mps * 3.6
    driven, clutch = driven_gears(speed_kmh, step_s)
    engaged = speed_kmh / KMH_PER_RPM[driven - 1]
    rpm = np.where(clutch, np.maximum(IDLE_RPM, 0.75 * engaged), np.maximum(engaged, IDLE_RPM))
    rpm = np.convolve(np.pad(rpm, 2, mode="edge"), np.ones(5) / 5, "valid") + 6 * rng.standard_normal(len(rpm))
    # Calculated load: torque asked for over what there is, with the engine's own friction; fuel is cut when dragged.
    load = np.clip(12 + 88 * trace.power_kw / (4.0 + 0.0135 * rpm), 0, 100)
    load = np.where(clutch, 18.0, load) + 1.2 * rng.standard_normal(len(rpm))
    pedal_span_pct = PEDAL_RAW_PCT[1] - PEDAL_RAW_PCT[0]
    raw_pedal = PEDAL_RAW_PCT[0] + trace.pedal * pedal_span_pct

    def reply(values: np.ndarray) -> np.ndarray:
        age = rng.uniform(*REPLY_AGE_S, len(times_s))
        steps = ((times_s - age + trace.start_s) / step_s).astype(int)
        taken = values[np.clip(steps, 0, len(values) - 1)].astype(float)
        return np.where(rng.random(len(times_s)) < MISSING, np.nan, taken)

    # In this order: each reply draws its own random numbers.
    shown_speed = np.floor(reply(speed_kmh))
    shown_rpm = np.round(reply(rpm) * 4) / 4
    shown_pedal = np.round(reply(raw_pedal) / BYTE_PCT) * BYTE_PCT
    shown_load = np.round(np.clip(reply(load), 0, 100) / BYTE_PCT) * BYTE_PCT
    shown_pedal = np.clip((shown_pedal - PEDAL_RAW_PCT[0]) / pedal_span_pct * 100, 0, 100)
    brake = reply(trace.braking)
    failed = rng.random(len(times_s)) < FAILED
    failure = np.full(len(times_s), "", dtype="<U10")
    failure[failed] = rng.choice(["no frame", "incomplete"], int(failed.sum()))
    return Replies(shown_speed, shown_rpm, shown_pedal, shown_load, brake, failure)
