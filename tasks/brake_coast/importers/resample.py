"""From the rate at which a logger wrote to the two rows a second of every step after; no moment has later values.

Of rows that come faster a moment has the mean of the half second that ends with it, of brake and gear the last reply in
it. Of slower ones it has the last reply, which stands until the next. Images go to the moment that is nearest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.brake_coast.formats import clock, recording

FRAME_MS = 500
NEAR_MS = 250  # an image, or a row of two a second, stands for a moment if it is at most this far from it
ROUNDING_MS = 0.5  # moments are whole milliseconds, stamps need not be
STEP_MS = (400, 601)  # the usual step of rows that are taken as they are: stamps are cut to 100 ms
SLOWEST_MS = 1100  # a reply of one row a second stands for two moments; rarer ones cannot teach
LATE = 1.5  # usual steps; a slow row stands no longer, for one was lost
FEWEST_ROWS = 20  # one window; of fewer rows no rate is told
FAST = "numbers are means of the half second before each moment, brake and gear are the last reply in it"
SLOW = f"a reply stands until the next, at most {LATE:g} times their usual step"


@dataclass(frozen=True)
class Reading:
    """What an importer read: `table` in the columns of `recording.COLUMNS` as text, {Time: image file}, and what there
    is to say of it; `source_hz` is the rate of rows that were resampled."""

    table: pd.DataFrame
    images: dict[str, Path]
    notes: list[str] = field(default_factory=list)
    source_hz: float | None = None


def rate_hz(t_ms: np.ndarray) -> float | None:
    """The rate of rows that have to be resampled; None if they come twice a second, or too seldom for any use."""
    step = clock.step_ms(t_ms)
    few = np.isfinite(t_ms).sum() < FEWEST_ROWS
    if few or STEP_MS[0] <= step <= STEP_MS[1] or step > SLOWEST_MS:
        return None
    steps = np.diff(np.sort(t_ms[np.isfinite(t_ms)]))
    return 1000 / float(steps[steps <= 3 * step].mean())  # rounded stamps make the usual step a coarse one


def note(hz: float, what: str = "rows") -> str:
    return f"{what} came at {hz:.3g} Hz: resampled to 2 Hz ({FAST if hz > 2 else SLOW})"


def _reach_ms(t_ms: np.ndarray) -> float | None:
    """For how long a row of these stamps stands for what follows; None for two a second, which go to the nearest."""
    step = clock.step_ms(t_ms)
    if step < STEP_MS[0]:
        return FRAME_MS
    return None if step <= STEP_MS[1] else LATE * step


def moments(t_ms: np.ndarray) -> np.ndarray:
    """Every half second from the first of these ascending stamps on, but for pauses."""
    grid = np.round(t_ms[0]) + FRAME_MS * np.arange(int((t_ms[-1] - t_ms[0]) // FRAME_MS) + 1)
    return grid[covered(t_ms, grid)].astype(np.int64)


def covered(t_ms: np.ndarray, at: np.ndarray) -> np.ndarray:
    """For each moment, does a row of these ascending stamps stand for it?"""
    return np.isfinite(_standing(t_ms, np.zeros(len(t_ms)), at, _reach_ms(t_ms)))


def _standing(t_ms: np.ndarray, values: np.ndarray, at: np.ndarray, reach_ms: float | None) -> np.ndarray:
    """The last known value within `reach_ms` before each moment; without that the nearest within 250 ms; else NaN."""
    known = np.isfinite(values)
    t, v = t_ms[known], values[known]
    if not len(t):
        return np.full(len(at), np.nan)
    if reach_ms is not None:
        now = at + ROUNDING_MS
        last = np.searchsorted(t, now, side="right") - 1
        return np.where((last >= 0) & (now - t[last] < reach_ms), v[last], np.nan)
    after = np.searchsorted(t, at).clip(max=len(t) - 1)
    before = (after - 1).clip(min=0)
    index = np.where(np.abs(at - t[before]) <= np.abs(t[after] - at), before, after)
    return np.where(np.abs(t[index] - at) <= NEAR_MS, v[index], np.nan)


def _mean(t_ms: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The mean of what is known in the half second that ends with each moment; NaN where nothing is."""
    known = np.isfinite(values)
    t, now = t_ms[known], at + ROUNDING_MS
    sums = np.concatenate([[0.0], np.cumsum(values[known], dtype=np.float64)])
    first, last = (np.searchsorted(t, end, side="right") for end in (now - FRAME_MS, now))
    with np.errstate(invalid="ignore"):
        return (sums[last] - sums[first]) / (last - first)


def at_moments(t_ms: np.ndarray, values: pd.DataFrame, at: np.ndarray) -> pd.DataFrame:
    """`values` of ascending stamps (columns as in `Telemetry.rows`) at the moments; NaN where nothing is known."""
    reach_ms, moment = _reach_ms(t_ms), at.astype(np.float64)
    columns = {}
    for name in values:
        given = values[name].to_numpy(np.float64)
        mean = reach_ms == FRAME_MS and name not in ("brake", "gear")
        columns[name] = _mean(t_ms, given, moment) if mean else _standing(t_ms, given, moment, reach_ms)
    return pd.DataFrame(columns, index=range(len(at)))


def text(at: np.ndarray, values: pd.DataFrame) -> pd.DataFrame:
    """The table of COLUMNS as text; what is unknown is blank."""
    table = pd.DataFrame({"Time": clock.format_times(at)})
    for column, name in recording.NUMBERS.items():
        given = values[name] if name in values else pd.Series(np.nan, index=range(len(at)))
        rounded = given.round(2)
        told = rounded.astype("Int64") if name == "gear" else rounded
        table[column] = told.astype(str).mask(given.isna(), "")
    brake = values["brake"].to_numpy() if "brake" in values else np.full(len(at), np.nan)
    table["BRAKE_SIGNAL"] = np.where(np.isnan(brake), "", np.where(brake == 1, "True", "False"))
    return table[recording.COLUMNS]


def nearest_images(at: Sequence[int] | np.ndarray, times: list[str], images: Mapping[Path, float]) -> dict[str, Path]:
    """Of each moment, called `times`, the image with the nearest stamp; of an image at most one moment."""
    files = sorted(images, key=lambda path: (images[path], path.name))
    stamps = np.array([images[path] for path in files], dtype=np.float64)
    if not len(stamps):
        return {}
    moment = np.asarray(at, dtype=np.float64)
    after = np.searchsorted(stamps, moment).clip(max=len(stamps) - 1)
    before = (after - 1).clip(min=0)
    index = np.where(np.abs(moment - stamps[before]) <= np.abs(stamps[after] - moment), before, after)
    far = np.abs(stamps[index] - moment)
    chosen: dict[int, int] = {}
    for row in np.flatnonzero(far <= NEAR_MS):
        best = chosen.get(int(index[row]))
        if best is None or far[row] < far[best]:
            chosen[int(index[row])] = int(row)
    return {times[row]: files[number] for number, row in sorted(chosen.items(), key=lambda item: item[1])}
