"""nuPlan in the infos of VAD and UniAD: a pickle {infos: [...], metadata}, pictures where its `data_path`s point.

An info has ego2global_translation and _rotation (quaternion w, x, y, z), cams {name: data_path, cam_intrinsic,
sensor2lidar_rotation and _translation: from the camera to the lidar's frame, which is the car's}, gt_boxes (n, 7) x, y,
z, width, length, height, yaw, timestamp in microseconds. Frame: x ahead, y left, z up, at the rear axle. Infos of one
moment are one; a scene is a route. Its command is told by where the car goes next, not by a map: it is kept and said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tasks.open_loop_driving.formats import frames, routes
from tasks.open_loop_driving.formats.calibration import Camera
from tasks.open_loop_driving.importers import moments, pickles
from tasks.yard.layouts import images
from tasks.yard.sources.units import copied
from tasks.yard.step import BadInput

ORIGIN = "the middle of the rear axle"
KINDS = {"vehicle": "vehicle", "pedestrian": "walker", "bicycle": "cyclist", "traffic_sign": "traffic_sign"}
COMMANDS = (2, 1, 4)  # of the one-hot right, left, straight
LEAST_SHARE = 0.5  # of its moments a camera must show
STEP_S, NEAR_S = 1 / moments.RATE_HZ, 0.06
NEEDED = ("timestamp", "ego2global_translation", "ego2global_rotation", "cams")
SPEED = 7  # of gt_ego_lcf_feat


def infos(path: Path) -> list[Mapping[str, Any]]:
    """Raises `BadInput`."""
    said = pickles.load(path)
    found = said.get("infos") if isinstance(said, dict) else None
    if not isinstance(found, list) or not found:
        raise BadInput(f"{path}: holds no list 'infos'")
    for place, one in enumerate(found):
        if not isinstance(one, dict) or (missing := [key for key in NEEDED if key not in one]):
            raise BadInput(
                f"{path}: infos[{place}]: key {missing[0]!r} is missing"
                if isinstance(one, dict)
                else f"{path}: infos[{place}] is no dict"
            )
    return found


def by_scene(path: Path) -> Mapping[str, list[Mapping[str, Any]]]:
    """{scene: its infos}, in their order. The last file that was read is held: every scene asks. Raises `BadInput`."""
    told = path.stat()
    return _by_scene(path, told.st_mtime_ns, told.st_size)


@lru_cache(maxsize=1)
def _by_scene(path: Path, changed_ns: int, size: int) -> Mapping[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for one in infos(path):
        found.setdefault(str(one.get("scene_token", "scene")), []).append(one)
    return found


def pictures(path: Path, scene: str) -> list[Path]:
    """Those that a scene's infos name and that are there. Raises `BadInput`."""
    named = {str(said.get("data_path", "")) for one in by_scene(path)[scene] for said in one["cams"].values()}
    return sorted(file for name in named if (file := path.parent / name).is_file())


def camera(name: str, said: Mapping[str, Any], size: tuple[int, int], where: str) -> Camera:
    """Raises `BadInput`."""
    try:
        R = np.array(said["sensor2lidar_rotation"], float)
        t = np.array(said["sensor2lidar_translation"], float)
        K = np.array(said["cam_intrinsic"], float)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{where}: {name}: {error!r}") from None
    if R.shape != (3, 3) or t.shape != (3,) or K.shape != (3, 3):
        raise BadInput(f"{where}: {name}: rotation, translation and intrinsic are not 3 x 3, 3 and 3 x 3 numbers")
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = R.T, -R.T @ t
    return Camera(name, size, K, pose)


def pose(one: Mapping[str, Any]) -> tuple[float, float, float]:
    x, y = (float(value) for value in one["ego2global_translation"][:2])
    w, i, j, k = (np.float64(value) for value in one["ego2global_rotation"])
    return x, y, float(frames.quaternion_yaw(w, i, j, k))


def boxes_of(one: Mapping[str, Any], where: str) -> list[tuple]:
    """As routes.write_boxes wants them. Raises `BadInput`."""
    boxes, names = np.array(one.get("gt_boxes", ()), float).reshape(-1, 7), list(one.get("gt_names", ()))
    speeds = np.nan_to_num(np.array(one.get("gt_velocity", np.zeros((len(boxes), 2))), float).reshape(-1, 2))
    if len(names) != len(boxes) or len(speeds) != len(boxes):
        raise BadInput(f"{where}: {len(boxes)} gt_boxes, {len(names)} gt_names, {len(speeds)} gt_velocity; mend it")
    return [
        (KINDS.get(str(kind), "object"), x, y, z, long, wide, high, yaw, float(np.hypot(*speed)), place)
        for place, (kind, (x, y, z, wide, long, high, yaw), speed) in enumerate(zip(names, boxes, speeds, strict=True))
    ]


