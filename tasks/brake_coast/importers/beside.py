"""The telemetry of a film: `<same name>.csv` beside it, with a Time and any of the columns of the native layout.

Time counts seconds from the first frame, or is a stamp of any usual form. Stamps are laid on the film by the start that
its name tells (YYYY-MM-DD_HH-MM-SS) if they begin while it runs; else the first row is taken for the first frame.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tasks.brake_coast.formats import clock, recording
from tasks.brake_coast.importers import resample
from tasks.yard.layouts.video import SUFFIXES
from tasks.yard.step import BadInput

DAY_MS = 86_400_000
ALIKE = (".csv", ".tsv", ".txt", ".log", ".xlsx", ".xls", ".json", ".gpx", ".parquet")  # what may hold telemetry


def files_of(film: Path) -> list[Path]:
    """`<same name>.csv`, in any case: one, none, or several that might be meant."""
    same = [p for p in sorted(film.parent.iterdir()) if p.suffix.lower() == ".csv" and p.is_file()]
    return [p for p in same if p.stem == film.stem] or [p for p in same if p.stem.lower() == film.stem.lower()]


def file_of(film: Path) -> Path | None:
    """Raises `BadInput` if there are two that might be meant."""
    meant = files_of(film)
    if len(meant) > 1:
        raise BadInput(f"{film}: {' and '.join(p.name for p in meant)} would both be its telemetry; leave one")
    return meant[0] if meant else None


def unused(film: Path) -> list[str]:
    """Says which files beside a film without telemetry may be meant as such and are not read."""
    names = [p for p in sorted(film.parent.iterdir()) if p.is_file() and not p.name.startswith(".")]
    films = {p.stem.lower() for p in names if p.suffix.lower() in SUFFIXES}
    own = [p for p in names if p.suffix.lower() in ALIKE and p.stem.lower().startswith(film.stem.lower())]
    lone = [p for p in names if p.suffix.lower() == ".csv" and p.stem.lower() not in films]
    found = list(dict.fromkeys(p.name for p in (*own, *lone)))
    if not found:
        return []
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return [f"not read: {', '.join(found[:3])}{more} beside it; telemetry of this film is called {film.stem}.csv"]


def _offset_ms(rows: recording.Rows, film_s: float, start_ms: int | None) -> tuple[float, str | None]:
    """What to take from the stamps so that 0 is the first frame, and what there is to say of it."""
    known = rows.t_ms[np.isfinite(rows.t_ms)]
    first, film_ms = float(known.min()), 1000 * film_s
    if rows.clock.absolute or rows.clock.of_day:
        if start_ms is not None:
            start = start_ms % DAY_MS if rows.clock.of_day else start_ms
            late_ms = first - start
            if 1000 <= abs(late_ms) < film_ms and known.max() > start:
                when = "after" if late_ms > 0 else "before"
                return start, f"by its stamps it begins {abs(late_ms) / 1000:.1f} s {when} the film"
            if abs(late_ms) < 1000:  # a name is cut to whole seconds
                return first, None
        if rows.clock.absolute or first >= film_ms:
            return first, "its first row is taken for the first frame"
        return 0.0, None
    if first >= film_ms or known.max() < 0:
        return (
            first,
            f"its Time begins at {first / 1000:.1f} s, after the film ends: its first row is taken for the first frame",
        )
    return 0.0, None


def values_at(
    path: Path, at: np.ndarray, film_s: float, start_ms: int | None
) -> tuple[pd.DataFrame, list[str], float | None]:
    """Values at the moments `at` (ms from the first frame), what there is to say, and the rate that was resampled.

    Raises `BadInput` naming the file if it has no Time, or none of the columns, or no row while the film runs.
    """
    rows = recording.read_rows(path, film_s=film_s)
    found = ", ".join(rows.names)
    if "Time" not in rows.table:
        raise BadInput(f"{path}: missing column Time, in seconds from the first frame or as stamps; found {found}")
    if rows.values.empty or not len(rows.values.columns):
        raise BadInput(f"{path}: none of the columns {', '.join(recording.COLUMNS[1:])} is in it; found {found}")
    good = np.isfinite(rows.t_ms)
    if not good.any():
        example = next((f", such as '{cell}'" for cell in rows.table["Time"] if cell), "")
        raise BadInput(f"{path}: no row has a usable Time{example}; write seconds from the first frame")
    offset, said = _offset_ms(rows, film_s, start_ms)
    order = np.flatnonzero(good)[np.argsort(rows.t_ms[good], kind="stable")]
    t_ms = rows.t_ms[order] - offset
    step = clock.step_ms(t_ms)
    if len(t_ms) >= resample.FEWEST_ROWS and step > resample.SLOWEST_MS:
        raise BadInput(f"{path}: a row comes every {step:g} ms, wanted is 500 (2 Hz) or less; or remove it")
    values = resample.at_moments(t_ms, rows.values.iloc[order], at)
    hz = resample.rate_hz(t_ms)
    notes = [*rows.notes, *([said] if said else []), *([resample.note(hz, "its rows")] if hz else [])]
    bad = int((~good).sum())
    notes += [f"{bad} of {len(good)} rows have no usable Time and are left out"] if bad else []
    blank = int((~resample.covered(t_ms, at)).sum())
    if blank == len(at):
        raise BadInput(f"{path}: no row lies within the {film_s:.1f} s of the film")
    notes += [f"{blank} of the film's {len(at)} moments have no row"] if blank > 1 else []
    outside = int(((t_ms < -resample.NEAR_MS) | (t_ms > 1000 * film_s + resample.NEAR_MS)).sum())
    notes += [f"{outside} of {len(t_ms)} rows lie before or after the film"] if outside else []
    return values, notes, hz
