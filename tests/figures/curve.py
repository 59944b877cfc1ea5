"""How much more data would the goals of open_loop_driving need? A learning curve, and what it can say.

    python -m tests.figures.curve                      trains on a quarter and on half of the training routes
    python -m tests.figures open_loop_driving --write  writes what came out into the README

Reads    data/open_loop_driving/pack of a finished run; docs/figures/open_loop_driving.json, which has all routes
Writes   docs/figures/open_loop_driving_curve.json

Each share has a teacher, a network and a blind MLP of its own, and takes as many optimizer steps as the default does on
all routes: what differs is the data alone, not how long was learnt. Routes are drawn by the seed, as many from each
town, and a larger share holds the smaller one. A share that is in the result file is not trained again while code and
params are the same; a killed training goes on. On 2 quiet cores each takes about a quarter of an hour.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tasks.open_loop_driving import drive, evaluate, plan, teacher, train
from tasks.open_loop_driving.formats import pack as packed
from tasks.yard import code
from tasks.yard import params as params_file
from tasks.yard.files import digest, read_if_there, read_json, write_json
from tasks.yard.params import Params
from tasks.yard.step import BadInput
from tests.figures import curve_fit

LINE, NETWORK, BLIND = "open_loop_driving", "thinktwice_small", "blind"
ROWS = {NETWORK: NETWORK, BLIND: "told speed, command, target"}  # as the table of all routes calls them
RESULTS, SCRATCH = Path("docs/figures"), Path(".trainyard/figures/curve")
FILE = f"{LINE}_curve.json"
SHARES = (0.25, 0.5)
STEPS = ("teacher", "train", "plan", "evaluate", "drive")  # whose code and params the numbers hang on
EVALUATIONS = 3  # of a training, as the default has


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m tests.figures.curve", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--shares", type=float, nargs="+", default=list(SHARES), help="of the training routes")
    made.add_argument("--seeds", type=int, nargs="+", default=[0], help="of drawing routes and of training")
    made.add_argument("--threads", type=int, help="of one training; as params.yaml has it by default")
    made.add_argument("--data", type=Path, default=Path("data", LINE), help="of a finished run")
    made.add_argument("--results", type=Path, default=RESULTS)
    made.add_argument("--scratch", type=Path, default=SCRATCH, help="where trainings lie; delete it at any time")
    return made


def drawn(routes: Mapping[str, Mapping[str, Any]], share: float, seed: int) -> list[str]:
    """That share of the training routes, town by town in turn; of a smaller share with the same seed all are in it."""
    towns: dict[str, list[str]] = defaultdict(list)
    for name, of in sorted(routes.items()):
        if of["split"] == "train" and of["windows"]:
            towns[of["town"]].append(name)
    order = []
    for town, names in towns.items():
        mixed = np.random.default_rng([seed, *town.encode()]).permutation(len(names))
        order += [(place, town, names[i]) for place, i in enumerate(mixed)]
    return [name for _, _, name in sorted(order)[: max(1, round(share * len(order)))]]


def partial_pack(whole: Path, keep: list[str], folder: Path) -> Path:
    """A pack with these training routes and with all of validation and test; its files are links."""
    said = packed.manifest(whole)
    there = {name: of for name, of in said["routes"].items() if of["split"] != "train" or name in keep}
    folder.mkdir(parents=True, exist_ok=True)
    for name in there:
        if not (folder / name).exists():
            (folder / name).symlink_to((whole / name).resolve(), target_is_directory=True)
    write_json(folder / packed.MANIFEST, said | {"routes": there})
    return folder


def windows(routes: Mapping[str, Mapping[str, Any]], keep: list[str]) -> int:
    return sum(routes[name]["windows"] for name in keep)


def with_steps(section: Any, epochs: int, all_windows: int, mine: int) -> Any:
    """The section of a training with as many steps on my windows as these epochs have on all of them."""
    batch = section.engine.batch
    if mine < batch:
        raise BadInput(f"--shares: {mine} moments fill no batch of {batch}; take a larger share")
    enough = max(1, round(epochs * (all_windows // batch) / (mine // batch)))
    return section.model_copy(update={"engine": section.engine.model_copy(update={"epochs": enough})})


def measured(
    params: Params, whole: Path, share: float, seed: int, threads: int | None, scratch: Path
) -> dict[str, Any]:
    """Numbers of test after a training on this share: of the network and of the blind one."""
    line, yard = params.open_loop_driving, params.yard
    routes = packed.manifest(whole)["routes"]
    keep, every = drawn(routes, share, seed), drawn(routes, 1.0, seed)
    mine, all_windows = windows(routes, keep), windows(routes, every)
    pack = partial_pack(whole, keep, scratch / "pack")
    began = time.process_time()
    taught = with_steps(line.teacher, line.teacher.engine.epochs, all_windows, mine)
    teacher.run(taught, scratch / "teacher", pack=pack, machine_params=yard.machine)
    own = {"seed": seed, "threads": threads or line.train.engine.threads}
    fit = line.train.model_copy(update={"engine": line.train.engine.model_copy(update=own)})
    network = with_steps(fit, fit.engine.epochs, all_windows, mine)
    network = network.model_copy(update={"evaluate_every": max(1, network.engine.epochs // EVALUATIONS)})
    blind_epochs = with_steps(fit, fit.blind_epochs, all_windows, mine).engine.epochs
    trained, planned, numbers = {}, {}, {}
    for name in (BLIND, NETWORK):
        section = network.model_copy(update={"blind_epochs": blind_epochs})
        trained[name], planned[name] = scratch / "train" / name, scratch / "plan" / name
        train.run(
            section, trained[name], network=name, pack=pack, teacher=scratch / "teacher", machine_params=yard.machine
        )
        took = time.process_time() - began
        plan.run(line.plan, planned[name], network=name, pack=pack, train=trained)
    evaluate.run(None, scratch / "evaluate", pack=pack, plan=planned, reporting_params=yard.reporting)
    details = read_json(scratch / "evaluate/details.json")
    driven = scratch / "drive"
    drive.run(line.drive, driven, network=NETWORK, pack=pack, train=trained, reporting_params=yard.reporting)
    for name in (NETWORK, BLIND):
        numbers[name] = {
            "l2": details["runs"][name][details["headline"]],
            "brake_f1": details["runs"][name]["brake_f1"],
        }
    test = read_json(driven / "drives.json")["splits"]["test"]
    return {
        "share": share, "seed": seed, "routes": len(keep), "moments": mine, "epochs": network.engine.epochs,
        "network": numbers[NETWORK] | {"driving_score": test.get("driving_score")}, "blind": numbers[BLIND],
        "cpu_s": round(took),
    }  # fmt: skip


def of_all(results: Path, routes: int, moments: int) -> list[dict[str, Any]]:
    """The same of all routes, from the seeds of the README's table. Raises `BadInput` where there are none."""
    file = results / f"{LINE}.json"
    seeds = read_if_there(file).get("seeds")
    if not seeds:
        raise BadInput(f"{file}: no seeds; `python -m tests.figures {LINE}` trains them on all routes")
    keys = {"l2": "L2 mean to 2 s", "brake_f1": "brake F1", "driving_score": "driving score"}
    found = []
    for seed, run in seeds.items():
        rows = dict(run["rows"])
        said = {name: {key: rows[row].get(title) for key, title in keys.items()} for name, row in ROWS.items()}
        expert = rows["the expert"]["driving score"]
        found.append(
            {"share": 1.0, "seed": int(seed), "routes": routes, "moments": moments, "expert": expert,
             "network": said[NETWORK], "blind": said[BLIND]}
        )  # fmt: skip
    return found


