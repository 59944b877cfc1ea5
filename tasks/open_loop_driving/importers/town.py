"""The town world (tasks/yard/worlds/town) in the layout of ThinkTwice's data set, one route a folder.

Writes, twice a second and counted from 0:
    rgb_<camera>/%04d.png        BGR in OpenCV's words; cameras are front, left, right, back, or those that there are
    seg_<camera>/%04d.png        CARLA's class, one channel
    depth_<camera>/%04d.png      (R + 256 G + 65536 B) / (2^24 - 1) * 1000 m, from the same place as rgb
    lidar/%04d.npy               (n, 4) float32: x ahead, y to the RIGHT, z above the ground, intensity
    measurements/%04d.json       see `measurement`
    supervision/%04d.npy         a pickled dict, see `supervision`; without the expert's features, as it has none
    3d_bbs/%04d.json             of what is within 50 m; a vehicle's place is on the ground, that of others their middle
    bev/%04d.png                 a picture of the masks
    bev_seg_label/%04d.npy       (15, 192, 192) float16, 0 to 1, see tasks/yard/worlds/town/birdview.py
and once
    calibration.json             one for all: K and pose of each camera in the frame x ahead, y LEFT, z up
    results.json                 the leaderboard's record of the drive: status, scores, infractions

CARLA's frames are left-handed. Its world's X is that of the town, its Y is minus that of the town, and its yaw is minus
the town's. A measurement has x = -Y, y = X and theta = yaw + pi / 2, all of CARLA's.
"""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tasks.open_loop_driving.formats import plans
from tasks.yard.files import replacing, write_json, write_text
from tasks.yard.worlds import town
from tasks.yard.worlds.town import Box, Moment, Observation, Simulation, World, birdview, ego, judge
from tasks.yard.worlds.town.rig import LIDAR_M

DISCOUNT, FULL_MPS = 0.9, 8.0  # of the value, a step; the speed whose progress counts as 1
GRAVITY_MPS2 = 9.81
DEPTH_M = 1000.0
NOISE_M = 0.05  # by which a point of the lidar may lie outside the box that it belongs to
SHARES = (np.arange(256) / 255).astype(np.float16)  # of a mask: 0 to 255 as 0 to 1
FAST = [cv2.IMWRITE_PNG_COMPRESSION, 1]
SKIES = {  # the values of WEATHER
    "day": (10.0, 0.0, 0.0, 5.0, 60.0, 60.0, 0.0, 0.0, 0.0, 0.2),
    "overcast": (85.0, 0.0, 0.0, 15.0, 60.0, 45.0, 5.0, 0.0, 0.0, 0.2),
    "evening": (30.0, 0.0, 0.0, 5.0, 270.0, 12.0, 0.0, 0.0, 0.0, 0.2),
    "fog": (70.0, 0.0, 0.0, 2.0, 60.0, 40.0, 55.0, 10.0, 0.0, 0.2),
}
WEATHER = (
    "cloudiness", "precipitation", "precipitation_deposits", "wind_intensity", "sun_azimuth_angle",
    "sun_altitude_angle", "fog_density", "fog_distance", "wetness", "fog_falloff",
)  # fmt: skip


def theta(yaw: float) -> float:
    """The compass of a heading of the town, 0 to 2 pi."""
    return (math.pi / 2 - yaw) % (2 * math.pi)


def measured(x: float, y: float) -> tuple[float, float]:
    """A place of the town as x and y of a measurement: X of CARLA is its y, -Y of CARLA its x."""
    return y, x


def matrices(x: float, y: float, z: float, yaw: float) -> dict[str, list[list[float]]]:
    """CARLA's transform (4, 4) of something that stands in the town, and its inverse."""
    c, s = math.cos(yaw), -math.sin(yaw)
    last = [0.0, 0.0, 0.0, 1.0]
    there = [[c, -s, 0.0, x], [s, c, 0.0, -y], [0.0, 0.0, 1.0, z], last]
    back = [[c, s, 0.0, s * y - c * x], [-s, c, 0.0, s * x + c * y], [0.0, 0.0, 1.0, -z], last]
    return {"ego_matrix": there, "ego_inv_matrix": back}


