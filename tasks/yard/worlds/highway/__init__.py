"""The highway world, `synth://highway?recordings=16&minutes=5&seed=0&detector_images=900`: drives made, not recorded.

A drive is a pure function of the seed and its own number: asking for more recordings changes none of the earlier ones,
and the drives of the detector's images are others than those of the recordings.

Writes   <recording>/{telemetry.csv,<Time>.jpg}   as tasks/brake_coast/formats/recording.py describes
         <recording>/truth.csv                    true boxes, distances and lamps of what is in view, for judging
         <sequence>/<frame>.jpg, <sequence>.json  labelled images of other drives, in the layout of the Boxy dataset
"""

from __future__ import annotations

import datetime as dt
import difflib
from dataclasses import dataclass, fields
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import cv2
import numpy as np
import pandas as pd

from tasks.yard.files import replacing, write_json, write_text
from tasks.yard.step import BadInput
from tasks.yard.worlds.highway import camera, obd, scenery, traffic
from tasks.yard.worlds.highway.traffic import Drive, Trace

RATE_HZ = 2.0
LABEL_SCALE = 2  # Boxy gives its boxes at twice the size of the images that one downloads
SEQUENCE_IMAGES, SEQUENCE_STEP_S = 30, 4.0
DETECTOR_DRIVES = 1_000_000  # number of the first drive that detector images are taken from
KINDS = ("car", "van", "truck")


@dataclass(frozen=True)
class Highway:
    recordings: int = 16
    minutes: float = 5.0
    seed: int = 0
    detector_images: int = 900


LIMITS = {"recordings": (1, 10_000), "minutes": (0.25, 90), "seed": (0, 2**31), "detector_images": (1, 100_000)}


def parse(uri: str) -> Highway:
    """Raises `BadInput` that names the key and what is allowed."""
    parts = urlsplit(uri)
    if (parts.scheme, parts.netloc) != ("synth", "highway"):
        raise BadInput(f"{uri}: expected synth://highway?recordings=16&minutes=5&seed=0")
    known = {field.name: type(field.default) for field in fields(Highway)}
    values: dict[str, float] = {}
    for key, text in parse_qsl(parts.query, keep_blank_values=True):
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
            raise BadInput(f"{uri}: unknown key {key!r}; {hint}")
        low, high = LIMITS[key]
        try:
            values[key] = known[key](text)
        except ValueError:
            raise BadInput(f"{uri}: {key} = {text!r} must be a number of type {known[key].__name__}") from None
        if not low <= values[key] <= high:
            raise BadInput(f"{uri}: {key} = {text} must be from {low} to {high}")
    return Highway(**values)


def start_of(seed: int, number: int) -> dt.datetime:
    """When drive `number` began. Two days hold three drives each, the third day two: days are what splits group by."""
    week, place = divmod(number, 8)
    day = 3 * week + (0, 0, 0, 1, 1, 1, 2, 2)[place]
    slot = (0, 1, 2, 0, 1, 2, 0, 1)[place]
    rng = np.random.default_rng([seed, number, 0])
    hour = (7, 12, 18)[slot] + int(rng.integers(0, 3))
    return dt.datetime(2025, 4, 3, hour) + dt.timedelta(days=5 * day, seconds=int(rng.integers(0, 3600)))


def light_of(seed: int, number: int, start: dt.datetime) -> scenery.Light:
    rng = np.random.default_rng([seed, number, 1])
    if start.hour >= 18 and rng.random() < 0.8:
        return scenery.LIGHTS["dusk"]
    return scenery.LIGHTS[str(rng.choice(["day", "overcast", "rain"], p=[0.5, 0.25, 0.25]))]


def recording_names(world: Highway) -> list[str]:
    return [start_of(world.seed, number).strftime("%Y-%m-%d_%H-%M-%S") for number in range(world.recordings)]


def sample_times_s(rng: np.random.Generator, minutes: float) -> np.ndarray:
    """A recorder that sleeps the rest of each interval is only ever late, now and then by much; once it may pause."""
    steps = 1 / RATE_HZ + rng.exponential(0.004, int(minutes * 60 * RATE_HZ))
    steps[rng.random(len(steps)) < 0.003] += rng.uniform(0.05, 0.3)
    if rng.random() < 0.4:
        steps[rng.integers(len(steps))] += rng.uniform(1.5, 6.0)
    return np.cumsum(steps) - steps[0]


def drive_of(seed: int, number: int, times_s: np.ndarray) -> tuple[Drive, Trace, camera.Camera, dt.datetime]:
    start = start_of(seed, number)
    drive, trace = traffic.simulate(np.random.default_rng([seed, number, 2]), times_s)
    return drive, trace, camera.Camera([seed, number, 3], light_of(seed, number, start)), start


