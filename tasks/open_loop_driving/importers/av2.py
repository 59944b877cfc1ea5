"""A log of Argoverse 2 (sensor data set): city_SE3_egovehicle.feather, and as far as they are there annotations, lidar.

Poses come about 170 times a second, with stamps: they are interpolated to two a second, from the first one on. Its
cameras' pictures are not read (their lenses are distorted); its lidar sweeps, ten a second, count where one lies within
50 ms. Where there are annotations, a frame that has none within 50 ms is left out. Frame: x ahead, y left, z up, on the
ground below the middle of the rear axle, z of the axle; no pedals, no command, no target: constant velocity and plans
by the pose alone can be judged on it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.feather as feather
from pyarrow import ArrowInvalid

from tasks.open_loop_driving.formats import frames, routes
from tasks.open_loop_driving.importers import moments
from tasks.yard.step import BadInput

POSES, ANNOTATIONS, LIDAR = "city_SE3_egovehicle.feather", "annotations.feather", Path("sensors/lidar")
ORIGIN = "the middle of the rear axle"
NEAR_S = 0.05
KINDS = {
    "PEDESTRIAN": "walker", "WHEELCHAIR": "walker", "STROLLER": "walker", "OFFICIAL_SIGNALER": "walker",
    "BICYCLIST": "cyclist", "MOTORCYCLIST": "cyclist", "WHEELED_RIDER": "cyclist", "STOP_SIGN": "traffic_sign",
    **dict.fromkeys((
        "REGULAR_VEHICLE", "LARGE_VEHICLE", "BUS", "BOX_TRUCK", "TRUCK", "TRUCK_CAB", "VEHICULAR_TRAILER",
        "MOTORCYCLE", "SCHOOL_BUS", "ARTICULATED_BUS", "RAILED_VEHICLE"), "vehicle"),
}  # fmt: skip
QUATERNION = ("qw", "qx", "qy", "qz")
CITY = re.compile(r"____([A-Z]{3})_city")


def table(path: Path, columns: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Raises `BadInput`."""
    try:
        found = feather.read_table(path)
    except (OSError, ArrowInvalid) as error:
        raise BadInput(f"{path}: cannot be read as a feather file ({error}); bring it anew") from None
    if missing := [name for name in columns if name not in found.column_names]:
        raise BadInput(f"{path}: column {missing[0]!r} is missing; it has {', '.join(columns)}")
    return {name: found.column(name).to_numpy() for name in columns}


