"""Packed routes and plans whose every number is known: a straight drive at 4 m/s past a car that stands.

write_route(root / "pack", ...), write_manifest(root / "pack", ...), write_plans(root / "plan/one", ...)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.open_loop_driving.formats import pack, plans
from tasks.open_loop_driving.formats.calibration import Camera
from tasks.open_loop_driving.formats.frames import OPTICAL_FROM_EGO
from tasks.open_loop_driving.formats.plans import Planned, Plans
from tasks.yard.files import file_hash, write_json

RATE_HZ, HORIZON, SPEED_MS = 2.0, 4, 4.0
LAYERS = ("coarse", "1", "2")
OFF_M = (4.0, 2.0, -1.0)  # by which each layer's waypoints lie to the left of the expert's way
SKY = (30, 60, 90)
STANDS = (0, 12.0, -3.0, 0.8, 4.0, 2.0, 1.6, 0.0, 0.0)  # class and box, from where the car is in frame 0


def camera(name: str = "front", turned: bool = False) -> Camera:
    """80 x 48 px, focal length 40 px, 2 m above the origin, level."""
    pose = OPTICAL_FROM_EGO @ np.diag([-1.0, -1, 1, 1]) if turned else OPTICAL_FROM_EGO.copy()
    lift = np.eye(4)
    lift[2, 3] = -2.0
    return Camera(name, (48, 80), np.array([[40.0, 0, 40], [0, 40, 24], [0, 0, 1]]), pose @ lift)


def write_route(
    folder: Path, name: str, frames: int = 14, bare: bool = False, yaw: float = 0.0, origin: str = "middle of the car"
) -> Path:
    """pack/<name>/route.h5. `bare`: poses and speeds alone, of a source that has nothing else. `yaw`: the world's."""
    number = np.arange(frames)
    gone = SPEED_MS / RATE_HZ * number
    columns = {
        "frame": number, "time_s": number / RATE_HZ, "speed_ms": np.full(frames, SPEED_MS),
        "pose": np.column_stack([5 + gone * np.cos(yaw), 7 + gone * np.sin(yaw), np.full(frames, yaw)]),
        "windows": pack.windows(number, HORIZON),
    }  # fmt: skip
    cameras = {} if bare else {"front": camera(), "back": camera("back", turned=True)}
    sensors: tuple[str, ...] = ()
    rows = [pack.Frame() for _ in number]
    if not bare:
        sensors = ("rgb", "lidar", "bev", "boxes", "control", "command", "target", "should_brake")
        columns |= {
            "control": np.tile([0.25, -0.5, 0.0], (frames, 1)), "command": np.full(frames, 4),
            "target": np.tile([10.0, 0.0], (frames, 1)), "should_brake": number % 2,
        }  # fmt: skip
        road = np.zeros((15, 24, 24), np.uint8)
        road[0, :, 8:16] = 255
        rows = [
            pack.Frame(
                images={key: np.full((48, 80, 3), SKY, np.uint8) for key in cameras}, bev=road,
                lidar=np.array([[8.0, 6.0, 1.0, 0.5]], np.float32), ids=["7"],
                boxes=np.array([STANDS], np.float32) - np.array([0, gone[row], 0, 0, 0, 0, 0, 0, 0], np.float32),
            )
            for row in number
        ]  # fmt: skip
    path = pack.path(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    head = pack.Head(name[:6], "drawn by hand", RATE_HZ, origin, cameras, sensors)
    pack.write(path, head, columns, rows)
    return path


def write_manifest(folder: Path, splits: dict[str, str]) -> None:
    """Of the routes that lie there; `splits`: {route: split}."""
    routes = {}
    for name, split in splits.items():
        route = pack.read(pack.path(folder, name))
        routes[name] = {
            "town": route.town, "split": split, "frames": len(route.frame), "windows": len(route.windows),
            "sha256": file_hash(route.path), "sensors": list(route.sensors), "cameras": list(route.cameras),
        }  # fmt: skip
    counts = {
        split: {
            "routes": len(mine), "frames": sum(of["frames"] for of in mine),
            "windows": sum(of["windows"] for of in mine), "towns": sorted({of["town"] for of in mine}),
        }
        for split in ("train", "val", "test")
        for mine in [[of for of in routes.values() if of["split"] == split]]
    }  # fmt: skip
    write_json(folder / "manifest.json", {
        "horizon": HORIZON, "rate_hz": RATE_HZ, "subset": "full", "routes": routes, "splits": counts, "remarks": [],
        "left_out": {},
    })  # fmt: skip


def planned(folder: Path, routes: list[str], off_m: tuple[float, ...] = OFF_M, looks: bool = True) -> Plans:
    """The expert's own way, each layer beside it by `off_m`; throttle .5 and steer .25 of every layer."""
    packed = [pack.read(pack.path(folder, name), name) for name in routes]
    truth = np.concatenate([route.waypoints(route.windows, HORIZON) for route in packed])
    shift = np.array([[0.0, off] for off in off_m])[:, None, None]
    shape = (len(off_m), *truth.shape)
    alpha = np.broadcast_to(np.array([1 + 10 * 0.75, 1 + 10 * 0.625]), shape)
    beta = np.broadcast_to(np.array([1 + 10 * 0.25, 1 + 10 * 0.375]), shape)
    waypoints = truth + shift
    return Plans(
        np.concatenate([np.full(len(route.windows), route.name, object) for route in packed]),
        np.concatenate([route.windows for route in packed]), waypoints, alpha, beta,
        np.full(len(truth), SPEED_MS), waypoints[:-1] if looks else None,
    )  # fmt: skip


def write_plans(folder: Path, pack_folder: Path, splits: dict[str, list[str]], **how) -> None:
    """plan/<network>/plans.h5; `splits`: {split: routes}."""
    of = {split: planned(pack_folder, routes, **how) for split, routes in splits.items()}
    folder.mkdir(parents=True, exist_ok=True)
    layers = LAYERS[: len(next(iter(of.values())).waypoints)]
    plans.write(folder / plans.FILE, Planned(folder.name, layers, HORIZON, RATE_HZ, of))
