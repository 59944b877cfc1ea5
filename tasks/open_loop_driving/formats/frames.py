"""One convention of axes in this line, and the ways into it from those of the sources.

car's frame   x ahead, y to the LEFT, z up, metres, right-handed; its origin on the ground below the middle of the rear
              axle, or where the source has it (route.json says it)
world         right-handed, z up; a yaw counts counter-clockwise from its x axis, radians
pose          (x, y, yaw) of the car in the world
camera        optical axes: x right, y down, z ahead

CARLA and what was recorded in it are left-handed: y to the right, yaw clockwise. Its world becomes ours by y -> -y.
A compass (theta) is CARLA's yaw + pi / 2.
"""

from __future__ import annotations

import numpy as np

MIRROR = np.diag([1.0, -1.0, 1.0, 1.0])  # y to the right <-> y to the left
# Unreal's axes of a camera (x ahead, y right, z up) -> optical axes.
OPTICAL_FROM_UNREAL = np.array([[0.0, 1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
# The same from x ahead, y left, z up.
OPTICAL_FROM_EGO = OPTICAL_FROM_UNREAL @ MIRROR
CAR_M = (4.6, 1.9)  # length and width of a car whose source does not say
REAR_AXLE = "rear axle"  # in words about the origin of a car's frame
REAR_M = 1.4  # then, from there to the middle of the car


def centre_m(origin: str) -> float:
    """From this origin of the car's frame forward to the middle of the car."""
    return REAR_M if REAR_AXLE in origin else 0.0


def wrapped(angle: np.ndarray | float) -> np.ndarray:
    """Radians, at least -pi and less than pi."""
    return (np.asarray(angle, float) + np.pi) % (2 * np.pi) - np.pi


def turn(yaw: np.ndarray | float) -> np.ndarray:
    """(..., 2, 2): from the axes of something with this yaw to those around it."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)


def ego_from_world(points: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Places of the world (..., 2) as the car sees them from its pose (..., 3)."""
    pose = np.asarray(pose, float)
    apart = np.asarray(points, float) - pose[..., :2]
    return (apart[..., None, :] @ turn(pose[..., 2]))[..., 0, :]


def world_from_ego(points: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """The inverse of `ego_from_world`."""
    pose = np.asarray(pose, float)
    turned = np.asarray(points, float)[..., None, :] @ np.swapaxes(turn(pose[..., 2]), -1, -2)
    return turned[..., 0, :] + pose[..., :2]


def matrix(pose: np.ndarray, z: float = 0.0) -> np.ndarray:
    """(4, 4) world from ego of a pose on level ground."""
    found = np.eye(4)
    found[:2, :2], found[:2, 3], found[2, 3] = turn(float(pose[2])), pose[:2], z
    return found


def now_from_then(now: np.ndarray, then: np.ndarray) -> np.ndarray:
    """(4, 4) that takes what the car saw at pose `then` to where it lies in the car's frame at pose `now`."""
    return np.linalg.inv(matrix(now)) @ matrix(then)


def moved(points: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """Points (n, 3 or more) by a transform (4, 4); columns after the third stay as they are."""
    found = np.array(points, dtype=np.result_type(points, np.float32))
    found[:, :3] = np.asarray(points, float)[:, :3] @ transform[:3, :3].T + transform[:3, 3]
    return found


def carla_pose(x: float, y: float, yaw: float) -> tuple[float, float, float]:
    """A pose in CARLA's world, yaw in radians, as one of ours."""
    return x, -y, float(wrapped(-yaw))


def carla_matrix(transform: np.ndarray) -> np.ndarray:
    """A transform (4, 4) between two of CARLA's frames, as one between the same two of ours."""
    return MIRROR @ np.asarray(transform, float) @ MIRROR


def carla_points(points: np.ndarray) -> np.ndarray:
    """Points (n, 2 or more) with y to the right -> y to the left, or back."""
    found = np.array(points)
    found[..., 1] = -found[..., 1]
    return found


def carla_camera(camera_to_ego: np.ndarray) -> np.ndarray:
    """(4, 4) camera_from_ego, optical axes, of CARLA's transform from a camera (Unreal's axes) to the car."""
    return OPTICAL_FROM_UNREAL @ np.linalg.inv(np.asarray(camera_to_ego, float)) @ MIRROR


def compass_yaw(theta: float) -> float:
    """A yaw of ours from CARLA's compass: its own yaw is theta - pi / 2, ours minus that."""
    return float(wrapped(np.pi / 2 - theta))


def thinktwice_pose(x: float, y: float, theta: float) -> tuple[float, float, float]:
    """ThinkTwice's and TCP's measurement: its y is CARLA's X, its x is minus CARLA's Y."""
    return y, x, compass_yaw(theta)


def bench2drive_pose(x: float, y: float, theta: float) -> tuple[float, float, float]:
    """Bench2Drive's x and y are CARLA's own."""
    return x, -y, compass_yaw(theta)


def quaternion_matrix(w: float, x: float, y: float, z: float) -> np.ndarray:
    """(3, 3) of a quaternion of any length but 0."""
    w, x, y, z = np.array([w, x, y, z], float) / np.sqrt(w * w + x * x + y * y + z * z)
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


def quaternion_yaw(w: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """The yaw of what it turns, of quaternions of length 1."""
    return np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
