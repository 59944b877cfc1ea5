"""Telemetry in its own units to what the networks see: each sensor by its range, the gear one-hot."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

CONTINUOUS = {"SPEED": "speed_kmh", "RPM": "rpm", "ACCELERATOR_POS_D": "pedal_pct", "ENGINE_LOAD": "load_pct"}
GEARS = 6  # 0 (neutral, clutch, standing) to 5
BRAKE = "BRAKE_SIGNAL"


def sensors(with_brake: bool) -> list[str]:
    return [*CONTINUOUS, "GEAR", *([BRAKE] if with_brake else [])]


def columns(
    values: Mapping[str, np.ndarray], ranges: Mapping[str, Sequence[float]], absent: Collection[str] = ()
) -> list[np.ndarray]:
    """An array a feature, of `values` (...) by sensor; below 0 or above 1 where a range is left. NaN stays, but that of
    the gear: then no gear is hot. An `absent` sensor reads 0."""
    found = []
    for sensor, column in CONTINUOUS.items():
        lowest, highest = ranges[column]
        scaled = (values[sensor] - lowest) / (highest - lowest)
        found.append(np.zeros_like(scaled) if sensor in absent else scaled)
    nearest = np.rint(values["GEAR"].clip(0, GEARS - 1))
    found += [nearest == number for number in range(GEARS)]
    if BRAKE in values:
        found.append(np.zeros_like(values[BRAKE]) if BRAKE in absent else values[BRAKE])
    return found


def joined(found: Sequence[np.ndarray]) -> np.ndarray:
    """(..., D) float32 in 0..1."""
    return np.stack(found, axis=-1, dtype=np.float64).clip(0, 1).astype(np.float32)
