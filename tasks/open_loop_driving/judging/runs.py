"""The runs that are judged: networks layer by layer, the leader with something taken from it, and what sees nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tasks.open_loop_driving.formats import plans
from tasks.open_loop_driving.formats.plans import FILE, SPLITS, Planned, Plans
from tasks.open_loop_driving.judging import baselines, groups, scores
from tasks.open_loop_driving.judging.holding import holding
from tasks.open_loop_driving.judging.moments import Moments
from tasks.open_loop_driving.judging.scores import Errors
from tasks.yard.params import Reporting
from tasks.yard.step import BadInput

CONTROLS = {
    "shuffled_cameras": "sees the pictures of another moment",
    "shuffled_lidar": "sees the lidar of another moment",
    "shuffled_look": "its layers look at the features of another moment",
    "earlier_speed": "is told its speed of a moment before: one that copies how it went is misled",
}


def planned(folder: Path, moments: Mapping[str, Moments]) -> Planned:
    """Raises `BadInput` where the plans are of other moments than the pack's. A split without moments has no plans, and
    is given none."""
    path = folder / FILE
    found = plans.read(path)
    for split in SPLITS:
        wanted, of = moments[split], found.splits.get(split)
        if of is None and not len(wanted):
            of = found.splits[split] = empty(found)
        same = of is not None and len(of.t) == len(wanted) and of.waypoints.shape[2] <= wanted.waypoints.shape[1]
        if not (same and (of.t == wanted.t).all() and (of.route.astype(str) == wanted.route.astype(str)).all()):
            raise BadInput(f"{path}: not of the {split} moments of pack; run open_loop_driving-plan again")
    return found


def of_moments(found: Planned, moments: Mapping[str, Moments]) -> Planned:
    """The same plans, at these of their moments alone, which are those of whole routes."""
    return replace(found, splits={split: plans_at(found.splits[split], moments[split]) for split in SPLITS})


def plans_at(of: Plans, moments: Moments) -> Plans:
    """Those at some of their moments, which are all of some routes."""
    keep = np.isin(of.route.astype(str), moments.route.astype(str))
    return Plans(of.route[keep], of.t[keep], of.waypoints[:, keep], of.alpha[:, keep], of.beta[:, keep], of.speed[keep])


def empty(found: Planned) -> Plans:
    shape = (len(found.layers), 0, found.horizon, 2)
    none = np.zeros(0)
    return Plans(none.astype(object), none.astype(int), np.zeros(shape), np.ones(shape), np.ones(shape), none)


def layer(of: Plans, moments: Moments, number: int) -> Errors:
    return scores.errors(moments, of.waypoints[number], of.alpha[number][:, 0], of.beta[number][:, 0])


def judged_network(found: Planned, moments: Mapping[str, Moments], reporting: Reporting) -> dict[str, Any]:
    """Its last layer on test and validation, each layer by itself, and by how much the last one is above the first."""
    sides: dict[str, dict] = {}
    for split in SPLITS:
        of, there = found.splits[split], moments[split]
        errors = [layer(of, there, number) for number in range(len(found.layers))]
        side = scores.numbers(errors[-1], there, found.rate_hz, reporting)
        side["by_route"] = scores.on_routes(errors[-1], there.route)
        side["layers"] = {
            name: scores.numbers(one, there, found.rate_hz, reporting)
            for name, one in zip(found.layers, errors, strict=True)
        }
        side["refinement"] = refinement(found.layers, errors, there, found.rate_hz, reporting)
        side["holds"] = holding(of.waypoints[-1], there, found.rate_hz)
        known = np.isfinite(of.speed) & np.isfinite(there.speed)
        side["speed_l1"] = float(np.abs(of.speed - there.speed)[known].mean()) if known.any() else None
        side |= {"by_command": scores.parts(errors[-1], there, groups.commands(there), found.rate_hz)}
        side |= {
            "by_situation": scores.parts(errors[-1], there, groups.situations(there, found.rate_hz), found.rate_hz)
        }
        sides[split] = side
    return {
        "kind": "network",
        "what": "trained",
        "names": list(found.layers),
        **sides["test"],
        "validation": sides["val"],
    }


def refinement(layers: tuple[str, ...], errors: list[Errors], there: Moments, rate_hz: float, reporting: Reporting):
    """{"<layer> - <other>": {number: {difference, interval}}}: of the last layer and the first, and of neighbours.

    Below 0 the later one is nearer to what the driver did. {} of a network without layers.
    """
    if len(layers) < 2:
        return {}
    judged = [scores.judged(one, there.route, rate_hz, reporting) for one in errors]
    pairs = [(len(layers) - 1, 0), *((i, i - 1) for i in range(1, len(layers)))]
    return {
        f"{layers[a]} - {layers[b]}": {name: scores.lead(judged[a], judged[b], name) for name in judged[a].value}
        for a, b in dict.fromkeys(pairs)
    }


def judged_controls(found: Planned, test: Moments, reporting: Reporting) -> dict[str, dict]:
    """The leader with something taken from it: groups of its plans.h5 beside validation and test."""
    runs = {}
    own = scores.judged(layer(found.splits["test"], test, -1), test.route, found.rate_hz, reporting)
    for name, what in CONTROLS.items():
        if name not in found.splits:
            continue
        errors = layer(found.splits[name], test, -1)
        worse = scores.judged(errors, test.route, found.rate_hz, reporting)
        runs[name] = {
            "kind": "control", "what": what, **scores.numbers(errors, test, found.rate_hz, reporting),
            "against_own": {number: scores.lead(worse, own, number) for number in own.value},
        }  # fmt: skip
    return runs


def judged_baselines(moments: Mapping[str, Moments], rate_hz: float, reporting: Reporting) -> dict[str, dict]:
    """What sees nothing, on test and validation."""
    runs: dict[str, dict] = {}
    for split in SPLITS:
        there = moments[split]
        for name, guess in baselines.guesses(moments["train"], there).items():
            errors = scores.errors(there, guess.waypoints, guess.alpha, guess.beta)
            side = scores.numbers(errors, there, rate_hz, reporting)
            side["by_route"] = scores.on_routes(errors, there.route)
            side["holds"] = holding(guess.waypoints, there, rate_hz)
            side["by_command"] = scores.parts(errors, there, groups.commands(there), rate_hz)
            side["by_situation"] = scores.parts(errors, there, groups.situations(there, rate_hz), rate_hz)
            about = runs.setdefault(name, {"kind": "baseline", "what": baselines.WHAT[name]})
            about |= side if split == "test" else {"validation": side}
    return runs
