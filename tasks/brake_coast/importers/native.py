"""The native layout: a folder with telemetry.csv and <Time>.jpg; the name has a "-" (YYYY-MM-DD_HH-MM-SS).

A folder of that kind of name with images alone is a drive too: one that lost its telemetry, which has to be told.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tasks.brake_coast.formats import recording
from tasks.brake_coast.importers import drivetrain

CLOCK, DERIVED = "local", ()


def drives(folder: Path, names: list[str]) -> list[Path]:
    has_image = any(name.lower().endswith(recording.IMAGE_SUFFIXES) for name in names)
    return [folder] if "telemetry.csv" in names or ("-" in folder.name and has_image) else []


def files(path: Path) -> list[Path]:
    telemetry = path / "telemetry.csv"
    return [*([telemetry] if telemetry.exists() else []), *recording.images(path).values()]


def table(path: Path) -> pd.DataFrame:
    """telemetry.csv as it is, its further columns too; where it has no GEAR that follows from the other columns."""
    rows = recording.read_table(path / "telemetry.csv")
    inputs = ["SPEED", "RPM", "ACCELERATOR_POS_D", "ENGINE_LOAD"]
    if "GEAR" not in rows and set(inputs) <= set(rows):
        gear = drivetrain.gear(*(pd.to_numeric(rows[name], errors="coerce") for name in inputs))
        rows["GEAR"] = np.where(np.isnan(gear), "", np.nan_to_num(gear).astype(int).astype(str))
    return rows


def images(path: Path) -> dict[str, Path]:
    return recording.images(path)
