"""One drive on disk: the layout that every step after `download` reads.

    <recording>/telemetry.csv    Time, SPEED km/h, RPM 1/min, ACCELERATOR_POS_D %, ENGINE_LOAD %, BRAKE_SIGNAL, GEAR
    0..5 <recording>/<Time>.jpg|png   one frame a row, where the camera gave one
    <recording>/recording.json   what the importer knows: group (day or trip), layout, image size, cameras, source

Time is local, "YYYY-MM-DD HH-MM-SS-f" with one or more digits of a second: "-9" is 900 ms. A cell without a value is a
missing reply. A row whose Time is no time ("No Frame", "Incomplete Data") is an error row.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.yard.files import read_json
from tasks.yard.step import BadInput

TIME_FORMAT = "%Y-%m-%d %H-%M-%S-%f"  # strptime pads the fraction on the right, which is what "-9" = 900 ms needs
NUMBERS = {
    "SPEED": "speed_kmh",
    "RPM": "rpm",
    "ACCELERATOR_POS_D": "pedal_pct",
    "ENGINE_LOAD": "load_pct",
    "GEAR": "gear",
}
COLUMNS = ["Time", "SPEED", "RPM", "ACCELERATOR_POS_D", "ENGINE_LOAD", "BRAKE_SIGNAL", "GEAR"]
BRAKE = {"true": 1.0, "1": 1.0, "1.0": 1.0, "false": 0.0, "0": 0.0, "0.0": 0.0}
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
NO_DATE_MS = 946_684_800_000  # 2000-01-01 00-00-00: where the clock of a drive without a date begins


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


def parse_times(times: pd.Series) -> pd.Series:
    """Stamps as integer milliseconds (of the local clock, no zone), <NA> where the text is no time."""
    stamps = pd.to_datetime(times, format=TIME_FORMAT, errors="coerce")
    t_ms = stamps.to_numpy("datetime64[ms]").astype("int64")
    return pd.Series(pd.arrays.IntegerArray(t_ms, stamps.isna().to_numpy()), index=times.index)


def format_time(t_ms: int, digits: int = 1) -> str:
    """The inverse of `parse_times`, cut (not rounded) to `digits` of a second as the recorder does."""
    stamp = pd.Timestamp(t_ms, unit="ms")
    return stamp.strftime("%Y-%m-%d %H-%M-%S-") + f"{stamp.microsecond:06d}"[:digits]


def read_table(path: Path) -> pd.DataFrame:
    """A CSV as text cells, blank ones included. Raises `BadInput` naming the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pd.errors.ParserWarning)  # loggers like to end a row in one more comma
            return pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True, index_col=False)
    except FileNotFoundError:
        raise BadInput(f"{path}: no {path.name} in this recording") from None
    except pd.errors.EmptyDataError:
        raise BadInput(f"{path}: the file is empty; record it again or remove the folder") from None
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not a readable CSV ({error})") from None


def read_telemetry(folder: Path) -> Telemetry:
    """Raises `BadInput` naming the file and the column or row if the drive cannot be used at all."""
    path = folder / "telemetry.csv"
    table = read_table(path)
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        raise BadInput(f"{path}: missing column {', '.join(missing)}; found {', '.join(table.columns)}")

    t_ms = parse_times(table["Time"])
    good = t_ms.notna()
    rows = pd.DataFrame({"time": table["Time"], "t_ms": t_ms})
    for column, name in NUMBERS.items():
        rows[name] = pd.to_numeric(table[column], errors="coerce").replace([np.inf, -np.inf], np.nan)
    rows["brake"] = table["BRAKE_SIGNAL"].str.strip().str.lower().map(BRAKE).astype(float)
    rows = rows[good].astype({"t_ms": "int64"})
    if rows.empty:
        raise BadInput(f"{path}: none of its {len(table)} rows has a usable Time such as '2025-04-03 22-54-19-9'")
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
    """Frames of a drive by the Time that is their name."""
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES}


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
