"""One recording as the arrays that models see: telemetry and detections in 0..1, labels, gap-free segments.

Telemetry: SPEED, RPM, ACCELERATOR_POS_D, ENGINE_LOAD by `ranges` to 0..1, then gear 0..5 one-hot, then if asked for
the brake signal of now. A missing reply is the last known one of its segment for `fill_limit_s`; then the frame is left
out, which ends the segment. Only an unknown gear keeps its frame: no gear is hot. A sensor that a drive does not
have at all reads 0 throughout and is listed as absent.

Detections: the largest boxes of a frame, largest first (the closest vehicles; ties by confidence, then from the left),
in fractions of the drive's ROI. A drive without a camera has all masks False and image_ok False.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.brake_coast import label
from tasks.brake_coast.formats import recording
from tasks.brake_coast.learning import scaling
from tasks.brake_coast.learning.scaling import CONTINUOUS, GEARS
from tasks.brake_coast.params import Pack
from tasks.yard.files import read_json
from tasks.yard.step import BadInput

DETECTION_FEATURES = ["confidence", "x1", "y1", "x2", "y2", "area"]


@dataclass(frozen=True)
class Drive:
    """The usable frames of one recording, arrays as in `windows.Frames`, and what was left out, filled or cut."""

    name: str
    group: str
    telemetry: np.ndarray
    detections: np.ndarray
    detection_masks: np.ndarray
    labels: np.ndarray
    t_ms: np.ndarray
    segment: np.ndarray
    image_ok: np.ndarray
    counts: dict[str, int]
    absent: list[str]


def features(params: Pack) -> list[str]:
    return [*CONTINUOUS, *(f"gear_{gear}" for gear in range(GEARS)), *(["BRAKE_SIGNAL"] if params.brake_signal else [])]


def forward_filled(values: np.ndarray, t_ms: np.ndarray, segment: np.ndarray, limit_ms: float) -> np.ndarray:
    """NaN replaced by the last value before it in its segment, if that is at most `limit_ms` old."""
    last = np.maximum.accumulate(np.where(np.isfinite(values), np.arange(len(values)), 0))
    return np.where((segment[last] == segment) & (t_ms - t_ms[last] <= limit_ms), values[last], np.nan)


def telemetry_features(
    rows: pd.DataFrame, segment: np.ndarray, params: Pack
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray], list[str]]:
    """(F, D) features in 0..1, NaN where a reply is missing too long; (F, D) what saturated; per sensor (F) what was
    filled in; the sensors that this drive does not have."""
    t_ms = rows["t_ms"].to_numpy()
    sensors = {**CONTINUOUS, "GEAR": "gear", **({"BRAKE_SIGNAL": "brake"} if params.brake_signal else {})}
    raw = {sensor: rows[column].to_numpy(np.float64) for sensor, column in sensors.items()}
    absent = [sensor for sensor, values in raw.items() if not np.isfinite(values).any()]
    values = {sensor: forward_filled(given, t_ms, segment, 1000 * params.fill_limit_s) for sensor, given in raw.items()}
    filled = {sensor: np.isnan(raw[sensor]) & np.isfinite(values[sensor]) for sensor in sensors}
    columns = scaling.columns(values, params.ranges.model_dump(), absent)
    saturated = [(scaled < 0) | (scaled > 1) for scaled in columns[: len(CONTINUOUS)]]
    gear = values["GEAR"]
    saturated += [(gear < 0) & (number == 0) | (gear > GEARS - 1) & (number == GEARS - 1) for number in range(GEARS)]
    if params.brake_signal:
        saturated.append(np.zeros(len(rows), bool))
    return scaling.joined(columns), np.column_stack(saturated), filled, absent


def detection_features(
    folder: Path, times: pd.Series, slots: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray | int]]:
    """(F, slots, 6) in 0..1, (F, slots) masks, (F) image_ok; per frame the boxes beyond the slots, the cut values."""
    path = folder / "annotations.csv"
    try:
        table = pd.read_csv(path, dtype={"Time": object, "status": object})
        boxes = table.loc[table["status"] == "ok", DETECTION_FEATURES]
        frame = pd.Index(times.astype(object)).get_indexer(table["Time"])
    except (FileNotFoundError, KeyError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise BadInput(f"{path}: not annotations ({error}); run brake_coast-annotate again") from None
    broken = boxes.index[~np.isfinite(boxes.to_numpy(np.float64)).all(axis=1)]
    if len(broken):
        raise BadInput(f"{path} line {broken[0] + 2}: a box without all its numbers; run brake_coast-annotate again")

    image_ok = np.zeros(len(times), bool)
    image_ok[frame[(frame >= 0) & table["status"].isin(["ok", "empty"])]] = True
    boxes = boxes.assign(frame=frame[boxes.index])
    boxes = boxes[boxes["frame"] >= 0]
    boxes = boxes.sort_values(["frame", "area", "confidence", "x1"], ascending=[True, False, False, True])
    without_telemetry = int(table.loc[frame < 0, "Time"].nunique())
    frame = boxes["frame"].to_numpy()
    slot = np.arange(len(frame)) - np.searchsorted(frame, frame)
    kept = slot < slots

    values = np.zeros((len(times), slots, len(DETECTION_FEATURES)))
    masks = np.zeros((len(times), slots), bool)
    if len(boxes):
        width, height = read_json(folder / "annotations.json")["roi_px"][2:]
        scale = np.array([1, width, height, width, height, width * height])
        values[frame[kept], slot[kept]] = boxes[DETECTION_FEATURES].to_numpy()[kept] / scale
        masks[frame[kept], slot[kept]] = True
    counts = {
        "boxes_beyond_slots": np.bincount(frame[~kept], minlength=len(times)),
        "box_values_saturated": ((values < 0) | (values > 1)).sum(axis=(1, 2)),
        "images_without_telemetry": without_telemetry,
    }
    return values.clip(0, 1).astype(np.float32), masks, image_ok, counts


def read_labels(path: Path, t_ms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(F, L) int8 and (F) segments of labels.csv, checked to be of the telemetry with these stamps."""
    if not path.exists():
        raise BadInput(
            f"{path}: no labels; brake_coast-label has not run on this drive, or its quarantine.json says why"
        )
    table = pd.read_csv(path)
    if not np.array_equal(table["t_ms"], t_ms):
        raise BadInput(f"{path}: its rows are not those of telemetry.csv; run brake_coast-label again")
    return table[label.NAMES].fillna(label.UNKNOWN).to_numpy(np.int8), table["segment"].to_numpy()


