"""From a packed route and the plans for it to moments that can be drawn."""

from __future__ import annotations

from collections.abc import Iterator

import h5py
import numpy as np

from tasks.open_loop_driving.formats import frames, plans
from tasks.open_loop_driving.formats.pack import Packed
from tasks.open_loop_driving.formats.plans import Planned, Plans
from tasks.open_loop_driving.formats.routes import CLASSES
from tasks.open_loop_driving.page.moment import Moment


def of_route(found: Plans, route: str) -> Plans:
    """The plans for one route, in the order of time."""
    mine = np.flatnonzero(found.route == route)
    mine = mine[np.argsort(found.t[mine], kind="stable")]
    look = None if found.look is None else found.look[:, mine]
    return Plans(
        found.route[mine], found.t[mine], found.waypoints[:, mine], found.alpha[:, mine], found.beta[:, mine],
        found.speed[mine], look,
    )  # fmt: skip


def read(route: Packed, planned: Planned, found: Plans, rows: np.ndarray) -> Iterator[Moment]:
    """Moments of one route, drawn or not. `found`: its plans; `rows`: which of them, in the order in which they are
    given."""
    truth = route.waypoints(found.t[rows], planned.horizon)
    with h5py.File(route.path) as file:
        cameras = {name: of for name, of in route.cameras.items() if f"images/{name}" in file}
        for place, row in enumerate(rows):
            t = int(found.t[row])
            target = None if route.target is None else route.target[t]
            boxes = route.agents(t)[0] if "agents" in file else np.empty((0, 9))
            yield Moment(
                route=route.name, t=t, time_s=float(route.time_s[t] - route.time_s[0]), cameras=cameras,
                images={name: file[f"images/{name}"][t] for name in cameras}, truth=truth[place],
                layers=planned.layers, waypoints=found.waypoints[:, row],
                controls=plans.control(found.alpha[:, row, 0], found.beta[:, row, 0]),
                speed_ms=float(route.speed_ms[t]), step_s=1 / route.head.rate_hz,
                car=(*frames.CAR_M, frames.centre_m(route.head.origin)),
                look=None if found.look is None else found.look[:, row],
                expert=None if route.control is None else route.control[t],
                command=None if route.command is None else int(route.command[t]),
                target=None if target is None else (float(target[0]), float(target[1])),
                should_brake=None if route.should_brake is None else bool(route.should_brake[t]),
                lidar=route.lidar(t) if "lidar" in file else None, masks=file["bev"][t] if "bev" in file else None,
                boxes=boxes, kinds=[CLASSES[int(box[0])] for box in boxes],
            )  # fmt: skip