def measurement(moment: Moment) -> dict[str, Any]:
    """Targets lie in the same world as x and y; speeds in m/s; accelerations in the car's frame, y to the right."""
    seen = moment.seen
    (x, y), near, far, target = (measured(*p[:2]) for p in ((seen.x, seen.y), seen.near, seen.far, seen.target))
    return {
        "x": x, "y": y, "theta": theta(seen.yaw), "speed": seen.speed,
        "x_command_far": far[0], "y_command_far": far[1], "command_far": seen.far[2],
        "x_command_near": near[0], "y_command_near": near[1], "command_near": seen.near[2],
        "x_target": target[0], "y_target": target[1], "target_command": seen.target[2],
        "should_brake": bool(moment.hazard),
        "weather": dict(zip(WEATHER, SKIES[seen.weather.name], strict=True)),
        "acceleration": [seen.acceleration[0], -seen.acceleration[1], GRAVITY_MPS2],
        "angular_velocity": [0.0, 0.0, -seen.turning],
    }  # fmt: skip


def betas(throttle: float, steer: float, brake: float) -> tuple[np.ndarray, np.ndarray]:
    """(2), (2): both parameters of the Betas of acceleration and steer on 0 to 1; 0.5 is neither gas nor brake."""
    alpha, beta = plans.betas(np.array(throttle - brake), np.array(steer))
    return alpha.astype(np.float32), beta.astype(np.float32)


def values(speeds: list[float], frames: list[int]) -> np.ndarray:
    """Discounted progress from each frame on; over frames that are missing, and after the last one, it goes on as it
    was before them."""
    rewards, gaps = np.clip(np.array(speeds) / FULL_MPS, 0, 1), np.diff(frames)
    found, ahead = np.zeros(len(rewards)), rewards[-1] / (1 - DISCOUNT)
    for row in range(len(rewards) - 1, -1, -1):
        kept = DISCOUNT ** (gaps[row] if row < len(gaps) else 1)
        ahead = rewards[row] * (1 - kept) / (1 - DISCOUNT) + kept * ahead
        found[row] = ahead
    return found.astype(np.float32)


def supervision(moment: Moment, value: float) -> dict[str, Any]:
    """`action`: throttle, steer, brake; `action_mu`, `action_sigma`: alpha and beta, by ThinkTwice's names."""
    alpha, beta = betas(*moment.control)
    target = moment.seen.target
    return {
        "action": np.array(moment.control, np.float32), "value": np.float32(value), "action_mu": alpha,
        "action_sigma": beta, "speed": moment.seen.speed,
        "target_gps": np.array([*measured(*target[:2]), 0], np.float32),
        "target_command": np.array([target[2]], np.int8), "should_brake": bool(moment.hazard), "only_ap_brake": False,
    }  # fmt: skip


def boxes(seen: Observation, brake: float) -> dict[str, dict[str, Any]]:
    """What is around the car, by CARLA's names; y to the right."""
    me = {
        "class": "vehicle", "extent": list(ego.SIZE_M), "relative_position": [0.0, 0.0, 0.0],
        "relative_rotation": [0.0, 0.0, 0.0], "yaw": -seen.yaw, "num_points": -1, "distance": -1, "speed": seen.speed,
        "brake": brake, "id": 1, **matrices(seen.x, seen.y, 0.0, seen.yaw),
    }  # fmt: skip
    found = {"ego": me, "vehicle1": me}
    for one, points in zip(seen.boxes, _points(seen), strict=True):
        found[f"{one.kind}{one.id}"] = _box(one, seen, points)
    return found


def _points(seen: Observation) -> list[int]:
    """How many points of the lidar lie in each box."""
    if not seen.boxes:
        return []
    x, y, z = (axis[:, None] for axis in np.array([one.centre for one in seen.boxes], np.float32).T)
    long, wide, high = (
        side[:, None] / 2 + NOISE_M for side in np.array([one.size for one in seen.boxes], np.float32).T
    )
    yaw = np.array([one.yaw for one in seen.boxes], np.float32)[:, None]
    ahead, left = seen.lidar[:, 0] - x, seen.lidar[:, 1] - y
    inside = np.abs(np.cos(yaw) * ahead + np.sin(yaw) * left) < long
    inside &= np.abs(np.cos(yaw) * left - np.sin(yaw) * ahead) < wide
    inside &= np.abs(seen.lidar[:, 2] - z) < high
    return [int(count) for count in inside.sum(1)]


def _box(one: Box, seen: Observation, points: int) -> dict[str, Any]:
    c, s = math.cos(seen.yaw), math.sin(seen.yaw)
    x, y, middle = one.centre
    z = 0.0 if one.kind == "vehicle" else middle
    own = matrices(seen.x + c * x - s * y, seen.y + s * x + c * y, z, seen.yaw + one.yaw)
    moves = one.kind != "traffic_light"
    return {
        "class": one.kind, "extent": list(one.size), "relative_position": [x, -y, z],
        "relative_rotation": [0.0, 0.0, -one.yaw], "num_points": points,
        "distance": math.sqrt(x * x + y * y + z * z), "speed": one.speed if moves else None,
        "brake": float(one.braking) if one.kind == "vehicle" else None, "id": one.id, **own,
        **({} if moves else {"state": one.state}),
    }  # fmt: skip


