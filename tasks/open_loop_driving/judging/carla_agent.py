"""A trained network as an agent of CARLA's leaderboard 1.0 (CARLA 0.9.10), for those who have it.

    python leaderboard/leaderboard_evaluator.py --agent=tasks/open_loop_driving/judging/carla_agent.py \
        --agent-config=data/open_loop_driving/train/thinktwice_small/best.pt --routes=... --track=SENSORS

Reads the checkpoint alone: the cameras that it was trained with are those that are asked for, and pictures that were
made straight for training (importers/lens.py) are here too. CARLA's frames are left-handed and become ours at this
door. Its lidar gives half a turn a tick: the half before is moved to now and kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import carla
import numpy as np

from tasks.open_loop_driving.formats import frames
from tasks.open_loop_driving.formats.calibration import Camera
from tasks.open_loop_driving.formats.plans import Observation
from tasks.open_loop_driving.importers import lens
from tasks.open_loop_driving.judging.navigator import Navigator, planar
from tasks.open_loop_driving.judging.pid import LOCK_RAD
from tasks.open_loop_driving.judging.pilot import Pilot
from tasks.open_loop_driving.learning.planner import Planner
from tasks.yard.step import BadInput
from tasks.yard.training.accelerator import accelerator

try:
    from leaderboard.autoagents.autonomous_agent import AutonomousAgent, Track

    SENSORS_TRACK = Track.SENSORS
except ImportError:  # CARLA without the leaderboard: call setup, set_global_plan, sensors and run_step yourself
    AutonomousAgent, SENSORS_TRACK = object, "SENSORS"  # type: ignore[misc, assignment]

LIDAR_M = 2.5  # above the middle of the car
PLAN_EVERY_S = 0.25
CREEP_AFTER_S = 55.0  # as TransFuser's agent: longer than a red light lasts


def get_entry_point() -> str:
    return "OpenLoopAgent"


def camera_spec(camera: Camera) -> dict[str, Any]:
    """What CARLA is asked for; of ThinkTwice's cameras the pictures before they were made straight. Raises `BadInput`
    if its cameras cannot see so: they have square pixels, their axis in the middle, and here they are level."""
    bent = lens.bent_size(camera)
    height, width = bent or camera.size
    fx, fy, cx, cy = camera.K[0, 0], camera.K[1, 1], camera.K[0, 2], camera.K[1, 2]
    if bent is None and not np.allclose([fx / fy, 2 * cx / width, 2 * cy / height], 1, atol=0.01):
        raise BadInput(
            f"camera {camera.name}: CARLA has no camera of {width} x {height} px with fx {fx:.1f}, fy {fy:.1f}, cx "
            f"{cx:.1f}, cy {cy:.1f}; train with pack.height_px and pack.width_px in the shape of the recorded pictures"
        )
    place, axis = camera.centre, camera.ego_from_camera[:3, 2]
    if abs(axis[2]) > 0.01:
        raise BadInput(f"camera {camera.name} is not level, which this agent does not ask CARLA for")
    yaw = -math.degrees(math.atan2(axis[1], axis[0]))
    return {
        "type": "sensor.camera.rgb", "id": f"rgb_{camera.name}", "x": float(place[0]), "y": -float(place[1]),
        "z": float(place[2]), "roll": 0.0, "pitch": 0.0, "yaw": yaw, "width": width, "height": height,
        "fov": lens.FOV_DEG if bent else math.degrees(2 * math.atan(width / (2 * fx))),
    }  # fmt: skip


class OpenLoopAgent(AutonomousAgent):
    def setup(self, path_to_conf_file: str) -> None:
        """`path_to_conf_file`: best.pt of a network."""
        self.track = SENSORS_TRACK
        self.planner = Planner.load(Path(path_to_conf_file), accelerator())
        looks = self.planner.needs.cameras if "rgb" in self.planner.needs.sensors else ()
        self.cameras = [self.planner.calibration[name] for name in looks]
        bent = {camera.name: (lens.bent_size(camera), camera.size) for camera in self.cameras}
        self.straight = {name: lens.maps(size, onto) for name, (size, onto) in bent.items() if size is not None}
        self.pilot = Pilot(self.planner, every_s=PLAN_EVERY_S, lock_rad=LOCK_RAD, creep_s=CREEP_AFTER_S)
        self.navigator: Navigator | None = None
        self.heading = 0.0
        self.sweep: tuple[np.ndarray, np.ndarray] | None = None  # the half before, and the pose that it was seen from

    def sensors(self) -> list[dict[str, Any]]:
        still = {"x": 0.0, "y": 0.0, "z": 0.0, "roll": 0.0, "pitch": 0.0, "yaw": 0.0}
        found = [
            *(camera_spec(camera) for camera in self.cameras),
            {"type": "sensor.other.gnss", "id": "gps", **still},
            {"type": "sensor.other.imu", "id": "imu", **still},
            {"type": "sensor.speedometer", "id": "speed", "reading_frequency": 20},
        ]
        if "lidar" in self.planner.needs.sensors:
            found.append({"type": "sensor.lidar.ray_cast", "id": "lidar", **still, "z": LIDAR_M})
        return found

    def pose(self, input_data: dict) -> np.ndarray:
        """x, y, yaw of ours. A compass that says NaN, as CARLA's now and then does, has said nothing: the heading of
        the tick before goes on."""
        x, y = planar(input_data["gps"][1][:2])
        compass = float(input_data["imu"][1][-1])
        if math.isfinite(compass):
            self.heading = float(frames.wrapped(math.pi / 2 - compass))
        return np.array([x, y, self.heading])

    def points(self, input_data: dict, pose: np.ndarray) -> np.ndarray:
        """(n, 4) of this half turn and the one before, in the car's frame of now."""
        half = frames.carla_points(np.asarray(input_data["lidar"][1], np.float32)[:, :4])
        half[:, 2] += LIDAR_M
        before, self.sweep = self.sweep, (half, pose)
        if before is None:
            return half
        return np.concatenate([half, frames.moved(before[0], frames.now_from_then(pose, before[1]))]).astype(np.float32)

    def picture(self, name: str, input_data: dict) -> np.ndarray:
        """(h, w, 3) RGB of one camera, as the network was trained to see through it."""
        seen = np.ascontiguousarray(input_data[f"rgb_{name}"][1][:, :, 2::-1])
        return lens.straight(seen, self.straight[name]) if name in self.straight else seen

    def run_step(self, input_data: dict, timestamp: float) -> Any:
        """{id: (frame, data)} of every sensor -> carla.VehicleControl."""
        if self.navigator is None:
            self.navigator = Navigator(self._global_plan)
        pose, speed = self.pose(input_data), float(input_data["speed"][1]["speed"])
        lidar = self.points(input_data, pose) if "lidar" in input_data else None
        target, command = self.navigator.next(pose)
        if self.pilot.wants(timestamp):
            images = {camera.name: self.picture(camera.name, input_data) for camera in self.cameras}
            seen = Observation(tuple(map(float, pose)), speed, command, tuple(map(float, target)), images, lidar)
            self.pilot.look(timestamp, seen)
        done = self.pilot.drive(timestamp, tuple(map(float, pose)), speed, target)
        return carla.VehicleControl(throttle=done.throttle, steer=done.steer, brake=done.brake)

    def destroy(self) -> None:
        self.planner = self.pilot = None  # type: ignore[assignment]

    def set_global_plan(self, global_plan_gps: Sequence, global_plan_world_coord: Sequence) -> None:
        if AutonomousAgent is object:
            self._global_plan = global_plan_gps
        else:
            super().set_global_plan(global_plan_gps, global_plan_world_coord)
        self.navigator = None
