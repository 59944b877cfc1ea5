"""A trained network on drives that nobody has labelled: where each layer would go and what it would do, and a film.

Reads   what the importers of `download` read, with or without an expert: a drive, several, an archive, a bucket
Writes  routes/<name>/plans.h5      as `plan` does (formats/plans.py), of every moment that has one half a second before
        routes/<name>/plans.csv     frame, time_s, layer, ahead_s, x_m, y_m (ahead and left of the car then), world_x_m,
                                    world_y_m, throttle, steer (to the right is positive), brake; a row a waypoint
        films/<name>/drive.mp4      as `visualize` does, of the whole drive
        steps/{download,check_data,pack}   what those steps make of the drives: nothing is done twice
Alone   python -m flows apply open_loop_driving <source>

The steps are the stages' own, and so are plans and films: of a test route the plans are those that `evaluate` judged.
Other rates are brought to 2 Hz by the importers or refused by them. The network is handed the calibration of the drive;
pictures are brought to the size that it was trained on.
"""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from models.open_loop_driving.factory import layers_of
from tasks.open_loop_driving import check_data, download, pack, visualize
from tasks.open_loop_driving.formats import frames, plans, routes
from tasks.open_loop_driving.formats import pack as packs
from tasks.open_loop_driving.formats.plans import FILE, Planned, Plans
from tasks.open_loop_driving.learning import rigs
from tasks.open_loop_driving.learning.batches import TOLD, Rows
from tasks.open_loop_driving.learning.controls import ALONG_ROWS
from tasks.open_loop_driving.learning.drives import Drives
from tasks.open_loop_driving.learning.network import load_network, plans_of
from tasks.open_loop_driving.page import moments
from tasks.open_loop_driving.params import Line
from tasks.yard import splits
from tasks.yard.applying import MADE_WITH, Applied, Model, reason_of
from tasks.yard.fanout import DONE, fan_out
from tasks.yard.files import digest, file_hash, read_if_there, read_json, write_json, write_table
from tasks.yard.sources.units import passed_over_words
from tasks.yard.step import BadInput, Context
from tasks.yard.training.accelerator import accelerator

STEPS = ("check_data", "pack", "plan", "visualize")  # whose params belong to a model
READS = ("download", *STEPS)
TEST = "test"  # the split, as pack and plan call it, of all that is applied to
COLUMNS = ["frame", "time_s", "layer", "ahead_s", "x_m", "y_m", "world_x_m", "world_y_m", "throttle", "steer", "brake"]
WHOLE_S = 1e9  # of a film: more than any drive takes
CHECKED = "checked.json"  # what check.json was made from


def belongings(data: Path, item: str, line: Line, folder: Path) -> None:
    """All that it needs stands in the checkpoint, but for the params of the steps."""
    kept = {step: getattr(line, step).model_dump(mode="json") for step in STEPS}
    kept["download"] = line.download.model_dump(mode="json") | {"carla_hz": None}  # of other drives
    write_json(folder / MADE_WITH, kept)


def as_trained(line: Line, config: dict) -> Line:
    """The line's params with what the checkpoint says of its pictures. All routes are test, and none is cut; moments
    need no future; masks are drawn as they are."""
    first = next(iter(config["cameras"].values()), {})
    whole = line.pack.shares.model_copy(update={"val": 0.0, "test": 0.0})
    asked = {
        "height_px": first.get("height"), "width_px": first.get("width"), "bev_px": None, "horizon": 0,
        "subset": "full", "shares": whole,
    }  # fmt: skip
    return line.model_copy(
        update={
            "pack": line.pack.model_copy(update=asked),
            "check_data": line.check_data.model_copy(update={"pictures": 0}),
            "visualize": line.visualize.model_copy(update={"seconds": WHOLE_S}),
        }
    )


def checked(line: Line, steps: Path, ctx: Context) -> dict:
    """check.json of the routes. It looks at every file, so that it is not made again for the same ones."""
    done = [file_hash(path) for path in sorted((steps / "download").glob(f"*/{DONE}"))]
    bad = read_if_there(steps / "download" / "quarantine.json")
    made_from = digest(done, bad, line.check_data.model_dump(mode="json"), ctx.code)
    file = steps / "check_data" / "check.json"
    if not (file.exists() and read_if_there(steps / CHECKED).get("made_from") == made_from):
        try:
            check_data.run(line.check_data, steps / "check_data", ctx, download=steps / "download")
        except BadInput as error:
            said = read_if_there(file).get("routes", {})
            whys = [f"{name}: {about['why']}" for name, about in said.items() if about["why"]]
            raise BadInput("; ".join(whys[:3])) from None if whys else error
        write_json(steps / CHECKED, {"made_from": made_from})
    return read_json(file)


