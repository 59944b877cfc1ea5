"""Sequences of calibrated cameras from wherever the `source:` URI points, each in MARMOT's layout, each validated.

Reads    the source: synth://plaza?..., a folder, an archive on the web, a bucket (`tasks.yard.sources.local`, `units`)
Writes   download/<unit>/          one sequence of frames of one set of still cameras (sequence.py)
         download/quarantine.json  {unit: reason} of the others
         download/report.json      {totals, units, quarantined}: what was found in each
Alone    python -m tasks ground_plane-download

Images are copied byte by byte. A unit is made again when anything it is made from changes, and only then.
"""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from tasks.ground_plane.formats import sequence
from tasks.ground_plane.importers import marmot, wildtrack
from tasks.ground_plane.importers.units import Unit, files_of, plan
from tasks.ground_plane.params import Download
from tasks.yard.fanout import fan_out
from tasks.yard.files import digest, file_hash, read_json, write_json
from tasks.yard.sources import local as sources
from tasks.yard.sources import uri as source_uri
from tasks.yard.step import BadInput, Context
from tasks.yard.worlds import plaza

log = logging.getLogger(__name__)
HASHERS = 8


def summary(folder: Path) -> dict[str, Any]:
    """What a unit's folder holds. Raises `BadInput` if it cannot be used: every label is read."""
    found = sequence.read(folder)
    if not found.labels:
        raise BadInput(f"{folder / sequence.LABELS / found.part}: holds no label <annotator>_<frame id>.json")
    if not found.joined:
        ids = [f"{min(of)} to {max(of)}" if of else "none" for of in (found.frame_ids, list(found.labels))]
        why = f"they belong together by their ids: frames {ids[0]}, labels {ids[1]}"
        raise BadInput(f"{folder}: no label is of a frame, {why}")
    people = {frame: len(found.people(frame)) for frame in found.labels}
    return {
        "layout": found.layout, "splits": list(found.splits), "where": found.where,
        "cameras": {camera: len(mine) for camera, mine in found.frames.items()},
        "plane_m": [round(side, 3) for side in found.plane.size_m],
        "frames": len(found.frame_ids), "labels": len(found.labels), "joined": len(found.joined),
        "people": sum(people[frame] for frame in found.joined),
    }  # fmt: skip


def make(unit: Unit, folder: Path, *, params: Download, world: Any) -> dict:
    """Bring one unit into `folder`; the summary is what it holds. A complaint names places in the source, as a person
    knows them, not in a folder that will be gone."""
    try:
        if unit.layout == "plaza":
            plaza.write_unit(world, unit.name, folder)
            said = {}
        elif unit.layout == "marmot":
            said = marmot.bring(unit.path, unit.part, unit.splits, folder, params.metres_per_unit)
        else:
            said = wildtrack.bring(unit.path, wildtrack.LAYOUTS[unit.layout], unit.splits, folder)
        write_json(folder / sequence.SCENE, {**read_json(folder / sequence.SCENE), "where": unit.where})
        found = summary(folder)
    except BadInput as error:
        raise BadInput(str(error).replace(str(folder), unit.where).replace(str(unit.path), unit.where)) from None
    return {**found, "left_out": [], **said}


def content_hashes(units: list[Unit]) -> list[str]:
    """Of each unit a hash of every file that it is made from."""

    def of(unit: Unit) -> str:
        return digest([(os.path.relpath(file, unit.path), file_hash(file)) for file in files_of(unit)])

    with ThreadPoolExecutor(HASHERS) as pool:  # hashing frees the interpreter lock
        return list(pool.map(of, units))


def planned(params: Download, out: Path, ctx: Context) -> tuple[dict[str, Unit], dict[str, str], Any]:
    """Every unit of the source, the fingerprint of each, and the world if it is one."""
    uri = params.source
    if source_uri.scheme(uri) == "synth":
        world = plaza.parse(uri)
        units = [Unit("plaza", name, out / name, f"{uri} {name}") for name in plaza.unit_names(world)]
        fingerprints = {unit.name: digest({**asdict(world), "scenes": None}, unit.name, ctx.code) for unit in units}
        return {unit.name: unit for unit in units}, fingerprints, world
    root = sources.local(uri, progress=ctx.progress)
    units, fingerprints = {}, {}
    found = plan(root, uri)
    for unit, hashed in zip(found, content_hashes(found), strict=True):
        shown = f"{source_uri.redacted(uri).rstrip('/')}/{unit.path.relative_to(root).as_posix()}".removesuffix("/.")
        units[unit.name] = replace(unit, where=shown)
        about = {**asdict(units[unit.name]), "path": None}
        scale = params.metres_per_unit if unit.layout == "marmot" else None
        fingerprints[unit.name] = digest(hashed, about, scale, ctx.code)
    return units, fingerprints, None


def run(params: Download, out: Path, ctx: Context = Context()) -> dict[str, float]:
    """Returns totals over the usable units. Raises `BadInput` if fewer than `min_units` are usable."""
    units, fingerprints, world = planned(params, out, ctx)
    done = fan_out(partial(make, params=params, world=world), units, fingerprints, out, ctx)
    if len(done.summaries) < params.min_units:
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in sorted(done.quarantined.items()))
        raise BadInput(f"{source_uri.redacted(params.source)}: usable sequences: {len(done.summaries)}{reasons}")
    found = list(done.summaries.values())
    for mine in found:
        for line in mine["left_out"][:3]:
            log.warning("%s: %s", mine["where"], line)
    totals = {"units": len(found), "quarantined": len(done.quarantined)}
    totals["cameras"] = sum(len(u["cameras"]) for u in found)
    totals |= {key: sum(u[key] for u in found) for key in ("frames", "labels", "joined", "people")}
    totals["images"] = sum(sum(u["cameras"].values()) for u in found)
    totals["left_out"] = sum(len(u["left_out"]) for u in found)
    write_json(out / "report.json", {"totals": totals, "units": done.summaries, "quarantined": done.quarantined})
    return totals
