"""A drive of the expert through the town world (tasks/yard/worlds/town), straight into the layout of routes.py.

What it writes is what importers/drives.py makes of the same drive in ThinkTwice's layout (importers/town.py), which
takes twice as long and twenty times the room, most of it for the masks.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from tasks.open_loop_driving.formats import frames, routes
from tasks.open_loop_driving.formats.calibration import Camera
from tasks.open_loop_driving.importers import cuts
from tasks.open_loop_driving.importers import town as thinktwice_files
from tasks.yard.worlds import town
from tasks.yard.worlds.town import Moment, World

ORIGIN = "on the ground below the middle of the car"


def cameras(world: World) -> dict[str, Camera]:
    eyes = town.eyes(world.cameras, world.height, world.width)
    return {eye.name: Camera(eye.name, eye.size, eye.K, eye.camera_from_ego) for eye in eyes}


def _write_seen(folder: Path, frame: int, moment: Moment) -> None:
    seen = moment.seen
    for name, view in seen.views.items():
        routes.write_png(folder / f"rgb_{name}" / f"{frame:04d}.png", view.picture)
        routes.write_png(folder / f"depth_{name}" / f"{frame:04d}.png", routes.coded_depth(view.depth))
        routes.write_png(folder / f"seg_{name}" / f"{frame:04d}.png", view.kinds)
    routes.write_lidar(folder / "lidar" / f"{frame:04d}.npy", seen.lidar)
    assert seen.masks is not None
    routes.write_png(folder / "bev" / f"{frame:04d}.png", seen.masks.reshape(-1, seen.masks.shape[-1]))


def bring(world: World, name: str, folder: Path) -> dict[str, Any]:
    """All files of one route under `folder`; returns route.json. Raises `BadInput` if there is no such route."""
    sim = town.begin(world, name)
    columns: dict[str, list[float]] = defaultdict(list)
    boxes: dict[int, list[tuple]] = {}
    betas = []
    weather = ""
    for moment in town.recording(world, sim):
        frame = moment.frame
        seen, control = moment.seen, moment.control
        _write_seen(folder, frame, moment)
        ahead, left = frames.ego_from_world(np.array(seen.target[:2]), np.array([seen.x, seen.y, seen.yaw]))
        row = {
            "frame": frame, "time_s": frame / town.RATE_HZ, "x": seen.x, "y": seen.y,
            "yaw": float(frames.wrapped(seen.yaw)), "speed_ms": seen.speed, **control._asdict(),
            "command": seen.target[2], "target_x": float(ahead), "target_y": float(left),
            "should_brake": bool(moment.hazard),
        }  # fmt: skip
        for key, value in row.items():
            columns[key].append(value)
        boxes[frame] = [(one.kind, *one.centre, *one.size, one.yaw, one.speed, one.id) for one in seen.boxes]
        betas.append(thinktwice_files.betas(*control))
        weather = seen.weather.name
    table = {key: np.array(values) for key, values in columns.items()}
    routes.write_frames(folder, table)
    routes.write_boxes(folder, boxes)
    routes.write_supervision(folder, {
        "frame": table["frame"], "alpha": np.array([alpha for alpha, _ in betas]),
        "beta": np.array([beta for _, beta in betas]),
        "value": thinktwice_files.values(columns["speed_ms"], list(boxes)),
    })  # fmt: skip
    record = cuts.record_of(thinktwice_files.results(sim, name, len(table["frame"])))
    usable, cut = cuts.usable(record, table["frame"], table["speed_ms"], town.RATE_HZ)
    about = {
        "layout": "town", "town": name.split("_")[0], "source": town.uri(world), "origin": ORIGIN,
        "rendered": True, "rate_hz": town.RATE_HZ, "usable": usable, "cut": cut, "weather": weather, "remarks": [],
    }  # fmt: skip
    return routes.write_about(folder, about, cameras(world), table)