def poses(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Seconds (n) from the first stamp on at 2 Hz, and x, y, yaw there (n, 3). Raises `BadInput`."""
    said = table(path, ("timestamp_ns", *QUATERNION, "tx_m", "ty_m"))
    order = np.argsort(said["timestamp_ns"], kind="stable")
    stamps = (said["timestamp_ns"][order] - said["timestamp_ns"].min()) / 1e9
    if len(stamps) < 2 or stamps[-1] < 1 / moments.RATE_HZ:
        raise BadInput(f"{path}: holds {len(stamps)} poses, {stamps[-1]:.2f} s; a log takes seconds")
    if (gap := float(np.diff(stamps).max())) > 1 / moments.RATE_HZ:
        raise BadInput(
            f"{path}: {gap:.2f} s between two poses are too many to tell where the car was; cut the log there"
        )
    times = np.arange(0, stamps[-1] + 1e-9, 1 / moments.RATE_HZ)
    yaw = np.unwrap(frames.quaternion_yaw(*(said[key][order] for key in QUATERNION)))
    values = (said["tx_m"][order], said["ty_m"][order], yaw)
    return times, np.column_stack([np.interp(times, stamps, value) for value in values])


def nearest(stamps_s: np.ndarray, times: np.ndarray) -> dict[int, int]:
    """{frame: place in `stamps_s`} of those within NEAR_S."""
    if not len(stamps_s):
        return {}
    apart = np.abs(times[:, None] - stamps_s)
    return {i: int(row.argmin()) for i, row in enumerate(apart) if row.min() <= NEAR_S}


def _boxes(path: Path, first_ns: int, times: np.ndarray) -> dict[int, list[tuple]]:
    sizes, places = ("length_m", "width_m", "height_m"), ("tx_m", "ty_m", "tz_m")
    said = table(path, ("timestamp_ns", "track_uuid", "category", *sizes, *places, *QUATERNION))
    stamps = np.unique(said["timestamp_ns"])
    yaw = frames.quaternion_yaw(*(said[key] for key in QUATERNION))
    found = {}
    for frame, place in nearest((stamps - first_ns) / 1e9, times).items():
        found[frame] = [
            (KINDS.get(said["category"][i], "object"), *(said[key][i] for key in (*places, *sizes)), yaw[i], 0.0,
             said["track_uuid"][i])
            for i in np.flatnonzero(said["timestamp_ns"] == stamps[place])
        ]  # fmt: skip
    return found


def with_speeds(boxes: dict[int, list[tuple]], poses: np.ndarray) -> dict[int, list[tuple]]:
    """The same with the speed of each track, by where it is in the world half a second before or after."""
    places = {
        frame: {one[-1]: frames.world_from_ego(np.array(one[1:3], float), poses[frame]) for one in mine}
        for frame, mine in boxes.items()
    }
    found: dict[int, list[tuple]] = {}
    for frame, mine in boxes.items():
        found[frame] = []
        for one in mine:
            here, other = places[frame][one[-1]], None
            for beside in (frame - 1, frame + 1):
                other = places.get(beside, {}).get(one[-1]) if other is None else other
            speed = 0.0 if other is None else float(np.hypot(*(here - other)) * moments.RATE_HZ)
            found[frame].append((*one[:8], speed, one[-1]))
    return found


def bring(path: Path, folder: Path) -> dict[str, Any]:
    """One log into `folder`; returns route.json. Raises `BadInput`."""
    times, where = poses(path / POSES)
    first = int(table(path / POSES, ("timestamp_ns",))["timestamp_ns"].min())
    step = np.linalg.norm(np.diff(where[:, :2], axis=0), axis=1) * moments.RATE_HZ
    speed = np.concatenate([step[:1], step])
    columns = {
        "frame": np.arange(len(times)), "time_s": times, "x": where[:, 0], "y": where[:, 1],
        "yaw": frames.wrapped(where[:, 2]), "speed_ms": speed,
    }  # fmt: skip
    remarks, lost = ["speed is the way of the last half second"], []
    if (path / ANNOTATIONS).exists():
        boxes = _boxes(path / ANNOTATIONS, first, times)
        routes.write_boxes(folder, with_speeds(boxes, where))
        there = np.isin(columns["frame"], list(boxes))  # one without labels would read as one with nobody around
        lost = [f"{second:.1f} s" for second in times[~there]]
        moments.refuse_mostly(lost, len(times), path / ANNOTATIONS)
        remarks += moments.said_of("frames have no label within 50 ms and are left out", lost)
        columns = {key: values[there] for key, values in columns.items()}
    kept = columns["frame"].tolist()
    routes.write_frames(folder, columns)
    sweeps = {int(sweep.stem): sweep for sweep in (path / LIDAR).glob("*.feather") if sweep.stem.isdecimal()}
    stamps = np.array(sorted(sweeps), np.int64)
    held = nearest((stamps - first) / 1e9, times)
    held = {frame: held[frame] for frame in kept if frame in held}
    if len(held) == len(kept):
        for frame, place in held.items():
            said = table(sweeps[int(stamps[place])], ("x", "y", "z", "intensity"))
            points = np.column_stack([said[key].astype(np.float32) for key in said]) / [1, 1, 1, 255]
            routes.write_lidar(folder / "lidar" / f"{frame:04d}.npy", points)
    elif sweeps:
        remarks.append(f"lidar is left out: {len(held)} of {len(kept)} frames have a sweep")
    maps = sorted((path / "map").glob("*.json"))
    city = next((match[1] for one in maps if (match := CITY.search(one.name))), "unknown")
    about = {
        "layout": "av2", "town": city.lower(), "source": "Argoverse 2", "origin": ORIGIN, "rendered": False,
        "rate_hz": moments.RATE_HZ, "usable": kept[-1] + 1, "cut": None, "weather": None, "remarks": remarks,
        "faults": [f"{ANNOTATIONS}: no label within 50 ms of {second}" for second in lost],
    }  # fmt: skip
    return routes.write_about(folder, about, {}, columns)
