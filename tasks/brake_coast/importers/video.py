"""A dashcam video, sampled at 2 Hz; `<same name>.csv` beside it may hold the telemetry.

That CSV has a Time, in seconds from the first frame or as native stamps (the first row is then taken for the first
frame), and any of the columns of the native layout; what it has not is unknown. Without it the drive has frames
only: it can be annotated, not learnt from. A video named YYYY-MM-DD_HH-MM-SS begins at that local time, any other at
2000-01-01.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pandas as pd

from tasks.brake_coast.formats import recording
from tasks.brake_coast.importers import drivetrain
from tasks.yard.layouts.images import JPEG_QUALITY, write_image
from tasks.yard.layouts.video import SUFFIXES, film, frames, pixels
from tasks.yard.step import BadInput

CLOCK, DERIVED = "relative", ()
FRAME_MS = 500
ROUNDING_S = 0.001  # stamps of the container are rounded
NEAR_MS = 250  # a row or a frame stands for a moment if it is at most this far from it
STAMP = re.compile(r"\d{4}-\d{2}-\d{2}[_ ]\d{2}-\d{2}-\d{2}")


def drives(folder: Path, names: list[str]) -> list[Path]:
    return [folder / name for name in names if name.lower().endswith(SUFFIXES)]


def files(path: Path) -> list[Path]:
    return [path, *([path.with_suffix(".csv")] if path.with_suffix(".csv").exists() else [])]


def start_ms(path: Path) -> int:
    found = STAMP.search(path.stem)
    parsed = recording.parse_times(pd.Series([f"{found[0].replace('_', ' ')}-0"]))[0] if found else pd.NA
    return recording.NO_DATE_MS if parsed is pd.NA else int(parsed)


def _telemetry(path: Path, t_ms: np.ndarray) -> pd.DataFrame:
    """Rows of the CSV beside the video that are nearest to `t_ms` from its first frame, blank where none is near."""
    raw = recording.read_table(path)
    if "Time" not in raw:
        raise BadInput(f"{path}: missing column Time, in seconds from the first frame or as native stamps")
    given = 1000 * pd.to_numeric(raw["Time"], errors="coerce")
    if given.isna().all():
        stamps = recording.parse_times(raw["Time"]).astype("Float64").to_numpy(np.float64, na_value=np.nan)
        given = pd.Series(stamps - stamps[np.isfinite(stamps)][0] if np.isfinite(stamps).any() else stamps)
    if given.isna().all():
        raise BadInput(f"{path}: no row has a usable Time")
    raw = raw.assign(given=given).dropna(subset="given").sort_values("given", kind="stable")
    wanted = pd.DataFrame({"given": t_ms.astype(np.float64)})
    return pd.merge_asof(wanted, raw, on="given", direction="nearest", tolerance=NEAR_MS).fillna("")


def table(path: Path) -> pd.DataFrame:
    t_ms = np.arange(0, 1000 * film(path).seconds[-1] + 1, FRAME_MS).astype(np.int64)  # up to its last frame
    rows = pd.DataFrame({"Time": [recording.format_time(start_ms(path) + t) for t in t_ms]})
    beside = path.with_suffix(".csv")
    told = _telemetry(beside, t_ms) if beside.exists() else pd.DataFrame(index=rows.index)
    for column in recording.COLUMNS[1:]:
        rows[column] = told.get(column, "")
    if "GEAR" not in told:
        inputs = (pd.to_numeric(rows[c], errors="coerce") for c in ("SPEED", "RPM", "ACCELERATOR_POS_D", "ENGINE_LOAD"))
        gear = pd.Series(drivetrain.gear(*inputs)).astype("Int64")
        rows["GEAR"] = gear.astype(str).mask(gear.isna(), "")
    return rows


def chosen(path: Path, offsets_s: np.ndarray) -> Iterator[tuple[int, av.VideoFrame]]:
    """(place, frame) for each of the ascending `offsets_s` from the first frame that has one within 250 ms.

    That is the first at or after it, else the last before it.
    """
    wanted, before = 0, (-np.inf, None)
    for second, frame in frames(path, offsets_s[0]):
        while wanted < len(offsets_s) and second >= offsets_s[wanted] - ROUNDING_S:
            if second - offsets_s[wanted] <= NEAR_MS / 1000:
                yield wanted, frame
            elif offsets_s[wanted] - before[0] <= NEAR_MS / 1000:
                yield wanted, before[1]
            wanted += 1
        if wanted == len(offsets_s):
            return
        before = second, frame


def write_frames(path: Path, times: list[str], folder: Path) -> list[str]:
    """`<Time>.jpg` of the frame for each of the ascending `times`.

    A video that breaks off gives the frames up to there. Frames that are here already are kept. Returns what is odd
    about the film.
    """
    about = film(path)
    remarks = [f"the film {remark}" for remark in about.remarks()]
    stamps = recording.parse_times(pd.Series(times)).to_numpy(np.int64)
    for place, frame in chosen(path, (stamps - start_ms(path)) / 1000):
        target = folder / f"{times[place]}.jpg"
        if not target.exists():
            write_image(target, pixels(frame, about.pixel_shape), JPEG_QUALITY)
    return remarks