def write_jpeg(path: Path, picture: np.ndarray) -> None:
    encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, camera.JPEG_QUALITY])[1]
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def truth_rows(drive: Drive, i: int, time: str, boxes: list[camera.Box]) -> list[list]:
    rows = []
    for box in boxes:
        k = box.column
        rear = ["" if box.rear is None else round(value, 2) for value in box.rear or [None] * 4]
        rows.append(
            [time, int(drive.ids[i, k]), KINDS[drive.kind[i, k]], int(k == drive.leader[i])]
            + [int(drive.other_lane[i, k] - drive.lane[i]), round(float(drive.distance_m[i, k]), 2)]
            + [round(float(drive.speed_mps[i] - drive.other_speed_mps[i, k]), 3), int(drive.brake_light[i, k])]
            + [round(box.visible, 3), *(round(value, 2) for value in box.whole), *rear]
        )
    return rows


TRUTH = ["Time", "vehicle", "kind", "leader", "lane", "distance_m", "closing_mps", "brake_light", "visible"]
TRUTH += ["x1", "y1", "x2", "y2", "rear_x1", "rear_y1", "rear_x2", "rear_y2"]


def write_recording(world: Highway, name: str, folder: Path) -> None:
    """telemetry.csv, a frame a row, and truth.csv: boxes in pixels of the frame, lane relative to the car's own."""
    names = recording_names(world)
    if name not in names:
        raise BadInput(f"{name}: no recording of this world; it has {', '.join(names[:3])} ... {names[-1]}")
    number = names.index(name)
    rng = np.random.default_rng([world.seed, number, 4])
    times_s = sample_times_s(rng, world.minutes)
    drive, trace, cam, start = drive_of(world.seed, number, times_s)
    # Local time without a zone, so that it reads as the clock on the wall.
    start_ms = int(start.replace(tzinfo=dt.UTC).timestamp() * 1000)
    stamps_ms = start_ms + int(rng.integers(0, 1000)) + np.round(times_s * 1000).astype(np.int64)
    table = obd.telemetry(rng, trace, times_s, stamps_ms)
    rows = []
    for i, time in enumerate(table["Time"]):
        caption = f"{start + dt.timedelta(seconds=float(times_s[i])):%Y-%m-%d %H:%M:%S}"
        picture, boxes = cam.frame(drive, i, caption)
        if table["SPEED"][i] == "No Data":
            continue  # the recorder stores no frame for a row that failed
        write_jpeg(folder / f"{time}.jpg", picture)
        rows += truth_rows(drive, i, time, boxes)
    write_text(folder / "truth.csv", pd.DataFrame(rows, columns=TRUTH).to_csv(index=False, lineterminator="\n"))
    write_text(folder / "telemetry.csv", table.to_csv(index=False, lineterminator="\n"))


def scaled(box: tuple[float, float, float, float] | None) -> dict | None:
    if box is None:
        return None
    return {key: round(LABEL_SCALE * value, 2) for key, value in zip(("x1", "y1", "x2", "y2"), box)}


def detector_sequences(world: Highway) -> int:
    """How many drives the detector's images are spread over, at most 30 images each."""
    return -(-world.detector_images // SEQUENCE_IMAGES)


def write_sequence(world: Highway, number: int, folder: Path) -> None:
    """The detector images of one drive, some seconds apart: <sequence>/*.jpg and their labels in <sequence>.json."""
    times_s = np.arange(min(SEQUENCE_IMAGES, world.detector_images - number * SEQUENCE_IMAGES)) * SEQUENCE_STEP_S
    drive, _, cam, start = drive_of(world.seed, DETECTOR_DRIVES + number, times_s)
    sequence = f"highway_{number:04d}_{cam.light.name}"
    entries = {}
    for i, time_s in enumerate(times_s):
        picture, boxes = cam.frame(drive, i, f"{start + dt.timedelta(seconds=float(time_s)):%Y-%m-%d %H:%M:%S}")
        write_jpeg(folder / sequence / f"{i:04d}.jpg", picture)
        vehicles = [{"rear": scaled(box.rear), "side": None, "AABB": scaled(box.whole)} for box in boxes]
        entries[f"./{sequence}/{i:04d}.jpg"] = {"vehicles": vehicles, "flaws": []}
    write_json(folder / f"{sequence}.json", entries)


def write_detector_images(world: Highway, folder: Path) -> None:
    """`world.detector_images` labelled images in Boxy's layout, as tasks/brake_coast/importers/boxy.py says."""
    for number in range(detector_sequences(world)):
        write_sequence(world, number, folder)