def gaps(numbers: Sequence[int]) -> list[str]:
    """The moments that are missing between others, in seconds from the first."""
    runs = [(a + 1, b - 1) for a, b in pairwise(numbers) if b - a > 1]
    return [f"{a * STEP_S:.1f} s" + (f" to {b * STEP_S:.1f} s" if b > a else "") for a, b in runs]


def _moments(path: Path, scene: str) -> tuple[list[Mapping[str, Any]], np.ndarray, list[str]]:
    """Infos of a scene at two a second, their frame numbers, remarks. Raises `BadInput`."""
    mine = by_scene(path).get(scene, [])
    by_time = {int(one["timestamp"]): one for one in mine}
    stamps = np.array(sorted(by_time)) / 1e6
    grid = np.round((stamps - stamps[0]) / STEP_S).astype(int)
    off = np.abs(stamps - stamps[0] - grid * STEP_S)
    kept = {int(frame): row for row, frame in reversed(list(enumerate(grid))) if off[row] <= NEAR_S}
    if len(kept) < 2:
        raise BadInput(f"{path}: scene {scene}: {len(kept)} moments half a second apart; a route takes several")
    remarks = [f"{len(mine) - len(by_time)} infos are copies of others"] if len(mine) > len(by_time) else []
    order, found = sorted(kept), [by_time[stamp] for stamp in sorted(by_time)]
    remarks += moments.said_of("gaps among the infos", gaps(order))
    return [found[kept[frame]] for frame in order], np.array(order), remarks


def _cameras(
    path: Path, found: Sequence[Mapping[str, Any]], numbers: np.ndarray, folder: Path
) -> tuple[dict[str, Camera], list[str]]:
    cameras, remarks = {}, []
    for name, said in found[0]["cams"].items():
        files = {}
        for number, one in zip(numbers, found, strict=True):
            file = path.parent / str(one["cams"].get(name, {}).get("data_path", ""))
            if file.is_file():
                files[int(number)] = file
        if len(files) < LEAST_SHARE * len(numbers):
            remarks.append(f"{name} is left out: {len(files)} of its {len(numbers)} pictures are there")
            continue
        size = next((size for file in files.values() if (size := images.image_size(file))), None)
        if size is None:
            remarks.append(f"{name} is left out: none of its pictures can be read")
            continue
        ours = name.removeprefix("CAM_").lower()
        cameras[ours] = camera(ours, said, (size[1], size[0]), str(path))
        for number, file in files.items():
            copied(file, folder / f"rgb_{ours}" / f"{number:04d}{file.suffix.lower()}")
    return cameras, remarks


def bring(path: Path, folder: Path, scene: str) -> dict[str, Any]:
    """One scene into `folder`; returns route.json. Raises `BadInput`."""
    found, numbers, remarks = _moments(path, scene)
    where = np.array([pose(one) for one in found])
    way = np.linalg.norm(np.diff(where[:, :2], axis=0), axis=1) / (np.diff(numbers) * STEP_S)
    told = [np.ravel(one.get("gt_ego_lcf_feat", ())) for one in found]
    by_file = all(len(one) > SPEED for one in told)
    speed = np.array([one[SPEED] for one in told]) if by_file else np.concatenate([way[:1], way])
    remarks += [] if by_file else ["speed is the way of the last half second"]
    table = {
        "frame": numbers, "time_s": numbers * STEP_S, "x": where[:, 0], "y": where[:, 1], "yaw": where[:, 2],
        "speed_ms": speed.astype(float),
    }  # fmt: skip
    commands = [np.ravel(one.get("gt_ego_fut_cmd", ())) for one in found]
    if all(len(one) == len(COMMANDS) for one in commands):
        table["command"] = np.array([COMMANDS[int(one.argmax())] for one in commands])
        remarks.append("its command is told by where the car goes next, not by a map")
    elif told_by := sum(len(one) == len(COMMANDS) for one in commands):
        remarks.append(f"its command is left out: {told_by} of {len(found)} moments tell it")
    routes.write_frames(folder, table)
    cameras, more = _cameras(path, found, numbers, folder)
    remarks += [*more, "the pictures are not undistorted"] if cameras else more
    if all("gt_boxes" in one for one in found):
        shown = {int(n): boxes_of(one, f"{path}: {one.get('token')}") for n, one in zip(numbers, found, strict=True)}
        routes.write_boxes(folder, shown)
    elif told_by := sum("gt_boxes" in one for one in found):
        remarks.append(f"boxes are left out: {told_by} of {len(found)} moments have them")
    about = {
        "layout": "nuplan", "town": str(found[0].get("map_location", "unknown")), "source": "nuPlan", "origin": ORIGIN,
        "rendered": False, "rate_hz": moments.RATE_HZ, "usable": int(numbers[-1]) + 1, "cut": None, "weather": None,
        "remarks": remarks, "faults": [f"no info at {second}" for second in gaps(numbers.tolist())],
    }  # fmt: skip
    return routes.write_about(folder, about, cameras, table)
