"""Does a camera look where its calibration says? A turned one sees the ground as far away as a straight one does: only
what stands up tells. So the points of the lidar above the ground, or the middles of boxes where there is no lidar, are
laid beside the camera's own depth, as it stands and turned by a few degrees; if that fits far better, it is turned.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tasks.open_loop_driving.formats import routes
from tasks.open_loop_driving.formats.calibration import Camera

STANDS_UP_M = 0.4  # a point above it is on something
NEAR_M, FAR_M = 2.0, 40.0  # depths that are compared
CLOSE_M, CLOSE_SHARE = 0.5, 0.05  # of one place, as two sensors see it
DENSE = 0.3  # share of a picture that has a depth
FEWEST = {"lidar": 100, "boxes": 8}  # places in all frames; fewer tell nothing
YAWS, PITCHES = range(-14, 15, 2), range(-8, 9, 2)  # degrees that are tried
FITS = 0.8  # share of places that agree; above it nothing is tried
# By how much the share must grow, and how many times. In the town a quarter of the lidar's points above the ground
# agree where all is right, for much of what stands up is thinner than a pixel, and a tenth of that 8 degrees aside.
BETTER, TIMES = {"lidar": 0.1, "boxes": 0.35}, 2.0
LEAST_DEG = 4


@dataclass(frozen=True)
class Turned:
    """How far a camera is turned from where it should look, degrees to the left and up; shares that agree."""

    left: int
    up: int
    share: float
    share_turned: float
    by: str  # lidar or boxes

    @property
    def words(self) -> str:
        ways = [(self.left, "left", "right"), (self.up, "up", "down")]
        told = " and ".join(f"{abs(of)} degrees {one if of > 0 else other}" for of, one, other in ways if of)
        what = "points of the lidar above the ground" if self.by == "lidar" else "middles of boxes"
        return (
            f"it looks about {told} of where its calibration says: {self.share:.0%} of the {what} are as far away as "
            f"its depth says, {self.share_turned:.0%} if it is turned so"
        )


def rotated(camera: Camera, left: float, up: float) -> Camera:
    """The same camera, its axis turned by so many degrees."""
    a, b = np.radians([left, up])
    turn = np.eye(4)
    # In the camera's frame x is right, y down, z ahead.
    yaw = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    pitch = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    turn[:3, :3] = pitch @ yaw
    return replace(camera, camera_from_ego=turn @ camera.camera_from_ego)


def agreeing(camera: Camera, depth_cm: np.ndarray, places: np.ndarray, slack_m: np.ndarray) -> tuple[int, int]:
    """(how many places are as far away as the depth there says, how many can be compared). In a picture of which most
    has a depth, a place without one is seen through: there is the sky."""
    pixels, depth = camera.project(places)
    seen = camera.sees(pixels, depth) & (depth > NEAR_M) & (depth < FAR_M)
    u, v = pixels[seen].astype(int).T
    told = depth_cm[v, u] * routes.CM
    close = np.abs(told - depth[seen]) < np.maximum(slack_m[seen], CLOSE_SHARE * depth[seen])
    known = (told > 0) | ((depth_cm > 0).mean() > DENSE)
    return int((close & (told > 0)).sum()), int(known.sum())


def places_of(points: np.ndarray | None, boxes: np.ndarray | None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{lidar | boxes: (places (n, 3), how far off (n) each may be)}"""
    found = {}
    if points is not None:
        up = points[points[:, 2] > STANDS_UP_M, :3]
        found["lidar"] = up, np.full(len(up), CLOSE_M)
    if boxes is not None:
        cars = boxes[np.isin(boxes[:, 0], [routes.CLASSES.index("vehicle")])]
        found["boxes"] = cars[:, 1:4], np.hypot(cars[:, 4], cars[:, 5]) / 2 + CLOSE_M
    return found


@dataclass(frozen=True)
class Seen:
    """Of one frame: a camera's depth, and places in the car's frame that it may show."""

    depth_cm: np.ndarray
    places: dict[str, tuple[np.ndarray, np.ndarray]]


def shares(camera: Camera, frames: Sequence[Seen], by: str) -> tuple[float, int]:
    """(share of the places that agree, how many could be compared) over all frames."""
    counts = [agreeing(camera, of.depth_cm, *of.places[by]) for of in frames if by in of.places]
    hits, total = sum(hit for hit, _ in counts), sum(known for _, known in counts)
    return (hits / total if total else 0.0), total


def tried() -> Iterator[tuple[int, int]]:
    yield from ((left, 0) for left in YAWS if left)
    yield from ((0, up) for up in PITCHES if up)


def found(camera: Camera, frames: Sequence[Seen]) -> Turned | None:
    """How far it is turned; None: it is not, or nothing tells."""
    for by, fewest in FEWEST.items():
        share, total = shares(camera, frames, by)
        if total < fewest:
            continue
        if share >= FITS:
            return None
        ways = [(left, up, *shares(rotated(camera, left, up), frames, by)) for left, up in tried()]
        left, up, best, enough = max(ways, key=lambda way: way[2] if way[3] >= fewest else 0.0)
        grown = best - share >= BETTER[by] and best >= TIMES * share
        if enough >= fewest and grown and max(abs(left), abs(up)) >= LEAST_DEG:
            return Turned(left, up, share, best, by)
        return None
    return None
