"""What drives are worth together: means over routes, infractions a kilometre. Pure.

The driving score of a route is its completion in per cent times the penalties of CARLA leaderboard 1.0: of its
collisions and red lights, and the share of the driven way that lay on the route's lanes. That of an agent is the mean
over routes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from tasks.yard.metrics import bootstrap
from tasks.yard.params import Reporting
from tasks.yard.worlds.town import judge

LEAST_KM = 0.05  # of less, nothing is told a kilometre
SCORES = {"driving_score": "score_composed", "route_completion": "score_route", "infraction_penalty": "score_penalty"}


def replicates(values: np.ndarray, reporting: Reporting) -> np.ndarray:
    """Of the mean, over routes drawn with replacement; the same draws for every agent on as many routes."""
    draws = bootstrap.resamples(len(values), reporting.bootstrap_replicates, reporting.bootstrap_seed)
    return draws @ values / len(values)


def numbers(drives: Mapping[str, Mapping[str, Any]], reporting: Reporting) -> dict[str, Any]:
    """Of one agent on the routes of a split; {} of none."""
    if not drives:
        return {}
    found: dict[str, Any] = {"routes": len(drives), "km": sum(of["km"] for of in drives.values())}
    found["intervals"] = {}
    for name, key in SCORES.items():
        values = np.array([drives[route][key] for route in sorted(drives)], float)
        found[name] = float(values.mean())
        found["intervals"][name] = bootstrap.spread(replicates(values, reporting), len(values))
    counts = Counter(one["kind"] for of in drives.values() for one in of["infractions"])
    km = found["km"] if found["km"] >= LEAST_KM else None
    found["infractions"] = {kind: counts[kind] for kind in judge.KINDS}
    found["infractions_a_km"] = {kind: counts[kind] / km if km else None for kind in judge.KINDS}
    found["all_infractions_a_km"] = sum(counts.values()) / km if km else None
    found["completed"] = sum(of["completed"] for of in drives.values())
    return found
