"""The next point of a route of CARLA's leaderboard and the command there, as TCP's planners do it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tasks.open_loop_driving.formats import frames

# Metres a degree north and east, as CARLA's map gives them near (0, 0).
METRES = (111_324.60662786, 111_319.490945)
REACHED_M, FARTHEST_M = 4.0, 50.0
FOLLOW = 4  # for CARLA's -1, void


def planar(gps: Sequence[float]) -> tuple[float, float]:
    """Latitude and longitude -> our x (east) and y (north)."""
    return float(gps[1]) * METRES[1], float(gps[0]) * METRES[0]


class Navigator:
    """Forgets the points that were reached."""

    def __init__(self, plan: Sequence[tuple[Mapping[str, float], Any]]) -> None:
        """`plan`: ({"lat", "lon", ...}, RoadOption) of each point."""
        self.points = np.array([planar((gps["lat"], gps["lon"])) for gps, _ in plan], float).reshape(-1, 2)
        said = [int(getattr(command, "value", command)) for _, command in plan]
        self.commands = [command if 1 <= command <= 6 else FOLLOW for command in said]
        self.row = 0

    def next(self, pose: np.ndarray) -> tuple[np.ndarray, int]:
        """The point to go to in the car's frame of `pose` x, y, yaw, and the command there."""
        gone = 0.0
        last = self.row
        for row in range(self.row, len(self.points)):
            if row > self.row:
                gone += float(np.linalg.norm(self.points[row] - self.points[row - 1]))
            if gone > FARTHEST_M:
                break
            if np.linalg.norm(self.points[row] - pose[:2]) <= REACHED_M:
                last = min(row + 1, len(self.points) - 1)
        self.row = last
        return frames.ego_from_world(self.points[self.row], pose), self.commands[self.row]