def read_drive(name: str, download: Path, annotate: Path, labelled: Path, params: Pack) -> Drive:
    """Raises `BadInput` if the drive has no usable window."""
    described = recording.description(download / name)
    rows = recording.read_telemetry(download / name).rows
    t_ms = rows["t_ms"].to_numpy()
    labels, gap_free = read_labels(labelled / name / "labels.csv", t_ms)
    telemetry, saturated, filled, absent = telemetry_features(rows, gap_free, params)
    if set(CONTINUOUS) <= set(absent):
        raise BadInput(f"{download / name}/telemetry.csv: no reply at all to {', '.join(CONTINUOUS)}")
    detections, masks, image_ok, per_frame = detection_features(annotate / name, rows["time"], params.max_detections)

    usable = np.flatnonzero(np.isfinite(telemetry).all(axis=1))
    breaks = (np.diff(usable) > 1) | (np.diff(gap_free[usable]) > 0)
    segment = np.concatenate([[0], np.cumsum(breaks)])[: len(usable)]
    long_enough = np.bincount(segment, minlength=1)[segment] >= params.window_frames
    kept, segment = usable[long_enough], np.unique(segment[long_enough], return_inverse=True)[1]
    if not len(kept):
        raise BadInput(
            f"{download / name}/telemetry.csv: no {params.window_frames} frames in a row without a gap or a reply "
            f"missing for over {params.fill_limit_s:g} s ({len(rows)} rows, {len(usable)} usable)"
        )
    counts = {"frames_in": len(rows), "frames": len(kept), "frames_reply_missing": len(rows) - len(usable)}
    counts["frames_in_short_segments"] = len(usable) - len(kept)
    counts |= {f"filled_{sensor}": int(where[kept].sum()) for sensor, where in filled.items()}
    counts |= {
        f"saturated_{feature}": int(n)
        for feature, n in zip(features(params), saturated[kept].sum(axis=0), strict=True)
        if n
    }
    counts |= {key: n if isinstance(n, int) else int(n[kept].sum()) for key, n in per_frame.items()}
    arrays = {"telemetry": telemetry, "detections": detections, "detection_masks": masks, "image_ok": image_ok}
    arrays |= {"labels": labels, "t_ms": t_ms}
    group = described["group"]
    return Drive(name, group, segment=segment, counts=counts, absent=absent, **{k: v[kept] for k, v in arrays.items()})
