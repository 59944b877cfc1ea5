"""Drives recorded in CARLA in the layouts of ThinkTwice, TCP and Learning by Cheating (LBC), one folder each.

    thinktwice  rgb_front/ ... rgb_back/, depth_*/, seg_*/, lidar/, measurements/, supervision/, 3d_bbs/, bev_seg_label/
    tcp         rgb/, measurements/, supervision/; or rgb/ below a packed_data.npy of all routes (tcp_packed.py)
    lbc         rgb/, rgb_left/, rgb_right/, measurements/; no lidar, nothing of the expert but its pedals

All of them measure x as minus CARLA's Y, y as CARLA's X, and theta as a compass; y of lidar and boxes points right. The
cameras are those of calibration.json, beside the folders or above, else the published ones. Of folders that are there
as a whole, a frame's file that is missing is named, and check_data leaves the frame out.
"""

from __future__ import annotations

import math
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tasks.open_loop_driving.formats import calibration, frames, routes
from tasks.open_loop_driving.formats.calibration import Camera
from tasks.open_loop_driving.importers import cuts, lens, moments, pickles, tcp_packed
from tasks.yard.files import read_json
from tasks.yard.layouts import carla_rate, images
from tasks.yard.step import BadInput

ORIGIN = "on the ground below the middle of the car"
SIDES = ("front", "left", "right", "back")
# x, y (left), z in metres, degrees to the left, fov in degrees of the published recorders
PUBLISHED = {
    "thinktwice": {
        "front": (1.5, 0, 2.5, 0, 150), "left": (0, 0.3, 2.5, 90, 150), "right": (0, -0.3, 2.5, -90, 150),
        "back": (-1.6, 0, 2.5, 180, 150),
    },
    "tcp": {"front": (-1.5, 0, 2.0, 0, 100)},
    "lbc": {"front": (1.3, 0, 1.3, 0, 90), "left": (1.2, 0.25, 1.3, 45, 90), "right": (1.2, -0.25, 1.3, -45, 90)},
}  # fmt: skip
FOLDERS = {
    "thinktwice": {f"rgb_{side}": f"rgb_{side}" for side in SIDES},
    "tcp": {"rgb": "rgb_front"},
    "lbc": {"rgb": "rgb_front", "rgb_left": "rgb_left", "rgb_right": "rgb_right"},
}  # the source's folder: ours
SOURCES = {"thinktwice": "ThinkTwice", "tcp": "TCP", "lbc": "Learning by Cheating"}
DEPTH_M = 1000.0
ONLY_BRAKE = (0.8, 5.5)  # the Beta of the acceleration where only the autopilot braked
NAMES = {
    "vehicle": "vehicle",
    "walker": "walker",
    "pedestrian": "walker",
    "bike": "cyclist",
    "traffic_light": "traffic_light",
}
RESULTS, CALIBRATION, INDEX = "results.json", "calibration.json", "dataset_metadata.pkl"
UNCUT = f"nothing tells where its driver went wrong, by {RESULTS} or {INDEX}: it is used to its end"
ABOVE = 3  # folders above a route in which calibration.json is looked for
BENT = "the pictures are as the recorder's lens bent them, the calibration is a pinhole's: its lens is known for 16:9"
STRAIGHTENED = "the pictures are undistorted, by the lens that ThinkTwice measured"
BEHIND_M = {"front": 0.2}  # ThinkTwice's recorder has depth and classes from x = 1.3 m, the picture from 1.5
BEHIND = "{} lie {} m behind the picture's camera: depths are counted from the picture's, pixels are not moved"


def layout_of(folder: Path) -> str | None:
    if tcp_packed.is_route(folder):
        return "tcp"
    if not (folder / "measurements").is_dir():
        return None
    if any((folder / f"rgb_{side}").is_dir() for side in ("front", "back")):
        return "thinktwice"
    if (folder / "rgb").is_dir():
        return "tcp" if (folder / "supervision").is_dir() or _names_a_target(folder) else "lbc"
    return None


def _names_a_target(folder: Path) -> bool:
    """As TCP does, also where nobody has watched: LBC calls it a command."""
    try:
        first = next(iter(moments.numbered(folder / "measurements").values()), None)
        return first is not None and "x_target" in moments.read(first)
    except BadInput:  # said when the drive is brought
        return False


