"""A clip of Bench2Drive: anno/NNNNN.json[.gz], camera/rgb_front/NNNNN.jpg ..., lidar/NNNNN.laz, ten frames a second.

x and y of an annotation are CARLA's own, by a noisy GPS; the box of the car says where it truly is, and is believed.
theta is the car's yaw in CARLA plus pi / 2. Boxes and cameras stand in CARLA's world; they are brought into the car's
frame by its own box's `world2ego`, cameras by `cam2ego`, whose axes are Unreal's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tasks.open_loop_driving.formats import frames, routes
from tasks.open_loop_driving.formats.calibration import Camera
from tasks.open_loop_driving.importers import moments
from tasks.yard.layouts import carla_rate
from tasks.yard.step import BadInput

ORIGIN = "where CARLA has the car's: on the ground below its middle"
PUBLISHED = 10.0, "Bench2Drive"
KINDS = {
    "vehicle": "vehicle", "walker": "walker", "traffic_light": "traffic_light", "traffic_sign": "traffic_sign",
    "bicycle": "cyclist", "motorcycle": "cyclist",
}  # fmt: skip
REACH_M = 100.0
BIKES = ("bicycle", "motorcycle")
APART = 1e-3


def is_clip(folder: Path) -> bool:
    return (folder / "anno").is_dir()


def matrix(said: Mapping[str, Any], key: str, where: str) -> np.ndarray:
    """(4, 4). Raises `BadInput`."""
    try:
        found = np.array(said[key], float)
    except (KeyError, TypeError, ValueError):
        found = np.empty(0)
    if found.shape != (4, 4) or not np.isfinite(found).all():
        raise BadInput(f"{where}: {key!r} is missing or not 4 x 4 finite numbers")
    return found


def me(said: Mapping[str, Any], file: Path) -> Mapping[str, Any]:
    """The box of the car itself. Raises `BadInput`."""
    for one in said.get("bounding_boxes") or ():
        if isinstance(one, dict) and one.get("class") == "ego_vehicle":
            return one
    raise BadInput(f"{file}: bounding_boxes has no ego_vehicle, so nothing says where the car is")


def pose(said: Mapping[str, Any], file: Path) -> tuple[float, float, float]:
    """x, y, yaw in our world. Raises `BadInput` where the box, its matrix and theta contradict one another."""
    box = me(said, file)
    place, turned = (np.array(box.get(key, ()), float) for key in ("location", "rotation"))
    if place.shape != (3,) or turned.shape != (3,):
        raise BadInput(f"{file}: ego_vehicle has no location and rotation of three numbers")
    found = frames.carla_pose(place[0], place[1], math.radians(turned[2]))
    theta = moments.number(said, "theta", file)
    if abs(frames.wrapped(frames.compass_yaw(theta) - found[2])) > math.radians(2):
        raise BadInput(
            f"{file}: 'theta' is {theta:.3f}, the car's yaw {turned[2]:.1f} degrees; theta should be yaw + 90 degrees"
        )
    return found


def row_of(said: Mapping[str, Any], file: Path) -> dict[str, float]:
    """Of frames.csv, but for number and time. Raises `BadInput`."""

    def get(key: str) -> float:
        return moments.number(said, key, file)

    x, y, yaw = pose(said, file)
    target = np.array([get("x_target"), -get("y_target")])
    ahead, left = frames.ego_from_world(target, np.array([x, y, yaw]))
    which = next((key for key in ("next_command", "target_command", "command_far") if key in said), "command_far")
    row = {
        "x": x, "y": y, "yaw": yaw, "speed_ms": get("speed"), "command": moments.command(said, which, file),
        "target_x": float(ahead), "target_y": float(left),
    }  # fmt: skip
    if any(key in said for key in routes.CONTROL):  # a drive that nobody has labelled has none
        row |= {key: get(key) for key in routes.CONTROL}
    return row | ({"should_brake": get("should_brake") != 0} if "should_brake" in said else {})


def boxes_of(said: Mapping[str, Any], file: Path) -> list[tuple]:
    """As routes.write_boxes wants them, within REACH_M. Raises `BadInput` where a distance contradicts its place."""
    own = me(said, file)
    ego = matrix(own, "world2ego", f"{file}: ego_vehicle")
    yaw = math.radians(own["rotation"][2])
    found = []
    for one in said["bounding_boxes"]:
        if one is own:
            continue
        try:
            middle = ego @ [*(float(v) for v in one.get("center", one["location"])), 1.0]
            at = ego @ [*(float(v) for v in one["location"]), 1.0]
            kind = KINDS.get(one["class"], "object")
            size = [2 * float(v) for v in one["extent"]]
            turned = math.radians(one["rotation"][2]) - yaw
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(
                f"{file}: a box of bounding_boxes: {error!r}; it has class, location, rotation, extent"
            ) from None
        told = one.get("distance")
        away = float(np.linalg.norm(at[:3]))
        if isinstance(told, int | float) and abs(told - away) > max(0.5, 0.02 * away):
            raise BadInput(
                f"{file}: box {one.get('id')} is {away:.1f} m away by world2ego, {told:.1f} m by its distance; mend it"
            )
        if away <= REACH_M:
            if one.get("base_type") in BIKES:
                kind = "cyclist"
            place = frames.carla_points(middle[:3])
            found.append(
                (kind, *place, *size, float(frames.wrapped(-turned)), one.get("speed") or 0.0, one.get("id", ""))
            )
    return found


def camera(name: str, said: Mapping[str, Any], where: str) -> Camera:
    """Raises `BadInput` where cam2ego is missing or no rotation."""
    K = np.array(said.get("intrinsic", ()), float)
    if K.shape != (3, 3):
        raise BadInput(f"{where}: 'intrinsic' is not 3 x 3 numbers")
    size = int(said["image_size_y"]), int(said["image_size_x"])
    return Camera(name, size, K, frames.carla_camera(matrix(said, "cam2ego", where)))


def cameras_of(said: Mapping[str, Any], file: Path) -> dict[str, Camera]:
    """Of every CAM_* of `sensors`, by our names: CAM_FRONT_LEFT is front_left. Raises `BadInput`."""
    ego = matrix(me(said, file), "world2ego", f"{file}: ego_vehicle")
    found = {}
    for name, sensor in (said.get("sensors") or {}).items():
        if not name.startswith("CAM_"):
            continue
        where, ours = f"{file}: sensors: {name}", name.removeprefix("CAM_").lower()
        found[ours] = camera(ours, sensor, where)
        if "world2cam" in sensor:
            other = ego @ np.linalg.inv(matrix(sensor, "world2cam", where))
            if np.abs(other - matrix(sensor, "cam2ego", where)).max() > APART:
                raise BadInput(
                    f"{where}: 'cam2ego' is not world2ego times the inverse of world2cam; one of them is wrong"
                )
    return found


def laz(file: Path) -> np.ndarray:
    """(n, 4) x, y (right), z, intensity 0 to 1, of the lidar's frame. Raises `BadInput`."""
    import laspy  # a second of imports, which no other source needs

    try:
        with laspy.open(file) as opened:
            said = opened.read()
        return np.column_stack([said.x, said.y, said.z, np.asarray(said.intensity) / 65535]).astype(np.float32)
    except Exception as error:  # laspy and its decoders raise whatever the bytes happen to say
        raise BadInput(f"{file}: cannot be read as .laz ({type(error).__name__}: {error}); bring it anew") from None


