"""A dashcam video, sampled at 2 Hz; `<same name>.csv` beside it may hold the telemetry (`beside` says how it is read).

Without it the drive has frames only: it can be annotated, not learnt from. A video named YYYY-MM-DD_HH-MM-SS begins at
that local time, any other at 2000-01-01.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pandas as pd

from tasks.brake_coast.formats import recording
from tasks.brake_coast.importers import beside, drivetrain, resample
from tasks.brake_coast.importers.resample import Reading
from tasks.yard.layouts.images import JPEG_QUALITY, write_image
from tasks.yard.layouts.video import SUFFIXES, film, frames, pixels

CLOCK, DERIVED = "relative", ()
FRAME_MS = 500
ROUNDING_S = 0.001  # stamps of the container are rounded
NEAR_MS = 250  # a row or a frame stands for a moment if it is at most this far from it
STAMP = re.compile(r"\d{4}-\d{2}-\d{2}[_ ]\d{2}-\d{2}-\d{2}")


def drives(folder: Path, names: list[str]) -> list[Path]:
    return [folder / name for name in names if name.lower().endswith(SUFFIXES)]


def files(path: Path) -> list[Path]:
    return [path, *beside.files_of(path)]


def telemetry_file(path: Path) -> Path:
    return beside.file_of(path) or path


def start_ms(path: Path) -> int:
    found = STAMP.search(path.stem)
    parsed = recording.parse_times(pd.Series([f"{found[0].replace('_', ' ')}-0"]))[0] if found else pd.NA
    return recording.NO_DATE_MS if parsed is pd.NA else int(parsed)


def read(path: Path) -> Reading:
    film_s, start = film(path).seconds[-1], start_ms(path)
    t_ms = np.arange(0, 1000 * film_s + 1, FRAME_MS).astype(np.int64)  # up to its last frame
    telemetry = beside.file_of(path)
    values, notes, hz = pd.DataFrame(index=range(len(t_ms))), [], None
    if telemetry:
        values, notes, hz = beside.values_at(telemetry, t_ms, film_s, start if STAMP.search(path.stem) else None)
    else:
        notes = beside.unused(path)
    if "gear" not in values:
        unknown = np.full(len(t_ms), np.nan)
        inputs = (values.get(name, unknown) for name in ("speed_kmh", "rpm", "pedal_pct", "load_pct"))
        values["gear"] = drivetrain.gear(*inputs)
    rows = resample.text(t_ms, values)
    rows["Time"] = [recording.format_time(start + t) for t in t_ms]
    return Reading(rows, {}, notes, hz)


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
