"""The highway world, `synth://highway?recordings=16&minutes=5&seed=0&detector_images=900`: drives made, not recorded.

A drive is a pure function of the seed and its own number: asking for more recordings changes none of the earlier ones,
and the drives of the detector's images are others than those of the recordings.

It gives recordings (frames, what the diagnostic port said, and the truth about every vehicle in view) and sequences of
labelled images of other drives. Who needs them as files writes them: see `importers/highway.py` of a line.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tasks.yard.step import BadInput
from tasks.yard.worlds import query
from tasks.yard.worlds.highway import camera, obd, scenery
from tasks.yard.worlds.highway.drive import Drive, Trace, simulate

RATE_HZ = 2.0
JPEG_QUALITY = camera.JPEG_QUALITY
SEQUENCE_IMAGES, SEQUENCE_STEP_S = 30, 4.0
DETECTOR_DRIVES = 1_000_000  # number of the first drive that detector images are taken from
KINDS = ("car", "van", "truck")
EXAMPLE = "synth://highway?recordings=16&minutes=5&seed=0"


@dataclass(frozen=True)
class Highway:
    recordings: int = 16
    minutes: float = 5.0
    seed: int = 0
    detector_images: int = 900


LIMITS = {"recordings": (1, 10_000), "minutes": (0.25, 90), "seed": (0, 2**31), "detector_images": (1, 100_000)}


def parse(uri: str) -> Highway:
    """Raises `BadInput` that names the key and what is allowed."""
    return query.parse(uri, Highway, LIMITS, EXAMPLE)


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
    drive, trace = simulate(np.random.default_rng([seed, number, 2]), times_s)
    return drive, trace, camera.Camera([seed, number, 3], light_of(seed, number, start)), start


def clock(start: dt.datetime, time_s: float) -> str:
    """What the camera writes into its picture."""
    return f"{start + dt.timedelta(seconds=float(time_s)):%Y-%m-%d %H:%M:%S}"


@dataclass(frozen=True)
class Vehicle:
    """One vehicle in view: its boxes in pixels of the frame, and the truth about it."""

    id: int  # the same for as long as it is around
    kind: str  # of KINDS
    leader: bool  # is it ahead in the recording car's lane
    lane: int  # 0 is the recording car's, 1 the next to the left
    distance_m: float  # from nose to rear
    closing_mps: float
    brake_light: bool
    visible: float  # share of it that nothing hides
    whole: tuple[float, float, float, float]  # x1, y1, x2, y2
    rear: tuple[float, float, float, float] | None


@dataclass(frozen=True)
class Frame:
    picture: np.ndarray  # (H, W, 3) BGR uint8
    vehicles: list[Vehicle]


def vehicle(drive: Drive, i: int, box: camera.Box) -> Vehicle:
    k = box.column
    return Vehicle(
        int(drive.ids[i, k]), KINDS[drive.kind[i, k]], bool(k == drive.leader[i]),
        int(drive.other_lane[i, k] - drive.lane[i]), float(drive.distance_m[i, k]),
        float(drive.speed_mps[i] - drive.other_speed_mps[i, k]), bool(drive.brake_light[i, k]),
        box.visible, box.whole, box.rear,
    )  # fmt: skip


def film(drive: Drive, cam: camera.Camera, start: dt.datetime, times_s: np.ndarray) -> Iterator[Frame]:
    """A frame at each of `times_s`. What the camera draws of one frame depends on those before it."""
    for i, time_s in enumerate(times_s):
        picture, boxes = cam.frame(drive, i, clock(start, time_s))
        yield Frame(picture, [vehicle(drive, i, box) for box in boxes])


@dataclass(frozen=True)
class Recording:
    """One drive as it was recorded: n samples, and a frame for each."""

    stamps_ms: np.ndarray  # (n) int64: the clock on the wall, without a zone
    replies: obd.Replies
    frames: Iterator[Frame]  # to be taken once, in order


def recording(world: Highway, name: str) -> Recording:
    """Raises `BadInput` if there is no recording of this name."""
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
    replies = obd.replies(rng, trace, times_s)
    return Recording(stamps_ms, replies, film(drive, cam, start, times_s))


def detector_sequences(world: Highway) -> int:
    """How many drives the detector's images are spread over, at most 30 images each."""
    return -(-world.detector_images // SEQUENCE_IMAGES)


def sequence(world: Highway, number: int) -> tuple[str, Iterator[Frame]]:
    """Name and frames of the detector's images of one drive, some seconds apart."""
    times_s = np.arange(min(SEQUENCE_IMAGES, world.detector_images - number * SEQUENCE_IMAGES)) * SEQUENCE_STEP_S
    drive, _, cam, start = drive_of(world.seed, DETECTOR_DRIVES + number, times_s)
    return f"highway_{number:04d}_{cam.light.name}", film(drive, cam, start, times_s)
