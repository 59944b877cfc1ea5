"""Is a recording usable, and what is odd about it? Reads one in the native layout; changes nothing in it.

A fault makes the recording unusable (`BadInput`); everything else is a count or a warning in its summary.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.brake_coast.formats import recording
from tasks.brake_coast.formats.recording import Telemetry
from tasks.brake_coast.importers import resample
from tasks.yard.layouts.images import fault, image_size
from tasks.yard.step import BadInput

MAX_GAP_MS = 601  # between rows of one window: stamps are cut to 100 ms, so a true 500 ms shows as up to 600
PAUSE_MS = 3_600_000  # a longer step is no driving: a pause, or a wrong date
RUN_ROWS = 20  # one window; a drive without a gap-free run of so many rows can teach nothing
# Cars have up to ten gears; the networks know five, as the original's car has: `pack` saturates the others and counts.
POSSIBLE = {"speed_kmh": (0, 320), "rpm": (0, 10_000), "pedal_pct": (0, 100), "load_pct": (0, 100), "gear": (0, 10)}
LATE_MS = 1000  # a longer step is a pause, and no late row
MOST_LOST = 0.8  # of the windows that are left: fewer are worth a word
LEAP_KMH = 80  # that no car gains and loses again within a second: a code for "no reply", such as 255
IMPOSSIBLE_SHARE = 0.01  # fewer are glitches of the bus
# Half a minute of driving reaches second gear: 16 to 21 km/h per 1000 rpm. In m/s even fifth gear shows less than 15.
TALLEST_KMH_PER_1000RPM = 15.0
DRIVING_ROWS = 60


def check_telemetry(folder: Path, telemetry: Telemetry) -> dict:
    """Counts and warnings. Raises `BadInput` if no window fits, the rate is not 2 Hz or the units cannot be right."""
    rows, path = telemetry.rows, folder / "telemetry.csv"
    known = rows.drop(columns=["time", "t_ms", "gear"]).notna().any()
    has_telemetry = bool(known.any())
    step_ms = np.diff(rows["t_ms"])
    median_ms = float(np.median(step_ms)) if len(step_ms) else 0.0
    if len(step_ms) >= RUN_ROWS and not resample.STEP_MS[0] <= median_ms <= resample.STEP_MS[1]:
        raise BadInput(f"{path}: a row comes every {median_ms:g} ms, wanted is 500 (2 Hz) or less: log more often")
    runs = np.diff(np.flatnonzero(np.concatenate([[True], step_ms > MAX_GAP_MS, [True]])))
    if has_telemetry and runs.max() < RUN_ROWS:
        raise BadInput(f"{path}: no gap-free run of {RUN_ROWS} rows, the longest has {runs.max()}: no window fits")
    warnings = _units(rows, path) if has_telemetry else ["no telemetry: it can be annotated, not learnt from"]
    windows, possible = int((runs - RUN_ROWS + 1).clip(min=0).sum()), len(rows) - RUN_ROWS + 1
    late = int(((step_ms > MAX_GAP_MS) & (step_ms <= LATE_MS)).sum())
    if has_telemetry and late and windows < MOST_LOST * possible:
        lost = f"{windows} of {possible} windows are without a gap"
        warnings.append(f"{late} rows come late, {MAX_GAP_MS} to {LATE_MS} ms after the one before: {lost}")
    held = _rows_a_reply(rows)
    if held and held >= 2:
        warnings.append(f"replies are slow: RPM changes every {held:g} rows only, so a value may be that old")
    return {
        "rows": len(rows),
        "error_rows": telemetry.error_rows,
        "duplicate_rows": telemetry.duplicate_rows,
        "out_of_order_rows": telemetry.out_of_order_rows,
        "missing_replies": telemetry.missing_replies,
        "rate_hz": round(1000 / median_ms, 3) if median_ms else None,
        "duration_s": round(float(step_ms[step_ms <= PAUSE_MS].sum()) / 1000, 1),
        "gaps": int((step_ms > MAX_GAP_MS).sum()),
        "longest_gap_s": round(float(step_ms.max()) / 1000, 3) if len(step_ms) else 0.0,
        "windows": windows,
        "rows_a_reply": held,
        "has_telemetry": has_telemetry,
        "has_brake_signal": bool(known["brake"]),
        "ranges": {name: _range(rows[name]) for name in POSSIBLE},
        "warnings": warnings,
    }


def _range(values: pd.Series) -> list[float] | None:
    """[lowest, median, highest] of the known ones."""
    values = values.dropna()
    return [round(float(v), 2) for v in (values.min(), values.median(), values.max())] if len(values) else None


def _rows_a_reply(rows: pd.DataFrame) -> float | None:
    """Mean number of rows for which RPM, the liveliest value, stays the same while the car moves."""
    rpm = rows["rpm"][rows["speed_kmh"] > 0].dropna().to_numpy()
    return round(len(rpm) / (1 + int((np.diff(rpm) != 0).sum())), 2) if len(rpm) >= RUN_ROWS else None


def _units(rows: pd.DataFrame, path: Path) -> list[str]:
    warnings = []
    for name, (lowest, highest) in POSSIBLE.items():
        wrong = int(((rows[name] < lowest) | (rows[name] > highest)).sum())
        if wrong > IMPOSSIBLE_SHARE * len(rows):
            counted = f"{wrong} of {len(rows)} values of {name}"
            raise BadInput(f"{path}: {counted} are not in {lowest}..{highest}; check its unit")
        if wrong:
            warnings.append(f"{wrong} values of {name} are not in {lowest}..{highest}")
    speed, change = rows["speed_kmh"].to_numpy(), np.diff(rows["speed_kmh"])
    leap = (np.abs(change) > LEAP_KMH) & (np.diff(rows["t_ms"]) <= LATE_MS)
    back = leap[:-1] & leap[1:] & (change[:-1] * change[1:] < 0)
    if back.any():
        example = speed[1 + np.argmax(back)]
        said = f"{back.sum()} values of speed_kmh leap by more than {LEAP_KMH} and back, such as {example:g}"
        if back.sum() > IMPOSSIBLE_SHARE * len(rows):
            raise BadInput(f"{path}: {said}; does that stand for no reply? Leave it blank")
        warnings.append(said)
    for name in ("pedal_pct", "load_pct"):
        if 0 < rows[name].max() <= 1 and rows["speed_kmh"].max() > 0:
            raise BadInput(f"{path}: {name} never exceeds 1: a share, where a percentage is wanted; multiply it by 100")
    driving = rows[(rows["rpm"] > 1200) & (rows["speed_kmh"] > 1)]
    if len(driving) >= DRIVING_ROWS:
        tallest = float((1000 * driving["speed_kmh"] / driving["rpm"]).quantile(0.95))
        if tallest < TALLEST_KMH_PER_1000RPM:
            warnings.append(f"SPEED may be in m/s, or first gear was never left: {tallest:.1f} per 1000 rpm at most")
    blank = [name for name in ("speed_kmh", "rpm", "pedal_pct", "load_pct") if rows[name].isna().all()]
    return warnings + [f"{name} is unknown throughout" for name in blank]


def check_images(folder: Path, telemetry: Telemetry) -> dict:
    """Counts of frames that cannot be used or have no partner. Each is decoded, once.

    Raises `BadInput` if there are images and not one is usable.
    """
    frames = recording.images(folder)
    sizes: Counter[tuple[int, int]] = Counter()
    unreadable = []
    for path in frames.values():
        size = image_size(path)
        if size is None:
            unreadable.append(path.name)
        else:
            sizes[size] += 1
    times = set(telemetry.rows["time"])
    if frames and not sizes:
        first = next(iter(frames.values()))
        raise BadInput(f"{folder}: not one of its {len(frames)} images can be used; {first.name} {fault(first)}")
    if frames and not times & set(frames):
        raise BadInput(f"{folder}: no image is named like a Time of telemetry.csv, such as '{min(times)}.jpg'")
    width, height = sizes.most_common(1)[0][0] if sizes else (None, None)
    warnings = [f"image sizes differ: {sorted(sizes)}"] if len(sizes) > 1 else []
    if unreadable:
        why = fault(frames[Path(unreadable[0]).stem])
        warnings.append(f"{len(unreadable)} images cannot be used, the first is {unreadable[0]}: it {why}")
    if doubles := len(recording.image_files(folder)) - len(frames):
        warnings.append(f"{doubles} images have the Time of another one, with another suffix; they are passed over")
    return {
        "images": len(frames),
        "unreadable_images": len(unreadable),
        "images_without_telemetry": len(set(frames) - times),
        "rows_without_image": len(times - set(frames)) if frames else 0,
        "image_width_px": width,
        "image_height_px": height,
        "warnings": warnings,
    }
