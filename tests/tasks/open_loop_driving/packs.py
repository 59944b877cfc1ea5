"""Small packs of routes through the town, written straight from the world."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np

from tasks.open_loop_driving.formats import calibration, pack
from tasks.open_loop_driving.importers import town as importer
from tasks.yard.files import write_json
from tasks.yard.worlds import town

HORIZON = 4
SENSORS = ("rgb", "depth", "seg", "lidar", "bev", "boxes", "supervision")
TINY = "synth://town?routes=6&seconds=20&cameras=2&height=32&width=48&seed=0"


def target(seen: town.Observation) -> tuple[float, float]:
    """The next point of the route in the car's frame."""
    dx, dy = seen.target[0] - seen.x, seen.target[1] - seen.y
    c, s = np.cos(seen.yaw), np.sin(seen.yaw)
    return c * dx + s * dy, c * dy - s * dx


def write_pack(folder: Path, world: town.World, name: str, split: str, seconds: float) -> dict:
    """`seconds` of a route."""
    sim = town.begin(world, name)
    moments = list(islice(town.recording(world, sim), round(seconds * town.RATE_HZ)))
    seen = [moment.seen for moment in moments]
    n = len(moments)
    alpha, beta = (np.stack(parts) for parts in zip(*(importer.betas(*m.control) for m in moments), strict=True))
    rig = calibration.parse_all(importer.calibration(world)["cameras"], "the world")
    head = pack.Head(name[:6], "synth://town", town.RATE_HZ, "on the ground below the middle of the car", rig, SENSORS)
    columns = {
        "frame": np.arange(n), "time_s": np.arange(n) / town.RATE_HZ,
        "pose": np.array([(one.x, one.y, one.yaw) for one in seen]), "speed_ms": np.array([one.speed for one in seen]),
        "control": np.array([tuple(moment.control) for moment in moments]),
        "command": np.array([one.target[2] for one in seen]), "target": np.array([target(one) for one in seen]),
        "should_brake": np.array([bool(moment.hazard) for moment in moments]),
        "windows": pack.windows(np.arange(n), HORIZON),
    }  # fmt: skip
    rows = [
        pack.Frame(
            images={camera: view.picture[..., ::-1] for camera, view in one.views.items()},
            depth={camera: np.where(view.depth < 600, np.round(view.depth * 100), 0).astype(np.uint16)
                   for camera, view in one.views.items()},
            seg={camera: view.kinds for camera, view in one.views.items()}, lidar=one.lidar,
            bev=one.masks[:, 1::3, 1::3],
        )
        for one in seen
    ]  # fmt: skip
    told = {"alpha": alpha, "beta": beta, "value": importer.values([one.speed for one in seen], list(range(len(seen))))}
    (folder / name).mkdir(parents=True)
    pack.write(pack.path(folder, name), head, columns, rows, told)
    return {
        "town": name[:6], "split": split, "frames": n, "windows": len(columns["windows"]), "sha256": "",
        "sensors": list(SENSORS), "cameras": list(rig),
    }  # fmt: skip


def write_packs(folder: Path, splits: dict[str, str], seconds: float = 6, uri: str = TINY) -> Path:
    """`splits`: route of the world -> train, val, test."""
    world = town.parse(uri)
    routes = {name: write_pack(folder, world, name, split, seconds) for name, split in splits.items()}
    write_json(folder / "manifest.json", {"horizon": HORIZON, "rate_hz": town.RATE_HZ, "routes": routes})
    return folder
