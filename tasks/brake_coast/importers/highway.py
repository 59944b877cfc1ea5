"""The highway world (tasks/yard/worlds/highway) in the layouts of real data.

Writes   <recording>/{telemetry.csv,<Time>.jpg}   the native layout (tasks/brake_coast/formats/recording.py)
         <recording>/truth.csv                    true boxes, distances and lamps of what is in view, for judging
         <sequence>/<frame>.jpg, <sequence>.json  labelled images of other drives, in the layout of Boxy (boxy.py)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tasks.brake_coast.formats.recording import COLUMNS, format_time
from tasks.brake_coast.importers import drivetrain
from tasks.yard.files import write_json, write_text
from tasks.yard.layouts.images import write_image
from tasks.yard.worlds import highway
from tasks.yard.worlds.highway import Frame, Highway, Vehicle
from tasks.yard.worlds.highway.obd import Replies

LABEL_SCALE = 2  # Boxy gives its boxes at twice the size of the images that one downloads
ERROR_TIME = {"no frame": "No Frame", "incomplete": "Incomplete Data"}  # what an error row has for a Time
ERROR_CELL = "No Data"
TRUTH = ["Time", "vehicle", "kind", "leader", "lane", "distance_m", "closing_mps", "brake_light", "visible"]
TRUTH += ["x1", "y1", "x2", "y2", "rear_x1", "rear_y1", "rear_x2", "rear_y2"]


def telemetry(replies: Replies, stamps_ms: np.ndarray) -> pd.DataFrame:
    """One row a sample, as text; error rows keep their place."""
    numbers = {
        "SPEED": replies.speed_kmh, "RPM": replies.rpm, "ACCELERATOR_POS_D": replies.pedal_pct,
        "ENGINE_LOAD": replies.load_pct,
    }  # fmt: skip
    gear = drivetrain.gear(*numbers.values())
    table = pd.DataFrame({"Time": [format_time(int(t)) for t in stamps_ms]})
    for name, values in numbers.items():
        table[name] = ["" if np.isnan(v) else str(round(float(v), 2)) for v in values]
    table["BRAKE_SIGNAL"] = ["" if np.isnan(v) else str(bool(v)) for v in replies.brake]
    table["GEAR"] = ["" if np.isnan(v) else str(int(v)) for v in gear]
    failed = replies.failure != ""
    table.loc[failed, "Time"] = [ERROR_TIME[why] for why in replies.failure[failed]]
    table.loc[failed, COLUMNS[1:]] = ERROR_CELL
    return table[COLUMNS]


def truth_row(time: str, vehicle: Vehicle) -> list:
    rear = ["" if vehicle.rear is None else round(value, 2) for value in vehicle.rear or [None] * 4]
    return [
        time, vehicle.id, vehicle.kind, int(vehicle.leader), vehicle.lane, round(vehicle.distance_m, 2),
        round(vehicle.closing_mps, 3), int(vehicle.brake_light), round(vehicle.visible, 3),
        *(round(value, 2) for value in vehicle.whole), *rear,
    ]  # fmt: skip


def write_recording(world: Highway, name: str, folder: Path) -> None:
    """telemetry.csv, a frame a row, and truth.csv: boxes in pixels of the frame, lane relative to the car's own."""
    recording = highway.recording(world, name)
    table = telemetry(recording.replies, recording.stamps_ms)
    rows = []
    for time, failure, frame in zip(table["Time"], recording.replies.failure, recording.frames, strict=True):
        if failure:
            continue  # the recorder stores no frame for a row that failed
        write_image(folder / f"{time}.jpg", frame.picture, highway.JPEG_QUALITY)
        rows += [truth_row(time, vehicle) for vehicle in frame.vehicles]
    write_text(folder / "truth.csv", pd.DataFrame(rows, columns=TRUTH).to_csv(index=False, lineterminator="\n"))
    write_text(folder / "telemetry.csv", table.to_csv(index=False, lineterminator="\n"))


def boxy_box(box: tuple[float, float, float, float] | None) -> dict | None:
    if box is None:
        return None
    return {key: round(LABEL_SCALE * value, 2) for key, value in zip(("x1", "y1", "x2", "y2"), box, strict=True)}


def boxy_entry(frame: Frame) -> dict:
    vehicles = [{"rear": boxy_box(v.rear), "side": None, "AABB": boxy_box(v.whole)} for v in frame.vehicles]
    return {"vehicles": vehicles, "flaws": []}


def write_sequence(world: Highway, number: int, folder: Path) -> None:
    """The detector images of one drive: <sequence>/*.jpg and their labels in <sequence>.json."""
    name, frames = highway.sequence(world, number)
    entries = {}
    for i, frame in enumerate(frames):
        write_image(folder / name / f"{i:04d}.jpg", frame.picture, highway.JPEG_QUALITY)
        entries[f"./{name}/{i:04d}.jpg"] = boxy_entry(frame)
    write_json(folder / f"{name}.json", entries)