def _lidar(
    path: Path, kept: Mapping[int, int], folder: Path, said: Mapping[str, Any], where: str
) -> tuple[dict[str, str], list[str]]:
    """{file of ours: why it is not written}; remarks: what was left out."""
    files = moments.numbered(path / "lidar")
    if not files:
        return {}, []
    sensor = (said.get("sensors") or {}).get("LIDAR_TOP")
    if sensor is None:
        return {}, ["lidar is left out: the annotations have no sensors: LIDAR_TOP, so nothing says where it is"]
    place, unread = frames.carla_matrix(matrix(sensor, "lidar2ego", f"{where}: LIDAR_TOP")), {}
    for old, new in kept.items():
        try:
            if old not in files:
                raise BadInput(f"lidar/{old:05d}.laz is missing")
            points = frames.moved(frames.carla_points(laz(files[old])), place)
            routes.write_lidar(folder / "lidar" / f"{new:04d}.npy", points)
        except BadInput as error:
            unread[f"lidar/{new:04d}"] = str(error).replace(f"{path}/", "")
    return unread, moments.said_of("sweeps of the lidar cannot be used", unread.values())


def not_read(path: Path, cameras: Iterable[str]) -> list[str]:
    """A remark on folders of a clip that nobody reads here: depths, classes, the expert's features."""
    read = {"anno", "camera", "lidar", *(f"camera/rgb_{name}" for name in cameras)}
    there = [one for place in (path, path / "camera") if place.is_dir() for one in place.iterdir() if one.is_dir()]
    names = sorted(str(one.relative_to(path)) for one in there if one.name[0] != ".")
    return moments.said_of("folders are not read", [name for name in names if name not in read])


