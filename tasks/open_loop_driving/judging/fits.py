"""Do the numbers of a route fit one another? What two sources of one thing say is compared; None: nothing tells."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tasks.open_loop_driving.formats import frames, routes
from tasks.open_loop_driving.formats.calibration import Camera
from tasks.open_loop_driving.formats.routes import Route

MOVING_M = 0.5  # in a step
FEWEST = 5
NEAR_M, FAR_M = 2.0, 40.0  # depths that are compared
LEAST_POINTS = 50
STEERED, TURNED_RAD = 0.08, 0.02


def pairs(route: Route) -> np.ndarray:
    """Rows that have another one a step later, both of them with numbers."""
    known = np.isfinite(np.column_stack([route.pose, route.columns["speed_ms"]])).all(1)
    return np.flatnonzero((np.diff(route.frames) == 1) & known[1:] & known[:-1])


def heading_off_rad(route: Route) -> float | None:
    """The median angle between where the car points and where it goes. A car does not drive sideways: a large one tells
    of axes that are not those they were taken for."""
    rows = pairs(route)
    way = frames.ego_from_world(route.pose[rows + 1, :2], route.pose[rows])
    # Half of a turn in between is the bend, and not the axes.
    bend = frames.wrapped(route.pose[rows + 1, 2] - route.pose[rows, 2]) / 2
    moving = np.linalg.norm(way, axis=1) > MOVING_M
    if moving.sum() < FEWEST:
        return None
    angle = np.arctan2(way[moving, 1], way[moving, 0])
    return float(np.median(np.abs(frames.wrapped(angle - bend[moving]))))


def speed_ratio(route: Route) -> float | None:
    """The way over the speed, the median; 1 where metres, seconds and both fit."""
    rows = pairs(route)
    way = np.linalg.norm(np.diff(route.pose[:, :2], axis=0)[rows], axis=1) * route.about["rate_hz"]
    speed = (route.columns["speed_ms"][rows] + route.columns["speed_ms"][rows + 1]) / 2
    moving = (way / route.about["rate_hz"] > MOVING_M) & (speed > 0)
    return float(np.median(way[moving] / speed[moving])) if moving.sum() >= FEWEST else None


def steer_agrees(route: Route) -> float | None:
    """Of the moments with a clear steer and a clear turn the share whose directions agree: right is positive, and the
    yaw falls."""
    if "steer" not in route.columns:
        return None
    rows = pairs(route)
    turned = frames.wrapped(np.diff(route.pose[:, 2])[rows])
    steer = route.columns["steer"][rows]
    clear = (np.abs(steer) > STEERED) & (np.abs(turned) > TURNED_RAD)
    return float((np.sign(steer[clear]) == -np.sign(turned[clear])).mean()) if clear.sum() >= FEWEST else None


def lidar_off_m(camera: Camera, depth_cm: np.ndarray, points: np.ndarray) -> float | None:
    """The median distance between where the lidar and the camera's own depth have a point, in metres."""
    pixels, depth = camera.project(points)
    seen = camera.sees(pixels, depth) & (depth > NEAR_M) & (depth < FAR_M)
    u, v = pixels[seen].astype(int).T
    told = depth_cm[v, u] * routes.CM
    known = told > 0
    return float(np.median(np.abs(told - depth[seen])[known])) if known.sum() >= LEAST_POINTS else None


def share_with_points(boxes: np.ndarray, points: np.ndarray, within_m: float = 20.0) -> tuple[int, int]:
    """(boxes of vehicles near the car, those of them with a point of the lidar in or at them)."""
    near = boxes[(boxes[:, 0] == routes.CLASSES.index("vehicle")) & (np.hypot(boxes[:, 1], boxes[:, 2]) < within_m)]
    hit = 0
    for box in near:
        local = frames.ego_from_world(points[:, :2], np.array([box[1], box[2], box[7]]))
        inside = (np.abs(local) < box[4:6] / 2 + 0.2).all(1) & (np.abs(points[:, 2] - box[3]) < box[6] / 2 + 0.2)
        hit += bool(inside.any())
    return len(near), hit


def corners(box: np.ndarray) -> np.ndarray:
    """(8, 3) of a box of routes.BOX_COLUMNS[1:], in the car's frame: four below, four above, in turn."""
    x, y, z, long, wide, high, yaw = box[1:8]
    flat = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) / 2 * [long, wide]
    around = frames.world_from_ego(flat, np.array([x, y, yaw]))
    low, top = np.full(4, z - high / 2), np.full(4, z + high / 2)
    return np.concatenate([np.column_stack([around, low]), np.column_stack([around, top])])


def counts_of(values: np.ndarray, names: Mapping[int, str]) -> dict[str, int]:
    return {name: int((values == number).sum()) for number, name in names.items() if (values == number).any()}
