"""The native layout: a folder with telemetry.csv and <Time>.jpg; the name has a "-" (YYYY-MM-DD_HH-MM-SS).

A folder of that kind of name with images alone is a drive too: one that lost its telemetry, which has to be told.
A drive in the very words of `formats.recording` comes through byte by byte; one with other stamps, commas, units or
rates is written anew in them.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.brake_coast.formats import archive, clock, recording
from tasks.brake_coast.importers import drivetrain, resample
from tasks.brake_coast.importers.resample import Reading
from tasks.yard.step import BadInput

CLOCK, DERIVED = "local", ()
TELEMETRY = "telemetry.csv"
INPUTS = {"SPEED": "speed_kmh", "RPM": "rpm", "ACCELERATOR_POS_D": "pedal_pct", "ENGINE_LOAD": "load_pct"}
NO_BRAKE = "no column BRAKE_SIGNAL: when the brake was pressed is not known"
STAMP = re.compile(r"(\d{4}-\d{2}-\d{2})[_ T](\d{2})[-:]?(\d{2})[-:]?(\d{2})")


def drives(folder: Path, names: list[str]) -> list[Path]:
    has_image = any(name.lower().endswith(recording.IMAGE_SUFFIXES) for name in names)
    has_telemetry = any(name.lower() == TELEMETRY for name in names)
    return [folder] if has_telemetry or ("-" in folder.name and has_image) else []


def _named(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.name.lower() == TELEMETRY)


def telemetry_file(path: Path) -> Path:
    """telemetry.csv, also where it is called Telemetry.CSV."""
    named = _named(path)
    if len(named) > 1:
        raise BadInput(f"{path}: {' and '.join(p.name for p in named)} would both be its telemetry; leave one")
    return named[0] if named else path / TELEMETRY


def files(path: Path) -> list[Path]:
    """Its telemetry and pictures, by their names."""
    with os.scandir(path) as entries:
        names = sorted(entry.name for entry in entries if entry.name[0] != "." and entry.is_file())
    of_a_drive = (archive.NAME, TELEMETRY)
    return [path / n for n in names if n.lower().endswith(recording.IMAGE_SUFFIXES) or n.lower() in of_a_drive]


def start_ms(name: str) -> int:
    """The local time that a name tells, else 2000-01-01."""
    match = STAMP.search(name)
    parsed = recording.parse_times(pd.Series([f"{match[1]} {match[2]}-{match[3]}-{match[4]}-0"]))[0] if match else pd.NA
    return recording.NO_DATE_MS if parsed is pd.NA else int(parsed)


def _dated(rows: recording.Rows, path: Path) -> recording.Rows:
    """Stamps that count from some zero begin at the time in the folder's name."""
    if rows.clock.absolute or not np.isfinite(rows.t_ms).any():
        return rows
    start = start_ms(path.name)
    day = start - start % 86_400_000 if rows.clock.of_day else start
    said = "the day" if rows.clock.of_day else "the start"
    return replace(
        rows, t_ms=rows.t_ms + day, notes=[*rows.notes, f"Time has no date: {said} is that of the folder's name"]
    )


def _image_times(path: Path, rows: recording.Rows) -> tuple[dict[Path, float], int]:
    """The time of each image on the mended clock of the rows, and how many may be of either of two passes."""
    files_ = recording.images(path)
    stems = pd.Series(list(files_), dtype=str)
    native = recording.parse_times(stems).astype("Float64").to_numpy(np.float64, na_value=np.nan)
    if rows.clock.unit_ms is not None:
        native = np.where(np.isnan(native), pd.to_numeric(stems, errors="coerce") * rows.clock.unit_ms, native)
    elif len(stems) and np.isnan(native).all():
        native = clock.read(stems).t_ms
    raw = rows.table["Time"].str.strip()
    once = pd.Series(rows.t_ms, index=raw)[~raw.duplicated(keep=False).to_numpy()].dropna()
    offset = rows.t_ms[np.isfinite(rows.t_ms)][0] - rows.clock.t_ms[np.isfinite(rows.clock.t_ms)][0]
    times, unclear = {}, 0
    for stem, stamp in zip(stems, native, strict=True):
        at = once.get(stem)
        if at is None and np.isfinite(stamp):
            placed = clock.place(float(stamp), rows.clock)
            unclear += placed is None
            at = None if placed is None else placed + (0 if rows.clock.absolute else offset)
        if at is not None:
            times[files_[stem]] = float(at)
    return times, unclear


def read(path: Path) -> Reading:
    """telemetry.csv with its further columns; where it has no GEAR that follows from the others, and where it has no
    BRAKE_SIGNAL that is blank."""
    rows = _dated(recording.read_rows(telemetry_file(path)), path)
    good = np.isfinite(rows.t_ms)
    hz = (
        resample.rate_hz(rows.t_ms)
        if good.any() and set(recording.COLUMNS) - {"GEAR", "BRAKE_SIGNAL"} <= set(rows.table)
        else None
    )
    if hz is None and set(rows.names) > set(rows.table):  # it is written as it is, two rows a second
        rows = _dated(recording.read_rows(telemetry_file(path), further=True), path)
    table = rows.canonical()
    unlabelled = [NO_BRAKE] if "BRAKE_SIGNAL" not in table and set(INPUTS) <= set(table) else []
    if unlabelled:
        table["BRAKE_SIGNAL"] = ""
    if hz is None:
        if "GEAR" not in rows.table and set(INPUTS) <= set(rows.table):
            gear = drivetrain.gear(*(rows.values[name] for name in INPUTS.values()))
            table["GEAR"] = np.where(np.isnan(gear), "", np.nan_to_num(gear).astype(int).astype(str))
        if not good.any() or table["Time"].equals(rows.table["Time"]):
            return Reading(table, recording.images(path), rows.notes + unlabelled)
        at, times, said = np.round(rows.t_ms[good]).astype(np.int64), table["Time"][good].tolist(), []
    else:
        order = np.flatnonzero(good)[np.argsort(rows.t_ms[good], kind="stable")]
        at = resample.moments(rows.t_ms[order])
        values = resample.at_moments(rows.t_ms[order], rows.values.iloc[order], at)
        if "gear" not in values:
            values["gear"] = drivetrain.gear(*(values[name] for name in INPUTS.values()))
        further = [name for name in rows.names if name not in recording.COLUMNS]
        said = [resample.note(hz)] + [f"further columns are left out: {', '.join(further)}"] * bool(further)
        said += [f"{int((~good).sum())} of {len(good)} rows had no usable Time"] * bool((~good).any())
        table = resample.text(at, values)
        times = table["Time"].tolist()
    stamps, unclear = _image_times(path, rows)
    images = resample.nearest_images(at, times, stamps)
    total = len(recording.images(path))
    if unclear:
        said.append(f"{unclear} of {total} images have a stamp that comes twice: left out, for their row is not known")
    if total - unclear > len(images):
        said.append(f"{total - unclear - len(images)} of {total} images are the nearest to no row: left out")
    return Reading(table, images, rows.notes + unlabelled + said, hz)
