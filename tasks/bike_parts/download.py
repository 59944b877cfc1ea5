"""Labelled photographs of bikes from wherever the `source:` URI points, each checked, in batches.

Reads    the source: synth://bikes?..., a folder, an archive on the web, a bucket (`tasks.yard.sources.local`, `units`)
Writes   download/<unit>/          some photographs of one data set (formats/annotations.py)
         download/quarantine.json  {unit: reason} of the others
         download/report.json      {parts: names in the order of their ids, totals, datasets, units, quarantined}
Alone    python -m tasks bike_parts-download

A photograph that cannot be read, or whose labels cannot be used, is left out by name; more than `max_broken_share` of
them is an error. A unit is made again when anything it is made from changes, and only then.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from tasks.bike_parts.formats import annotations
from tasks.bike_parts.formats.photos import NOT_LABELLED
from tasks.bike_parts.importers import bikes as bike_files
from tasks.bike_parts.importers import delft
from tasks.bike_parts.importers.bring import bring
from tasks.bike_parts.importers.units import Dataset, Unit, cut, days_of, files_of, labels_digest, plan
from tasks.bike_parts.params import Download
from tasks.yard import saying
from tasks.yard.fanout import FanOut
from tasks.yard.files import digest, write_json
from tasks.yard.layouts.example import refuse_too_many
from tasks.yard.sources import dates, units
from tasks.yard.sources import local as sources
from tasks.yard.sources import uri as source_uri
from tasks.yard.step import BadInput, Context
from tasks.yard.worlds import bikes

log = logging.getLogger(__name__)

WORLD = "bikes"  # layout and data set of the world
DRAWN = "drawn"  # folder of a unit while the world draws it


def drawn(unit: Unit, folder: Path, params: Download, world: bikes.Bikes) -> tuple[Unit, dict[str, str], list[str]]:
    """A unit of the world, read back as any source in DelftBikes' layout: with all that is wrong in it."""
    place = folder / DRAWN
    shutil.rmtree(place, ignore_errors=True)  # what a killed run left
    bike_files.write_unit(world, unit.name, place)
    found = delft.read(place, params.parts, params)
    whole = cut(WORLD, WORLD, place, unit.where, found, params, batches=1) or [unit]
    return whole[0], found.broken, found.remarks


def make(unit: Unit, folder: Path, *, params: Download, world: bikes.Bikes | None) -> dict:
    """Bring one unit into `folder`; the summary is what it holds."""
    if unit.fault is not None:
        raise BadInput(unit.fault)
    broken: dict[str, str] = {}
    remarks: list[str] = []
    if world is not None:
        unit, broken, remarks = drawn(unit, folder, params, world)
    photos, left_out, said = bring(unit.photos, unit.files, unit.groups, folder)
    if not photos:
        first = next(iter((broken | left_out).items()), ("it", "is empty"))
        raise BadInput(f"{unit.where}: no photograph can be used, first {first[0]}: {first[1]}")
    about = {
        "dataset": unit.home or unit.dataset,
        "layout": unit.layout,
        "source": unit.where,
        "rendered": world is not None,
    }
    annotations.write(folder, photos, {**about, "remarks": [*remarks, *said]})
    shutil.rmtree(folder / DRAWN, ignore_errors=True)
    return {
        "dataset": unit.dataset, "layout": unit.layout, "where": unit.where, "photos": len(photos),
        "parts": {name: sum(part.name == name for photo in photos for part in photo.parts)
                  for name in sorted({part.name for photo in photos for part in photo.parts})},
        "states_not_labelled": sum(part.state == NOT_LABELLED for photo in photos for part in photo.parts),
        "left_out": broken | left_out, "remarks": [*remarks, *said],
    }  # fmt: skip


def days(params: Download, ctx: Context = Context()) -> list[dates.Dated]:
    """Of each photograph of the source."""
    root = sources.local(params.source, progress=ctx.progress, days=params.dates)
    all_days = params.model_copy(update={"dates": None})
    return [one for dataset in plan(root, params.source, all_days).values() for one in days_of(dataset)]


def planned(
    params: Download, out: Path, ctx: Context
) -> tuple[dict[str, Unit], dict[str, str], bikes.Bikes | None, dict[str, Dataset], dict]:
    """Every unit of the source, the fingerprint of each, the world if it is one, the data sets, what is passed over."""
    uri = params.source
    if source_uri.scheme(uri) == "synth":
        dates.refuse_world(params.dates, uri)
        world = bikes.parse(uri)
        made_from = {key: value for key, value in asdict(world).items() if key not in bike_files.OF_SIZE}
        reading = [params.parts, params.other_parts, params.group_by]
        found = {name: Unit(WORLD, WORLD, name, out / name, f"{uri} {name}") for name in bike_files.unit_names(world)}
        fingerprints = {name: digest(made_from, name, reading, ctx.code) for name in found}
        return found, fingerprints, world, {WORLD: Dataset(WORLD, uri)}, {}
    root = sources.local(uri, progress=ctx.progress, days=params.dates)
    datasets = plan(root, uri, params)
    mine = [unit for dataset in datasets.values() for unit in dataset.units]
    found = {}
    for unit in mine:
        units.refuse_same_name(found, unit.name, unit.where)
        found[unit.name] = unit
    dates.refuse_none(mine, [dataset.dates for dataset in datasets.values()], source_uri.redacted(uri), "photograph")
    contents = units.content_hashes(mine, files_of)
    fingerprints = {
        unit.name: digest(content, labels_digest(unit), ctx.code) for unit, content in zip(mine, contents, strict=True)
    }
    used = [path for unit in mine for path in files_of(unit)]
    used += [photo.path for dataset in datasets.values() for photo in dataset.photos]
    used += [path for dataset in datasets.values() for path in dataset.found.files]
    left = units.passed_over(root, units.among(used))
    units.say_passed_over(left, source_uri.redacted(uri), log)
    return found, fingerprints, None, datasets, left


