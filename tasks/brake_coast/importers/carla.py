"""A CARLA expert drive in the layout of "Learning by cheating": rgb/NNNN.png and measurements/NNNN.json[.gz].

A measurement has the speed in m/s, the throttle 0..1 and the brake as true or false, or how far. The original's come
every 0.5 s, those of other collectors 4 or 10 times a second: `carla_rate` finds out. A simulated car has no engine:
RPM and ENGINE_LOAD are what the original's recording car would show (`drivetrain.engine`), GEAR follows by its rule.
"""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.brake_coast.formats import clock, recording
from tasks.brake_coast.importers import drivetrain, resample
from tasks.brake_coast.importers.resample import Reading
from tasks.yard.layouts import carla_rate
from tasks.yard.step import BadInput

CLOCK, DERIVED = "relative", ("RPM", "ENGINE_LOAD", "GEAR")
NEEDED = ("speed", "throttle", "brake")
MOST_BROKEN_SHARE = 0.5


def drives(folder: Path, names: list[str]) -> list[Path]:
    return [folder] if (folder / "measurements").is_dir() and (folder / "rgb").is_dir() else []


def _numbered(folder: Path, suffixes: tuple[str, ...]) -> dict[int, list[Path]]:
    found: dict[int, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        stem, dot, suffix = path.name.partition(".")
        if f"{dot}{suffix}".lower() in suffixes and stem.isdecimal():
            found.setdefault(int(stem), []).append(path)
    return dict(sorted(found.items()))


def _one_each(numbered: dict[int, list[Path]]) -> dict[int, Path]:
    for first, *others in numbered.values():
        if others:
            raise BadInput(f"{first}: {others[0].name} has the same number; leave one of the two")
    return {number: paths[0] for number, paths in numbered.items()}


def _measurements(path: Path) -> dict[int, list[Path]]:
    return _numbered(path / "measurements", (".json", ".json.gz"))


def files(path: Path) -> list[Path]:
    numbered = (_measurements(path), _numbered(path / "rgb", recording.IMAGE_SUFFIXES))
    return [file for found in numbered for same in found.values() for file in same]


def telemetry_file(path: Path) -> Path:
    return path / "measurements"


def _measured(file: Path) -> dict | None:
    """None for a measurement that cannot be read."""
    try:
        data = file.read_bytes()
        measured = json.loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
        return measured if isinstance(measured, dict) else None
    except (ValueError, OSError, EOFError, zlib.error):
        return None


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return np.nan


def _values(path: Path, measured: list[dict | None]) -> tuple[pd.DataFrame, list[str]]:
    """speed (in its unit), pedal_pct and brake of every measurement, NaN throughout where one cannot be used."""
    where = path / "measurements"
    complete = [m is not None and all(name in m for name in NEEDED) for m in measured]
    lacking = [name for name in NEEDED if not any(m and name in m for m in measured)]
    if lacking and any(m is not None for m in measured):
        raise BadInput(f"{where}: no measurement has {', '.join(lacking)}; speed, throttle and brake are needed")
    if complete.count(False) > MOST_BROKEN_SHARE * len(measured):
        raise BadInput(f"{where}: {complete.count(False)} of {len(measured)} measurements cannot be read")
    used = [m if m is not None and good else {} for m, good in zip(measured, complete, strict=True)]
    speed, throttle = (np.array([_number(m.get(name)) for m in used]) for name in ("speed", "throttle"))
    text = pd.Series(["" if m.get("brake") is None else str(m["brake"]) for m in used], dtype=str)
    brake, notes = recording.read_column(text, "BRAKE_SIGNAL", "", where)
    broken = int(np.isnan(speed + throttle).sum())
    if broken > MOST_BROKEN_SHARE * len(measured):
        raise BadInput(f"{where}: speed or throttle of {broken} of {len(measured)} measurements is no number")
    if np.nanmax(np.abs(throttle)) > 1.01:
        raise BadInput(f"{where}: throttle goes up to {np.nanmax(throttle):g}, but it is a share from 0 to 1")
    return pd.DataFrame({"speed": speed, "pedal_pct": (100 * throttle).round(2), "brake": brake}), notes


def read(path: Path, hz: float | None = None) -> Reading:
    """One row a measurement, one that cannot be read is an error row; or two a second of what came faster."""
    found, images = _one_each(_measurements(path)), _one_each(_numbered(path / "rgb", recording.IMAGE_SUFFIXES))
    if not found:
        raise BadInput(f"{path / 'measurements'}: holds no <number>.json")
    frames, measured = list(found), [_measured(file) for file in found.values()]
    values, notes = _values(path, measured)
    good = ~np.isnan(values["speed"] + values["pedal_pct"]).to_numpy()
    if not good.all():
        bad = np.flatnonzero(~good)
        notes.append(
            f"{len(bad)} of {len(good)} measurements cannot be read, the first is {found[frames[bad[0]]].name}"
        )
    stamps = np.array([np.nan if m is None else carla_rate.stamp_of(m) for m in measured])
    places = np.array([(np.nan, np.nan) if m is None else carla_rate.position_of(m) for m in measured])
    frame_s, factor, said = carla_rate.seconds_a_frame(
        np.array(frames)[good].tolist(), stamps[good], places[good], values["speed"].to_numpy()[good], hz, path
    )
    notes += said
    # the simulator reports -0.02 m/s while it stands
    values["speed_kmh"] = (3.6 * factor * values.pop("speed")).round(2).clip(lower=0) + 0.0  # no -0.0
    t_ms = _times_ms(frames, frame_s)
    image_ms = dict(zip(images.values(), _times_ms(list(images), frame_s), strict=True))
    source_hz = resample.rate_hz(t_ms)
    if source_hz is not None:
        at = resample.moments(t_ms[good])
        values = resample.at_moments(t_ms[good], values[good], at).round(2)
        times, notes = clock.format_times(at), [*notes, resample.note(source_hz, "measurements")]
        chosen = resample.nearest_images(at, times, {file: float(t) for file, t in image_ms.items()})
    else:
        times = [recording.format_time(int(t)) if g else "Incomplete Data" for t, g in zip(t_ms, good, strict=True)]
        chosen = {recording.format_time(int(t)): file for file, t in image_ms.items()}
    return Reading(_table(times, values), chosen, notes, source_hz)


def _times_ms(frames: list[int], frame_s: float) -> np.ndarray:
    return recording.NO_DATE_MS + np.round(1000 * frame_s * np.array(frames, dtype=np.float64))


def _table(times: list[str], values: pd.DataFrame) -> pd.DataFrame:
    speed_kmh, pedal_pct = values["speed_kmh"].to_numpy(), values["pedal_pct"].to_numpy()
    rpm, load_pct = (v.round(2) for v in drivetrain.engine(speed_kmh, pedal_pct))
    told = pd.DataFrame({"SPEED": speed_kmh, "RPM": rpm, "ACCELERATOR_POS_D": pedal_pct, "ENGINE_LOAD": load_pct})
    told.insert(0, "Time", times)
    told["BRAKE_SIGNAL"] = np.where(values["brake"].isna(), "", np.where(values["brake"] == 1, "True", "False"))
    told["GEAR"] = drivetrain.gear(speed_kmh, rpm, pedal_pct, load_pct)
    return told.astype({"GEAR": "Int64"}).astype(str).mask(told.isna(), "")
