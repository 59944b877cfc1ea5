"""Recordings in the native layout from wherever the `source:` URI points, each one validated.

Reads    the source: synth://highway?..., a folder, a zip or share link on the web, a bucket (`tasks.yard.sources.local`)
Writes   download/<name>/telemetry.csv, <Time>.jpg|png, recording.json    one folder a usable recording
         download/quarantine.json   {name: reason} of the others
         download/report.json       what validation found in each, and the totals
Alone    python -m tasks brake_coast-download

Images are copied byte by byte. A recording is made again when anything it is made from changes, and only then.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.brake_coast.formats import recording
from tasks.brake_coast.importers import checks as validation
from tasks.brake_coast.importers import drives, video
from tasks.brake_coast.importers.drives import Drive
from tasks.brake_coast.params import Download
from tasks.yard.fanout import FanOut, fan_out
from tasks.yard.files import digest, file_hash, replacing, write_json
from tasks.yard.sources import local as sources
from tasks.yard.sources import uri as source_uri
from tasks.yard.step import BadInput, Context
from tasks.yard.worlds import highway

TOTALS = ["rows", "windows", "error_rows", "duplicate_rows", "gaps", "images"]
TOTALS += ["unreadable_images", "images_without_telemetry", "rows_without_image"]
HASHERS = 8


def make_drive(drive: Drive, folder: Path) -> dict:
    """Bring one drive into `folder`; the summary is what validation found."""
    table = drive.importer.table(drive.path)
    if drive.span_ms:
        table = _rows_within(table, drive.span_ms)
    with replacing(folder / "telemetry.csv") as path:
        table.to_csv(path, index=False, lineterminator="\n")
    telemetry = recording.read_telemetry(folder)
    found = validation.check_telemetry(folder, telemetry)
    if drive.layout == "video":
        video.write_frames(drive.path, telemetry.rows["time"].tolist(), folder)
    else:
        _copy_images(drive, folder)
    about = {"layout": drive.layout, "clock": drive.importer.CLOCK, "derived": list(drive.importer.DERIVED)}
    about |= {"group": drive.group, "source": drive.where, "piece": drive.piece and list(drive.piece)}
    return _describe(drive.name, folder, telemetry, found, about)


def _rows_within(table: pd.DataFrame, span_ms: tuple[int, int]) -> pd.DataFrame:
    """Rows of a piece; an error row belongs to the row before it."""
    t_ms = recording.parse_times(table["Time"]).astype("Float64").to_numpy(np.float64, na_value=np.nan)
    return table[pd.Series(t_ms).ffill().between(*span_ms).to_numpy()]


def _copy_images(drive: Drive, folder: Path) -> None:
    """Those named by a time; of a piece those in its span. What an interrupted run brought already is kept."""
    images = drive.importer.images(drive.path)
    t_ms = recording.parse_times(pd.Series(list(images), dtype=str))
    wanted = t_ms.notna() if drive.span_ms is None else t_ms.between(*drive.span_ms).fillna(False)
    for (time, path), take in zip(images.items(), wanted, strict=True):
        target = folder / f"{time}{path.suffix.lower()}"
        if take and not (target.exists() and target.stat().st_size == path.stat().st_size):
            shutil.copyfile(path, target)


def make_synthetic(name: str, folder: Path, *, world: highway.Highway) -> dict:
    highway.write_recording(world, name, folder)
    telemetry = recording.read_telemetry(folder)
    day = drives.DAY.match(name)
    about = {"layout": "synth", "clock": "local", "derived": [], "source": "highway", "piece": None}
    found = validation.check_telemetry(folder, telemetry)
    return _describe(name, folder, telemetry, found, about | {"group": day[1] if day else name})


def _describe(name: str, folder: Path, telemetry: recording.Telemetry, found: dict, about: dict) -> dict:
    """Write recording.json; returns the summary."""
    images = validation.check_images(folder, telemetry)
    about |= {"name": name, "has_images": images["images"] > 0}
    about |= {key: found[key] for key in ("rate_hz", "has_telemetry", "has_brake_signal")}
    about |= {key: images[key] for key in ("image_width_px", "image_height_px")}
    write_json(folder / "recording.json", about)
    return {**found, **images, "warnings": found["warnings"] + images["warnings"], "group": about["group"]}


def _make(item: Drive | str, folder: Path, *, work: Callable[..., dict], where: str) -> dict:
    """`work`, with the paths in its complaint as a person knows them: in the source, not in a folder that is gone."""
    try:
        return work(item, folder)
    except BadInput as error:
        text = str(error).replace(str(folder), item.where if isinstance(item, Drive) else item)
        raise BadInput(text.replace(f"{where}/", "")) from None


def content_hashes(planned: dict[str, Drive]) -> dict[str, str]:
    """Per recording a hash of every file that its drive is made from."""
    paths = {drive.path: drive.importer for drive in planned.values()}

    def of_drive(path: Path) -> str:
        return digest([(file.name, file_hash(file)) for file in paths[path].files(path)])

    with ThreadPoolExecutor(HASHERS) as pool:  # hashing frees the interpreter lock
        hashes = dict(zip(paths, pool.map(of_drive, paths), strict=True))
    return {name: hashes[drive.path] for name, drive in planned.items()}


def from_folder(root: Path, params: Download, out: Path, ctx: Context) -> FanOut:
    planned = drives.plan(root, params)
    hashes = content_hashes(planned)
    fingerprints = {
        name: digest(hashes[name], {**asdict(drive), "path": None}, ctx.code) for name, drive in planned.items()
    }
    return fan_out(partial(_make, work=make_drive, where=str(root)), planned, fingerprints, out, ctx)


def from_world(params: Download, out: Path, ctx: Context) -> FanOut:
    world = highway.parse(params.source)
    names = highway.recording_names(world)
    # A recording does not depend on how many there are: for one more only that one is made.
    settings = digest({**asdict(world), "recordings": None, "detector_images": None}, ctx.code)
    work = partial(_make, work=partial(make_synthetic, world=world), where=params.source)
    return fan_out(work, {name: name for name in names}, {name: digest(settings, name) for name in names}, out, ctx)


def run(params: Download, out: Path, ctx: Context = Context()) -> dict[str, float]:
    """Returns totals over the usable recordings. Raises `BadInput` if fewer than `min_recordings` are usable."""
    if source_uri.scheme(params.source) == "synth":
        done = from_world(params, out, ctx)
    else:
        done = from_folder(sources.local(params.source, progress=ctx.progress), params, out, ctx)
    summaries = done.summaries
    totals = {key: sum(summary[key] for summary in summaries.values()) for key in TOTALS}
    totals["hours"] = round(sum(summary["duration_s"] for summary in summaries.values()) / 3600, 4)
    totals |= {"recordings": len(summaries), "quarantined": len(done.quarantined)}
    totals["groups"] = len({summary["group"] for summary in summaries.values()})
    write_json(out / "report.json", {"totals": totals, "recordings": summaries, "quarantined": done.quarantined})
    if len(summaries) < params.min_recordings:
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in sorted(done.quarantined.items()))
        raise BadInput(
            f"{source_uri.redacted(params.source)}: usable recordings: {len(summaries)}, needed are "
            f"{params.min_recordings} to train, validate and test (min_recordings: 1 is enough to annotate){reasons}"
        )
    return totals
