"""Recordings in the native layout from wherever the `source:` URI points, each one checked.

Reads    the source: synth://highway?..., a folder, an archive or share link on the web, a bucket (`importers/`)
Writes   download/<name>/telemetry.csv, <Time>.jpg|png, recording.json    one folder a usable recording
         download/quarantine.json   {name: reason} of the others
         download/report.json       what the checks found in each, and the totals
Alone    python -m tasks brake_coast-download

Images are copied byte by byte, but for those that EXIF turns or that have 16 bits. A recording is
made again when anything it is made from changes, and only then.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.brake_coast.formats import recording
from tasks.brake_coast.importers import checks, drives, video
from tasks.brake_coast.importers import highway as highway_files
from tasks.brake_coast.importers.drives import Drive
from tasks.brake_coast.params import Download
from tasks.yard.fanout import FanOut
from tasks.yard.files import digest, replacing, write_json
from tasks.yard.layouts import bringing
from tasks.yard.sources import local as sources
from tasks.yard.sources import units
from tasks.yard.sources import uri as source_uri
from tasks.yard.step import Context
from tasks.yard.worlds import highway

log = logging.getLogger(__name__)
TOTALS = ["rows", "windows", "error_rows", "duplicate_rows", "gaps", "images"]
TOTALS += ["unreadable_images", "images_without_telemetry", "rows_without_image"]


def make(drive: Drive, folder: Path, *, world: highway.Highway | None) -> dict:
    """Bring one drive into `folder`; the summary is what the checks found in it."""
    if world is not None:
        highway_files.write_recording(world, drive.name, folder)
        about = {"layout": drive.layout, "clock": "local", "derived": [], "source": "highway"}
    else:
        write_telemetry(drive, folder)
        about = {"layout": drive.layout, "clock": drive.importer.CLOCK, "derived": list(drive.importer.DERIVED)}
        about |= {"source": drive.where}
    telemetry = recording.read_telemetry(folder)
    found = checks.check_telemetry(folder, telemetry)
    said: list[str] = []  # of its film or images
    if drive.layout == "video":
        said = video.write_frames(drive.path, telemetry.rows["time"].tolist(), folder)
    elif world is None:
        said = copy_images(drive, folder)
    images = checks.check_images(folder, telemetry)
    about |= {"name": drive.name, "group": drive.group, "piece": drive.piece and list(drive.piece)}
    about |= {"has_images": images["images"] > 0}
    about |= {key: found[key] for key in ("rate_hz", "has_telemetry", "has_brake_signal")}
    about |= {key: images[key] for key in ("image_width_px", "image_height_px")}
    write_json(folder / "recording.json", about)
    warnings = found["warnings"] + said + images["warnings"]
    return {**found, **images, "warnings": warnings, "group": drive.group, **({"said": said} if said else {})}


def write_telemetry(drive: Drive, folder: Path) -> None:
    """Its telemetry.csv. Rows of a piece are those in its span; an error row belongs to the row before it."""
    table = drive.importer.table(drive.path)
    if drive.span_ms:
        t_ms = recording.parse_times(table["Time"]).astype("Float64").to_numpy(np.float64, na_value=np.nan)
        table = table[pd.Series(t_ms).ffill().between(*drive.span_ms).to_numpy()]
    with replacing(folder / "telemetry.csv") as path:
        table.to_csv(path, index=False, lineterminator="\n")


def copy_images(drive: Drive, folder: Path) -> list[str]:
    """Those named by a time; of a piece those in its span. Returns what was passed over or written anew."""
    images = drive.importer.images(drive.path)
    t_ms = recording.parse_times(pd.Series(list(images), dtype=str))
    wanted = t_ms.notna() if drive.span_ms is None else t_ms.between(*drive.span_ms).fillna(False)
    pairs = [
        (path, folder / f"{time}{path.suffix.lower()}")
        for (time, path), take in zip(images.items(), wanted, strict=True)
        if take
    ]
    nameless = [path.name for path, known in zip(images.values(), t_ms.notna(), strict=True) if not known]
    text = f"{len(nameless)} images are not called by a Time and passed over, the first is {{}}"
    return [*([text.format(nameless[0])] if nameless else []), *bringing.remarks(bringing.bring(pairs))]


def from_folder(root: Path, params: Download, out: Path, ctx: Context) -> tuple[FanOut, dict]:
    """The recordings, and what of the folder is passed over."""
    planned = drives.plan(root, params)
    whole = {drive.path: drive for drive in planned.values()}  # of a drive in pieces the files are read once
    contents = units.content_hashes(list(whole.values()), lambda drive: drive.importer.files(drive.path))
    content = dict(zip(whole, contents, strict=True))
    fingerprints = {
        name: digest(content[drive.path], {**asdict(drive), "path": None}, ctx.code) for name, drive in planned.items()
    }
    used = units.among(path for drive in whole.values() for path in drive.importer.files(drive.path))
    left = units.passed_over(root, used)
    units.say_passed_over(left, source_uri.redacted(params.source), log)
    return units.make_all(partial(make, world=None), planned, fingerprints, out, ctx, root), left


def from_world(params: Download, out: Path, ctx: Context) -> FanOut:
    world = highway.parse(params.source)
    planned = {name: drives.of_world(name, out / name) for name in highway.recording_names(world)}
    # A recording does not depend on how many there are: for one more only that one is made.
    settings = digest({**asdict(world), "recordings": None, "detector_images": None}, ctx.code)
    fingerprints = {name: digest(settings, name) for name in planned}
    return units.make_all(partial(make, world=world), planned, fingerprints, out, ctx)


def run(params: Download, out: Path, ctx: Context = Context()) -> dict[str, float]:
    """Returns totals over the usable recordings. Raises `BadInput` if fewer than `min_recordings` are usable."""
    if source_uri.scheme(params.source) == "synth":
        done, left = from_world(params, out, ctx), {}
    else:
        done, left = from_folder(sources.local(params.source, progress=ctx.progress), params, out, ctx)
    summaries = done.summaries
    of_text: dict[str, list[str]] = {}  # pieces of one film say the same
    for name, summary in summaries.items():
        for text in summary.get("said", ()):
            of_text.setdefault(text, []).append(name)
    for text, names in of_text.items():
        log.warning("%s%s: %s", names[0], f" and {len(names) - 1} more" if len(names) > 1 else "", text)
    totals = {key: sum(summary[key] for summary in summaries.values()) for key in TOTALS}
    totals["hours"] = round(sum(summary["duration_s"] for summary in summaries.values()) / 3600, 4)
    totals |= {"recordings": len(summaries), "quarantined": len(done.quarantined)}
    totals["groups"] = len({summary["group"] for summary in summaries.values()})
    report = {"totals": totals, "recordings": summaries, "quarantined": done.quarantined}
    write_json(out / "report.json", report | ({"passed_over": left} if left else {}))
    needed = params.min_recordings
    advice = f", needed are {needed} to train, validate and test (min_recordings: 1 is enough to annotate)"
    units.refuse_too_few(done, needed, "recordings", params.source, advice)
    return totals