def pinhole(name: str, mount: tuple[float, ...], size: tuple[int, int]) -> Camera:
    """A level camera. `mount`: x, y (left), z in metres, degrees to the left, and across its picture."""
    x, y, z, degrees, fov = mount
    focal = size[1] / 2 / math.tan(math.radians(fov) / 2)
    pose = frames.matrix(np.array([x, y, math.radians(degrees)]), z)
    K = np.array([[focal, 0, size[1] / 2], [0, focal, size[0] / 2], [0, 0, 1]])
    return Camera(name, size, K, frames.OPTICAL_FROM_EGO @ np.linalg.inv(pose))


def cameras_of(path: Path, layout: str) -> tuple[dict[str, Camera], list[str]]:
    """By calibration.json, else as published for pictures of the size that they have, which is remarked. Raises
    `BadInput`."""
    there = {
        ours.removeprefix("rgb_"): path / theirs for theirs, ours in FOLDERS[layout].items() if (path / theirs).is_dir()
    }
    sizes = {}
    for name, folder in there.items():
        first = next((one for one in moments.numbered(folder).values() if images.image_size(one)), None)
        if first is None:
            raise BadInput(f"{folder}: holds no picture that can be read; bring it anew, or take the folder away")
        width, height = images.image_size(first) or (0, 0)
        sizes[name] = height, width
    file = next((one / CALIBRATION for one in (path, *path.parents[:ABOVE]) if (one / CALIBRATION).is_file()), None)
    if file is None:
        found = {name: pinhole(name, PUBLISHED[layout][name], size) for name, size in sizes.items()}
        said = [f"no {CALIBRATION}: its cameras are taken as {SOURCES[layout]} publishes them"]
        return found, said
    try:
        told = read_json(file)["cameras"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{file}: cannot be read ({error!r}); it holds {{cameras: {{front: ...}}}}") from None
    if missing := [name for name in sizes if name not in told]:
        raise BadInput(
            f"{file}: camera {missing[0]!r} is missing, whose pictures are in {there[missing[0]].name}/; add it"
        )
    found = {name: calibration.parse(told[name], name, str(file)) for name in sizes}
    if odd := [name for name, size in sizes.items() if found[name].size != size]:
        height, width = sizes[odd[0]]
        raise BadInput(
            f"{file}: camera {odd[0]} is for {found[odd[0]].size[1]} x {found[odd[0]].size[0]} px, its pictures have "
            f"{width} x {height}; mend width, height and K"
        )
    return found, []


@dataclass(frozen=True)
class Files:
    """What is said of each moment; `files` are its names, also where one file has packed them all."""

    files: dict[int, Path]
    read: Callable[[Path], Any]  # raises `BadInput`


def told_by(path: Path) -> tuple[Files, Files | None]:
    """Measurements and, if there are any, supervision. Raises `BadInput`."""
    kinds = (("measurements", ".json", moments.read), ("supervision", ".npy", pickles.load))
    if not tcp_packed.is_route(path):
        one, other = (Files(moments.numbered(path / kind), read) for kind, _, read in kinds)
        return one, other if (path / "supervision").is_dir() else None
    packed = tcp_packed.read(path)
    one, other = (_packed(path / kind, suffix, packed[kind]) for kind, suffix, _ in kinds)
    return one, other


def _packed(folder: Path, suffix: str, said: Mapping[int, Any]) -> Files:
    return Files({number: folder / f"{number:04d}{suffix}" for number in said}, lambda file: said[int(file.stem)])


def measured(
    path: Path, layout: str, there: Files
) -> tuple[dict[int, dict[str, float]], dict[int, dict], list[str], list[str]]:
    """{number: row} and {number: what the file says} of the usable measurements, why others cannot, remarks."""
    rows, told, faults = {}, {}, []
    files = there.files
    if not files:
        raise BadInput(f"{path / 'measurements'}: holds no measurement NNNN.json")
    for number, file in files.items():
        try:
            said = there.read(file)
            rows[number] = row_of(said, layout, file)
            told[number] = said
        except BadInput as error:
            faults.append(str(error).replace(f"{path}/", ""))
    more, remarks = moments.evened(rows, told, files)
    moments.refuse_mostly(faults + more, len(files), path)
    return rows, told, faults + more, remarks


def row_of(said: Mapping[str, Any], layout: str, file: Path) -> dict[str, float]:
    """Of frames.csv, but for number and time. Raises `BadInput`."""

    def get(key: str) -> float:
        return moments.number(said, key, file)

    x, y, yaw = frames.thinktwice_pose(get("x"), get("y"), get("theta"))
    keys = ("x_command", "y_command") if layout == "lbc" else ("x_target", "y_target")
    targeted = frames.thinktwice_pose(get(keys[0]), get(keys[1]), 0.0)[:2]
    ahead, left = frames.ego_from_world(np.array(targeted), np.array([x, y, yaw]))
    which = next((key for key in ("target_command", "command", "command_far") if key in said), "command")
    row = {
        "x": x, "y": y, "yaw": yaw, "speed_ms": get("speed"), "command": moments.command(said, which, file),
        "target_x": float(ahead), "target_y": float(left),
    }  # fmt: skip
    if "should_brake" in said:
        row["should_brake"] = get("should_brake") != 0
    if all(key in said for key in routes.CONTROL):
        row |= {key: get(key) for key in routes.CONTROL}
    return row


def supervised(said: Any, file: Path) -> dict[str, np.ndarray]:
    """What the expert meant at one moment. Raises `BadInput`."""
    if not isinstance(said, dict) or (
        missing := [k for k in ("action", "action_mu", "action_sigma", "value") if k not in said]
    ):
        raise BadInput(f"{file}: key {missing[0]!r} is missing" if isinstance(said, dict) else f"{file}: is no dict")
    alpha, beta = (np.array(said[key], np.float32).reshape(-1) for key in ("action_mu", "action_sigma"))
    action = np.array(said["action"], np.float32).reshape(-1)
    if alpha.shape != (2,) or beta.shape != (2,) or action.shape != (3,) or not (np.r_[alpha, beta] > 0).all():
        raise BadInput(f"{file}: action_mu and action_sigma are not two numbers above 0 each, or action is not three")
    if said.get("only_ap_brake"):
        alpha[0], beta[0] = ONLY_BRAKE
    found = {"action": action, "alpha": alpha, "beta": beta, "value": np.float32(np.ravel(said["value"])[0])}
    if "features" in said:
        found["vector"] = np.array(said["features"], np.float32).reshape(-1)
        for place, one in enumerate(said.get("cnn_features", ())):
            found[f"map{place}"] = np.array(one, np.float32).reshape(np.shape(one)[-3:])
    return found


def boxes_of(file: Path) -> list[tuple]:
    """(class, x, y, z of the middle, length, width, height, yaw, speed, id) of everything around. Raises `BadInput`."""
    found = []
    for name, one in moments.read(file).items():
        try:
            if float(one.get("distance", 0)) < 0 or name == "ego":  # the car itself
                continue
            (x, y, z), (_, _, yaw), size = one["relative_position"], one["relative_rotation"], one["extent"]
            kind = NAMES.get(str(one["class"]).lower(), "object")
            z = float(z) + (float(size[2]) / 2 if kind == "vehicle" else 0.0)  # of a vehicle it is the ground
            found.append((kind, x, -y, z, *size, -yaw, one.get("speed") or 0.0, one.get("id", name)))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadInput(
                f"{file}: {name!r}: {error!r}; a box has relative_position, relative_rotation, extent"
            ) from None
    return found


def depth_m(file: Path) -> np.ndarray:
    """(h, w) metres of CARLA's 24 bits. Raises `BadInput`."""
    data = file.read_bytes()
    coded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if coded is None:
        raise BadInput(f"{file}: is no picture that can be read to its end; bring it anew")
    blue, green, red = np.moveaxis(coded.astype(np.float64), -1, 0)
    return (red + 256 * green + 65536 * blue) / (2**24 - 1) * DEPTH_M


def _converted(path: Path, kept: Mapping[int, int], folder: Path, behind_m: Mapping[str, float]) -> dict[str, str]:
    """Depth, lidar and masks in our formats; returns {file of ours: why it is not written}. `behind_m`: of a camera, by
    how much what tells its depth lies behind it."""
    unread = {}
    for kind in sorted(one.name for one in path.iterdir() if one.is_dir()):
        files = moments.numbered(path / kind)
        for old, new in kept.items():
            if old not in files:
                continue
            try:
                if kind.startswith("depth_"):
                    metres = depth_m(files[old]) - behind_m.get(kind.removeprefix("depth_"), 0.0)
                    routes.write_png(folder / kind / f"{new:04d}.png", routes.coded_depth(metres))
                elif kind == "lidar":
                    points = frames.carla_points(routes.lidar(files[old]))
                    routes.write_lidar(folder / kind / f"{new:04d}.npy", points)
                elif kind == "bev_seg_label":
                    shares = np.asarray(pickles.load(files[old]), np.float32)
                    if shares.ndim != 3 or len(shares) != routes.MASKS:
                        raise BadInput(f"{files[old]}: is not ({routes.MASKS}, h, w) masks; bring it anew")
                    whole = np.round(shares.clip(0, 1) * 255).astype(np.uint8)
                    routes.write_png(folder / "bev" / f"{new:04d}.png", whole.reshape(-1, whole.shape[2]))
            except BadInput as error:
                ours = "bev" if kind == "bev_seg_label" else kind
                unread[f"{ours}/{new:04d}"] = str(error).replace(f"{path}/", "")
    return unread


def _boxes(path: Path, kept: dict[int, int], folder: Path) -> list[str]:
    """boxes.csv; takes frames out of `kept` whose boxes cannot be read: they would read as those with nobody around."""
    if not (path / "3d_bbs").is_dir():
        return []
    files, found, faults = moments.numbered(path / "3d_bbs"), {}, []
    for old in list(kept):
        try:
            if old not in files:
                raise BadInput(f"3d_bbs/{old:04d}.json is missing")
            found[kept[old]] = boxes_of(files[old])
        except BadInput as error:
            faults.append(str(error).replace(f"{path}/", ""))
            del kept[old]
    moments.refuse_mostly(faults, len(kept) + len(faults), path / "3d_bbs")
    routes.write_boxes(folder, found)
    return faults


def _supervision(
    path: Path, there: Files, kept: Mapping[int, int], folder: Path, columns: dict[str, list]
) -> list[str]:
    """supervision.npz, and the expert's pedals where the measurements have none; returns the faults."""
    files = there.files
    found: dict[str, list] = defaultdict(list)
    faults, bad = [], set()
    for old, new in kept.items():
        try:
            if old not in files:
                raise BadInput(f"supervision/{old:04d}.npy is missing")
            said = supervised(there.read(files[old]), files[old])
        except BadInput as error:
            faults.append(str(error).replace(f"{path}/", ""))
            bad.add(new)
            continue
        for key, value in said.items():
            found[key].append(value)
        found["frame"].append(new)
    moments.refuse_mostly(faults, len(kept), path / "supervision")
    rows = [row for row, frame in enumerate(columns["frame"]) if frame not in bad]
    for key in columns:
        columns[key] = [columns[key][row] for row in rows]
    actions = np.array(found.pop("action"))
    for place, key in enumerate(routes.CONTROL):
        columns.setdefault(key, list(actions[:, place]))
    shapes = {key: {np.shape(value) for value in values} for key, values in found.items()}
    whole = {
        key: np.array(values) for key, values in found.items() if len(shapes[key]) == 1 and len(values) == len(rows)
    }
    routes.write_supervision(folder, whole)
    return faults


def _record(path: Path) -> Mapping[str, Any] | None:
    if not (path / RESULTS).is_file():
        return None
    try:
        return cuts.record_of(read_json(path / RESULTS))
    except (ValueError, OSError) as error:
        raise BadInput(f"{path / RESULTS}: cannot be read as JSON ({error}); mend it, or take it away") from None


def not_read(path: Path, layout: str, cameras: Iterable[str]) -> list[str]:
    """A remark on folders of a drive that nobody reads here; bev/ shows what bev_seg_label/ holds."""
    read = {"measurements", "supervision", "3d_bbs", "lidar", "bev_seg_label", "bev", *FOLDERS[layout]}
    read |= {f"{kind}_{name}" for kind in ("depth", "seg") for name in cameras}
    there = sorted(one.name for one in path.iterdir() if one.is_dir() and one.name[0] != ".")
    return moments.said_of("folders are not read", [name for name in there if name not in read])


def bring(path: Path, folder: Path, layout: str, hz: float | None, length: int | None = None) -> dict[str, Any]:
    """One drive into `folder`; returns route.json. `length`: how many of its frames the data set's own index calls
    usable. Raises `BadInput`."""
    measurements, supervision = told_by(path)
    rows, told, faults, uneven = measured(path, layout, measurements)
    cameras, remarked = cameras_of(path, layout)
    pictures = {number for theirs in FOLDERS[layout] for number in moments.numbered(path / theirs)}
    if tcp_packed.is_route(path):
        pictures = {number for number in pictures if number <= max(measurements.files)}
        uneven.append(tcp_packed.LAST)
    gaps = moments.gaps(measurements.files, pictures, "measurements")
    remarks = [
        *remarked, *moments.said_of("measurements are left out", faults),
        *moments.said_of("gaps among the measurements", gaps), *uneven, *not_read(path, layout, cameras),
    ]  # fmt: skip
    as_published = layout == "thinktwice" and bool(remarked)  # no calibration.json, so as the recorder has them
    if as_published:  # a run that was killed may have made some of them straight
        for half in [one for kind in ("rgb", "seg", "depth") for one in folder.glob(f"{kind}_*")]:
            shutil.rmtree(half)
    numbers = list(rows)
    places = np.array([[row["x"], row["y"]] for row in rows.values()])
    stamps = np.array([carla_rate.stamp_of(said) for said in told.values()])
    speed = np.array([row["speed_ms"] for row in rows.values()])
    published = moments.RATE_HZ, SOURCES[layout]
    step_s, factor, notes = carla_rate.seconds_a_frame(numbers, stamps, places, speed, hz, path, published)
    kept = moments.halved(numbers, step_s, path)
    leaps = carla_rate.leaps(numbers, stamps, places, speed * factor, step_s)
    after = moments.parted(kept, leaps, "measurements")
    moments.refuse_mostly(after, len(kept) + len(after), path)
    remarks += moments.said_of(moments.LEAPS, after)
    bad = _boxes(path, kept, folder)
    columns: dict[str, list] = {
        "frame": list(kept.values()),
        "time_s": [new / moments.RATE_HZ for new in kept.values()],
    }
    for key in next(iter(rows.values())):
        columns[key] = [rows[old][key] * (factor if key == "speed_ms" else 1) for old in kept]
    for theirs, ours in FOLDERS[layout].items():
        if (path / theirs).is_dir():
            absent = moments.copy(moments.numbered(path / theirs), kept, folder / ours)
            remarks += moments.said_of(f"files of {theirs} are missing", absent)
    for name in cameras:
        if (path / f"seg_{name}").is_dir():
            moments.copy(moments.numbered(path / f"seg_{name}"), kept, folder / f"seg_{name}")
    unread = _converted(path, kept, folder, BEHIND_M if as_published else {})
    if supervision is not None:
        bad += _supervision(path, supervision, kept, folder, columns)
    if as_published:
        for name, metres in BEHIND_M.items():
            if there := [f"{kind}_{name}" for kind in ("depth", "seg") if (path / f"{kind}_{name}").is_dir()]:
                remarks.append(BEHIND.format(" and ".join(there), metres))
        fits = all(lens.known(camera.size) for camera in cameras.values())
        cameras = lens.straighten(folder, cameras) if fits else cameras
        remarks.append(STRAIGHTENED if fits else BENT)
    bad += unread.values()
    remarks += [*notes, *moments.said_of("files cannot be read", bad)]
    table = {key: np.array(values) for key, values in columns.items()}
    record = _record(path)
    usable, cut = cuts.usable(record, table["frame"], table["speed_ms"], moments.RATE_HZ)
    if record is None and length is None and layout != "lbc":
        remarks.append(UNCUT)
    if length is not None and length < usable:
        usable, cut = length, f"{INDEX} says so"
    routes.write_frames(folder, table)
    about = {
        "layout": layout, "town": moments.town_of(path), "source": SOURCES[layout], "origin": ORIGIN, "rendered": True,
        "rate_hz": moments.RATE_HZ, "usable": usable, "cut": cut, "remarks": remarks,
        "faults": faults + gaps + after + bad, "unread": unread,
        "weather": moments.sky(next(iter(told.values())).get("weather")),
    }  # fmt: skip
    return routes.write_about(folder, about, cameras, table)
