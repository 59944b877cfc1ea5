"""Routes of validation and test driven by one agent: which, how resumed, and what is written.

<route>_traffic<n>/drive.json   the judgement (closed_loop.py) with route, town, traffic, split
<route>_traffic<n>/way.csv      where it was twice a second, and what it did
drives.json                     {agent, simulator, why_not, traffic, begin_s, creep_s, routes: {name: judgement},
                                splits: {split: see driving_scores.py}, quarantined}
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.open_loop_driving.formats import pack as packs
from tasks.open_loop_driving.formats.plans import SPLITS
from tasks.open_loop_driving.judging import closed_loop, driving_scores
from tasks.open_loop_driving.judging.closed_loop import Needs
from tasks.open_loop_driving.judging.pilot import Pilot
from tasks.open_loop_driving.params import Drive
from tasks.yard.fanout import fan_out
from tasks.yard.files import digest, write_json, write_table
from tasks.yard.metrics.rounding import as_metrics, rounded
from tasks.yard.params import Reporting
from tasks.yard.step import BadInput, Context
from tasks.yard.worlds import town
from tasks.yard.worlds.town import World

log = logging.getLogger(__name__)
FILE, DRIVE, WAY = "drives.json", "drive.json", "way.csv"
NO_SIMULATOR = (
    "these routes were recorded, and no simulator can be driven here; judging/carla_agent.py drives a network in CARLA"
)
# (pilot, what it needs); the pilot of the expert is None
Crew = tuple[Pilot | None, Needs]


def chosen(folder: Path, params: Drive, splits: Sequence[str] = SPLITS) -> dict[str, dict[str, Any]]:
    """{name: {route, town, split, traffic}}: of each split so many of its packed routes, evenly spread, in other
    traffic than they were recorded in."""
    said = packs.manifest(folder)["routes"]
    found = {}
    for split in splits:
        # a source's only route is cut into parts, <route>-<split>: it is driven as a whole
        routes = sorted(name.removesuffix(f"-{split}") for name, of in said.items() if of["split"] == split)
        towns = {name.removesuffix(f"-{split}"): of["town"] for name, of in said.items()}
        count = min(getattr(params.routes, split), len(routes))
        for i in range(count):
            name = routes[i * len(routes) // count]
            about = {"route": name, "town": towns[name], "split": split, "traffic": params.traffic}
            found[f"{name}_traffic{params.traffic}"] = about
    return found


def world_of(folder: Path) -> World | None:
    return closed_loop.simulated([route.head.source for route in packs.load(folder)])


def drive_one(
    about: dict[str, Any], folder: Path, *, world: World, crew: Callable[[], Crew], begin_s: float
) -> dict[str, Any]:
    """One route; what comes of it is the same wherever and beside whatever it is driven."""
    pilot, needs = crew()
    sim = town.begin(world, about["route"], about["traffic"])
    found, way = closed_loop.drive(sim, pilot, needs, begin_s)
    found = rounded(about | found)
    write_json(folder / DRIVE, found)
    write_table(folder / WAY, pd.DataFrame(way, columns=list(closed_loop.COLUMNS)).round(4))
    return found


def stands_still(agent: str, out: Path, ctx: Context, params: Drive, why: str) -> dict[str, float]:
    """Writes that nothing is driven, and why."""
    fan_out(drive_one, {}, {}, out, ctx)  # what an earlier agent of this name drove is no longer true
    log.warning("nothing is driven: %s", why)
    write_json(out / FILE, {
        "agent": agent, "simulator": False, "why_not": why, "traffic": params.traffic, "begin_s": params.begin_s,
        "creep_s": params.creep_s, "routes": {}, "splits": {split: {} for split in SPLITS}, "quarantined": {},
    })  # fmt: skip
    return {"routes": 0, "quarantined": 0}


def drive_all(
    agent: str,
    folder: Path,
    out: Path,
    ctx: Context,
    params: Drive,
    reporting: Reporting,
    crew: Callable[[], Crew],
    fingerprint: str,
    parallel: bool = True,
) -> dict[str, float]:
    """Writes what the module's docstring says; a route that is driven already, by the same agent in the same world, is
    kept. Raises `BadInput` if no route could be driven."""
    world = world_of(folder)
    items = chosen(folder, params) if world is not None else {}
    where = town.uri(world) if world is not None else None
    keys = {name: digest(where, about, fingerprint, params.begin_s, ctx.code) for name, about in items.items()}
    work = partial(drive_one, world=world, crew=crew, begin_s=params.begin_s)
    done = fan_out(work, items, keys, out, ctx, parallel=parallel)
    if world is None:
        log.warning("%s: %s", agent, NO_SIMULATOR)
    elif not done.summaries:
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in done.quarantined.items())
        raise BadInput(
            f"{agent}: no route could be driven{reasons or ': open_loop_driving.drive.routes asks for none'}"
        )
    splits = {
        split: driving_scores.numbers({n: of for n, of in done.summaries.items() if of["split"] == split}, reporting)
        for split in SPLITS
    }
    found = {
        "agent": agent, "simulator": world is not None, "why_not": None if world is not None else NO_SIMULATOR,
        "traffic": params.traffic, "begin_s": params.begin_s, "creep_s": params.creep_s, "routes": done.summaries,
        "splits": splits, "quarantined": done.quarantined,
    }  # fmt: skip
    write_json(out / FILE, rounded(found))
    numbers = {
        f"{split}/{name}": of[name]
        for split, of in splits.items()
        for name in (*driving_scores.SCORES, "all_infractions_a_km")
        if of
    }
    return as_metrics(numbers | {"routes": len(done.summaries), "quarantined": len(done.quarantined)})