def bring(path: Path, folder: Path, hz: float | None) -> dict[str, Any]:
    """One clip into `folder`; returns route.json. Raises `BadInput`."""
    files = moments.numbered(path / "anno")
    if not files:
        raise BadInput(f"{path / 'anno'}: holds no annotation NNNNN.json or .json.gz")
    rows, told, faults = {}, {}, []
    for number, file in files.items():
        try:
            said = moments.read(file)
            rows[number], told[number] = row_of(said, file), said
        except BadInput as error:
            faults.append(str(error).replace(f"{path}/", ""))
    more, uneven = moments.evened(rows, told, files)
    faults += more
    moments.refuse_mostly(faults, len(files), path)
    first = next(iter(told))
    stamps = np.array([carla_rate.stamp_of(said) for said in told.values()])
    places = np.array([[row["x"], row["y"]] for row in rows.values()])
    speed = np.array([row["speed_ms"] for row in rows.values()])
    step_s, factor, notes = carla_rate.seconds_a_frame(list(rows), stamps, places, speed, hz, path, PUBLISHED)
    kept = moments.halved(list(rows), step_s, path)
    after = moments.parted(kept, carla_rate.leaps(list(rows), stamps, places, speed * factor, step_s), "anno", 5)
    boxes, bad = {}, []
    for old in list(kept):
        try:
            boxes[kept[old]] = boxes_of(told[old], files[old])
        except BadInput as error:  # a moment without its boxes would read as one with nobody around
            bad.append(str(error).replace(f"{path}/", ""))
            del kept[old]
    moments.refuse_mostly([*after, *bad], len(kept) + len(after) + len(bad), path)
    routes.write_boxes(folder, boxes)
    table = {"frame": np.array(list(kept.values())), "time_s": np.array(list(kept.values())) / moments.RATE_HZ}
    for key in rows[first]:
        table[key] = np.array([rows[old][key] * (factor if key == "speed_ms" else 1) for old in kept])
    cameras = cameras_of(told[first], files[first])
    pictures = {number for name in cameras for number in moments.numbered(path / "camera" / f"rgb_{name}")}
    gaps = moments.gaps(files, pictures, "anno", 5)
    remarks = [
        *moments.said_of("annotations are left out", faults + bad), *notes,
        *moments.said_of("gaps among the annotations", gaps), *uneven, *moments.said_of(moments.LEAPS, after),
        *not_read(path, cameras),
    ]  # fmt: skip
    for name in list(cameras):
        pictures = path / "camera" / f"rgb_{name}"
        if not pictures.is_dir():
            del cameras[name]
            continue
        absent = moments.copy(moments.numbered(pictures), kept, folder / f"rgb_{name}")
        remarks += moments.said_of(f"files of {pictures.name} are missing", absent)
    unread, more = _lidar(path, kept, folder, told[first], str(files[first]))
    remarks += more
    routes.write_frames(folder, table)
    about = {
        "layout": "bench2drive", "town": moments.town_of(path), "source": "Bench2Drive", "origin": ORIGIN,
        "rendered": True, "rate_hz": moments.RATE_HZ, "usable": int(table["frame"][-1]) + 1, "cut": None,
        "weather": moments.sky(told[first].get("weather")), "remarks": remarks,
        "faults": [*faults, *gaps, *after, *bad, *unread.values()], "unread": unread,
    }  # fmt: skip
    return routes.write_about(folder, about, cameras, table)
