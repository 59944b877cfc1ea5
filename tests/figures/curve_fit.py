"""What a learning curve says of goals that are not met: a power law of what is missing over training routes. Pure.

What is missing, e, is followed as e = a * routes^-b by least squares of logarithms; a goal needs (a / goal)^(1/b)
routes. Its uncertainty is drawn from the fit's own: Student's t of the residuals over seeds and shares. Where a large
part of the draws reaches the goal at no size, or only far outside of what was measured, the fit cannot say it, and that
is what is printed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

from tasks.yard.reporting.pages import markdown

DRAWS, SEED = 20000, 0
BEYOND = 100.0  # times the routes that there are: further than this no curve of so few points is followed
LEAST_POINTS = 4  # with three numbers no spread of the fit is worth anything
SURE = (0.1, 0.9)
OVER_BLIND, ABOVE_BLIND, OF_EXPERT = 0.7, 0.2, 0.5
NEVER = float("inf")


def missing(point: Mapping[str, Any], expert: float, blind_l2: float) -> dict[str, float | None]:
    """What falls when a network learns, of one training: its L2 over that of a blind network which has learnt from the
    same routes, and from all of them (`blind_l2`); the shortfall of F1 and of the driving score."""
    net, blind = point["network"], point["blind"]
    score = net.get("driving_score")
    return {
        "l2": net["l2"] / blind["l2"],
        "l2_fixed": net["l2"] / blind_l2,
        "brake_f1": None if net["brake_f1"] is None else 1 - net["brake_f1"],
        "driving_score": None if score is None else 1 - score / expert,
    }


def needed(routes: Sequence[float], errors: Sequence[float], goal: float) -> dict[str, float | None]:
    """{exponent, its low and high; routes, low, high; share of draws that reach the goal at all}: 80 % intervals;
    None of `routes`, `low`, `high` stands for: at no number of routes."""
    x, y = np.log(np.asarray(routes, float)), np.log(np.asarray(errors, float))
    X = np.column_stack([np.ones_like(x), -x])
    fitted, *_ = np.linalg.lstsq(X, y, rcond=None)
    free = len(x) - 2
    left = float(((y - X @ fitted) ** 2).sum())
    rng = np.random.default_rng(SEED)
    spread = np.sqrt(left / rng.chisquare(free, DRAWS))
    root = np.linalg.cholesky(np.linalg.inv(X.T @ X))
    drawn = fitted + spread[:, None] * (rng.standard_normal((DRAWS, 2)) @ root.T)

    def size(of: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            found = np.exp((of[..., 0] - np.log(goal)) / of[..., 1])
        return np.where(of[..., 1] > 0, found, NEVER)

    sizes = size(drawn)
    low, high = np.quantile(sizes, SURE, method="nearest")
    slopes = np.quantile(drawn[:, 1], SURE)
    finite = [float(value) if np.isfinite(value) else None for value in (size(fitted), low, high)]
    return {
        "exponent": float(fitted[1]), "exponent_low": float(slopes[0]), "exponent_high": float(slopes[1]),
        "routes": finite[0], "low": finite[1], "high": finite[2],
        "reach": float((sizes <= BEYOND * max(routes)).mean()),
    }  # fmt: skip


def all_missing(points: Sequence[Mapping[str, Any]]) -> list[dict[str, float | None]]:
    expert = next(point["expert"] for point in points if point.get("expert"))
    blind_l2 = median(of["blind"]["l2"] for of in points if of["share"] == 1)
    return [missing(of, expert, blind_l2) for of in points]


def goals(points: Sequence[Mapping[str, Any]], epochs: int) -> dict[str, Any]:
    """Of each goal what it asks for, and how many routes that needs; how long a route takes to train on."""
    blind = median(of["blind"]["brake_f1"] for of in points if of["share"] == 1)
    asked = {
        "l2": OVER_BLIND, "l2_fixed": OVER_BLIND, "brake_f1": 1 - min(blind + ABOVE_BLIND, 1.0),
        "driving_score": 1 - OF_EXPERT,
    }  # fmt: skip
    timed = [of for of in points if of.get("cpu_s")]
    a_moment = median(of["cpu_s"] / (of["moments"] * of["epochs"]) for of in timed) if timed else None
    a_route = median(of["moments"] / of["routes"] for of in points)
    found: dict[str, Any] = {"cpu_s_a_route": a_moment * a_route * epochs if a_moment else None, "of": {}}
    every = all_missing(points)
    for name, goal in asked.items():
        pairs = [(of["routes"], lacks[name]) for of, lacks in zip(points, every, strict=True)]
        pairs = [(n, error) for n, error in pairs if error is not None and error > 0]
        said: dict[str, Any] = {"goal": goal}
        if len(pairs) >= LEAST_POINTS and len({n for n, _ in pairs}) > 1 and goal > 0:
            said |= needed(*zip(*pairs, strict=True), goal)
        found["of"][name] = said
    return found


def many(value: float | None, there: int) -> str:
    if value is None or value > BEYOND * there:
        return f"more than {BEYOND * there:.0f}"
    return f"{float(f'{value:.2g}'):.0f}"


TITLES = {
    "l2": ("L2 mean to 2 s over that of a blind network with the same routes", lambda e: e),
    "l2_fixed": ("L2 mean to 2 s over that of the blind network with all routes", lambda e: e),
    "brake_f1": ("brake F1", lambda e: 1 - e),
    "driving_score": ("driving score, share of the expert's", lambda e: 1 - e),
}


def sentence(name: str, said: Mapping[str, Any], there: int, a_route: float | None) -> str:
    title, shown = TITLES[name]
    goal = f"{title}: {shown(said['goal']):.2f} is wanted"
    if "reach" not in said:
        return f"{goal}; too few trainings to follow a curve."
    slope = f"exponent {said['exponent']:.2f} ({said['exponent_low']:.2f} to {said['exponent_high']:.2f})"
    if said["reach"] < 0.5 or said["routes"] is None or said["routes"] > BEYOND * there:
        return (
            f"{goal}; the fit cannot say how much data that needs ({slope}; {said['reach']:.0%} of what it allows "
            f"reaches it within {BEYOND:.0f} times the routes): that more data alone would do is not shown."
        )
    took = "" if a_route is None else f", some {said['routes'] * a_route / 3600:.1f} hours of one core to train on"
    return (
        f"{goal}; at this slope ({slope}) about {many(said['routes'], there)} routes{took}; 80 % interval "
        f"{many(said['low'], there)} to {many(said['high'], there)} routes, {said['reach']:.0%} of what the fit allows "
        f"reaches it within {BEYOND:.0f} times the routes."
    )


def block(result: Mapping[str, Any]) -> str:
    """What stands in the README."""
    points = [*result["points"], *result["all"]]
    said, every = goals(points, result["epochs"]), all_missing(points)
    sizes = sorted({of["routes"] for of in points})
    cells = [["training routes", "trainings", *(title for title, _ in TITLES.values())]]
    for size in sizes:
        mine = [lacks for of, lacks in zip(points, every, strict=True) if of["routes"] == size]
        row = [str(size), str(len(mine))]
        for name, (_, shown) in TITLES.items():
            values = [shown(e) for lacks in mine if (e := lacks[name]) is not None]
            spread = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
            row.append(f"{median(values):.2f}{spread}" if values else "-")
        cells.append(row)
    there = max(sizes)
    text = [markdown(cells), "", "Made by `python -m tests.figures.curve`: as many optimizer steps at each size."]
    text += [sentence(name, of, there, said["cpu_s_a_route"]) for name, of in said["of"].items()]
    return "\n".join(text)
