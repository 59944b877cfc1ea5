"""Recorded routes from wherever the `source:` URI points, each in one layout and one convention of axes, each checked.

Reads    the source: synth://town?..., a folder, an archive on the web, a bucket (`tasks.yard.sources.local`, `units`)
Writes   download/<route>/         one route (formats/routes.py)
         download/quarantine.json  {route: reason} of the others
         download/report.json      {totals, routes, quarantined}: what was found in each
Alone    python -m tasks open_loop_driving-download

Pictures are copied byte by byte. A route is made again when anything it is made from changes, and only then.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from tasks.open_loop_driving.importers import recorded
from tasks.open_loop_driving.importers.units import Unit, bring, files_of, known_in, plan
from tasks.open_loop_driving.params import Download
from tasks.yard import saying
from tasks.yard.files import digest, write_json
from tasks.yard.sources import dates, units
from tasks.yard.sources import local as sources
from tasks.yard.sources import uri as source_uri
from tasks.yard.step import Context
from tasks.yard.worlds import town

log = logging.getLogger(__name__)


def make(unit: Unit, folder: Path, *, params: Download, world: town.World | None) -> dict[str, Any]:
    """Bring one route into `folder`; the summary is what it holds."""
    said = recorded.bring(world, unit.name, folder) if world is not None else bring(unit, folder, params.carla_hz)
    frames = sum(1 for _ in (folder / "frames.csv").open()) - 1
    keys = ("layout", "town", "rendered", "sensors", "usable", "cut", "remarks")
    return {key: said[key] for key in keys} | {
        "cameras": list(said["cameras"]), "frames": frames, "where": unit.where, "faults": said.get("faults", []),
    }  # fmt: skip


def days(params: Download, ctx: Context = Context()) -> list[dates.Dated]:
    """Of each route of the source."""
    root = sources.local(params.source, progress=ctx.progress, days=params.dates)
    return dates.days(plan(root, params.source), root, files_of)


def planned(
    params: Download, out: Path, ctx: Context
) -> tuple[dict[str, Unit], dict[str, str], town.World | None, dict]:
    """Every route of the source, the fingerprint of each, the world if it is one, and what there is to say of the
    source: what is passed over, and which days were asked for."""
    uri = params.source
    if source_uri.scheme(uri) == "synth":
        dates.refuse_world(params.dates, uri)
        world = town.parse(uri)
        found = [Unit("town", name, out / name, f"{uri} {name}") for name in town.route_names(world)]
        fingerprints = {unit.name: digest({**asdict(world), "routes": None}, unit.name, ctx.code) for unit in found}
        return {unit.name: unit for unit in found}, fingerprints, world, {}
    root = sources.local(uri, progress=ctx.progress, days=params.dates)
    there = plan(root, uri)
    of_day = [] if params.dates is None else dates.days(there, root, files_of)
    found, about = dates.chosen(there, of_day, params.dates, source_uri.redacted(uri), ("route", "routes"))
    dates.refuse_none(found, [about], source_uri.redacted(uri), "route")
    fingerprints = {
        unit.name: digest(content, {**asdict(unit), "path": None}, params.carla_hz, ctx.code)
        for unit, content in zip(found, units.content_hashes(found, files_of), strict=True)
    }
    left = units.passed_over(root, known_in(there))
    units.say_passed_over(left, source_uri.redacted(uri), log)
    said = ({"passed_over": left} if left else {}) | ({"dates": about} if about else {})
    return {unit.name: unit for unit in found}, fingerprints, None, said


def remarks_of(found: list[dict[str, Any]]) -> list[str]:
    """A line for each remark, the rarest first: what is said of every route is no news."""
    where: dict[str, list[str]] = {}
    for mine in found:
        for line in mine["remarks"]:
            where.setdefault(line, []).append(mine["where"])
    rarest = sorted(where.items(), key=lambda item: len(item[1]))
    return [f"{of[0]}{f' and {len(of) - 1} more' if len(of) > 1 else ''}: {line}" for line, of in rarest]


def run(params: Download, out: Path, ctx: Context = Context()) -> dict[str, float]:
    """Returns totals over the usable routes. Raises `BadInput` if fewer than `min_routes` are usable."""
    planned_units, fingerprints, world, said = planned(params, out, ctx)
    accept = partial(units.refuse_too_few, needed=params.min_routes, what="routes", uri=params.source)
    work = partial(make, params=params, world=world)
    done = units.make_all(work, planned_units, fingerprints, out, ctx, accept=accept)
    found = list(done.summaries.values())
    saying.few(log, remarks_of(found), "are in report.json")
    totals = {
        "routes": len(found), "quarantined": len(done.quarantined), "towns": len({mine["town"] for mine in found}),
        "frames": sum(mine["frames"] for mine in found), "usable": sum(mine["usable"] for mine in found),
        "cut": sum(mine["cut"] is not None for mine in found),
    }  # fmt: skip
    report = {"totals": totals, "routes": done.summaries, "quarantined": done.quarantined}
    write_json(out / "report.json", report | said)
    return totals
