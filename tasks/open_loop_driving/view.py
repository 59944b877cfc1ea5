"""One route to leaf through in the browser: what is seen, what the expert does, and what the leader would have done.

Reads   pack/<route>, evaluate/details.json (the leader), plan/<leader>/plans.h5; of a training route, on which nobody
        plans, the pack alone
Writes  data/open_loop_driving/view/<route>.html, with its pictures inside, as many as fit into `embed_mb`
Alone   python -m flows view open_loop_driving <route>
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tasks.open_loop_driving.formats import pack as packs
from tasks.open_loop_driving.formats import plans
from tasks.open_loop_driving.formats.pack import Packed
from tasks.open_loop_driving.formats.plans import Planned, Plans
from tasks.open_loop_driving.learning import suited
from tasks.open_loop_driving.page import above, drawing, inks, moments
from tasks.open_loop_driving.page.moment import Moment
from tasks.open_loop_driving.params import Line
from tasks.yard.files import read_if_there
from tasks.yard.reporting.viewer import EMBED_MB, Album, unknown, write_page
from tasks.yard.reporting.words import rendered
from tasks.yard.step import BadInput, Context

PAGE = Path(__file__).parent / "page" / "view.html.j2"
HEIGHT_PX = 640


def find(name: str, folder: Path) -> Packed:
    """Raises `BadInput` that says why it is not there, or names the nearest ones."""
    name, said = Path(name).name, packs.manifest(folder)
    if name in said["routes"]:
        return packs.read(packs.path(folder, name), name, said["routes"][name]["split"], said["horizon"])
    if why := said["left_out"].get(name):
        raise BadInput(f"{name}: is not in {folder}: {why}")
    raise unknown(name, "route", said["routes"], folder)


def nothing(route: Packed) -> tuple[Planned, Plans]:
    """Of a route that nobody planned on: its moments, and no layer."""
    k, steps = len(route.windows), route.horizon
    empty = np.empty((0, k, steps, 2))
    names = np.full(k, route.name, object)
    return (
        Planned("", (), steps, route.head.rate_hz, {}),
        Plans(names, route.windows, empty, empty, empty, np.full(k, np.nan)),
    )


def planned(route: Packed, data: Path) -> tuple[Planned, Plans, list[str]]:
    """The leader's plans for a route, and what is to be said of them."""
    leader = read_if_there(data / "evaluate/details.json").get("leader")
    if leader is None:
        why = "No plans: evaluate has not run yet, or no network leads."
    elif route.split not in plans.SPLITS:
        why = f"A route of the {route.split} split: {leader} has learnt from it and does not plan on it."
    else:
        of = plans.read(data / "plan" / leader / plans.FILE)
        mine = moments.of_route(of.splits[route.split], route.name)
        if len(mine.t):
            note = {"test": "which has not learnt from it.", "val": "whose epoch it helped to choose."}[route.split]
            return of, mine, [f"A route of the {route.split} split, planned on by {leader}, {note}"]
        lacks = suited.left_out(data / "plan" / leader).get(route.split, {})
        if route.name in lacks:
            return *nothing(route), [f"No plans: {leader} does without this route, which {lacks[route.name]}."]
        why = f"No plans: this route came after the last run of plan@{leader}."
    return *nothing(route), [why]


def numbers(shown: list[Moment]) -> dict[str, Any]:
    """Curves over the moments: of the car, the expert and each layer; None where something is not known."""
    if not shown:
        return {"speed": [], "expert": [], "layers": []}

    def listed(values: Any) -> list[float | None]:
        return [None if v is None or not np.isfinite(v) else round(float(v), 3) for v in values]

    def pedal(control: np.ndarray | None) -> float | None:
        return None if control is None else control[0] - control[2]

    layers = [
        {
            "name": inks.named(layer), "ink": ink, "pedal": listed(pedal(m.controls[i]) for m in shown),
            "off": listed(m.errors_m[i].mean() for m in shown),
        }
        for i, (layer, ink) in enumerate(zip(shown[0].layers, inks.of_layers(shown[0].layers), strict=True))
    ]  # fmt: skip
    return {
        "speed": listed(m.speed_ms for m in shown), "expert": listed(pedal(m.expert) for m in shown), "layers": layers
    }  # fmt: skip


def write(
    name: str, out: Path, params: Line, data: Path, ctx: Context = Context(), embed_mb: float = EMBED_MB
) -> list[str]:
    """The page of route `name` of the line whose folders lie in `data`. Returns what a person should know of it."""
    folder = data / "pack"
    route = find(name, folder)
    of, mine, notes = planned(route, data)
    rows, size = np.arange(len(mine.t)), drawing.size_of(HEIGHT_PX)
    if not len(rows):
        raise BadInput(f"{route.name}: has no moment with {route.horizon} steps after it; look at check_data")
    truth = route.waypoints(mine.t, of.horizon)
    window = above.window_of(drawing.square_px(size, of.layers), [truth, *mine.waypoints[-1:]])
    shown, places, album = [], [], Album(embed_mb)
    drawn = moments.read(route, of, mine, rows)
    for moment in ctx.progress(drawn, total=len(rows), desc="moments", unit="moment"):
        places.append(album.put(len(places), partial(drawing.picture, moment, size, window)))
        shown.append(moment)
    notes = [*notes, *album.notes("moments")]
    if world := rendered(["town"] if packs.manifest(folder).get("rendered") else [], "routes"):
        notes = [*notes, world]
    page = {
        "name": route.name, "notes": notes, "t_s": [round(m.time_s, 3) for m in shown],
        "pictures": [None if place is None else album.uris[place] for place in places],
        "truth": inks.TRUTH, "brakes": [bool(m.should_brake) for m in shown], **numbers(shown),
    }  # fmt: skip
    write_page(out, PAGE, route=page)
    return notes