def brought(source: str, line: Line, config: dict, steps: Path, ctx: Context) -> Applied:
    """Bring the drives and pack those that the network can plan; why not the others, and what is to be said."""
    try:
        download.run(line.download.model_copy(update={"source": source, "min_routes": 1}), steps / "download", ctx)
    except BadInput as error:
        raise reason_of(steps / "download", error) from None
    found = checked(line, steps, ctx)
    told, refused = found["routes"], {}
    for name, about in told.items():
        if not about["usable"]:
            refused[name] = f"{name}: {str(about['why']).removeprefix(f'{name}: ')}"
        elif not (np.diff(about["used"]) == 1).any():
            refused[name] = f"{name}: no two of its frames are half a second apart; a plan needs the moment before"
        elif why := rigs.lacking(routes.read(steps / "download" / name), config):
            refused[name] = why
    usable = [name for name in found["usable"] if name not in refused]
    if not usable:
        raise BadInput("; ".join(list(refused.values())[:3]))
    said = passed_over_words(read_json(steps / "download" / "report.json").get("passed_over", {}))
    for name in usable:
        about = told[name]
        said += [f"{name}: {text}" for text in about["findings"]]
        if about["cut"] is not None:
            said.append(f"{name}: ends early: {about['cut']}")
        said += rigs.differences(routes.read(steps / "download" / name), config)
    write_json(steps / "usable" / "check.json", {**found, "usable": usable})
    pinned = steps / "usable" / splits.FILE
    write_json(pinned, {split: usable if split == TEST else [] for split in splits.SPLITS})
    asked = line.pack.model_copy(update={"splits": str(pinned)})
    pack.run(asked, steps / "pack", ctx, download=steps / "download", check_data=steps / "usable")
    packed = packs.manifest(steps / "pack")
    return Applied(packed["routes"], {**refused, **packed["left_out"]}, said)


def joined(parts: list[Plans]) -> Plans:
    """In the order of time."""
    order = np.argsort(np.concatenate([part.t for part in parts]), kind="stable")
    found = {}
    for field in fields(Plans):
        values = [getattr(part, field.name) for part in parts]
        axis = 0 if field.name in ALONG_ROWS else 1
        found[field.name] = None if values[0] is None else np.concatenate(values, axis).take(order, axis)
    return Plans(**found)


def table(packed: packs.Packed, planned: Planned) -> pd.DataFrame:
    of = planned.splits[TEST]
    layers, count, steps = of.waypoints.shape[:3]
    moment, layer, step = np.indices((count, layers, steps)).reshape(3, -1)
    world = frames.world_from_ego(of.waypoints, packed.pose[of.t][None, :, None])
    numbers = np.concatenate([of.waypoints, world, plans.control(of.alpha, of.beta)], -1)[layer, moment, step]
    rows = of.t[moment]
    about = [packed.frame[rows], packed.time_s[rows], np.array(planned.layers)[layer], (step + 1) / planned.rate_hz]
    return pd.DataFrame(dict(zip(COLUMNS, [*about, *numbers.T], strict=True)))


def thought(name: str, out: Path, *, network: nn.Module, config: dict, line: Line, horizon: int, folder: Path) -> dict:
    """Write the plans of one drive. Returns its counts. Moments with a whole future come in batches of their own, as
    they do in `plan`: of those it has judged the numbers are the same to the last digit."""
    of = config["network"]
    drives = Drives(folder, (TEST,), keep=[name])
    if drives.rate_hz != config["rate_hz"]:
        raise BadInput(
            f"{name}: {drives.rate_hz:g} frames a second for a network that was trained on {config['rate_hz']:g}"
        )
    device, told = next(network.parameters()).device, config.get("told", TOLD)
    rows = Rows(drives, of["name"], list(config["cameras"]), 0, device=device, told=told)
    packed = packs.read(packs.path(folder, name), name)
    judged = packs.windows(packed.frame, horizon)
    groups = [judged, np.setdiff1d(rows.windows, judged)]
    found = joined([plans_of(network, rows, line.plan.batch, group) for group in groups if len(group)])
    planned = Planned(of["name"], layers_of(of["name"]), of["steps"], config["rate_hz"], {TEST: found})
    plans.write(out / FILE, planned)
    write_table(out / "plans.csv", table(packed, planned))
    return {
        "frames": len(packed.frame), "moments": len(found.t), "layers": list(planned.layers),
        "until_s": float(packed.time_s[found.t[-1]]), "cameras": list(packed.cameras),
    }  # fmt: skip


def filmed(item: tuple[str, Path, Path], out: Path, *, line: Line) -> dict:
    name, file, packed = item
    planned = plans.read(file)
    bare = Planned(planned.network, planned.layers, planned.horizon, planned.rate_hz, {})
    route = visualize.Route(name, packed, bare, moments.of_route(planned.splits[TEST], name))
    return visualize.filmed(route, out, line.visualize)


def run(
    source: str, model: Model, out: Path, line: Line, ctx: Context = Context(), *, no_film: bool = False
) -> Applied:
    """Raises `BadInput` if no drive of the source can be planned, or the weights are not of this line."""
    network, config, _ = load_network(model.weights, accelerator())
    horizon, line, steps = line.pack.horizon, as_trained(line, config), out / "steps"
    came = brought(source, line, config, steps, ctx)
    items = {name: name for name in came.results}
    hashes = {name: about["sha256"] for name, about in came.results.items()}
    settings = digest(model.fingerprint, line.plan.model_dump(mode="json"), horizon, ctx.code)
    think = partial(thought, network=network, config=config, line=line, horizon=horizon, folder=steps / "pack")
    made = {name: digest(of, settings) for name, of in hashes.items()}
    done = fan_out(think, items, made, out / "routes", ctx, parallel=False)
    shown = {
        name: (name, out / "routes" / name / FILE, packs.path(steps / "pack", name))
        for name in done.summaries
        if not no_film
    }
    made = {
        name: digest(file_hash(file), hashes[name], line.visualize.model_dump(mode="json"), ctx.code)
        for name, (_, file, _) in shown.items()
    }
    films = fan_out(partial(filmed, line=line), shown, made, out / "films", ctx)
    results = {}
    for name, summary in done.summaries.items():
        files = [f"routes/{name}/{file}" for file in (FILE, "plans.csv")]
        results[name] = {**summary, "files": [*files, *([f"films/{name}/drive.mp4"] if name in shown else [])]}
    return Applied(results, {**came.quarantined, **done.quarantined, **films.quarantined}, came.said)
