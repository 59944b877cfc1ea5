"""Look at it: a film of each held-out route, and the moments in which the plan was best and worst.

Reads    pack/, plan/<leader>/plans.h5, evaluate/details.json (the leader)
Writes   visualize/<route>/drive.mp4   the leader on a test route: what the cameras see, the ground from above with
                                       lidar and who else is there, the expert's way, the coarse and the refined plans,
                                       where each layer looked, and the controls as bars
         visualize/<kind>-<n>.png      stills of all test routes: worst, middle, best, helped, hurt (page/cases.py)
         visualize/summary.json        {leader, layers, films: {route: {frames, moments, until_s}}, empty: why there is
                                       nothing, stills: [{file, kind, route, time_s, says}]}
         visualize/quarantine.json     {route: why there is no film of it}
A film that is there stays while pack, plans, params and code of its route are the same; a killed run goes on with the
next route.
Alone    python -m tasks open_loop_driving-visualize
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tasks.open_loop_driving.formats import pack as packs
from tasks.open_loop_driving.formats import plans
from tasks.open_loop_driving.formats.pack import Packed
from tasks.open_loop_driving.formats.plans import Planned, Plans
from tasks.open_loop_driving.page import above, cases, drawing, moments
from tasks.open_loop_driving.page.above import Window
from tasks.open_loop_driving.params import Visualize
from tasks.yard.fanout import fan_out
from tasks.yard.files import digest, read_json, replacing, write_json
from tasks.yard.reporting import film
from tasks.yard.step import BadInput, Context

NOTHING = "no network leads, or test has no moment"
FILM, SUMMARY = "drive.mp4", "summary.json"
TEST = "test"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Route:
    """What a film is made from."""

    name: str
    file: Path  # its pack
    planned: Planned  # without the plans of all routes
    plans: Plans  # of this one

    @property
    def packed(self) -> Packed:
        """Raises `BadInput` where it cannot be read."""
        return packs.read(self.file, self.name)


def judged(route: Route) -> cases.Judged:
    truth = route.packed.waypoints(route.plans.t, route.planned.horizon)
    off = np.linalg.norm(route.plans.waypoints - truth, axis=-1).mean(-1)
    return cases.Judged(off[-1], off[0], np.linalg.norm(truth[:, -1], axis=-1))


def window_for(route: Route, size: tuple[int, int]) -> Window:
    """One for the whole route, so that the ground does not jump."""
    truth = route.packed.waypoints(route.plans.t, route.planned.horizon)
    return above.window_of(drawing.square_px(size, route.planned.layers), [truth, route.plans.waypoints[-1]])


def filmed(route: Route, folder: Path, params: Visualize) -> dict[str, Any]:
    """The film of one route, from its first moment on."""
    size = drawing.size_of(params.height_px)
    rows = np.arange(len(route.plans.t))[: max(1, round(params.seconds * params.fps))]
    window, until_s = window_for(route, size), 0.0

    def watched():
        nonlocal until_s
        for moment in moments.read(route.packed, route.planned, route.plans, rows):
            until_s = moment.time_s
            yield drawing.picture(moment, size, window)

    film.write(folder / FILM, watched(), size, params.fps)
    return {"frames": len(rows), "moments": len(route.plans.t), "until_s": until_s}


def spread(names: list[str], most: int | None) -> list[str]:
    """At most so many of them, evenly."""
    if most is None or len(names) <= most:
        return names
    return [names[i * len(names) // most] for i in range(most)]


def stills(out: Path, routes: dict[str, Route], params: Visualize) -> list[dict[str, Any]]:
    size, told = drawing.size_of(params.height_px), []
    numbers: dict[str, int] = {}
    known = {}
    for name, route in routes.items():
        try:
            known[name] = judged(route)
        except BadInput as error:
            log.warning("no still of %s: %s", name, error)
    for case in cases.picked(known):
        route = routes[case.route]
        (moment,) = moments.read(route.packed, route.planned, route.plans, np.array([case.row]))
        numbers[case.kind] = numbers.get(case.kind, 0) + 1
        path = out / f"{case.kind}-{numbers[case.kind]}.png"
        with replacing(path) as temporary:
            drawing.picture(moment, size, window_for(route, size)).save(temporary, "PNG")
        told.append({
            "file": path.name, "kind": case.kind, "route": case.route, "time_s": moment.time_s, "says": case.says,
        })  # fmt: skip
    return told


def run(
    params: Visualize, out: Path, ctx: Context = Context(), *, pack: Path, plan: dict[str, Path], evaluate: Path
) -> dict[str, float]:
    """Returns how many frames of how many routes are filmed."""
    leader = read_json(evaluate / "details.json")["leader"]
    planned = None if leader is None else plans.read(plan[leader] / plans.FILE)
    test = None if planned is None else planned.splits.get(TEST)
    routes: dict[str, Route] = {}
    if planned is not None and test is not None:
        bare = Planned(planned.network, planned.layers, planned.horizon, planned.rate_hz, {})
        for name in sorted(set(test.route)):
            routes[name] = Route(name, packs.path(pack, name), bare, moments.of_route(test, name))
    for stale in out.glob("*.png"):
        stale.unlink()
    known = packs.manifest(pack)["routes"]
    shown = {name: routes[name] for name in spread(list(routes), params.routes)}
    prints = {name: _fingerprint(route, known[name], params, ctx) for name, route in shown.items()}
    done = fan_out(partial(filmed, params=params), shown, prints, out, ctx)
    write_json(out / SUMMARY, {
        "leader": leader, "layers": list(planned.layers) if planned else [], "films": done.summaries,
        "stills": stills(out, routes, params) if routes else [], "empty": None if routes else NOTHING,
    })  # fmt: skip
    return {"frames": sum(of["frames"] for of in done.summaries.values()), "routes": len(done.summaries)}


def _fingerprint(route: Route, packed: dict[str, Any], params: Visualize, ctx: Context) -> str:
    parts = (route.plans.t, route.plans.waypoints, route.plans.alpha, route.plans.beta, route.plans.look)
    planned = [None if part is None else digest(part.tobytes().hex()) for part in parts]
    return digest(packed["sha256"], route.planned.layers, planned, params.model_dump(mode="json"), ctx.code)
