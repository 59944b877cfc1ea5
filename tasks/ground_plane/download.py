"""Sequences of calibrated cameras from wherever the `source:` URI points, each in MARMOT's layout, each checked.

Reads    the source: synth://plaza?..., a folder, an archive on the web, a bucket (`tasks.yard.sources.local`, `units`)
Writes   download/<unit>/          one sequence of frames of one set of still cameras (sequence.py)
         download/quarantine.json  {unit: reason} of the others
         download/report.json      {totals, units, quarantined}: what was found in each
Alone    python -m tasks ground_plane-download

Images are copied byte by byte, but for those that EXIF turns or that have 16 bits. A unit is made
again when anything it is made from changes, and only then. A sequence that nobody has labelled is brought too, beside
others: detect looks through it.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from tasks.ground_plane.formats import sequence
from tasks.ground_plane.importers import marmot, wildtrack
from tasks.ground_plane.importers import plaza as plaza_files
from tasks.ground_plane.importers.units import Unit, files_of, known_in, plan
from tasks.ground_plane.params import Download
from tasks.yard import saying
from tasks.yard.fanout import FanOut
from tasks.yard.files import digest, read_json, write_json
from tasks.yard.sources import dates, units
from tasks.yard.sources import local as sources
from tasks.yard.sources import uri as source_uri
from tasks.yard.step import BadInput, Context
from tasks.yard.worlds import plaza

log = logging.getLogger(__name__)
NO_LABEL = "holds no label <annotator>_<frame id>.json"


def summary(folder: Path, labelled: bool) -> dict[str, Any]:
    """What a unit's folder holds. Raises `BadInput` if it cannot be used: every label is read, if there must be one."""
    found = sequence.read(folder)
    if not found.frame_ids and not (labelled and found.labels):
        raise BadInput(f"{folder / sequence.ANNOTATION / found.part}: holds no image camN/camN_<frame id>.png")
    if labelled and found.labels and not found.joined:
        ids = [f"{min(of)} to {max(of)}" if of else "none" for of in (found.frame_ids, list(found.labels))]
        why = f"they belong together by their ids: frames {ids[0]}, labels {ids[1]}"
        raise BadInput(
            f"{folder}: no label is of a frame, {why}; number them alike, or set "
            "ground_plane.download.annotation_offset (WILDTRACK, MultiviewX)"
        )
    joined = found.joined if labelled else []
    people = {frame: len(found.people(frame)) for frame in (found.labels if labelled else ())}
    return {
        "layout": found.layout, "splits": list(found.splits), "where": found.where,
        "cameras": {camera: len(mine) for camera, mine in found.frames.items()},
        "plane_m": [round(side, 3) for side in found.plane.size_m],
        "frames": len(found.frame_ids), "labels": len(found.labels), "joined": len(joined),
        "people": sum(people[frame] for frame in joined),
        **({} if found.labels else {"unlabelled": f"{found.where}/{sequence.LABELS}/{found.part}: {NO_LABEL}"}),
    }  # fmt: skip


def make(unit: Unit, folder: Path, *, params: Download, world: plaza.Plaza | None, labelled: bool) -> dict:
    """Bring one unit into `folder`; the summary is what it holds."""
    remarks: dict[str, Any] = {}
    if world is not None:
        plaza_files.write_unit(world, unit.name, folder)
    elif unit.layout == "marmot":
        remarks = marmot.bring(
            unit.path, unit.part, unit.splits, folder, params.metres_per_unit, params.use_alpha_undistort
        )
    else:
        remarks = wildtrack.bring(
            unit.path, wildtrack.LAYOUTS[unit.layout], unit.splits, folder, params.annotation_offset
        )
    write_json(folder / sequence.SCENE, {**read_json(folder / sequence.SCENE), "where": unit.where})
    return {**summary(folder, labelled), "left_out": [], **remarks}


def days(params: Download, ctx: Context = Context()) -> list[dates.Dated]:
    """Of each sequence of the source."""
    root = sources.local(params.source, progress=ctx.progress, days=params.dates)
    return dates.days(plan(root, params.source), root, files_of)


