"""What really happened at every moment that is judged: where the car went, what its driver did, who was there.

Reads pack/: of each route of a split its windows. Frames: metres ahead and to the left of where the car is at t.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from pathlib import Path

import h5py
import numpy as np

from tasks.open_loop_driving.formats import frames, pack
from tasks.open_loop_driving.formats.pack import CLASSES, Packed
from tasks.yard.step import BadInput

ROAD_USERS = [CLASSES.index(name) for name in ("vehicle", "walker", "cyclist")]  # lights and signs stand beside
BOX = ("x", "y", "yaw", "length", "width")


@dataclass(frozen=True)
class Moments:
    """k moments of a split, in the order of routes and time. What a source lacks is NaN; `has_agents` says who was
    there at all."""

    route: np.ndarray  # (k) text
    town: np.ndarray  # (k) text
    t: np.ndarray  # (k) row of the route's pack
    waypoints: np.ndarray  # (k, steps, 2) where the car went
    before: np.ndarray  # (k, 2) where it was a step earlier
    speed: np.ndarray  # (k) m/s
    command: np.ndarray  # (k) 1..6, 0 where the source has none
    target: np.ndarray  # (k, 2)
    control: np.ndarray  # (k, 3) throttle, steer, brake
    should_brake: np.ndarray  # (k) 1 or 0
    centre_m: np.ndarray  # (k) from the origin of the car's frame forward to the middle of the car
    has_agents: np.ndarray  # (k) bool
    agents: np.ndarray  # (n, 5) BOX of everybody who was there at a step, from where the car is at t
    agents_of: np.ndarray  # (n, 2) moment and step (0 is the first after t) that they belong to

    def __len__(self) -> int:
        return len(self.t)

    def __getitem__(self, keep: np.ndarray) -> Moments:
        """Some of them; `keep` (k) bool."""
        place = np.cumsum(keep) - 1
        theirs = keep[self.agents_of[:, 0]] if len(self.agents_of) else np.zeros(0, bool)
        of = self.agents_of[theirs]
        of = np.column_stack([place[of[:, 0]], of[:, 1]]) if len(of) else of
        values = {f.name: getattr(self, f.name)[keep] for f in fields(self) if not f.name.startswith("agents")}
        return Moments(**values, agents=self.agents[theirs], agents_of=of)


def up_to(of: Moments, steps: int) -> Moments:
    """The same moments, looked so many steps ahead."""
    near = of.agents_of[:, 1] < steps
    return replace(of, waypoints=of.waypoints[:, :steps], agents=of.agents[near], agents_of=of.agents_of[near])


def without(of: Moments, routes: Collection[str]) -> Moments:
    """All but those of some routes."""
    return of[~np.isin(of.route.astype(str), list(routes))] if routes else of


def moved(boxes: np.ndarray, pose: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """Boxes (n, 5) of a car at `pose` as a car at `onto` has them."""
    there = frames.ego_from_world(frames.world_from_ego(boxes[:, :2], pose), onto)
    return np.column_stack([there, boxes[:, 2] + pose[2] - onto[2], boxes[:, 3:]])


def _agents(route: Packed) -> tuple[np.ndarray, np.ndarray, bool]:
    """(n, 5) of BOX, (n, 2) window and step; False: the source does not tell."""
    boxes, of = [np.zeros((0, 5))], [np.zeros((0, 2), int)]
    with h5py.File(route.path) as file:
        if "agents" not in file:
            return boxes[0], of[0], False
        rows, offsets = file["agents/boxes"][:].astype(float), file["agents/offsets"][:]
    for number, t in enumerate(route.windows):
        for step in range(1, route.horizon + 1):
            mine = rows[offsets[t + step] : offsets[t + step + 1]]
            mine = mine[np.isin(mine[:, 0], ROAD_USERS)]
            boxes.append(moved(mine[:, [1, 2, 7, 4, 5]], route.pose[t + step], route.pose[t]))
            of.append(np.full((len(mine), 2), (number, step - 1)))
    return np.concatenate(boxes), np.concatenate(of), True


def _moments(route: Packed) -> Moments:
    t = route.windows.astype(int)
    k = len(t)
    if k and (t.min() < 1 or t.max() + route.horizon >= len(route.frame)):
        raise BadInput(f"{route.path}: a window lies outside its {len(route.frame)} frames; run pack again")

    def column(key: str, shape: tuple[int, ...], absent: float = np.nan) -> np.ndarray:
        found = getattr(route, key)
        return np.full((k, *shape), absent) if found is None else found[t].astype(float)

    agents, of, known = _agents(route)
    return Moments(
        np.full(k, route.name, object), np.full(k, route.town, object), t, route.waypoints(t),
        frames.ego_from_world(route.pose[t - 1, :2], route.pose[t]), column("speed_ms", ()),
        column("command", (), 0).astype(int), column("target", (2,)), column("control", (3,)),
        column("should_brake", ()), np.full(k, frames.centre_m(route.head.origin)),
        np.full(k, known), agents, of,
    )  # fmt: skip


def joined(parts: list[Moments], steps: int) -> Moments:
    """Some of several routes as one; none at all: 0 moments of so many steps."""
    if not parts:
        kinds = {"route": object, "town": object, "t": int, "command": int, "has_agents": bool, "agents_of": int}
        shapes = {"waypoints": (0, steps, 2), "before": (0, 2), "target": (0, 2), "control": (0, 3)}
        shapes |= {"agents": (0, 5), "agents_of": (0, 2)}
        return Moments(**{f.name: np.zeros(shapes.get(f.name, 0), kinds.get(f.name, float)) for f in fields(Moments)})
    firsts = np.cumsum([0, *(len(part) for part in parts)])
    whole = {f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Moments)}
    shifted = [part.agents_of + np.array([first, 0]) for part, first in zip(parts, firsts, strict=False)]
    whole["agents_of"] = np.concatenate(shifted)
    return Moments(**whole)


def read(folder: Path, split: str) -> Moments:
    """Of the routes of a split that have a window. Raises `BadInput` where a route is not there, or cannot be read."""
    found = [_moments(route) for route in pack.load(folder, split) if len(route.windows)]
    return joined(found, pack.manifest(folder)["horizon"])
