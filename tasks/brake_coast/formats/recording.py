"""One drive on disk: the layout that every step after `download` reads.

    <recording>/telemetry.csv    Time, SPEED km/h, RPM 1/min, ACCELERATOR_POS_D %, ENGINE_LOAD %, BRAKE_SIGNAL, GEAR
    0..5 <recording>/frames.zip  <Time>.jpg|png, one frame a row, where the camera gave one (archive.py); a source
                                 has them as files
    <recording>/recording.json   what the importer knows: group (day or trip), layout, image size, cameras, source

What a recorder or another program wrote in a telemetry.csv may look otherwise (`tables`, `cells`, `clock` say how); all
who read one read it here. Time is local, "YYYY-MM-DD HH-MM-SS-f" with one or more digits of a second: "-9" is 900 ms. A
cell without a value is a missing reply. A row whose Time is no time ("No Frame", "Incomplete Data") is an error row.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.brake_coast.formats import archive, cells, clock, tables
from tasks.brake_coast.formats.cells import numbers as read_numbers
from tasks.brake_coast.formats.clock import NO_DATE_MS, format_time, parse_times
from tasks.yard.files import digest, file_hash, natural, read_json
from tasks.yard.layouts.images import SUFFIXES as IMAGE_SUFFIXES
from tasks.yard.step import BadInput

__all__ = ["NO_DATE_MS", "format_time", "parse_times"]  # and all that is defined here
NUMBERS = {
    "SPEED": "speed_kmh",
    "RPM": "rpm",
    "ACCELERATOR_POS_D": "pedal_pct",
    "ENGINE_LOAD": "load_pct",
    "GEAR": "gear",
}
COLUMNS = ["Time", "SPEED", "RPM", "ACCELERATOR_POS_D", "ENGINE_LOAD", "BRAKE_SIGNAL", "GEAR"]
VALUES = {**NUMBERS, "BRAKE_SIGNAL": "brake"}
CLOCK_NAMES = ("TIMESTAMP", "DATETIME", "DATE_TIME", "ZEIT")  # read as Time where there is no Time
PLAIN_BRAKE = {"True", "False", "true", "false", "1", "0", "1.0", "0.0"}
SAME_SHARE = 0.9  # of the rows with one stamp that are the same throughout: then they were only written twice
COARSE_SHARE, FAST_COARSE_SHARE = 0.4, 0.02  # of the stamps that are that of the row before, at 2 Hz and above


@dataclass(frozen=True)
class Telemetry:
    """Rows of one drive in time order, one a stamp, and the count of what had to be left out or is missing.

    `rows` has the columns time (str, the join key to the images), t_ms (int64), speed_kmh, rpm, pedal_pct, load_pct,
    gear, brake (1, 0), all float with NaN for a missing reply.
    """

    rows: pd.DataFrame
    error_rows: int
    duplicate_rows: int
    out_of_order_rows: int
    missing_replies: dict[str, int]


@dataclass(frozen=True)
class Rows:
    """A telemetry file as it was understood, a row a row of the file.

    `table` has its text under the names of COLUMNS, `names` are those of all its columns, `t_ms` the time of each row
    (NaN: an error row), `values` the numbers of the columns that it has, named as in `Telemetry.rows`.
    """

    path: Path
    table: pd.DataFrame
    names: list[str]
    t_ms: np.ndarray
    values: pd.DataFrame
    clock: clock.Clock
    notes: list[str]

    def canonical_time(self) -> pd.Series:
        """The column Time of `canonical`."""
        time = self.table["Time"].copy()
        plain = parse_times(time).astype("Float64").to_numpy(np.float64, na_value=np.nan)
        known = np.isfinite(self.t_ms)
        if (known & (plain != np.round(self.t_ms))).any():
            time[known] = clock.format_times(self.t_ms[known])
        time[~known & np.isfinite(plain)] = tables.DAMAGED
        return time

    def canonical(self) -> pd.DataFrame:
        """The text table; cells that a plain reader would take for something else are written plainly."""
        table = self.table.copy()
        if "Time" in table:
            table["Time"] = self.canonical_time()
        for column, name in VALUES.items():
            if column not in table:
                continue
            told = self.values[name].to_numpy()
            if column == "BRAKE_SIGNAL":
                other = ~table[column].isin(PLAIN_BRAKE).to_numpy() & np.isfinite(told)
                table.loc[other, column] = np.where(told[other] == 1, "True", "False")
            else:
                plain = pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64)
                other = np.isfinite(told) & (plain != told)
                table.loc[other, column] = [f"{v:.4f}".rstrip("0").rstrip(".") for v in told[other]]
        return table


def read_rows(path: Path, *, film_s: float | None = None, further: bool = False) -> Rows:
    """Only COLUMNS, `further`: the others too, which are most of what some loggers write. Raises `BadInput` naming file
    and column if it is no table, or its cells or stamps are not understood."""
    read = tables.read_table(path, [*COLUMNS, *CLOCK_NAMES], "Time", alone=not further)
    table, names, units, notes = read.cells, read.names, read.units, list(read.notes)
    named = [name for name in CLOCK_NAMES if name in table]
    if "Time" not in table and named:
        table, units = table.rename(columns={named[0]: "Time"}), {**units, "Time": units.get(named[0], "")}
        names = ["Time" if name == named[0] else name for name in names]
        notes.append(f"{named[0]} is read as Time")
    stamps = table["Time"] if "Time" in table else pd.Series("", index=table.index, dtype=str)
    try:
        times = clock.read(stamps, units.get("Time", ""), film_s)
    except ValueError as error:
        raise BadInput(f"{path}: Time {error}") from None
    notes += times.notes
    t_ms, coarse = spread_apart(read.marks, times.t_ms)
    if coarse:
        notes.append(f"{coarse} rows have the stamp of the row before: they are spread evenly between two stamps")
    good = np.isfinite(t_ms)
    values = pd.DataFrame(index=table.index)
    for column, name in VALUES.items():
        if column in table:
            values[name], said = read_column(table[column].where(good, ""), column, units.get(column, ""), path)
            notes += said
    return Rows(path, table, names, t_ms, values, replace(times, t_ms=t_ms), cells.together(notes))


def read_column(text: pd.Series, column: str, unit: str, path: Path) -> tuple[np.ndarray, list[str]]:
    """The values of one column of COLUMNS, and what there is to say of it."""
    try:
        read = cells.brakes(text, unit) if column == "BRAKE_SIGNAL" else read_numbers(text, column, unit)
    except ValueError as error:
        raise BadInput(f"{path}: {column} {error}") from None
    return read.values, read.notes + cells.refuse_unread(column, text, read, path)


def spread_apart(marks: np.ndarray, t_ms: np.ndarray) -> tuple[np.ndarray, int]:
    """`t_ms` with rows that share a coarse stamp moved apart, and how many they were; rows written twice, which have
    the same mark, are left."""
    good = np.flatnonzero(np.isfinite(t_ms))
    if len(good) < 2:
        return t_ms, 0
    same = np.flatnonzero(np.diff(t_ms[good]) == 0) + 1
    share = len(same) / len(good)
    if share < (COARSE_SHARE if clock.step_ms(t_ms) >= 400 else FAST_COARSE_SHARE):
        return t_ms, 0
    if (marks[good[same]] == marks[good[same - 1]]).mean() > SAME_SHARE:
        return t_ms, 0
    spread = t_ms.copy()
    spread[good] = clock.spread(t_ms[good])
    return spread, len(same)


def read_telemetry(folder: Path) -> Telemetry:
    """Raises `BadInput` naming the file and the column or row if the drive cannot be used at all."""
    path = folder / "telemetry.csv"
    read = read_rows(path)
    table = read.table
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        found = ", ".join(name[:40] for name in read.names[:20]) + ", ..." * (len(read.names) > 20)
        raise BadInput(f"{path}: missing column {', '.join(missing)}; found {found}")
    good = np.isfinite(read.t_ms)
    if not good.any():
        example = next((f" ('{cell[:40]}')" for cell in table["Time"] if cell not in ("", tables.DAMAGED)), "")
        wanted = "write it as '2025-04-03 22:54:19.9'"
        raise BadInput(f"{path}: none of its {len(table)} rows has a Time that is understood{example}; {wanted}")
    rows = pd.DataFrame({"time": read.canonical_time(), "t_ms": np.where(good, read.t_ms, 0).round().astype("int64")})
    rows = pd.concat([rows, read.values], axis=1)[good]
    out_of_order = int((rows["t_ms"].diff() < 0).sum())
    unique = rows.sort_values("t_ms", kind="stable").drop_duplicates("t_ms")
    values = [*NUMBERS.values(), "brake"]
    return Telemetry(
        rows=unique.reset_index(drop=True),
        error_rows=int((~good).sum()),
        duplicate_rows=len(rows) - len(unique),
        out_of_order_rows=out_of_order,
        missing_replies={name: int(unique[name].isna().sum()) for name in values},
    )


def images(folder: Path) -> dict[str, Path]:
    """Frames of a drive by the Time that is their name; of two that differ in the suffix only, the last."""
    return {path.stem: path for path in image_files(folder)}


def image_files(folder: Path) -> list[Path]:
    """Those that are files, and those in the recording's archive."""
    with os.scandir(folder) as entries:  # macOS leaves ._x.jpg, no image
        names = [entry.name for entry in entries if not entry.name.startswith(".") and not entry.is_dir()]
    loose = [folder / name for name in names if name.lower().endswith(IMAGE_SUFFIXES)]
    packed = archive.paths(folder) if archive.NAME in names else []
    return sorted([*loose, *packed], key=lambda path: natural(path.name))


def pictures_digest(folder: Path) -> str:
    """Of the names and bytes of all frames of a drive."""
    packed = folder / archive.NAME
    if packed.is_file():
        return file_hash(packed)
    return digest([(path.name, file_hash(path)) for path in images(folder).values()])


def recordings(download: Path) -> dict[str, Path]:
    """The usable drives under the `download` step's folder, by name; a `<name>.part` is left by a killed run."""
    folders = (path.parent for path in sorted(download.glob("*/recording.json")))
    return {folder.name: folder for folder in folders if folder.suffix != ".part"}


def description(folder: Path) -> dict:
    """recording.json of one drive."""
    return read_json(folder / "recording.json")


def layout(folder: Path) -> str | None:
    """How the drive came: the layout of its source, or the name of the world that rendered it."""
    about = description(folder)
    return about.get("source") if about.get("layout") == "synth" else about.get("layout")
