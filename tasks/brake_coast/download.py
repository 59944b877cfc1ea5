"""Recordings in the native layout from wherever the `source:` URI points, each one checked.

Reads    the source: synth://highway?..., a folder, an archive or share link on the web, a bucket (`importers/`)
Writes   download/<name>/telemetry.csv, frames.zip, recording.json    one folder a usable recording
         download/quarantine.json   {name: reason} of the others
         download/report.json       what the checks found in each, and the totals
Alone    python -m tasks brake_coast-download

Images are copied byte by byte, but for those that EXIF turns or that have 16 bits. A recording is
made again when anything it is made from changes, and only then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.brake_coast.formats import archive, recording
from tasks.brake_coast.importers import checks, drives, video
from tasks.brake_coast.importers import highway as highway_files
from tasks.brake_coast.importers.drives import Drive
from tasks.brake_coast.importers.resample import Reading
from tasks.brake_coast.params import Download
from tasks.yard.fanout import FanOut
from tasks.yard.files import digest, replacing, write_json
from tasks.yard.layouts import bringing
from tasks.yard.sources import dates, units
from tasks.yard.sources import local as sources
from tasks.yard.sources import uri as source_uri
from tasks.yard.step import BadInput, Context
from tasks.yard.worlds import highway

log = logging.getLogger(__name__)
TOTALS = ["rows", "windows", "error_rows", "duplicate_rows", "gaps", "images"]
TOTALS += ["unreadable_images", "images_without_telemetry", "rows_without_image"]
ONE_ALONE = (
    "one alone can be annotated, labelled and predicted by networks trained before, not trained on: "
    "`python -m flows run brake_coast --set brake_coast.download.min_recordings=1`, then "
    "`python -m flows view brake_coast <recording>`"
)
Accept = Callable[[FanOut], object]


def make(drive: Drive, folder: Path, *, world: highway.Highway | None) -> dict:
    """Bring one drive into `folder`; the summary is what the checks found in it."""
    (folder / archive.NAME).unlink(missing_ok=True)  # of a run that was killed
    if world is not None:
        highway_files.write_recording(world, drive.name, folder)
        about = {"layout": drive.layout, "clock": "local", "derived": [], "source": "highway"}
    else:
        reading = drive.read()
        write_telemetry(drive, reading, folder)
        about = {"layout": drive.layout, "clock": drive.importer.CLOCK, "derived": list(drive.importer.DERIVED)}
        about |= {"source": drive.where, "source_hz": reading.source_hz and round(reading.source_hz, 3)}
    telemetry, found = checked(drive, folder, world is None)
    said: list[str] = []  # of its film or images
    if drive.layout == "video":
        said = video.write_frames(drive.path, telemetry.rows["time"].tolist(), folder)
    elif world is None:
        said = copy_images(drive, reading, folder)
    images = checks.check_images(folder, telemetry)
    archive.pack(recording.image_files(folder), folder)
    about |= {"name": drive.name, "group": drive.group, "piece": drive.piece and list(drive.piece)}
    about |= {"has_images": images["images"] > 0}
    about |= {key: found[key] for key in ("rate_hz", "has_telemetry", "has_brake_signal")}
    about |= {key: images[key] for key in ("image_width_px", "image_height_px")}
    write_json(folder / "recording.json", about)
    notes = reading.notes if world is None else []
    warnings = [*notes, *found["warnings"], *said, *images["warnings"]]
    return {**found, **images, "warnings": warnings, "group": drive.group, **({"said": said} if said else {})}


def checked(drive: Drive, folder: Path, from_file: bool) -> tuple[recording.Telemetry, dict]:
    """Its telemetry and what the checks found; a complaint names the file of the source that the rows come from."""
    try:
        telemetry = recording.read_telemetry(folder)
        return telemetry, checks.check_telemetry(folder, telemetry)
    except BadInput as error:
        if not from_file:
            raise
        source = str(drive.importer.telemetry_file(drive.path))
        piece = f", piece {drive.piece[0]} of {drive.piece[1]} of it" if drive.piece else ""
        raise BadInput(str(error).replace(str(folder / "telemetry.csv"), source + piece)) from None


def write_telemetry(drive: Drive, reading: Reading, folder: Path) -> None:
    """Its telemetry.csv. Rows of a piece are those in its span; an error row belongs to the row before it."""
    table = reading.table
    if drive.span_ms:
        t_ms = recording.parse_times(table["Time"]).astype("Float64").to_numpy(np.float64, na_value=np.nan)
        table = table[pd.Series(t_ms).ffill().between(*drive.span_ms).to_numpy()]
    with replacing(folder / "telemetry.csv") as path:
        table.to_csv(path, index=False, lineterminator="\n")


def copy_images(drive: Drive, reading: Reading, folder: Path) -> list[str]:
    """Those named by a time; of a piece those in its span. Returns what was passed over or written anew."""
    images = reading.images
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


def files_of(drive: Drive) -> list[Path]:
    return drive.importer.files(drive.path)


def days(params: Download, ctx: Context = Context()) -> list[dates.Dated]:
    """Of each drive of the source."""
    root = sources.local(params.source, progress=ctx.progress, days=params.dates)
    return dates.days(drives.find(root, params.layout), root, files_of, drives.first_day)


def from_folder(root: Path, params: Download, out: Path, ctx: Context, accept: Accept) -> tuple[FanOut, dict]:
    """The recordings, and what there is to say of the folder: what is passed over, and which days were asked for."""
    there, asked = drives.find(root, params.layout), params.dates
    of_day = [] if asked is None else dates.days(there, root, files_of, drives.first_day)
    mine, about = dates.chosen(there, of_day, asked, source_uri.redacted(params.source))
    dates.refuse_none(mine, [about], source_uri.redacted(params.source))
    planned = drives.plan(root, params, mine)
    whole = {drive.path: drive for drive in planned.values()}  # of a drive in pieces the files are read once
    files = {drive.path: files_of(drive) for drive in there}
    contents = units.content_hashes(list(whole.values()), lambda drive: files[drive.path])
    content = dict(zip(whole, contents, strict=True))
    fingerprints = {
        name: digest(content[drive.path], {**asdict(drive), "path": None}, ctx.code) for name, drive in planned.items()
    }
    used = units.among(path for mine in files.values() for path in mine)
    left = units.passed_over(root, used)
    units.say_passed_over(left, source_uri.redacted(params.source), log)
    said = ({"passed_over": left} if left else {}) | ({"dates": about} if about else {})
    return units.make_all(partial(make, world=None), planned, fingerprints, out, ctx, root, accept=accept), said


def from_world(params: Download, out: Path, ctx: Context, accept: Accept) -> FanOut:
    dates.refuse_world(params.dates, params.source)
    world = highway.parse(params.source)
    planned = {name: drives.of_world(name, out / name) for name in highway.recording_names(world)}
    # A recording does not depend on how many there are: for one more only that one is made.
    settings = digest({**asdict(world), "recordings": None, "detector_images": None}, ctx.code)
    fingerprints = {name: digest(settings, name) for name in planned}
    return units.make_all(partial(make, world=world), planned, fingerprints, out, ctx, accept=accept)


def totals_of(done: FanOut) -> dict[str, float]:
    summaries = done.summaries.values()
    totals = {key: sum(summary[key] for summary in summaries) for key in TOTALS}
    totals["hours"] = round(sum(summary["duration_s"] for summary in summaries) / 3600, 4)
    totals |= {"recordings": len(summaries), "quarantined": len(done.quarantined)}
    return totals | {"groups": len({summary["group"] for summary in summaries})}


def write_report(done: FanOut, out: Path, said: dict) -> None:
    about = {"totals": totals_of(done), "recordings": done.summaries, "quarantined": done.quarantined}
    write_json(out / "report.json", about | said)


def say_remarks(done: FanOut) -> None:
    """On the console, once for the pieces of one film, which say the same."""
    of_text: dict[str, list[str]] = {}
    for name, summary in done.summaries.items():
        for text in summary.get("said", ()):
            of_text.setdefault(text, []).append(name)
    for text, names in of_text.items():
        log.warning("%s%s: %s", names[0], f" and {len(names) - 1} more" if len(names) > 1 else "", text)


def run(params: Download, out: Path, ctx: Context = Context()) -> dict[str, float]:
    """Returns totals over the usable recordings. Raises `BadInput` if fewer than `min_recordings` are usable: then the
    recordings of the run before stay, and its report."""
    needed = params.min_recordings

    def accept(done: FanOut) -> None:
        if not (out / "report.json").exists():
            write_report(done, out, {})
        advice = f", needed are {needed} to train, validate and test; {ONE_ALONE}"
        units.refuse_too_few(done, needed, "recordings", params.source, advice)

    if source_uri.scheme(params.source) == "synth":
        done, said = from_world(params, out, ctx, accept), {}
    else:
        root = sources.local(params.source, progress=ctx.progress, days=params.dates)
        done, said = from_folder(root, params, out, ctx, accept)
    say_remarks(done)
    write_report(done, out, said)
    return totals_of(done)
