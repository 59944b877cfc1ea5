"""What `plan` leaves: plans.h5, what a network would do at every moment of validation and test, layer by layer.

attributes     network; layers: JSON names, "coarse", "1", "2", ...; horizon: steps; rate_hz
val, test      a group each, k moments in the order of routes and time:
  route        (k) text
  t            (k) int      row of the route's pack
  waypoints    (layers, k, steps, 2) float32  metres ahead and to the left of where the car is at t, a step later each
  alpha, beta  (layers, k, steps, 2) float32  of the Betas of acceleration and steer on [0, 1], at t and the steps after
  speed        (k) float32  m/s, as the network judges it from what it sees alone; NaN if it does not
  look/points  (layers - 1, k, steps, 2) float32  where each refined layer looked; absent if it does not look
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from tasks.yard.files import replacing
from tasks.yard.step import BadInput

FILE = "plans.h5"
SPLITS = ("val", "test")
COLUMNS = ("route", "t", "waypoints", "alpha", "beta", "speed")
SHARP = 10.0  # of a Beta around a value: alpha = 1 + k x, beta = 1 + k (1 - x), so that its mode is x
BRAKE = 0.1  # of the pedal: more of it is braking
VERSION = ("v110", "v110")  # the bytes do not depend on the library's newest format


@dataclass(frozen=True)
class Observation:
    """What a planner is given of one moment. What it does not need (`Planner.needs`) may be left out."""

    pose: tuple[float, float, float]  # x, y, yaw in the world; only how it changes is used
    speed_ms: float
    command: int  # 1..6
    target: tuple[float, float]  # the next point of the route, ahead and to the left, metres
    images: Mapping[str, np.ndarray] | None = None  # camera -> (h, w, 3) uint8 RGB, of the size in the calibration
    lidar: np.ndarray | None = None  # (n, 4) float32 x, y, z in the car's frame, intensity 0 to 1


@dataclass(frozen=True)
class Plan:
    """Of one moment; the last layer is what is driven."""

    waypoints: np.ndarray  # (layers, steps, 2)
    alpha: np.ndarray  # (layers, steps, 2) of acceleration and steer on [0, 1]
    beta: np.ndarray
    speed: float = float("nan")
    look: np.ndarray | None = None  # (layers - 1, steps, 2)


@dataclass(frozen=True)
class Plans:
    """Of a split; shapes as above."""

    route: np.ndarray
    t: np.ndarray
    waypoints: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray
    speed: np.ndarray
    look: np.ndarray | None = None


@dataclass(frozen=True)
class Planned:
    network: str
    layers: tuple[str, ...]
    horizon: int
    rate_hz: float
    splits: dict[str, Plans]


def betas(pedals: np.ndarray, steer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(..., 2), (..., 2): Betas whose modes are these, throttle - brake and steer, both on [-1, 1]."""
    share = np.clip(np.stack([pedals, steer], axis=-1) / 2 + 0.5, 0, 1)
    return 1 + SHARP * share, 1 + SHARP * (1 - share)


def mode(alpha: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """The likeliest value of a Beta, 0 to 1; of one that has none inside, the end that it leans to, and of one that
    has two ends its mean (as TCP and ThinkTwice act on it)."""
    both = (alpha > 1) & (beta > 1)
    inside = (alpha - 1) / np.where(both, alpha + beta - 2, 1)
    ends = np.where((alpha <= 1) & (beta > 1), 0.0, np.where((alpha > 1) & (beta <= 1), 1.0, alpha / (alpha + beta)))
    return np.where(both, inside, ends)


def control(alpha: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """(..., 2) of acceleration and steer -> (..., 3) throttle, steer (to the right is positive), brake."""
    acceleration, steer = np.moveaxis(2 * mode(alpha, beta) - 1, -1, 0)
    return np.stack([np.clip(acceleration, 0, 1), steer, np.clip(-acceleration, 0, 1)], axis=-1)


def write(path: Path, planned: Planned) -> None:
    with replacing(path) as temporary, h5py.File(temporary, "w", libver=VERSION) as file:
        file.attrs["network"], file.attrs["layers"] = planned.network, json.dumps(planned.layers)
        file.attrs["horizon"], file.attrs["rate_hz"] = planned.horizon, planned.rate_hz
        for split, plans in planned.splits.items():
            group = file.create_group(split)
            group.create_dataset("route", data=[str(name) for name in plans.route], dtype=h5py.string_dtype())
            group["t"] = plans.t.astype(np.int64)
            for name in COLUMNS[2:]:
                group[name] = getattr(plans, name).astype(np.float32)
            if plans.look is not None:
                group.create_dataset("look/points", data=plans.look.astype(np.float32))  # see pack.write


def read(path: Path) -> Planned:
    """Raises `BadInput` where there is no such file, or another."""
    try:
        with h5py.File(path) as file:
            splits = {}
            for split in file:
                group = file[split]
                columns = {name: group[name][:] for name in COLUMNS if name != "route"}
                route = np.array(group["route"].asstr()[:], object)
                look = group["look/points"][:] if "look/points" in group else None
                splits[split] = Plans(route=route, look=look, **columns)
            return Planned(
                str(file.attrs["network"]), tuple(json.loads(file.attrs["layers"])), int(file.attrs["horizon"]),
                float(file.attrs["rate_hz"]), splits,
            )  # fmt: skip
    except (OSError, KeyError, ValueError) as error:
        raise BadInput(f"{path}: not a file of open_loop_driving-plan ({error}); run it again") from None
