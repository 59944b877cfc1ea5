"""What drives are worth together: means over routes, infractions a kilometre. Pure.

The driving score of a route is its completion in per cent times the penalties of CARLA leaderboard 1.0: of its
collisions and red lights, and the share of the driven way that lay on the route's lanes. That of an agent is the mean
over routes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from statistics import fmean
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


def of_split(told: Mapping[str, Any], split: str) -> dict[str, Any]:
    """Of drives.json: what `numbers` says of a split, with `by_drive`: {drive: its score}."""
    drives = {name: of["score_composed"] for name, of in told.get("routes", {}).items() if of["split"] == split}
    return {**told["splits"][split], "by_drive": drives}


def apart(of: Sequence[Collection[str]]) -> set[str] | None:
    """What all have in common, if they do not all have the same; None: they do."""
    return None if all(set(one) == set(of[0]) for one in of) else set.intersection(*map(set, of))


def alike(drivers: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """{driver: driving score} on the drives that all of them have, each as `of_split` tells of it; {} where there is
    none."""
    same = apart([of["by_drive"] for of in drivers.values()])
    if same is None:
        return {name: of["driving_score"] for name, of in drivers.items()}
    return {name: fmean(of["by_drive"][drive] for drive in same) for name, of in drivers.items() if same}


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
