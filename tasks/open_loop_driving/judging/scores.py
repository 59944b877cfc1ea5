"""What a plan is worth in open loop, moment by moment, and how sure of that one can be. Pure: arrays in, numbers out.

L2 has two conventions in this field, which differ by a factor of 2 at 3 s, and is never called "L2" alone here:
    l2_at       the distance at a time (UniAD's)
    l2_mean_to  the mean of the distances at all steps up to a time (ST-P3's, VAD's)
longitudinal and lateral are means over all steps (ThinkTwice's), in the car's frame at t. Controls are the likeliest
values of the Betas at t: throttle_brake and steer on [-1, 1]. A brake pressed by more than BRAKE is pressed.
The intervals are of whole routes drawn with replacement, for moments of one route are alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tasks.open_loop_driving.formats.plans import BRAKE, control
from tasks.open_loop_driving.judging import collisions
from tasks.open_loop_driving.judging.moments import Moments
from tasks.yard.metrics import bootstrap
from tasks.yard.params import Reporting


@dataclass(frozen=True)
class Errors:
    """Of one plan (a layer of a network, a baseline) at k moments."""

    l2: np.ndarray  # (k, steps) at each step
    ahead: np.ndarray  # (k, steps) absolute
    aside: np.ndarray
    pedals: np.ndarray  # (k) absolute, of throttle - brake; NaN where one of both is not known
    steer: np.ndarray
    pressed: np.ndarray  # (k, 2) does the plan, does the driver press the brake; NaN likewise
    hits: np.ndarray  # (k, steps) bool

    def __getitem__(self, keep: np.ndarray) -> Errors:
        return Errors(*(value[keep] for value in vars(self).values()))


def errors(moments: Moments, waypoints: np.ndarray, alpha: np.ndarray | None, beta: np.ndarray | None) -> Errors:
    """`waypoints` (k, steps, 2); `alpha`, `beta` (k, 2) at t; None: no controls are planned."""
    apart = waypoints - moments.waypoints
    planned = np.full((len(moments), 3), np.nan) if alpha is None or beta is None else control(alpha, beta)
    done = moments.control
    both = np.stack([planned[:, 2] > BRAKE, done[:, 2] > BRAKE], axis=-1).astype(float)
    both[np.isnan(planned[:, 2]) | np.isnan(done[:, 2])] = np.nan
    return Errors(
        np.linalg.norm(apart, axis=-1), np.abs(apart[..., 0]), np.abs(apart[..., 1]),
        np.abs(planned[:, 0] - planned[:, 2] - done[:, 0] + done[:, 2]), np.abs(planned[:, 1] - done[:, 1]), both,
        collisions.hits(waypoints, moments),
    )  # fmt: skip


def up_to(of: Errors, steps: int) -> Errors:
    """The same, so many steps ahead."""
    return replace(
        of, l2=of.l2[:, :steps], ahead=of.ahead[:, :steps], aside=of.aside[:, :steps], hits=of.hits[:, :steps]
    )


def times(steps: int, rate_hz: float) -> list[float]:
    return [round((i + 1) / rate_hz, 6) for i in range(steps)]


def label(seconds: float) -> str:
    """1.0 -> 1s, 0.5 -> 0.5s, as in the names of numbers."""
    return f"{seconds:g}s"


def words(name: str) -> str:
    """l2_mean_to_2s -> L2 mean to 2 s, as tables and remarks have it."""
    kind, _, end = name.rpartition("_")
    return f"{kind.replace('l2', 'L2').replace('_', ' ')} {end.removesuffix('s')} s" if name.startswith("l2_") else name


def sums(of: Errors, rate_hz: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{number: (of each moment what is summed, (k); of each moment what it is divided by, (k))}."""
    one = np.ones(len(of.l2))
    found = {}
    for i, seconds in enumerate(times(of.l2.shape[1], rate_hz)):
        found[f"l2_at_{label(seconds)}"] = (of.l2[:, i], one)
        found[f"l2_mean_to_{label(seconds)}"] = (of.l2[:, : i + 1].mean(1), one)
    found["longitudinal"], found["lateral"] = (of.ahead.mean(1), one), (of.aside.mean(1), one)
    for name, values in (("throttle_brake_l1", of.pedals), ("steer_l1", of.steer)):
        known = np.isfinite(values)
        found[name] = (np.where(known, values, 0.0), known.astype(float))
    planned, done = np.nan_to_num(of.pressed).T
    right = planned * done
    found["brake_f1"] = (2 * right, planned + done)
    found["brake_precision"], found["brake_recall"] = (right, planned), (right, done)
    return found


