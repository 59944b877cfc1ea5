"""Does a drive bring what a network needs, and how far is its rig from the one that the network was trained on?

A network is handed the calibration of the drive that it plans, so that another rig is no fault; how well it sees with
one that is far from its own nobody has measured, and that is said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from models.open_loop_driving import variants
from tasks.open_loop_driving.formats import calibration
from tasks.open_loop_driving.formats.calibration import Camera
from tasks.open_loop_driving.formats.routes import Route
from tasks.open_loop_driving.learning.batches import TOLD

WIDE_DEG, TURNED_DEG, MOVED_M = 5.0, 5.0, 0.3  # from here on another rig is said


def lacking(route: Route, config: Mapping) -> str | None:
    """Why the network of a checkpoint cannot plan this drive; None: it can."""
    name, needs = config["network"]["name"], variants.needs(config["network"]["name"])
    has = {"speed", *route.sensors}
    for kind, what in (("command", "a command (left, right, straight, ...)"), ("target", "a target point")):
        if kind in config.get("told", TOLD) and kind not in has:
            return f"{route.name}: has no {kind}; {name} plans to {what} at every moment; bring drives that tell it"
    if "rgb" in needs:
        there = [camera for camera in route.cameras if route.files(f"rgb_{camera}")]
        if missing := [camera for camera in config["cameras"] if camera not in there]:
            others = f", but {', '.join(there)}" if there else ""
            return (
                f"{route.name}: has no camera {missing[0]!r}{others}; {name} was trained to "
                f"see through {', '.join(config['cameras'])}; apply a model that was trained on what there is"
            )
    if "lidar" in needs and "lidar" not in has:
        return (
            f"{route.name}: has no lidar, which {name} needs; apply a model that was trained without "
            f"({name.split('-')[0]}-lidar)"
        )
    return None


def width_deg(camera: Camera) -> float:
    """How much of the world it sees from left to right."""
    return 2 * math.degrees(math.atan(camera.size[1] / 2 / camera.K[0, 0]))


def turned_deg(one: Camera, other: Camera) -> float:
    both = one.camera_from_ego[:3, :3] @ other.camera_from_ego[:3, :3].T
    return math.degrees(math.acos(np.clip((np.trace(both) - 1) / 2, -1, 1)))


def differences(route: Route, config: Mapping) -> list[str]:
    """What is to be said of the cameras that the network sees through."""
    told = []
    for name, known in calibration.parse_all(config["cameras"], "the checkpoint").items():
        mine = route.cameras[name]
        if mine.size != known.size:
            told.append(
                f"{route.name}: pictures of {name} are {mine.size[1]} x {mine.size[0]} px, the model was trained on "
                f"{known.size[1]} x {known.size[0]}: brought to that size, its calibration too"
            )
        apart = []
        if abs(width_deg(mine) - width_deg(known)) > WIDE_DEG:
            apart.append(f"sees {width_deg(mine):.0f} degrees and not {width_deg(known):.0f}")
        if (turned := turned_deg(mine, known)) > TURNED_DEG:
            apart.append(f"looks {turned:.0f} degrees elsewhere")
        if (moved := float(np.linalg.norm(mine.centre - known.centre))) > MOVED_M:
            apart.append(f"stands {moved:.1f} m from there")
        if apart:
            told.append(
                f"{route.name}: beside the one that the model was trained on, camera {name} {', '.join(apart)}: the "
                "model is handed this calibration; nobody has measured how well it sees so"
            )
    return told
