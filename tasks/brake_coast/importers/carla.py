"""A CARLA expert drive in the layout of "Learning by cheating": rgb/NNNN.png and measurements/NNNN.json every 0.5 s.

A measurement has the speed in m/s, the throttle 0..1 and the brake as true or false. A simulated car has no engine: RPM
and ENGINE_LOAD are what the original's recording car would show (`drivetrain.engine`), and GEAR follows by its rule.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.brake_coast.formats import recording
from tasks.brake_coast.importers import drivetrain
from tasks.yard.step import BadInput

CLOCK, DERIVED = "relative", ("RPM", "ENGINE_LOAD", "GEAR")
FRAME_MS = 500


def drives(folder: Path, names: list[str]) -> list[Path]:
    return [folder] if (folder / "measurements").is_dir() and (folder / "rgb").is_dir() else []


def _numbered(folder: Path, suffixes: tuple[str, ...]) -> dict[int, Path]:
    """By rising number, whatever the names' text order is."""
    found = {int(p.stem): p for p in sorted(folder.iterdir()) if p.suffix.lower() in suffixes and p.stem.isdecimal()}
    return dict(sorted(found.items()))


def files(path: Path) -> list[Path]:
    images_ = _numbered(path / "rgb", recording.IMAGE_SUFFIXES)
    return [*_numbered(path / "measurements", (".json",)).values(), *images_.values()]


def _time(frame: int) -> str:
    return recording.format_time(recording.NO_DATE_MS + FRAME_MS * frame)


def table(path: Path) -> pd.DataFrame:
    """One row a measurement; one that cannot be read is an error row."""
    frames, rows = [], []
    for frame, file in _numbered(path / "measurements", (".json",)).items():
        try:
            measured = json.loads(file.read_bytes())
            rows.append([float(measured["speed"]), float(measured["throttle"]), bool(measured["brake"])])
            frames.append(_time(frame))
        except (ValueError, TypeError):
            rows.append([np.nan, np.nan, False])
            frames.append("Incomplete Data")
        except KeyError as error:
            raise BadInput(f"{file}: a measurement without {error}; speed, throttle and brake are needed") from None
    if not rows:
        raise BadInput(f"{path / 'measurements'}: holds no <number>.json")
    values = np.array(rows, dtype=np.float64)
    speed_kmh = (3.6 * values[:, 0]).round(2).clip(min=0)  # the simulator reports -0.02 m/s while it stands
    pedal_pct = (100 * values[:, 1]).round(2)
    rpm, load_pct = (v.round(2) for v in drivetrain.engine(speed_kmh, pedal_pct))
    told = pd.DataFrame({"SPEED": speed_kmh, "RPM": rpm, "ACCELERATOR_POS_D": pedal_pct, "ENGINE_LOAD": load_pct})
    told.insert(0, "Time", frames)
    told["BRAKE_SIGNAL"] = np.where(values[:, 2] > 0, "True", "False")
    told["GEAR"] = drivetrain.gear(speed_kmh, rpm, pedal_pct, load_pct)
    return told.astype({"GEAR": "Int64"}).astype(str).mask(told.isna(), "")


def images(path: Path) -> dict[str, Path]:
    return {_time(frame): file for frame, file in _numbered(path / "rgb", recording.IMAGE_SUFFIXES).items()}
