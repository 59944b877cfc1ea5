"""When was a row written? Stamps of every usual form as milliseconds, and what a clock did that time does not do.

A clock that was set back gives some stamps twice: rows go on in the order of the file, later by as much, and are never
mixed with those that were there first. Stamps of whole seconds over many rows are spread evenly.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import pandas as pd

from tasks.brake_coast.formats import cells

TIME_FORMAT = "%Y-%m-%d %H-%M-%S-%f"  # strptime pads the fraction on the right, which is what "-9" = 900 ms needs
NATIVE = re.compile(r"(?:19|20)[0-9]{2}-[0-9]{2}-[0-9]{2} [0-9]{2}-[0-9]{2}-[0-9]{2}-[0-9]{1,6}")
FEW_STAMPS = 100_000  # more are not held as texts once more
NO_DATE_MS = 946_684_800_000  # 2000-01-01 00-00-00: where the clock of a drive without a date begins
HOUR_MS = 3_600_000.0
PAUSE_MS = 60_000.0  # between two passes of a clock that was set back by who knows how much: longer than any window
DAY_MS = 86_400_000.0
UNSET_MS = 300 * DAY_MS  # no drive pauses so long: the clock had no date yet
JUMP_MS = 60_000.0  # a step forward after which a few stamps may be wrong ones
STRAY_ROWS = 20  # fewer rows than a window whose stamps leap away, and the next go on as if they were not there
MOST_RUNS_SHARE = 0.05  # of the rows that may begin anew before their stamps are in no order at all
YEAR_FIRST = re.compile(
    r"(\d{4})[-/.](\d\d?)[-/.](\d\d?)[T _]+(\d\d?)[:.h-](\d\d)[:.m-](\d\d)(?:[.,:-](\d+))?"
    r"\s*(?:UTC|(Z|[+-]\d\d:?\d\d))?"
)
DAY_FIRST = re.compile(
    r"(\d\d?)([./-])(\d\d?)[./-](\d{4})[T ,_]+(\d\d?):(\d\d)(?::(\d\d))?(?:[.,:](\d+))?\s*([AaPp]\.?[Mm]\.?)?"
)
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
WRITTEN_MONTH = re.compile(rf"(\d\d?)[- ]({'|'.join(MONTHS)})[a-z]*\.?[- ](\d{{4}})(?=\D)", re.IGNORECASE)  # Torque's
JOINED = re.compile(  # 20260501T080000.500, 20260501080000500
    r"(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])[T_ -]?([01]\d|2[0-3])([0-5]\d)([0-5]\d)(?:[.,]?(\d{3}))?(?=\D|$)"
)
OF_DAY = re.compile(r"(?:(\d+):)?(\d\d?):(\d\d)(?:[.,:](\d+))?")
OTHER = {"dated": "Time has other stamps than native ones", "of_day": "Time is read as hours, minutes and seconds"}
UNITS_MS = {
    "seconds": 1e3,
    "milliseconds": 1.0,
    "microseconds": 1e-3,
    "nanoseconds": 1e-6,
    "minutes": 6e4,
    "days": 8.64e7,
}
STEP_MS = (4.0, 5000.0)  # what a row's step may be: 250 a second to one in 5 s
EXCEL_DAYS = (32_874.0, 73_051.0)  # 1990 to 2100
DAYS_BEFORE_1970 = 25_569.0  # from the day 0 of spreadsheets
EPOCH_MS = (631_152_000_000, 4_102_444_800_000)  # 1990 to 2100


@dataclass(frozen=True)
class Clock:
    """`t_ms` of every row, NaN where it has none; `passes` are (first stamp, last stamp, ms added) of each run."""

    t_ms: np.ndarray
    absolute: bool  # stamps with a date; else they count from some zero
    of_day: bool
    unit_ms: float | None  # of plain numbers
    passes: list[tuple[float, float, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def parse_times(times: pd.Series) -> pd.Series:
    """Native stamps as integer milliseconds (of the local clock, no zone), <NA> where the text is no time."""
    texts = times.tolist() if len(times) < FEW_STAMPS else [None]
    if all(isinstance(text, str) and NATIVE.fullmatch(text) for text in texts):
        iso = [f"{t[:10]}T{t[11:13]}:{t[14:16]}:{t[17:19]}.{t[20:]}" for t in texts]
        with suppress(ValueError):  # the 31st of February
            t_ms = np.array(iso, "datetime64[us]").astype("datetime64[ms]").astype("int64")
            return pd.Series(pd.arrays.IntegerArray(t_ms, np.zeros(len(t_ms), bool)), index=times.index)
    stamps = pd.to_datetime(times, format=TIME_FORMAT, errors="coerce")
    t_ms = stamps.to_numpy("datetime64[ms]").astype("int64")
    return pd.Series(pd.arrays.IntegerArray(t_ms, stamps.isna().to_numpy()), index=times.index)


def format_time(t_ms: int, digits: int = 1) -> str:
    """The inverse of `parse_times`, cut (not rounded) to `digits` of a second as the recorder does."""
    stamp = pd.Timestamp(t_ms, unit="ms")
    return stamp.strftime("%Y-%m-%d %H-%M-%S-") + f"{stamp.microsecond:06d}"[:digits]


def format_times(t_ms: np.ndarray) -> list[str]:
    """Of one drive: tenths of a second if that says all, else milliseconds."""
    whole = np.round(t_ms).astype(np.int64)
    end = 21 if not (whole % 100).any() else 23
    iso = np.datetime_as_string(whole.astype("datetime64[ms]"), unit="ms").tolist()  # 2025-04-03T22:54:19.900
    return [f"{t[:10]} {t[11:13]}-{t[14:16]}-{t[17:19]}-{t[20:end]}" for t in iso]


def _milli(fraction: str | None) -> float:
    return 1000 * float(f"0.{fraction}") if fraction else 0.0


def _date_ms(year: int, month: int, day: int, hour: int, minute: int, second: int, fraction: str | None) -> float:
    try:
        return pd.Timestamp(year, month, day, hour, minute, second).value / 1e6 + _milli(fraction)
    except ValueError:
        return np.nan


def _year_first(texts: list[str]) -> np.ndarray:
    """With zones: real time, shown on the clock of the first one's zone."""
    matches = [YEAR_FIRST.fullmatch(text) for text in texts]
    t_ms = np.array([np.nan if m is None else _date_ms(*(int(m[k]) for k in range(1, 7)), m[7]) for m in matches])
    zones = [m[8] if m else None for m in matches]
    if len(set(filter(None, zones))) > 1:
        minutes = {zone: _zone_min(zone) for zone in set(zones)}
        first = minutes[next(filter(None, zones))]
        t_ms = t_ms + np.array([60_000.0 * (first - minutes[zone]) if zone else 0.0 for zone in zones])
    return t_ms


