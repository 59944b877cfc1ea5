"""How many people of the test frames each network finds, where, and what that is worth beside runs that must fail.

Reads    pack/, train/<network>/best.pt, detect/<network>/model_evaluation.hdf5 of every network
Writes   evaluate/metrics/<run>.json   MODA, MODP, precision, recall on test
         evaluate/details.json         leader, threshold, match_m; of each run its counts, metrics and intervals on test
                                       (of networks and baselines on validation too), by scene, by match radius; the
                                       curve over the threshold; remarks; the reason of each null
         evaluate/plots/threshold.csv  the leader's metrics over the threshold, for `dvc plots show`
         evaluate/threshold.png
Alone    python -m tasks ground_plane-evaluate

The leader is the network with the best MODA on validation, at the threshold of its checkpoint, which validation chose
too; the test frames choose nothing. Runs: networks, controls (the leader at its own threshold, see controls.py) and
baselines that see no image. The intervals are of whole scenes drawn with replacement, for frames of one are alike; of
whole frames where there is one scene, which is rather too narrow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.ground_plane.formats import scenes
from tasks.ground_plane.formats.detections import SPLITS
from tasks.ground_plane.judging import matching
from tasks.ground_plane.judging.matching import METRICS, people_of
from tasks.ground_plane.judging.runs import (
    cameras_of,
    judged_baselines,
    judged_controls,
    judged_network,
    network_of,
)
from tasks.ground_plane.page.curves import thinned, write_curves
from tasks.ground_plane.page.remarks import remarks
from tasks.yard.files import write_json
from tasks.yard.metrics.leader import leader
from tasks.yard.metrics.rounding import as_metrics, rounded
from tasks.yard.params import Reporting
from tasks.yard.step import Context


def flat(details: dict) -> dict[str, float]:
    """What MLflow shows, by run; what cannot be computed is left out."""
    numbers: dict[str, Any] = {}
    for run, of in details["runs"].items():
        numbers |= {f"test/{run}/{name}": of[name] for name in METRICS}
        if "validation" in of:
            numbers[f"validation/{run}/moda"] = of["validation"]["moda"]
    for kind, of in details["cameras"].items():
        numbers |= {f"test/{kind}/mean": of["mean"], f"test/{kind}/worst": of["worst"]}
    numbers |= {name: details[name]["test"] for name in ("frames", "people")} | {"threshold": details["threshold"]}
    return as_metrics(numbers)


def run(
    _params: None,
    out: Path,
    ctx: Context = Context(),
    *,
    pack: Path,
    train: dict[str, Path],
    detect: dict[str, Path],
    reporting_params: Reporting,
) -> dict[str, float]:
    """Returns the metrics, flat: {"test/<run>/moda": ...}; what cannot be computed is left out of them."""
    packed = scenes.load(pack)
    frames = {split: scenes.of_split(packed, split) for split in scenes.SPLITS}
    for stale in [*out.glob("*.png"), *(out / "metrics").glob("*.json"), *(out / "plots").glob("*.csv")]:
        stale.unlink()  # of runs, or of a leader, that are no longer there

    networks = {name: network_of(train[name], detect[name], frames) for name in sorted(train)}
    runs = {name: judged_network(of, frames, reporting_params) for name, of in networks.items()}
    on_val = {name: of["validation"]["moda"] for name, of in runs.items()}
    best, how = leader(on_val, "best MODA on the validation frames")
    first = networks[best or next(iter(networks))]
    controlled: dict[str, dict] = {}
    if best and first.threshold is not None and frames["test"]:
        controlled = judged_controls(first, frames["test"], reporting_params, ctx)
    baselines = judged_baselines(first.decode, frames, reporting_params)
    runs |= controlled | baselines

    curves = {s: thinned(matching.curve(first.frames[s], first.decode.match_m)) for s in SPLITS if best}
    write_curves(out, curves, first.threshold if best else None)
    there = {split: [people_of(scene, row) for scene, row in of] for split, of in frames.items()}
    labelled = sum(len(scene.people[row]) for scene, row in frames["test"])
    details: dict[str, Any] = {
        "leader": best, "leader_from": how,
        "leader_null_because": None if best else "several networks, and nobody on validation to choose by",
        "match_m": first.decode.match_m, "networks": sorted(networks), "controls": list(controlled),
        "baselines": list(baselines), "cameras": cameras_of(controlled), "runs": runs,
        "curve": {split: curve.tolist() for split, curve in curves.items()},
        "per_scene": runs[best]["by_scene"] if best else {},
        "frames": {split: len(of) for split, of in frames.items()},
        "scenes": {split: len({scene.name for scene, _ in of}) for split, of in frames.items()},
        "people": {split: sum(map(len, of)) for split, of in there.items()},
        "unseen": labelled - sum(map(len, there["test"])),
    }  # fmt: skip
    details["remarks"] = remarks(details | {"threshold": first.threshold if best else None})
    # the threshold is not rounded: whoever applies it must keep the same detections
    details = rounded(details) | {"threshold": first.threshold if best else None}
    write_json(out / "details.json", details)
    for name, of in details["runs"].items():
        write_json(out / "metrics" / f"{name}.json", {key: of[key] for key in METRICS})
    return flat(details)