def left_out_of(datasets: Mapping[str, Dataset], summaries: Mapping[str, dict]) -> dict[str, dict[str, str]]:
    """{data set: {photograph: why it is left out}}, of labels and of pictures."""
    found = {name: dict(dataset.found.broken) for name, dataset in datasets.items()}
    for summary in summaries.values():
        found.setdefault(summary["dataset"], {}).update(summary["left_out"])
    return found


def accept(
    done: FanOut, *, params: Download, datasets: Mapping[str, Dataset], planned_units: Mapping[str, Unit]
) -> None:
    """Raises `BadInput` where too few photographs are usable, or too many are left out."""
    units.refuse_too_few(done, 1, annotations.BATCHES[1], params.source)
    photos = sum(summary["photos"] for summary in done.summaries.values())
    usable = {summary["dataset"] for summary in done.summaries.values()}  # one that cannot be read is quarantined
    left_out = {
        place: why
        for name, mine in left_out_of(datasets, done.summaries).items()
        for place, why in mine.items()
        if name in usable
    }
    for name, why in done.quarantined.items():
        unit = planned_units.get(name)
        left_out |= {photo.name: why for photo in unit.photos} if unit and unit.dataset in usable else {}
    shown = source_uri.redacted(params.source)
    limit = "bike_parts.download.max_broken_share"
    refuse_too_many(left_out, photos + len(left_out), params.max_broken_share, shown, limit)
    if photos < params.min_photos:
        raise BadInput(
            f"{shown}: {photos} photographs are usable; add some, or lower bike_parts.download.min_photos "
            f"({params.min_photos})"
        )


def say(datasets: Mapping[str, dict[str, Any]]) -> None:
    for name, about in datasets.items():
        for remark in about["remarks"]:
            log.warning("%s: %s", name, remark)
        lines = [f"{name}: left out {place}: {why}" for place, why in about["left_out"].items()]
        saying.few(log, lines, f"of {name} are left out, all of them in report.json")


def run(params: Download, out: Path, ctx: Context = Context()) -> dict[str, float]:
    """Returns totals over the usable units. Raises `BadInput` if too few photographs are usable."""
    planned_units, fingerprints, world, found, left = planned(params, out, ctx)
    work = partial(make, params=params, world=world)
    agree = partial(accept, params=params, datasets=found, planned_units=planned_units)
    done = units.make_all(work, planned_units, fingerprints, out, ctx, accept=agree, nouns=annotations.BATCHES)
    left_out = left_out_of(found, done.summaries)
    datasets = {}
    for name, dataset in found.items():
        mine = [summary for summary in done.summaries.values() if summary["dataset"] == name]
        remarks = [*dataset.found.remarks, *(line for summary in mine for line in summary["remarks"])]
        datasets[name] = {
            "layout": dataset.layout, "where": dataset.where, "photos": sum(summary["photos"] for summary in mine),
            "left_out": left_out[name], "remarks": list(dict.fromkeys(remarks)), "dropped": dataset.found.dropped,
            **({"dates": dataset.dates} if dataset.dates else {}),
        }  # fmt: skip
    say(datasets)
    names = {name for summary in done.summaries.values() for name in summary["parts"]}
    parts = sorted(names) if params.parts is None else params.parts
    if lacking := [name for name in parts if name not in names]:
        log.warning("no photograph has a box of %s", ", ".join(lacking))
    totals = {
        "units": len(done.summaries), "quarantined": len(done.quarantined), "parts": len(parts),
        "photos": sum(of["photos"] for of in datasets.values()),
        "boxes": sum(sum(of["parts"].values()) for of in done.summaries.values()),
        "states_not_labelled": sum(of["states_not_labelled"] for of in done.summaries.values()),
        "left_out": sum(len(of["left_out"]) for of in datasets.values()),
    }  # fmt: skip
    report = {"parts": parts, "parts_without_a_box": lacking, "totals": totals, "datasets": datasets,
              "units": done.summaries, "quarantined": done.quarantined}  # fmt: skip
    write_json(out / "report.json", report | ({"passed_over": left} if left else {}))
    return totals
