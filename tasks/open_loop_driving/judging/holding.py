"""Does a plan hold where the driver holds? At a red light one that creeps is wrong, however near it stays. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.open_loop_driving.judging import groups
from tasks.open_loop_driving.judging.moments import Moments


def holding(waypoints: np.ndarray, moments: Moments, rate_hz: float) -> dict[str, Any] | None:
    """{moments, creeps, share, mean_m}: of the moments in which the driver stands and stays, how many plans (k, steps,
    2) go farther than he, and how far they go on average. None where there is no such moment."""
    stays = groups.situations(moments, rate_hz)["stands"]
    if not stays.any():
        return None
    gone = np.linalg.norm(waypoints[stays], axis=-1).max(-1)
    creeps = int((gone > groups.STAYS_M).sum())
    return {
        "moments": int(stays.sum()), "creeps": creeps, "share": creeps / int(stays.sum()), "mean_m": float(gone.mean())
    }  # fmt: skip
