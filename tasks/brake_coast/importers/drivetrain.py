"""What a car's telemetry says about its gear, and what a simulated car without an engine would have told about one.

Ratios and the gear rule are those of the recording car of the original data, an Audi A1 8X with five gears.
"""

from __future__ import annotations

import numpy as np

KMH_PER_RPM = np.array([9.5, 16.5, 27.5, 40.5, 53.5]) / 1000  # gears 1 to 5
IDLE_RPM = 920.0
STANDING_KMH = 6.0
SHIFT_RPM = 1400.0  # of the derived gearbox: the highest gear that keeps the engine at or above this
IDLE_LOAD_PCT = 20.0


def gear(*inputs: np.ndarray) -> np.ndarray:
    """Gear 0..5 as float, from speed_kmh, rpm, pedal_pct and load_pct; NaN if one is missing or the engine stands.

    Below 6 km/h and where the engine idles it is 0; else the first gear whose ratio is within 0.001 + 2.5 % of the
    measured one, and 0 if none is: neutral, clutch, standing and unclear are all 0.
    """
    speed_kmh, rpm, pedal_pct, load_pct = (np.asarray(values, dtype=np.float64) for values in inputs)
    known = np.isfinite(speed_kmh + rpm + pedal_pct + load_pct) & (rpm >= 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = speed_kmh / rpm
        near = np.abs(ratio[:, None] - KMH_PER_RPM) < 0.001 + 0.025 * ratio[:, None]
        idles = (np.abs(speed_kmh * IDLE_RPM / rpm - speed_kmh) < 5) & (pedal_pct < 1) & (load_pct > 1)
        found = np.where(near.any(axis=1), near.argmax(axis=1) + 1, 0)
        found = np.where((speed_kmh < STANDING_KMH) | idles, 0, found)
    return np.where(known, found, np.nan)


def engine(speed_kmh: np.ndarray, pedal_pct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rpm, load %) that the recording car would show at this speed and pedal in a steady gear.

    The engine idles until first gear turns it faster. Load follows the pedal: at least 20 % while idling, 0 in overrun.
    """
    turned = speed_kmh[:, None] / KMH_PER_RPM
    highest = np.maximum((turned >= SHIFT_RPM).sum(axis=1) - 1, 0)
    rpm = np.maximum(turned[np.arange(len(speed_kmh)), highest], IDLE_RPM)
    idles = rpm == IDLE_RPM
    load = np.where(pedal_pct > 0, np.maximum(pedal_pct, IDLE_LOAD_PCT), np.where(idles, IDLE_LOAD_PCT, 0.0))
    return rpm, load
