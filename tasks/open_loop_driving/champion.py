"""The challenge in open_loop_driving: the driving score where the town can be driven, else the distance of the plans.

A plan that is near to what the driver did need not drive well, so what drives is judged by driving. The distance counts
below 0, for more of a score is better.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tasks.open_loop_driving.drive import crew_of
from tasks.open_loop_driving.formats import pack as packs
from tasks.open_loop_driving.judging import drives, driving_scores, rules, runs, scores
from tasks.open_loop_driving.judging import moments as reading
from tasks.open_loop_driving.learning.batches import TOLD, Rows
from tasks.open_loop_driving.learning.drives import Drives
from tasks.open_loop_driving.learning.network import load_network, plans_of
from tasks.open_loop_driving.learning.suited import suited
from tasks.open_loop_driving.params import Line
from tasks.yard.files import read_json
from tasks.yard.params import Reporting
from tasks.yard.step import BadInput
from tasks.yard.tracking.champion import Comparison, Leader, Score, compared
from tasks.yard.training.accelerator import accelerator
from tasks.yard.training.learnt import Item, unseen

DRIVING, DISTANCE = "driving score", "minus {} in metres"
JUDGED_AFTER = ("drive", "drive_rules")
OF = {"validation": "val", "test": "test"}


def _driven(data: Path, names: list[str]) -> dict[str, dict[str, Any]]:
    """{agent: its drives.json} of those that drove; {} where there is no simulator."""
    places = {name: data / "drive" / name / drives.FILE for name in names}
    places[rules.CONSTANT_VELOCITY] = data / "drive_rules" / rules.CONSTANT_VELOCITY / drives.FILE
    found = {name: read_json(path) for name, path in places.items() if path.exists()}
    return {name: of for name, of in found.items() if of["simulator"]}


def _alike(driven: dict[str, dict[str, Any]], names: list[str], split: str) -> dict[str, float]:
    """{agent: driving score} on the drives of a split that all of them have, or if there is none, each on its own."""
    told = {name: driving_scores.of_split(driven[name], split) for name in names if driven[name]["splits"][split]}
    return driving_scores.alike(told) or {name: of["driving_score"] for name, of in told.items()}


def also(data: Path) -> dict[str, dict[str, float]]:
    """{network: what it reached on test by driving, which evaluate does not know}"""
    networks = [path.parent.name for path in sorted((data / "drive").glob(f"*/{drives.FILE}"))]
    reached = {name: of["splits"]["test"].get("driving_score") for name, of in _driven(data, networks).items()}
    return {name: {"driving_score": score} for name, score in reached.items() if score is not None}


def challenger(data: Path) -> Leader | None:
    """The network that drives best on validation, or whose plans are nearest there; the baselines see nothing."""
    path = data / "evaluate" / "details.json"
    if not path.exists():
        return None
    details = read_json(path)
    networks, blind = details["networks"], details["baselines"]
    if driven := _driven(data, [*networks, *(name for name in blind if name in details["runs"])]):
        # of several that drive alike, the one whose plans are nearest
        near = details.get("on_validation", {})
        on_val = {
            name: (score, -(np.inf if near.get(name) is None else near[name]))
            for name, score in _alike(driven, [name for name in networks if name in driven], "val").items()
        }
        best = max(sorted(on_val), key=lambda name: on_val[name]) if on_val else details["leader"]
        if best in driven and all(driven[best]["splits"][split] for split in OF.values()):
            names = [name for name in driven if name == best or name not in networks]
            told = {side: dict.fromkeys(names) | _alike(driven, names, split) for side, split in OF.items()}
            return Leader(best, DRIVING, told)
    best, name = details["leader"], details["headline"]
    if best is None:
        return None
    sides = {"validation": lambda run: run["validation"][name], "test": lambda run: run[name]}
    judged = details["runs"] | details.get("beside_leader", {})  # all on the moments that the leader can use
    told = {side: {run: _minus(of(judged[run])) for run in (best, *blind)} for side, of in sides.items()}
    return Leader(best, DISTANCE.format(name), told)


def _minus(value: float | None) -> float | None:
    return None if value is None else -value


def compare(challenger: Path, champion: Path, data: Path, section: Line, reporting: Reporting) -> Comparison:
    """Both on the test routes that neither has learnt from and that have what both need, over the same draws of routes.

    Raises `BadInput` if nothing is left to judge by.
    """
    pack = data / "pack"
    configs = {"the champion": load_network(champion)[1], "the challenger": load_network(challenger)[1]}
    if drives.world_of(pack) is not None and drives.chosen(pack, section.drive, ("test",)):
        return _by_driving(challenger, champion, pack, section, reporting, configs)
    return _by_distance(challenger, champion, pack, section, reporting, configs)


def _by_driving(
    challenger: Path, champion: Path, pack: Path, section: Line, reporting: Reporting, configs
) -> Comparison:
    items, world = drives.chosen(pack, section.drive, ("test",)), drives.world_of(pack)
    new = unseen([Item((of["route"],)) for of in items.values()], configs, "test routes")
    kept = [items[name] for name, keep in zip(items, new.kept, strict=True) if keep]

    def score(checkpoint: Path) -> Score:
        found = []
        for about in kept:
            with tempfile.TemporaryDirectory() as folder:
                crew = lambda: crew_of(checkpoint, accelerator(), section.drive)  # noqa: E731
                found.append(
                    drives.drive_one(about, Path(folder), world=world, crew=crew, begin_s=section.drive.begin_s)[
                        "score_composed"
                    ]
                )
        values = np.array(found)
        drawn = driving_scores.replicates(values, reporting)
        return Score(DRIVING, float(values.mean()), drawn, [of["route"] for of in kept])

    threads = torch.get_num_threads()
    try:
        return compared(score, challenger, champion, new.words)
    finally:
        torch.set_num_threads(threads)  # crew_of drives with one


def _by_distance(
    challenger: Path, champion: Path, pack: Path, section: Line, reporting: Reporting, configs
) -> Comparison:
    usable = every = Drives(pack, ("test",))
    for config in configs.values():
        usable = suited(usable, config["network"]["name"], list(config["cameras"]))
    there, routes = reading.read(pack, "test"), sorted(usable.routes)
    new = unseen([Item((route,)) for route in routes], configs, "test routes")
    lacking = len(every.routes) - len(usable.routes)
    told = new.words + f" ({lacking} more lack what one of both needs)" * bool(lacking)
    judged_on = [route for route, kept in zip(routes, new.kept, strict=True) if kept]
    keep = np.isin(there.route, judged_on)
    if not keep.any():
        raise BadInput(f"{pack}: no moment in the test routes that have what both networks need; add routes")
    steps = min(config["network"]["steps"] for config in configs.values())
    there = reading.up_to(there, steps)[keep]
    rate_hz = float(packs.manifest(pack)["rate_hz"])
    name = f"l2_mean_to_{scores.label(scores.times(steps, rate_hz)[-1])}"

    def score(checkpoint: Path) -> Score:
        network, config, _ = load_network(checkpoint, accelerator())
        of, drawn = config["network"], Drives(pack, ("test",), keep=judged_on)
        rows = Rows(
            drawn, of["name"], list(config["cameras"]), of["steps"], device=accelerator(), told=config.get("told", TOLD)
        )
        planned = plans_of(network, rows, section.plan.batch)
        errors = runs.layer(planned, reading.up_to(reading.read(pack, "test")[keep], of["steps"]), -1)
        judged = scores.judged(scores.up_to(errors, steps), there.route, rate_hz, reporting)
        return Score(DISTANCE.format(name), -judged.value[name], -judged.replicates[name], sorted(set(there.route)))

    return compared(score, challenger, champion, told)