def calibration(world: World) -> dict[str, Any]:
    cameras = {
        eye.name: {
            "height": eye.size[0], "width": eye.size[1], "K": eye.K.tolist(),
            "camera_from_ego": eye.camera_from_ego.tolist(),
        }
        for eye in town.eyes(world.cameras, world.height, world.width)
    }  # fmt: skip
    return {
        "cameras": cameras, "lidar": {"x": 0.0, "y": 0.0, "z": LIDAR_M}, "rate_hz": town.RATE_HZ,
        "ego": "x ahead, y left, z up, metres; on the ground below the middle of the car", "car_m": list(ego.SIZE_M),
        "camera": "x right, y down, z ahead; the middle of the first pixel is (0.5, 0.5)",
    }  # fmt: skip


def results(sim: Simulation, name: str, frames: int) -> dict[str, Any]:
    """As the leaderboard writes them, with the one record of this drive. One that the recorder ended on its way is
    called so: without a fault all its frames can be used."""
    infractions: dict[str, list[str]] = {kind: [] for kind in judge.KINDS}
    for found in sim.infractions:
        infractions[found.kind].append(f"at {found.time_s:.2f} s, ({found.x:.2f}, {found.y:.2f})")
    ended = [found.kind for found in sim.infractions if found.kind in judge.ENDS]
    done = sim.route_completion >= 1
    status = "Completed" if done else f"Failed - {ended[0]}" if ended else "Ended by the recorder"
    meta = {"folder_name": name, "route_length": sim.route.length_m, "duration_game": sim.time_s, "frames": frames}
    record = {
        "route_id": name, "status": status, "meta": meta, "infractions": infractions,
        "scores": sim.scores,
    }  # fmt: skip
    return {"_checkpoint": {"records": [record]}}


def coded_depth(depth: np.ndarray) -> np.ndarray:
    """Metres (h, w) -> (h, w, 3) BGR, CARLA's 24 bits."""
    whole = np.round(np.clip(depth.astype(float), 0, DEPTH_M) / DEPTH_M * (2**24 - 1)).astype(np.uint32)
    return np.stack([whole >> 16 & 255, whole >> 8 & 255, whole & 255], axis=-1).astype(np.uint8)


def _write_png(path: Path, picture: np.ndarray) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", picture, FAST)[1].tobytes())


def _write_npy(path: Path, value: Any) -> None:
    buffer = io.BytesIO()
    np.save(buffer, value, allow_pickle=True)
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def _write_seen(folder: Path, frame: int, moment: Moment, sim: Simulation) -> None:
    seen = moment.seen
    for name, view in seen.views.items():
        _write_png(folder / f"rgb_{name}" / f"{frame:04d}.png", view.picture)
        _write_png(folder / f"seg_{name}" / f"{frame:04d}.png", view.kinds)
        _write_png(folder / f"depth_{name}" / f"{frame:04d}.png", coded_depth(view.depth))
    _write_npy(folder / "lidar" / f"{frame:04d}.npy", seen.lidar * np.array([1, -1, 1, 1], np.float32))
    _write_npy(folder / "bev_seg_label" / f"{frame:04d}.npy", SHARES.take(seen.masks))
    _write_png(folder / "bev" / f"{frame:04d}.png", birdview.picture(seen.masks, sim.ego))
    for kind, value in (("3d_bbs", boxes(seen, moment.control.brake)), ("measurements", measurement(moment))):
        # In one line: indented, as `write_json` writes, they cost as much time as a camera.
        write_text(folder / kind / f"{frame:04d}.json", json.dumps(value, sort_keys=True, allow_nan=False) + "\n")


def write_route(world: World, name: str, folder: Path) -> None:
    """All files of one route under `folder`. Raises `BadInput` if there is no such route."""
    sim = town.begin(world, name)
    kept: list[tuple[int, dict[str, Any]]] = []
    speeds: list[float] = []
    for moment in town.recording(world, sim):
        frame = moment.frame
        _write_seen(folder, frame, moment, sim)
        kept.append((frame, supervision(moment, 0.0)))
        speeds.append(moment.seen.speed)
    for (frame, told), value in zip(kept, values(speeds, [frame for frame, _ in kept]), strict=True):
        _write_npy(folder / "supervision" / f"{frame:04d}.npy", told | {"value": value})
    write_json(folder / "results.json", results(sim, name, len(kept)))
    write_json(folder / "calibration.json", calibration(world))