def main(arguments: list[str] | None = None) -> int:
    chosen = parser().parse_args(arguments)
    file = chosen.results / FILE
    try:
        params = params_file.load()
        whole = chosen.data / "pack"
        routes = packed.manifest(whole)["routes"]
        every = drawn(routes, 1.0, 0)
        complete = of_all(chosen.results, len(every), windows(routes, every))
        asked = params.model_dump(mode="json", include={LINE})
        asked[LINE]["train"]["engine"].pop("threads")
        of = digest([code.of(LINE, step) for step in STEPS], asked, [of["sha256"] for of in routes.values()])
        for share in chosen.shares:
            if not 0 < share < 1:
                raise BadInput(f"--shares: {share:g} must lie between 0 and 1; all routes are those of {LINE}.json")
            for seed in chosen.seeds:
                known = read_if_there(file)
                points = known.get("points", []) if known.get("of") == of else []
                if any((one["share"], one["seed"]) == (share, seed) for one in points):
                    print(f"share {share:g}, seed {seed}: in {file}", flush=True)
                    continue
                print(f"share {share:g}, seed {seed}: trains", flush=True)
                found = measured(params, whole, share, seed, chosen.threads, chosen.scratch / f"{share:g}-{seed}")
                known = read_if_there(file)  # another share may have ended meanwhile
                points = known.get("points", []) if known.get("of") == of else []
                points = sorted([*points, found], key=lambda one: (one["share"], one["seed"]))
                write_json(file, {"of": of, "points": points})
        epochs = params.open_loop_driving.train.engine.epochs
        result = {**read_if_there(file), "all": complete, "epochs": epochs}
        write_json(file, result)
        print(curve_fit.block(result))
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; shares that are judged are kept, run again to continue", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
