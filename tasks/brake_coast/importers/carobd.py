"""A carOBD log: one CSV a drive with 27 OBD values a row, about two rows a second. No camera and no brake signal.

Its rows end in a comma more than the header. The only clock is ENGINE_RUN_TINE (so spelt), the engine's run time in
whole seconds, which the logger reads every 3 or 4 rows: it stands still, then jumps by 1 or 2 s. The rows themselves
come evenly, every 0.492 s in the published logs, so a row's time is its number times that step.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tasks.brake_coast.formats import cells, recording, tables
from tasks.brake_coast.importers import drivetrain, resample
from tasks.brake_coast.importers.resample import Reading
from tasks.yard.step import BadInput

CLOCK, DERIVED = "relative", ("GEAR",)
CLOCK_COLUMN = "ENGINE_RUN_TINE"
CLOCK_NAMES = (CLOCK_COLUMN, "ENGINE_RUN_TIME")  # as its spelling was mended by some
VALUES = {"SPEED": "VEHICLE_SPEED", "RPM": "ENGINE_RPM", "ACCELERATOR_POS_D": "PEDAL_D", "ENGINE_LOAD": "ENGINE_LOAD"}
PAUSE_S = 5.0  # a longer jump of the clock is a pause of the log; its own steps are 1 or 2 s
RESTART_S = 60.0  # the pause shown where the clock begins again: unknown, but longer than any window


def _is_log(path: Path) -> bool:
    """Does it name the clock among its first lines? In any case and encoding, for a spreadsheet may have saved it."""
    with path.open("rb") as file:
        begin = tables.decoded(file.read(16_384))[0].upper()
    return any(name in begin for name in CLOCK_NAMES)


def drives(folder: Path, names: list[str]) -> list[Path]:
    """The logs; an empty CSV beside one is a lost log and has to be told."""
    tables_ = [folder / name for name in names if name.lower().endswith(".csv")]
    logs = [path for path in tables_ if _is_log(path)]
    return [path for path in tables_ if path in logs or not path.stat().st_size] if logs else []


def files(path: Path) -> list[Path]:
    return [path]


def telemetry_file(path: Path) -> Path:
    return path


def row_times_s(clock_s: np.ndarray) -> np.ndarray:
    """Evenly spaced times of the rows, from 0, out of the coarse clock (finite values); pauses are kept.

    The step is the slope of the clock over the row number, common to all parts between pauses.
    """
    step = np.diff(clock_s, prepend=clock_s[0])
    part = np.cumsum((step < 0) | (step > PAUSE_S))
    pause = np.where(step < 0, RESTART_S, np.where(step > PAUSE_S, step, 0.0))
    clock = clock_s + np.cumsum(np.where(step < 0, pause - step, 0.0))  # a clock that never goes back
    number = np.arange(len(clock), dtype=np.float64)
    mean = pd.DataFrame({"clock": clock, "number": number}).groupby(part).transform("mean").to_numpy()
    x, y = number - mean[:, 1], clock - mean[:, 0]
    spread = float(x @ x)
    row_s = float(x @ y) / spread if spread else 0.0
    times = mean[:, 0] + row_s * x
    return times - times[0]


def _time(time_s: float) -> str:
    known = np.isfinite(time_s)
    return recording.format_time(recording.NO_DATE_MS + round(1000 * time_s), digits=3) if known else "No Data"


def read(path: Path) -> Reading:
    read = tables.read_table(path, [*CLOCK_NAMES, *VALUES.values()], CLOCK_COLUMN, alone=True)
    raw, notes = read.cells.rename(columns={CLOCK_NAMES[1]: CLOCK_COLUMN}), list(read.notes)
    missing = [name for name in (CLOCK_COLUMN, *VALUES.values()) if name not in raw]
    if missing:
        raise BadInput(f"{path}: missing column {', '.join(missing)}")
    clock_s = cells.numbers(raw[CLOCK_COLUMN], "Time", read.units.get(CLOCK_COLUMN, ""))
    notes += clock_s.notes + cells.refuse_unread(CLOCK_COLUMN, raw[CLOCK_COLUMN], clock_s, path)
    known = np.isfinite(clock_s.values)
    if known.sum() < 2:
        raise BadInput(f"{path}: {CLOCK_COLUMN} has fewer than two values: the rows have no time")
    if (restarts := int((np.diff(clock_s.values[known]) < 0).sum())) > 0:
        notes.append(
            f"{CLOCK_COLUMN} begins again {restarts} times: {RESTART_S:g} s lie between, for how long is not known"
        )
    times_s = np.full(len(raw), np.nan)
    times_s[known] = row_times_s(clock_s.values[known])
    values = pd.DataFrame(index=raw.index)
    for column, given in VALUES.items():
        numbers, said = recording.read_column(raw[given], column, read.units.get(given, ""), path)
        values[recording.NUMBERS[column]] = numbers.round(2)
        notes += [text.replace(f"{column}:", f"{given}:") for text in said]
    t_ms = recording.NO_DATE_MS + 1000 * times_s
    hz = resample.rate_hz(t_ms)
    if hz is not None:
        at = resample.moments(t_ms[known])
        values = resample.at_moments(t_ms[known], values[known], at).round(2)
        told, notes = resample.text(at, values), [*notes, resample.note(hz)]
    else:
        told = values.set_axis(list(VALUES), axis=1)
        told.insert(0, "Time", [_time(t) for t in times_s])
    told["BRAKE_SIGNAL"] = ""
    told["GEAR"] = drivetrain.gear(*(values[name] for name in ("speed_kmh", "rpm", "pedal_pct", "load_pct")))
    text = told.astype({"GEAR": "Int64"}).astype(str).mask(told.isna(), "")
    return Reading(text, {}, notes, hz)
