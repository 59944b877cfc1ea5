"""From the rate at which a logger wrote to the two rows a second of every step after: numbers by their mean around the
moment, the gear and a reply that comes less often by the nearest, the brake by any press within the half second, images
by the nearest stamp.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.brake_coast.formats import clock, recording

FRAME_MS = 500
NEAR_MS = 250  # a row or an image stands for a moment if it is at most this far from it
STEP_MS = (400, 601)  # the usual step of rows that are taken as they are: stamps are cut to 100 ms
SLOWEST_MS = 1100  # one row a second has replies for every other moment; rarer ones cannot teach
FEWEST_ROWS = 20  # one window; of fewer rows no rate is told
HOW = "numbers are means, the brake is any press within the half second"


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
    how = HOW if hz > 2 else "between two of them nothing is known"
    return f"{what} came at {hz:.3g} Hz: resampled to 2 Hz ({how})"


def moments(t_ms: np.ndarray) -> np.ndarray:
    """Every half second from the first of these ascending stamps on, but for pauses."""
    grid = np.round(t_ms[0]) + FRAME_MS * np.arange(int((t_ms[-1] - t_ms[0]) // FRAME_MS) + 1)
    after = np.searchsorted(t_ms, grid).clip(1, len(t_ms) - 1)
    near = np.minimum(np.abs(grid - t_ms[after - 1]), np.abs(t_ms[after] - grid)) <= NEAR_MS
    between = (t_ms[after] - t_ms[after - 1] <= 1.7 * clock.step_ms(t_ms)) & (grid <= t_ms[after])
    return grid[near | between].astype(np.int64)


def _sums(values: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])


def _nearest(t_ms: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The known value nearest to each moment, NaN if it is over 250 ms away."""
    known = np.isfinite(values)
    t, v = t_ms[known], values[known]
    if not len(t):
        return np.full(len(at), np.nan)
    after = np.searchsorted(t, at).clip(max=len(t) - 1)
    before = (after - 1).clip(min=0)
    index = np.where(np.abs(at - t[before]) <= np.abs(t[after] - at), before, after)
    return np.where(np.abs(t[index] - at) <= NEAR_MS, v[index], np.nan)


def _mean(t_ms: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The mean of what is known within 250 ms, as far on one side as on the other, so that it stands for the moment."""
    known = np.isfinite(values)
    t, v = t_ms[known], values[known]
    if not len(t):
        return np.full(len(at), np.nan)
    first, last = np.searchsorted(t, at - NEAR_MS), np.searchsorted(t, at + NEAR_MS, side="right")
    some = last > first
    reach = np.minimum(at - t[first.clip(max=len(t) - 1)], t[(last - 1).clip(0)] - at) + clock.step_ms(t) / 2
    reach = reach.clip(max=NEAR_MS)
    first, last = np.searchsorted(t, at - reach), np.searchsorted(t, at + reach, side="right")
    sums, count = _sums(v), (last - first)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (sums[last] - sums[first]) / count
    return np.where(some & (reach >= 0) & (count > 0), mean, _nearest(t, v, at))


def _any(t_ms: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """1 if a press is known in the half second around the moment, 0 if only releases are."""
    first, last = np.searchsorted(t_ms, at - NEAR_MS), np.searchsorted(t_ms, at + NEAR_MS)
    pressed, known = _sums(values == 1), _sums(np.isfinite(values))
    found = np.where(known[last] - known[first] > 0, (pressed[last] - pressed[first] > 0).astype(float), np.nan)
    return np.where(last > first, found, np.nan)


def at_moments(t_ms: np.ndarray, values: pd.DataFrame, at: np.ndarray) -> pd.DataFrame:
    """`values` of ascending stamps (columns as in `Telemetry.rows`) at the moments; NaN where nothing is known near."""
    fast = clock.step_ms(t_ms) < STEP_MS[0]
    columns = {}
    for name in values:
        given = values[name].to_numpy(np.float64)
        how = _any if fast and name == "brake" else _mean if fast and name != "gear" else _nearest
        columns[name] = how(t_ms, given, at.astype(np.float64))
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