def _plain(cell: str) -> str:
    """A stamp with the month as a word, or without marks, as 2026-05-01 08:00:00; any other as it is."""
    cell = WRITTEN_MONTH.sub(lambda m: f"{m[3]}-{1 + MONTHS.index(m[2].lower())}-{m[1]}", cell)
    if joined := JOINED.match(cell):
        day, time, rest = "-".join(joined.groups()[:3]), ":".join(joined.groups()[3:6]), cell[joined.end() :]
        return f"{day} {time}{f'.{joined[7]}' if joined[7] else ''}{rest}"
    return cell


def _joined_digits(values: np.ndarray) -> bool:
    """Are these numbers hours, minutes and seconds without marks, 80059.5? Then none has a minute or a second above 59,
    and each whole minute is a leap of 40."""
    known = values[np.isfinite(values)]
    if not len(known) or known.min() < 0 or known.max() >= 240_000 or (known % 100 >= 60).any():
        return False
    leaps = np.diff(known)[np.diff(known // 100) != 0]
    return len(leaps) > 0 and not (known // 100 % 100 >= 60).any() and bool((leaps > 40).mean() > 0.9)


def _zone_min(zone: str | None) -> int:
    if not zone or zone == "Z":
        return 0
    return int(f"{zone[0]}1") * (60 * int(zone[1:3]) + int(zone[-2:]))


def _day_first(texts: list[str]) -> np.ndarray:
    """31.12.2026 08:00:00, or with slashes the month first if a number above 12 says so."""
    matches = [DAY_FIRST.fullmatch(text) for text in texts]
    found = [m for m in matches if m]
    dots, over = any(m[2] == "." for m in found), any(int(m[3]) > 12 for m in found)
    clear = dots or over or any(int(m[1]) > 12 for m in found)
    if not clear and len({(m[1], m[3]) for m in found if m[1] != m[3]}) > 0:
        raise ValueError(f"says '{found[0][0]}': is the day or the month first? Write 2026-12-31 08:00:00")
    t_ms = []
    for m in matches:
        if m is None:
            t_ms.append(np.nan)
            continue
        day, month = (m[3], m[1]) if over else (m[1], m[3])
        hour = int(m[5])
        if m[9]:
            hour = hour % 12 + 12 * (m[9][0] in "pP")
        t_ms.append(_date_ms(int(m[4]), int(month), int(day), hour, int(m[6]), int(m[7] or 0), m[8]))
    return np.array(t_ms)


def _of_day(texts: list[str]) -> np.ndarray:
    matches = [OF_DAY.fullmatch(text) for text in texts]
    return np.array(
        [
            np.nan if m is None else 3.6e6 * int(m[1] or 0) + 6e4 * int(m[2]) + 1e3 * int(m[3]) + _milli(m[4])
            for m in matches
        ]
    )


def _unit(values: np.ndarray, film_s: float | None) -> str:
    """Of plain numbers: the unit in which rows come at a likely rate, and as long as the film beside them."""
    known = values[np.isfinite(values)]
    steps = np.diff(known)
    steps = steps[steps > 0]
    largest = np.abs(known).max()
    for name, factor in UNITS_MS.items():
        if name != "days" and EPOCH_MS[0] <= factor * largest <= EPOCH_MS[1] and largest > 6e8:
            return name
    if not len(steps):
        return "seconds"
    likely = [name for name, factor in UNITS_MS.items() if STEP_MS[0] <= factor * np.median(steps) <= STEP_MS[1]]
    if film_s and len(likely) > 1:
        span = float(known.max() - known.min())
        return min(likely, key=lambda name: abs(np.log(max(UNITS_MS[name] * span, 1) / (1000 * film_s))))
    return (likely or ["seconds"])[0]


def read(stamps: pd.Series, unit: str = "", film_s: float | None = None) -> Clock:
    """The clock of a column of stamps in file order; `unit` is that of its header, `film_s` how long its film is.

    Raises `ValueError` with what is odd about the column if its form cannot be told.
    """
    text = stamps.fillna("").astype(str).str.strip()
    native = parse_times(text).astype("Float64").to_numpy(np.float64, na_value=np.nan)
    known = np.isfinite(native)
    if known.all():
        return mended(native, absolute=True)
    missing = text.str.lower().isin(cells.MISSING).to_numpy()
    if known.any() and (missing | known).all():
        return mended(native, absolute=True)
    texts = [_plain(cell) for cell in text.tolist()]
    dated = native
    for form in (_year_first, _day_first):
        dated = np.where(np.isfinite(dated), dated, form(texts))
    column = cells.numbers(text, "Time")
    stated = text.str.contains(r"\d\s*[^\W\d_]+$", regex=True).to_numpy() & np.isfinite(column.values)
    if not unit and _joined_digits(column.values):
        clocks = column.values
        of_day = 1000 * (3600 * (clocks // 10_000) + 60 * (clocks // 100 % 100) + clocks % 100)
        column = replace(column, values=np.full(len(text), np.nan))
    else:
        of_day = _of_day(texts)
    forms = {"dated": dated, "of_day": of_day, "number": column.values}
    best = max(forms, key=lambda name: np.isfinite(forms[name]).sum())
    t_ms = forms[best]
    if not np.isfinite(t_ms).any():
        return Clock(t_ms, False, False, None)
    notes = [] if known.any() or best == "number" else [OTHER[best]]
    if len(odd := text[~np.isfinite(t_ms) & ~missing]):
        notes.append(f"{len(odd)} rows have no usable Time, such as '{odd.iloc[0][:40]}'")
    unit_ms = None
    if best == "number":
        stated_ms = 1000 * cells.UNITS["Time"].get(unit.lower(), 0.0) or (1000.0 if stated.any() else 0.0)
        name = _unit(t_ms, film_s)
        unit_ms = stated_ms or UNITS_MS[name]
        t_ms = t_ms * unit_ms
        if name == "days" and not stated_ms and EXCEL_DAYS[0] <= np.nanmin(t_ms) / DAY_MS <= EXCEL_DAYS[1]:
            t_ms = t_ms - DAYS_BEFORE_1970 * DAY_MS
            said = "Time counts days from 1900, as spreadsheets do"
            return mended(np.round(t_ms), absolute=True, unit_ms=unit_ms, notes=[*notes, *column.notes, said])
        if stated_ms and name != "seconds" and not STEP_MS[0] <= step_ms(t_ms * stated_ms) <= STEP_MS[1]:
            every_s = step_ms(t_ms * stated_ms) / 1000
            raise ValueError(f"is said to be in '{unit or 's'}': a row would come every {every_s:g} s; is it {name}?")
        notes += column.notes + [f"Time is read as {name}"] * (not stated_ms and name != "seconds")
        if EPOCH_MS[0] <= np.nanmax(t_ms) <= EPOCH_MS[1]:
            notes.append("Time counts from 1970 and is shown as UTC")
            return mended(t_ms, absolute=True, unit_ms=unit_ms, notes=notes)
    return mended(t_ms, absolute=best == "dated", of_day=best == "of_day", unit_ms=unit_ms, notes=notes)


def step_ms(t_ms: np.ndarray) -> float:
    """The usual step between stamps, in ms; 500 where there is none."""
    steps = np.diff(np.sort(t_ms[np.isfinite(t_ms)]))
    steps = steps[steps > 0]
    return float(np.median(steps)) if len(steps) else 500.0


def spread(t_ms: np.ndarray) -> np.ndarray:
    """Finite stamps, some the same on several rows: those rows evenly between it and the next stamp."""
    begins = np.flatnonzero(np.diff(t_ms, prepend=t_ms[0] - 1) != 0)
    size = np.diff(np.append(begins, len(t_ms)))
    usual, rows = step_ms(t_ms[begins]), float(np.median(size))
    width = np.append(np.diff(t_ms[begins]), usual)
    width = np.where((width > 0) & (width < 1.5 * usual), width, usual)
    number = np.arange(len(t_ms)) - np.repeat(begins, size)
    share = np.maximum(size, rows)  # of a second that was cut short the rows are as far apart as of others
    late = np.where(np.arange(len(size)) == 0, np.maximum(rows - size, 0), 0)  # the first began within its second
    return t_ms + np.repeat(width, size) * (number + np.repeat(late, size)) / np.repeat(share, size)


def mended(t_ms: np.ndarray, **form) -> Clock:
    """Stray stamps become NaN, and passes of a clock that was set back are moved apart."""
    notes = list(form.pop("notes", []))
    form = {"absolute": False, "of_day": False, "unit_ms": None} | form
    rows = np.flatnonzero(np.isfinite(t_ms))
    t, out = t_ms[rows].astype(np.float64), np.full(len(t_ms), np.nan)
    if not len(t):
        return Clock(out, notes=notes, **form)
    if len(t) > 2 and (np.diff(t) < 0).mean() > 0.5:
        notes.append("Time runs backwards: the rows are read from the last to the first")
        rows, t = rows[::-1], t[::-1]
    step = step_ms(t)
    back = max(1.5 * step, 200.0)
    edges = np.concatenate([[0], 1 + np.flatnonzero((np.diff(t) < -back) | (np.diff(t) > JUMP_MS)), [len(t)]])
    keep: list[tuple[int, int]] = []
    end = -np.inf
    for first, last in pairwise(edges.tolist()):
        following = t[last] if last < len(t) else np.inf
        if keep and last - first < STRAY_ROWS and t[first] < end and following > end and _again(t, first, last, step):
            out[rows[first:last]] = t[first:last]  # rows written a second time: their stamps are those of others
            continue
        if keep and last - first < STRAY_ROWS and 0 < following - end <= JUMP_MS:
            stray = f"such as {_shown(t[first], form)}"
            notes.append(f"{last - first} rows with stamps that leap away and back, {stray}, are left out")
            continue
        keep.append((first, last))
        end = t[last - 1]
    lift = np.zeros(len(t))  # of rows from before a clock without a date was set
    for (_, before), (after, _) in reversed(list(pairwise(keep))):
        if t[after] - t[before - 1] > UNSET_MS:
            dated = [last for _, last in keep if last < before and t[after] - t[last - 1] <= UNSET_MS]
            unset = slice(max(dated, default=0), before)  # what was written before the clock lost its date is right
            lift[unset] += t[after] + lift[after] - PAUSE_MS - (t[before - 1] + lift[before - 1])
            leap = f"{(t[after] - t[before - 1]) / DAY_MS:.0f} days at {_shown(t[after], form)}"
            notes.append(f"the clock leaps by {leap}: the rows before are put {PAUSE_MS / 1000:.0f} s ahead of it")
    told, t = t, t + lift
    runs: list[list[int]] = []  # of rows between two steps back
    for first, last in keep:
        if runs and t[first] >= t[runs[-1][-1]] - back:
            runs[-1] += range(first, last)
        else:
            runs.append(list(range(first, last)))
    if len(runs) > max(20, MOST_RUNS_SHARE * len(t)):
        raise ValueError(f"is in no order: it goes back {len(runs) - 1} times in {len(t)} rows; sort the rows")
    placed: list[tuple[float, float]] = []
    passes, shift, disordered = [], 0.0, 0
    counts = not (form["absolute"] or form["of_day"])  # a counter that falls began anew; its rows are no earlier ones
    for run in runs:
        stamps = t[run]
        low, high = float(stamps.min()), float(stamps.max())
        if placed:
            latest = max(high_ for _, high_ in placed)
            away = latest + step - (stamps[0] + shift)
            hours = round(away / HOUR_MS)
            if stamps[0] + shift >= latest - back:
                pass
            elif hours >= 1 and abs(away - HOUR_MS * hours) <= max(1500.0, 2 * step):
                shift += HOUR_MS * hours
                notes.append(
                    f"the clock goes back by {hours} h at {_shown(low, form)}: from there it is read {hours} h later"
                )
            elif counts or any(low + shift <= b and high + shift >= a for a, b in placed):
                shift += latest - (low + shift) + PAUSE_MS
                put = f"the rows from there on are put {PAUSE_MS / 1000:.0f} s behind, for how long it was is not known"
                notes.append(f"the clock goes back by {away / 1000:.1f} s at {_shown(low, form)}: {put}")
            else:
                disordered += 1
        placed.append((low + shift, high + shift))
        for moved in np.unique(lift[run]):
            stamps_ = told[run][lift[run] == moved]
            passes.append((float(stamps_.min()), float(stamps_.max()), shift + float(moved)))
        out[rows[run]] = stamps + shift
    if disordered:
        notes.append(f"{disordered} blocks of rows stand behind later ones: put in order by their stamps")
    return Clock(out, passes=passes, notes=notes, **form)


def _again(t_ms: np.ndarray, first: int, last: int, step: float) -> bool:
    """Are the stamps of these few rows those of rows before, and not because the clock went back by an hour?"""
    away = t_ms[first - 1] + step - t_ms[first]
    hour = away > HOUR_MS / 2 and abs(away - HOUR_MS * round(away / HOUR_MS)) <= max(1500.0, 2 * step)
    return not hour and bool(np.isin(t_ms[first:last], t_ms[:first]).all())


def _shown(t_ms: float, form: dict) -> str:
    return format_time(round(t_ms)) if form["absolute"] else f"{t_ms / 1000:.1f} s"


def place(t_ms: float, clock: Clock) -> float | None:
    """A stamp from beside the rows, such as that of an image, on their mended clock; None if two passes have it."""
    shifts = {shift for low, high, shift in clock.passes if low - 250 <= t_ms <= high + 250}
    if len(shifts) > 1:
        return None
    return t_ms + (shifts.pop() if shifts else 0.0)