def by_route(values: np.ndarray, route: np.ndarray) -> np.ndarray:
    """Sums (routes) of (k), in the order of the routes' names."""
    _, number = np.unique(route.astype(str), return_inverse=True)
    return np.bincount(number, weights=values) if len(number) else np.zeros(0)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, above / below, np.nan)


@dataclass(frozen=True)
class Judged:
    """Numbers of one plan and their replicates over the same draws of routes."""

    value: dict[str, float | None]
    replicates: dict[str, np.ndarray]
    routes: int

    def interval(self, name: str) -> dict | None:
        return bootstrap.spread(self.replicates[name], self.routes)


def judged(of: Errors, route: np.ndarray, rate_hz: float, reporting: Reporting) -> Judged:
    routes = len(set(route))
    draws = bootstrap.resamples(routes, reporting.bootstrap_replicates, reporting.bootstrap_seed) if routes else None
    value: dict[str, float | None] = {}
    replicates = {}
    for name, (above, below) in sums(of, rate_hz).items():
        a, b = by_route(above, route), by_route(below, route)
        whole = _ratio(np.array(a.sum()), np.array(b.sum()))
        value[name] = float(whole) if np.isfinite(whole) else None
        replicates[name] = _ratio(draws @ a, draws @ b) if draws is not None else np.zeros(0)
    return Judged(value, replicates, routes)


def lead(one: Judged, other: Judged, name: str) -> dict | None:
    """By how much a number of one is above that of another, over the same draws."""
    return bootstrap.lead(one.value[name], other.value[name], one.replicates[name], other.replicates[name], one.routes)


def numbers(of: Errors, moments: Moments, rate_hz: float, reporting: Reporting) -> dict[str, Any]:
    """What details.json says of one plan: each number, its interval, collisions and counts."""
    found = judged(of, moments.route, rate_hz, reporting)
    pressed = of.pressed[np.isfinite(of.pressed).all(1)].astype(bool)
    planned, done = pressed.T if len(pressed) else (np.zeros(0, bool),) * 2
    return {
        **found.value, "intervals": {name: found.interval(name) for name in found.value},
        "collisions": collisions.rates(of.hits, collisions.hits(moments.waypoints, moments), moments.has_agents),
        "brakes": {"right": int((planned & done).sum()), "planned": int(planned.sum()), "driver": int(done.sum()),
                   "moments": len(pressed)},
        "moments": len(moments), "routes": found.routes,
    }  # fmt: skip


def on_routes(of: Errors, route: np.ndarray) -> dict[str, dict]:
    """{route: {moments, l2_mean: of all steps}}, by which those are compared who do not have the same routes."""
    names, counts = np.unique(route.astype(str), return_counts=True)
    totals = by_route(of.l2.mean(1), route)
    return {
        str(name): {"moments": int(count), "l2_mean": float(total / count)}
        for name, count, total in zip(names, counts, totals, strict=True)
    }


def parts(of: Errors, moments: Moments, groups: Mapping[str, np.ndarray], rate_hz: float) -> dict[str, dict]:
    """The numbers within groups {name: (k) bool}, without intervals: they are there to be looked at side by side."""
    found = {}
    for name, mine in groups.items():
        if mine.any():
            ratios = {key: (a[mine].sum(), b[mine].sum()) for key, (a, b) in sums(of, rate_hz).items()}
            found[name] = {key: float(a / b) if b else None for key, (a, b) in ratios.items()}
            found[name] |= {"moments": int(mine.sum()), "routes": len(set(moments.route[mine]))}
    return found