def planned(
    params: Download, out: Path, ctx: Context
) -> tuple[dict[str, Unit], dict[str, str], plaza.Plaza | None, dict]:
    """Every unit of the source, the fingerprint of each, the world if it is one, and what there is to say of the
    source: what is passed over, and which days were asked for."""
    uri = params.source
    if source_uri.scheme(uri) == "synth":
        dates.refuse_world(params.dates, uri)
        world = plaza.parse(uri)
        found = [Unit("plaza", name, out / name, f"{uri} {name}") for name in plaza.unit_names(world)]
        fingerprints = {unit.name: digest({**asdict(world), "scenes": None}, unit.name, ctx.code) for unit in found}
        return {unit.name: unit for unit in found}, fingerprints, world, {}
    root = sources.local(uri, progress=ctx.progress, days=params.dates)
    there = [replace(unit, where=units.shown(uri, root, unit.path)) for unit in plan(root, uri)]
    of_day = [] if params.dates is None else dates.days(there, root, files_of)
    found, about = dates.chosen(there, of_day, params.dates, source_uri.redacted(uri), ("sequence", "sequences"))
    dates.refuse_none(found, [about], source_uri.redacted(uri), "sequence")
    fingerprints = {}
    for unit, content in zip(found, units.content_hashes(found, files_of), strict=True):
        marmot_by = [params.metres_per_unit, params.use_alpha_undistort]
        read_by = marmot_by if unit.layout == "marmot" else params.annotation_offset
        fingerprints[unit.name] = digest(content, {**asdict(unit), "path": None}, read_by, ctx.code)
    left = units.passed_over(root, known_in(there))
    units.say_passed_over(left, source_uri.redacted(uri), log)
    said = ({"passed_over": left} if left else {}) | ({"dates": about} if about else {})
    return {unit.name: unit for unit in found}, fingerprints, None, said


def accept(done: FanOut, *, params: Download, labelled: bool) -> None:
    """Raises `BadInput` if too few units can be learnt from and judged on, or, where nobody does, be looked at."""
    why = {name: said["unlabelled"] for name, said in done.summaries.items() if labelled and "unlabelled" in said}
    held = {name: said for name, said in done.summaries.items() if name not in why}
    counted = replace(done, summaries=held, quarantined={**done.quarantined, **why})
    units.refuse_too_few(counted, params.min_units, "sequences", params.source)
    lines = [f"{reason}: nobody learns from it or is judged on it, detect looks through it" for reason in why.values()]
    saying.few(log, lines, "without labels are looked through by detect alone")


def run(params: Download, out: Path, ctx: Context = Context(), labelled: bool = True) -> dict[str, float]:
    """Returns totals over the usable units. Raises `BadInput` if fewer than `min_units` are usable.

    `labelled`: sequences without labels do not count as usable; where nobody learns or judges, they do.
    """
    planned_units, fingerprints, world, said = planned(params, out, ctx)
    enough = partial(accept, params=params, labelled=labelled)
    work = partial(make, params=params, world=world, labelled=labelled)
    done = units.make_all(work, planned_units, fingerprints, out, ctx, accept=enough)
    found = list(done.summaries.values())
    for mine in found:
        for remark in mine.get("remarks", []):
            log.warning("%s: %s", mine["where"], remark)
        lines = [f"{mine['where']}: {line}" for line in mine["left_out"]]
        saying.few(log, lines, f"of {mine['where']} are left out, all of them in report.json")
    totals = {"units": len(found), "quarantined": len(done.quarantined)}
    totals["cameras"] = sum(len(u["cameras"]) for u in found)
    totals |= {key: sum(u[key] for u in found) for key in ("frames", "labels", "joined", "people")}
    totals["images"] = sum(sum(u["cameras"].values()) for u in found)
    totals["left_out"] = sum(len(u["left_out"]) for u in found)
    report = {"totals": totals, "units": done.summaries, "quarantined": done.quarantined}
    write_json(out / "report.json", report | said)
    return totals
