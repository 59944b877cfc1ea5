"""How near the plans of each network are to what the driver then did, and what that is worth beside what sees nothing.

Reads    pack/, plan/<network>/plans.h5 of every network
Writes   evaluate/metrics/<run>.json   the numbers of each run on test
         evaluate/details.json         leader, headline, by_step_s; of each run its numbers, intervals, collisions,
                                       layers, refinement, by command, situation and route, on test and validation;
                                       on_validation: {network: the number that it was chosen by};
                                       beside_leader: the same of the baselines on the leader's moments, where it does
                                       without some routes; remarks
         evaluate/plots/horizon.csv    l2_at and l2_mean_to of every run over the time ahead, for `dvc plots show`
Alone    python -m tasks open_loop_driving-evaluate

Open loop: every moment is one that the driver came to, and nothing that is planned is driven; `drive` drives. Numbers
and their names are in judging/scores.py. The leader is the network that comes nearest on validation (l2_mean_to the end
of the plan), on the routes that all can use, or if there is none, each on its own; the test routes choose nothing.
Runs: networks, the leader with something taken from it (controls), and baselines. A network that sees nothing is a
baseline too; one that this source cannot train is named with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from models.open_loop_driving.variants import needs
from tasks.open_loop_driving.formats import pack as packs
from tasks.open_loop_driving.formats.plans import SPLITS, Planned
from tasks.open_loop_driving.judging import moments as reading
from tasks.open_loop_driving.judging import scores
from tasks.open_loop_driving.judging.moments import Moments
from tasks.open_loop_driving.judging.remarks import remarks
from tasks.open_loop_driving.judging.runs import (
    judged_baselines,
    judged_controls,
    judged_network,
    layer,
    of_moments,
    planned,
    plans_at,
)
from tasks.open_loop_driving.learning import suited, untrained
from tasks.yard.files import write_json, write_table
from tasks.yard.metrics.leader import leader
from tasks.yard.metrics.rounding import as_metrics, rounded
from tasks.yard.params import Reporting
from tasks.yard.step import Context

NUMBERS = ("longitudinal", "lateral", "throttle_brake_l1", "steer_l1", "brake_f1", "brake_precision", "brake_recall")


def numbers_of(run: Mapping[str, Any]) -> dict[str, float | None]:
    """The plain numbers of a run, collisions among them."""
    found = {name: value for name, value in run.items() if name.startswith("l2_") or name in NUMBERS}
    for kind in ("masked", "unmasked"):
        rates = run["collisions"][kind]["rate_up_to"]
        found[f"collision_rate_{kind}"] = rates[-1] if rates else None
    return found


def flat(details: dict) -> dict[str, float]:
    """What MLflow shows, by run; what cannot be computed is left out."""
    found: dict[str, Any] = {}
    for run, of in details["runs"].items():
        found |= {f"test/{run}/{name}": value for name, value in numbers_of(of).items()}
        if "validation" in of:
            found[f"validation/{run}/{details['headline']}"] = of["validation"][details["headline"]]
    return as_metrics(found | {f"test/{key}": details[key]["test"] for key in ("moments", "routes")})


def write_horizon(path: Path, runs: Mapping[str, dict], times: list[float]) -> None:
    names = ("l2_at", "l2_mean_to")
    rows = [
        (run, seconds, *(of[f"{name}_{scores.label(seconds)}"] for name in names))
        for run, of in runs.items()
        for seconds in times
    ]
    write_table(path, pd.DataFrame(rows, columns=["run", "seconds", *names]))


def on_validation(
    found: Mapping[str, Planned], runs: Mapping[str, dict], val: Moments, left: set[str], headline: str,
    reporting: Reporting,
) -> tuple[dict[str, float | None], str]:  # fmt: skip
    """{network: its headline number on the validation routes that none of them leaves out}, and which these are. Where
    there is none, each is judged on its own; on no route it is None."""
    shared = reading.without(val, left)
    if not left or not len(shared):
        own = {name: runs[name]["validation"][headline] for name in found}
        return own, "the validation routes" + " that each can use, as none is for all" * bool(left)
    cut = {name: plans_at(of.splits["val"], shared) for name, of in found.items()}
    common = {
        name: scores.judged(layer(cut[name], shared, -1), shared.route, of.rate_hz, reporting).value[headline]
        for name, of in found.items()
    }
    return common, "the validation routes that all networks can use"


def unled(on_val: Mapping[str, float | None], absent: Mapping[str, str]) -> str:
    if on_val:
        return "several networks, and no validation moment to choose by"
    return "none that sees anything could be trained" if absent else "none that sees anything was asked for"


def run(
    _params: None,
    out: Path,
    _ctx: Context = Context(),
    *,
    pack: Path,
    plan: dict[str, Path],
    reporting_params: Reporting,
) -> dict[str, float]:
    """Returns the metrics, flat: {"test/<run>/l2_mean_to_2s": ...}; what cannot be computed is left out of them."""
    for stale in (out / "metrics").glob("*.json"):
        stale.unlink()  # of runs that are no longer there
    there = {split: reading.read(pack, split) for split in ("train", *SPLITS)}
    absent = untrained.all_of(plan)
    without = {name: of for name in sorted(plan) if (of := suited.left_out(plan[name])) and name not in absent}
    theirs = {
        name: {split: reading.without(of, without.get(name, {}).get(split, ())) for split, of in there.items()}
        for name in sorted(plan)
        if name not in absent
    }
    found = {name: planned(plan[name], of) for name, of in theirs.items()}
    longest = there["test"].waypoints.shape[1]
    steps = min([longest, *(of.splits["test"].waypoints.shape[2] for of in found.values())])
    rate_hz = float(packs.manifest(pack)["rate_hz"])
    there, *cut = ({split: reading.up_to(of, steps) for split, of in one.items()} for one in (there, *theirs.values()))
    theirs = dict(zip(theirs, cut, strict=True))
    times = scores.times(steps, rate_hz)
    headline = f"l2_mean_to_{scores.label(times[-1])}"

    runs = {name: judged_network(of, theirs[name], reporting_params) for name, of in found.items()}
    blind = [name for name in runs if not needs(name)]
    for name in blind:
        runs[name] |= {"kind": "baseline", "what": "trained, and sees nothing: speed, command and target point"}
    seeing = {name: of for name, of in found.items() if name not in blind}
    left = {route for name in seeing for route in without.get(name, {}).get("val", ())}
    on_val, on = on_validation(seeing, runs, there["val"], left, headline, reporting_params)
    nearest = {name: None if value is None else -value for name, value in on_val.items()}
    best, how = leader(nearest, f"best {scores.words(headline)} on {on}") if nearest else (None, None)
    controlled = judged_controls(found[best], theirs[best]["test"], reporting_params) if best else {}
    baselines = judged_baselines(there, rate_hz, reporting_params)
    runs |= controlled | baselines
    beside = {}
    if best in without:
        mine = theirs[best] | {"train": there["train"]}  # of which the mean path is made
        beside = {name: judged_network(of_moments(found[name], mine), mine, reporting_params) for name in blind}
        beside |= judged_baselines(mine, rate_hz, reporting_params)

    test = there["test"]
    details: dict[str, Any] = {
        "leader": best, "leader_from": how, "untrained": absent, "left_out": without,
        "leader_null_because": None if best else unled(on_val, absent),
        "headline": headline, "by_step_s": times, "rate_hz": rate_hz, "networks": list(on_val),
        "controls": list(controlled), "baselines": [*blind, *baselines], "runs": runs,
        "beside_leader": beside, "on_validation": on_val,
        "moments": {split: len(of) for split, of in there.items()},
        "routes": {split: len(set(of.route)) for split, of in there.items()},
        "towns": {split: sorted(set(of.town)) for split, of in there.items()},
        "not_told": {
            "pedals and wheel": int(np.isnan(test.control).any(1).sum()),
            "who is around": int((~test.has_agents).sum()),
            "the speed": int(np.isnan(test.speed).sum()),
        },
    }  # fmt: skip
    details["remarks"] = remarks(details)
    details = rounded(details)
    write_json(out / "details.json", details)
    for name, of in details["runs"].items():
        write_json(out / "metrics" / f"{name}.json", numbers_of(of))
    write_horizon(out / "plots" / "horizon.csv", details["runs"], times)
    return flat(details)
