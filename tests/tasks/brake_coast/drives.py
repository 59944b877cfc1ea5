"""Small recordings, annotations and params in the formats of the steps, for tests of what reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tasks.brake_coast.formats import recording
from tasks.brake_coast.params import Line
from tasks.yard.files import write_json, write_text
from tests import sections

START_MS = 1_743_708_811_000  # 2025-04-03 19-33-31
REPO = Path(__file__).parents[3]


def section(step: str, **changes):
    """One step's params as they stand in params.yaml, with some changed."""
    values = sections.values("brake_coast", step)
    return Line.model_fields[step].annotation.model_validate({**values, **changes})


def drive(frames: int = 200, seed: int = 0, start_ms: int = START_MS, step_ms: int = 500) -> pd.DataFrame:
    """Telemetry as in telemetry.csv: the pedal rests at 16 % in some spells, the brake is on in some of these."""
    rng = np.random.default_rng(seed)
    phase = np.sin(np.arange(frames) / 9 + seed)
    coasting, braking = phase < -0.6, phase < -0.85
    speed = 110 + 20 * np.cos(np.arange(frames) / 9 + seed)
    return pd.DataFrame(
        {
            "Time": [recording.format_time(start_ms + step_ms * i) for i in range(frames)],
            "SPEED": speed.round(2),
            "RPM": (speed * 25).round(2),
            "ACCELERATOR_POS_D": np.where(coasting, 16.08, 30 + 20 * rng.random(frames)).round(2),
            "ENGINE_LOAD": np.where(coasting, 12.0, 60.0),
            "BRAKE_SIGNAL": np.where(braking, "True", "False"),
            "GEAR": 5,
        }
    )


def write_drive(
    download: Path,
    name: str,
    table: pd.DataFrame | None = None,
    *,
    group: str | None = None,
    has_images: bool = True,
    annotate: Path | None = None,
    seed: int = 0,
    size_px: tuple[int, int] = (1920, 1080),
) -> pd.DataFrame:
    """One recording under `download` (no image files), with `annotate` also its annotations; returns the telemetry."""
    table = drive(seed=seed) if table is None else table
    folder = download / name
    write_text(folder / "telemetry.csv", table.to_csv(index=False))
    width, height = size_px if has_images else (None, None)
    described = {"name": name, "group": group or name, "layout": "native", "rate_hz": 2.0, "has_images": has_images}
    described |= {"has_brake_signal": bool((table["BRAKE_SIGNAL"] != "").any())}
    write_json(folder / "recording.json", {**described, "image_width_px": width, "image_height_px": height})
    if annotate is not None:
        write_annotations(annotate, name, detections(table, seed) if has_images else None)
    return table


def detections(table: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Annotations as the annotate step writes them: 0 to 3 boxes a frame inside a 1920 x 575 ROI."""
    rng = np.random.default_rng(seed)
    rows = []
    for time in table["Time"]:
        boxes = int(rng.integers(0, 4))
        for _ in range(boxes):
            x1, y1 = rng.uniform(0, 1500), rng.uniform(0, 400)
            width, height = rng.uniform(20, 400), rng.uniform(20, 170)
            rows.append(box_row(time, rng.uniform(0.25, 1), x1, y1, x1 + width, y1 + height))
        if not boxes:
            rows.append({"Time": time, "filename": f"{time}.jpg", "status": "empty"})
    return pd.DataFrame(rows, columns=ANNOTATION_COLUMNS)


ANNOTATION_COLUMNS = ["Time", "filename", "status", "class_id", "confidence", "x1", "y1", "x2", "y2", "area"]


def box_row(time: str, confidence: float, x1: float, y1: float, x2: float, y2: float) -> dict:
    values = [time, f"{time}.jpg", "ok", 0, round(confidence, 4), *(round(v, 2) for v in (x1, y1, x2, y2))]
    return dict(zip(ANNOTATION_COLUMNS, [*values, round((x2 - x1) * (y2 - y1), 2)], strict=True))


def write_annotations(
    annotate: Path, name: str, table: pd.DataFrame | None, roi_px: tuple = (0, 256, 1920, 575)
) -> None:
    """`table` None: a recording without images has a csv with a header only."""
    table = pd.DataFrame(columns=ANNOTATION_COLUMNS) if table is None else table
    write_text(annotate / name / "annotations.csv", table.to_csv(index=False))
    size = {"image_width_px": 1920, "image_height_px": 1080}
    write_json(annotate / name / "annotations.json", {"roi_px": list(roi_px), "weights_sha256": "0", **size})
