"""Crops of people, labelled images and cameras from wherever the `source:` URIs point, each data set checked.

Reads    the sources: synth://street?..., a folder, an archive on the web, a bucket (`importers/units.py`)
Writes   download/<unit>/          a data set (of crops or of labelled images), or a camera; of the world one camera in
                                   one session. unit.json says {dataset, parts, layout, where}; of the parts it has
             reid                  bounding_box_train/, query/, bounding_box_test/ (reid_layout.py)
             detect                data.yaml, images/<split>/, labels/<split>/
             frames                frames/NNNNNN.jpg, camera.json, truth.csv (if known), queries/ (in each)
             validation            the same of a camera whose people validate, with truth.csv and without queries
         download/quarantine.json  {unit: reason} of the others
         download/report.json      {parts: those there are, totals, datasets, units, same_images, quarantined}
         download/people.png, boxes.png    some identities x cameras, some labelled images; where there are any
Alone    python -m tasks person_search-download

Images are copied byte by byte, but for those that EXIF turns or that have 16 bits. A unit is made
again when anything it is made from changes, and only then. A source need not have all parts: report.json lists those
there are, and later steps make an empty result of what there is none for.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from tasks.person_search.formats import reid_layout
from tasks.person_search.importers import bring, checks
from tasks.person_search.importers import street as street_files
from tasks.person_search.importers.checks import described
from tasks.person_search.importers.units import Unit, cameras_alone, files_of, plan
from tasks.person_search.page import sheets
from tasks.person_search.params import Download
from tasks.yard import saying
from tasks.yard.fanout import UNFINISHED, FanOut
from tasks.yard.files import digest, read_json, write_json
from tasks.yard.layouts import bringing, keypoints, yolo
from tasks.yard.sources import dates, units
from tasks.yard.sources import local as sources
from tasks.yard.sources import uri as source_uri
from tasks.yard.step import BadInput, Context
from tasks.yard.worlds import street

log = logging.getLogger(__name__)
SHEET_PEOPLE, SHEET_CAMERAS, SHEET_SCENES = 8, 8, 6
WORLD = "street"  # data set of the world


def make(unit: Unit, folder: Path, *, params: Download, world: street.Street | None) -> dict:
    """Bring one unit into `folder`; the summary is what the checks found in it."""
    about = {"dataset": unit.dataset, "layout": unit.layout}
    remarks: dict[str, Any] = {}
    if unit.layout == WORLD:
        street_files.write_unit(world, unit.name, folder)
    else:
        remarks = bring.bring(unit, folder, params)
    parts = checks.parts_in(folder)
    found = {part: checks.CHECKS[part](folder) for part in parts}
    if unit.layout == "reid":  # all of the data set; the world's is in pieces, which are judged together
        reid_layout.check(reid_layout.read(folder), str(folder))
    written = read_json(folder / "unit.json") if (folder / "unit.json").exists() else {}
    write_json(folder / "unit.json", {**written, **about, "parts": parts, "where": unit.where})
    bad = {name for part in found.values() for name in part["unreadable"]}
    write_json(folder / "contents.json", checks.contents(folder, bad))
    return {**about, "parts": parts, **found, "said": {key: value for key, value in remarks.items() if value}}


def days(params: Download, ctx: Context = Context()) -> list[dates.Dated]:
    """Of each data set and camera of the sources."""
    found: list[dates.Dated] = []
    taken: set[str] = set()
    for uri in (params.source, *params.extra_sources):
        root = sources.local(uri, progress=ctx.progress, days=params.dates)
        found += dates.days(plan(root, uri, taken), root, files_of)
    return found


def planned(
    params: Download, out: Path, ctx: Context, learning: bool
) -> tuple[dict[str, Unit], dict[str, str], street.Street | None, dict[str, dict]]:
    """Every unit of every source, the fingerprint of each, the world if there is one, and what there is to say of the
    sources: what is passed over, and which days were asked for."""
    passed: dict[str, dict] = {}
    of_days: dict[str, dict] = {}
    found: dict[str, Unit] = {}
    fingerprints: dict[str, str] = {}
    uris = (params.source, *params.extra_sources)
    worlds = [uri for uri in uris if source_uri.scheme(uri) == "synth"]
    if len(worlds) > 1:
        raise BadInput(f"{worlds[1]}: one world is enough; ask the first for more")
    if worlds:
        dates.refuse_world(params.dates, worlds[0])
    world = street.parse(worlds[0]) if worlds else None
    for name in street.unit_names(world) if world else ():
        if not learning and not street.unit(world, name).is_test:
            continue  # nobody walks past its camera
        found[name] = Unit(WORLD, WORLD, out / name, f"{worlds[0]} {name}", name=name)
        fingerprints[name] = digest({**asdict(world), "sessions": None}, name, ctx.code)  # more change no other
    taken = {WORLD} if world else set()
    settings = {"coco": [params.coco.model_dump(), params.max_broken_share], "yolo": params.max_broken_share}
    settings["camera"] = params.frames_fps
    for uri in (uri for uri in uris if uri not in worlds):
        root = sources.local(uri, progress=ctx.progress, days=params.dates)
        units_here = (plan if learning else cameras_alone)(root, uri, taken)
        left = units.passed_over(root, units.among(file for unit in units_here for file in files_of(unit)))
        units.say_passed_over(left, source_uri.redacted(uri), log)
        passed |= {source_uri.redacted(uri): left} if left else {}
        of_day = [] if params.dates is None else dates.days(units_here, root, files_of)
        shown = source_uri.redacted(uri)
        mine, about = dates.chosen(
            units_here, of_day, params.dates, shown, ("data set or camera", "data sets, cameras")
        )
        of_days |= {shown: about} if about else {}
        here = [replace(unit, where=units.shown(uri, root, unit.path)) for unit in mine]
        for unit, content in zip(here, units.content_hashes(here, files_of), strict=True):
            units.refuse_same_name(found, unit.key, unit.where)
            found[unit.key] = unit
            about = {**asdict(unit), "path": None, "queries": [path.name for path in unit.queries]}
            fingerprints[unit.key] = digest(content, about, settings.get(unit.layout), ctx.code)
    if params.dates is not None:
        dates.refuse_none(found, of_days.values(), source_uri.redacted(params.source), "data set or camera")
    said = ({"passed_over": passed} if passed else {}) | ({"dates": of_days} if of_days else {})
    return found, fingerprints, world, said


def say_remarks(name: str, said: Mapping[str, Any]) -> None:
    """What was left out of a data set or written anew, and how contradictions in it were settled."""
    for kind in ("labels", "people"):
        for remark in said.get(kind, ()):
            log.warning("%s: %s", name, remark)
    for remark in [*bringing.remarks(said), *(f"the film {remark}" for remark in said.get("film", ()))]:
        log.warning("%s: %s", name, remark)
    broken = said.get("broken_entries", {})
    lines = [f"{name}: left out {where}: {why}" for where, why in broken.items()]
    saying.few(log, lines, f"of {name} are left out, all of them in report.json")


def crops_by_dataset(done: FanOut) -> dict[str, reid_layout.Crops]:
    """All crops of each data set, whichever units they are in."""
    parts: dict[str, list[reid_layout.Crops]] = {}
    for name, summary in done.summaries.items():
        if "reid" in summary["parts"]:
            parts.setdefault(summary["dataset"], []).append(reid_layout.read(done.folder(name)))
    return {dataset: reid_layout.merged(mine) for dataset, mine in sorted(parts.items())}


def refuse_same_numbers(planned_units: Mapping[str, Unit], summaries: Mapping[str, dict]) -> None:
    """Raises `BadInput` for two cameras of a data set with one number, which a search would take for one.

    A camera of the world has a unit a session.
    """
    first: dict[tuple[str, int], str] = {}
    for name, summary in summaries.items():
        if summary["layout"] == "camera" and "frames" in summary["parts"]:
            number = summary["frames"]["camera"]["camera"]
            if (other := first.setdefault((summary["dataset"], number), name)) != name:
                wheres = f"{planned_units[other].where} and {planned_units[name].where}"
                raise BadInput(
                    f"{wheres} are both camera {number} of {summary['dataset']}; "
                    f'give one of them a "camera" of its own in its {checks.CAMERA}'
                )


def accept(done: FanOut, *, params: Download, planned_units: Mapping[str, Unit]) -> None:
    """Raises `BadInput` if too few units are usable, or those of one data set contradict each other."""
    units.refuse_too_few(done, params.min_units, "data sets and cameras", params.source)
    for dataset, mine in crops_by_dataset(done).items():
        try:
            reid_layout.check(mine, dataset)
        except BadInput as error:
            raise BadInput(str(error).replace(f"{done.out}/", "").replace(f"{UNFINISHED}/", "/")) from None
    refuse_same_numbers(planned_units, done.summaries)


def people_sheet(out: Path, datasets: Mapping[str, reid_layout.Crops]) -> None:
    """Some people of each data set, half of them to train on and half to be tested on, in every camera."""
    rows: dict[str, list[Path | None]] = {}
    cameras = sorted({camera for crops in datasets.values() for camera in crops.cameras()})[:SHEET_CAMERAS]
    each = max(1, SHEET_PEOPLE // (2 * max(1, len(datasets))))
    for dataset, crops in datasets.items():
        for kind, subsets in (("train", [reid_layout.TRAIN]), ("test", [reid_layout.QUERY, reid_layout.GALLERY])):
            mine = [crop for subset in subsets for crop in crops.subsets[subset] if crop.person]
            by: dict[int, dict[int, Path]] = {}
            for crop in mine:
                by.setdefault(crop.person, {}).setdefault(crop.camera, crop.path)
            for person in sorted(by, key=lambda who: (-len(by[who]), who))[:each]:
                rows[f"{reid_layout.key_of(dataset, person)} {kind}"[-27:]] = [by[person].get(c) for c in cameras]
    sheets.people(out / "people.png", rows, [f"cam {n}" for n in cameras])


def scenes_sheet(out: Path, summaries: Mapping[str, dict]) -> None:
    shown = {}
    detect = [name for name, summary in summaries.items() if "detect" in summary["parts"]]
    for name in detect[:: max(1, len(detect) // SHEET_SCENES)]:
        names, points = yolo.names_of(*described(out / name)), keypoints.said(*described(out / name))
        images = [image for split in yolo.SPLITS for image in checks.images_of(out / name, split)]
        for image in images[:: max(1, len(images) * min(len(detect), SHEET_SCENES) // SHEET_SCENES)]:
            label = yolo.label_file(image)
            lines = checks.label_lines(label, names, points) if label.is_file() else ()
            shown[image.relative_to(out).as_posix()] = image, [box for _, _, box, why in lines if not why]
    sheets.scenes(out / "boxes.png", dict(list(shown.items())[:SHEET_SCENES]))


def totals_of(summaries: Mapping[str, dict], datasets: Mapping[str, dict]) -> dict[str, int]:
    """Sums over the usable units; people are counted once a data set."""
    reid = list(datasets.values())
    detect = [summary["detect"] for summary in summaries.values() if "detect" in summary]
    frames = [summary["frames"] for summary in summaries.values() if "frames" in summary]
    totals = {f"{name}_images": sum(d["images"][s] for d in reid)
              for name, s in zip(("train", "query", "gallery"), reid_layout.SUBSETS, strict=True)}  # fmt: skip
    totals |= {f"{kind}_identities": sum(d["identities"][s] for d in reid)
               for kind, s in (("train", reid_layout.TRAIN), ("query", reid_layout.QUERY))}  # fmt: skip
    totals |= {key: sum(d[key] for d in reid) for key in ("junk", "distractors", "dropped_distractors")}
    totals["cameras"] = sum(len(d["cameras"]) for d in reid)
    totals["detector_images"] = sum(sum(d["images"].values()) for d in detect)
    totals["detector_boxes"] = sum(sum(d["boxes"].values()) for d in detect)
    totals["bad_label_lines"] = sum(len(d["bad_label_lines"]) for d in detect)
    totals["broken_entries"] = sum(len(s["said"].get("broken_entries", ())) for s in summaries.values())
    totals["images_without_labels"] = sum(len(d["images_without_labels"]) for d in detect)
    totals |= {key: sum(f[key] for f in frames) for key in ("frames", "queries", "true_boxes")}
    faults = [s[part]["unreadable"] for s in summaries.values() for part in s["parts"]]
    return totals | {"unreadable_images": sum(map(len, faults))}


def run(params: Download, out: Path, ctx: Context = Context(), learning: bool = True) -> dict[str, float]:
    """Returns totals over the usable units. Raises `BadInput` if fewer than `min_units` are usable, or if the units of
    one data set contradict each other.

    `learning`: data sets to learn from are brought too; where somebody is only searched for, cameras alone, and these
    may be any films and folders of stills."""
    planned_units, fingerprints, world, said = planned(params, out, ctx, learning)
    work, agree = partial(make, params=params, world=world), partial(accept, params=params, planned_units=planned_units)
    done = units.make_all(work, planned_units, fingerprints, out, ctx, accept=agree)
    for name, summary in sorted(done.summaries.items()):
        say_remarks(name, summary["said"])
    crops = crops_by_dataset(done)
    datasets = {dataset: reid_layout.summary(mine) for dataset, mine in crops.items()}
    validating = [name for name, summary in done.summaries.items() if "validation" in summary["parts"]]
    same = checks.same_images({name: read_json(out / name / "contents.json") for name in done.summaries}, validating)
    for entry in same[:3]:
        log.warning("one image in the splits %s: %s", ", ".join(entry["splits"]), ", ".join(entry["images"]))
    totals = {"units": len(done.summaries), "quarantined": len(done.quarantined), **totals_of(done.summaries, datasets)}
    totals["same_images"] = len(same)
    there = {part for summary in done.summaries.values() for part in summary["parts"]}
    write_json(out / "report.json", {
        "parts": [part for part in checks.PARTS if part in there], "totals": totals, "datasets": datasets,
        "units": done.summaries, "same_images": same[: checks.SHOWN], "quarantined": done.quarantined,
        **said,
    })  # fmt: skip
    people_sheet(out, crops)
    scenes_sheet(out, done.summaries)
    return totals
