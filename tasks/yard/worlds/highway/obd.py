"""What a car's diagnostic port would have said during a drive, in the layout of `tasks.brake_coast.formats.recording`.

Each value is the last cached reply: some tenths of a second old, quantised as its one or two bytes are, now and then
missing. A row that could not be completed has "No Frame" or "Incomplete Data" for a Time and "No Data" in its cells.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.brake_coast.formats.recording import COLUMNS, format_time
from tasks.brake_coast.importers.drivetrain import IDLE_RPM, KMH_PER_RPM, gear
from tasks.yard.worlds.highway.traffic import Trace

SHIFT_UP_KMH, SHIFT_DOWN_KMH = (16.0, 31.0, 50.0, 70.0), (10.0, 23.0, 40.0, 58.0)
CLUTCH_S = 0.7
PEDAL_RAW_PCT = (14.12, 81.56)  # what the pedal sensor gives at its stops
BYTE_PCT = 100 / 255
REPLY_AGE_S = (0.05, 0.3)
MISSING, ERROR_ROW = 0.0015, 0.002  # shares of replies, of rows


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


def telemetry(rng: np.random.Generator, trace: Trace, times_s: np.ndarray, stamps_ms: np.ndarray) -> pd.DataFrame:
    """One row per sample taken at `times_s` and stamped `stamps_ms`, as text; error rows keep their place."""
    step_s = trace.step_s
    speed_kmh = trace.speed_mps * 3.6
    driven, clutch = driven_gears(speed_kmh, step_s)
    engaged = speed_kmh / KMH_PER_RPM[driven - 1]
    rpm = np.where(clutch, np.maximum(IDLE_RPM, 0.75 * engaged), np.maximum(engaged, IDLE_RPM))
    rpm = np.convolve(np.pad(rpm, 2, mode="edge"), np.ones(5) / 5, "valid") + 6 * rng.standard_normal(len(rpm))
    # Calculated load: torque asked for over what there is, with the engine's own friction; fuel is cut when dragged.
    load = np.clip(12 + 88 * trace.power_kw / (4.0 + 0.0135 * rpm), 0, 100)
    load = np.where(clutch, 18.0, load) + 1.2 * rng.standard_normal(len(rpm))
    raw_pedal = PEDAL_RAW_PCT[0] + trace.pedal * (PEDAL_RAW_PCT[1] - PEDAL_RAW_PCT[0])

    def reply(values: np.ndarray) -> np.ndarray:
        age = rng.uniform(*REPLY_AGE_S, len(times_s))
        steps = ((times_s - age + trace.start_s) / step_s).astype(int)
        taken = values[np.clip(steps, 0, len(values) - 1)].astype(float)
        return np.where(rng.random(len(times_s)) < MISSING, np.nan, taken)

    shown = {
        "SPEED": np.floor(reply(speed_kmh)),
        "RPM": np.round(reply(rpm) * 4) / 4,
        "ACCELERATOR_POS_D": np.round(reply(raw_pedal) / BYTE_PCT) * BYTE_PCT,
        "ENGINE_LOAD": np.round(np.clip(reply(load), 0, 100) / BYTE_PCT) * BYTE_PCT,
    }
    span = PEDAL_RAW_PCT[1] - PEDAL_RAW_PCT[0]
    shown["ACCELERATOR_POS_D"] = np.clip((shown["ACCELERATOR_POS_D"] - PEDAL_RAW_PCT[0]) / span * 100, 0, 100)
    brake = reply(trace.braking)
    gear_shown = gear(shown["SPEED"], shown["RPM"], shown["ACCELERATOR_POS_D"], shown["ENGINE_LOAD"])

    table = pd.DataFrame({"Time": [format_time(int(t)) for t in stamps_ms]})
    for name, values in shown.items():
        table[name] = ["" if np.isnan(v) else str(round(float(v), 2)) for v in values]
    table["BRAKE_SIGNAL"] = ["" if np.isnan(v) else str(bool(v)) for v in brake]
    table["GEAR"] = ["" if np.isnan(v) else str(int(v)) for v in gear_shown]
    error = rng.random(len(table)) < ERROR_ROW
    table.loc[error, "Time"] = rng.choice(["No Frame", "Incomplete Data"], int(error.sum()))
    table.loc[error, COLUMNS[1:]] = "No Data"
    return table[COLUMNS]
