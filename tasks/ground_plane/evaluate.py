"""How many people of the test frames each network finds, where, and what that is worth beside runs that must fail.

Reads    pack/, train/<network>/best.pt, detect/<network>/model_evaluation.hdf5 of every network
Writes   evaluate/metrics/<run>.json   MODA, MODP, precision, recall on test: a row a run in `dvc metrics show`
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

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tasks.ground_plane.detect import device
from tasks.ground_plane.formats import scenes
from tasks.ground_plane.formats.detections import FILE, SPLITS, read_detections
from tasks.ground_plane.judging import controls, matching
from tasks.ground_plane.judging.controls import BLIND, EMPTY, Frames
from tasks.ground_plane.judging.matching import METRICS, Counts, Frame, people_of
from tasks.ground_plane.learning.network import load_network
from tasks.ground_plane.page.remarks import remarks
from tasks.ground_plane.params import Decode
from tasks.yard.files import write_json, write_table
from tasks.yard.metrics import bootstrap
from tasks.yard.metrics.rounding import as_metrics, rounded
from tasks.yard.params import Reporting
from tasks.yard.reporting.charts import DASHES, FAINT, RUNS, drawn, legend
from tasks.yard.step import BadInput, Context

RADII_M = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
CURVE_POINTS = 200


@dataclass(frozen=True)
class Network:
    """One that was trained, and what it found."""

    checkpoint: Path
    decode: Decode
    threshold: float | None
    frames: dict[str, list[Frame]]  # by split


def independent(counts: Sequence[Counts], frames: Frames) -> list[Counts]:
    """What is drawn for an interval: the counts of each scene, or of each frame where all are of one scene."""
    of: dict[str, Counts] = {}
    for one, (scene, _) in zip(counts, frames, strict=True):
        of[scene.name] = of.get(scene.name, Counts()) + one
    return list(of.values()) if len(of) > 1 else list(counts)


def replicates(counts: Sequence[Counts], match_m: float, reporting: Reporting) -> dict[str, np.ndarray]:
    """{metric: (replicates)} of `independent` counts, drawn with replacement; NaN where a draw leaves it undefined."""
    draws = bootstrap.resamples(len(counts), reporting.bootstrap_replicates, reporting.bootstrap_seed)
    return matching.rates(*(draws @ np.array([astuple(one) for one in counts])).T, match_m)


def intervals(counts: Sequence[Counts], match_m: float, reporting: Reporting) -> dict[str, dict | None]:
    """95 % percentile interval of each metric; None for fewer than two `independent` counts."""
    if len(counts) < 2:
        return dict.fromkeys(METRICS)
    return {name: bootstrap.interval(values) for name, values in replicates(counts, match_m, reporting).items()}


def numbers(counts: Sequence[Counts], frames: Frames, match_m: float, reporting: Reporting) -> dict[str, Any]:
    """What details.json says of one run on some frames."""
    whole = sum(counts, Counts())
    people = whole.tp + whole.fn
    why = None if people else f"nobody in {len(counts)} frames" if counts else "no labelled frame"
    return {
        **whole.metrics(match_m), "tp": whole.tp, "fp": whole.fp, "fn": whole.fn, "frames": len(counts),
        "people": people, "intervals": intervals(independent(counts, frames), match_m, reporting), "null_because": why,
    }  # fmt: skip


def unjudged(counts: int, why: str) -> dict[str, Any]:
    return {**dict.fromkeys((*METRICS, "tp", "fp", "fn", "people", "intervals")), "frames": counts, "null_because": why}


def network_of(train: Path, detect: Path, frames: Mapping[str, Frames]) -> Network:
    """Raises `BadInput` where the detections are of other frames than the pack's."""
    _, config, scores = load_network(train / "best.pt")
    found: dict[str, list[Frame]] = {}
    held = read_detections(detect / FILE, maps=False)
    for name, number in SPLITS.items():
        mine = [one for one in held if one.split == number]
        expected = [(scene.name, int(scene.frames[row])) for scene, row in frames[name]]
        if [(one.scene, one.frame) for one in mine] != expected:
            raise BadInput(f"{detect / FILE}: not of the {name} frames of pack; run ground_plane-detect again")
        found[name] = [
            (one.xy, one.confidence, people_of(scene, row))
            for one, (scene, row) in zip(mine, frames[name], strict=True)
        ]  # fmt: skip
    return Network(train / "best.pt", Decode.model_validate(config["decode"]), scores["threshold"], found)


def leader_of(runs: Mapping[str, dict]) -> tuple[str | None, str | None]:
    """(network, how it was chosen). One that is alone leads in any case; several that nobody could judge do not."""
    judged = {run: of["validation"]["moda"] for run, of in runs.items() if of["validation"]["moda"] is not None}
    if judged:
        return max(sorted(judged), key=lambda run: judged[run]), "best MODA on the validation frames"
    return (next(iter(runs)), "the only network") if len(runs) == 1 else (None, None)


def judged_network(of: Network, frames: Mapping[str, Frames], reporting: Reporting) -> dict[str, Any]:
    """A network at its threshold, on test and on validation, by scene and by match radius."""
    told: dict[str, Any] = {"kind": "network", "what": "trained", "threshold": of.threshold}
    if of.threshold is None:
        why = "its checkpoint has no threshold: nobody to choose one by on validation"
        sides = {split: unjudged(len(found), why) for split, found in of.frames.items()}
        return told | sides["test"] | {"validation": sides["val"], "by_scene": {}, "by_match_m": []}
    at = {split: matching.counts_at(found, of.threshold, of.decode.match_m) for split, found in of.frames.items()}
    sides = {split: numbers(counts, frames[split], of.decode.match_m, reporting) for split, counts in at.items()}
    by_scene: dict[str, list[tuple[Counts, tuple]]] = {}
    for one, frame in zip(at["test"], frames["test"], strict=True):
        by_scene.setdefault(frame[0].name, []).append((one, frame))
    told["by_scene"] = {
        name: numbers(*map(list, zip(*mine, strict=True)), of.decode.match_m, reporting)
        for name, mine in by_scene.items()
    }
    by_radius = {r: sum(matching.counts_at(of.frames["test"], of.threshold, r), Counts()) for r in RADII_M}
    told["by_match_m"] = [{"match_m": radius, **counts.metrics(radius)} for radius, counts in by_radius.items()]
    return told | sides["test"] | {"validation": sides["val"]}


def judged_controls(of: Network, test: Frames, reporting: Reporting, ctx: Context) -> dict[str, dict]:
    """{run: what details.json says} of the leader with something taken from it."""
    network, config, _ = load_network(of.checkpoint, device())
    held = controls.controls_of(list({scene.name: scene for scene, _ in test}.values()))
    runs = {}
    with ctx.progress(total=len(held) * len(test), desc="controls", unit="frame") as bar:
        for run, control in held.items():
            told = {"kind": control.kind, "what": control.what, "camera": control.camera, "threshold": of.threshold}
            found = controls.look(network, config, test, of.threshold, device(), control.change, bar)
            if found:
                counts = matching.counts_at([frame for _, frame in found], of.threshold, of.decode.match_m)
                mine = [test[place] for place, _ in found]
                runs[run] = told | numbers(counts, mine, of.decode.match_m, reporting)
            else:
                runs[run] = told | unjudged(0, "no scene of the test split has the cameras for it")
    return runs


def judged_baselines(decode: Decode, frames: Mapping[str, Frames], reporting: Reporting) -> dict[str, dict]:
    """{run: what details.json says} of what looks at no image."""
    said = {
        BLIND: "the places where people stood most in training, so many as are best on validation, in every frame",
        EMPTY: "nobody, in no frame",
    }
    nobody = (np.empty((0, 2)), np.empty(0))
    empty = {split: [(*nobody, people_of(scene, row)) for scene, row in frames[split]] for split in SPLITS}
    guess = controls.blind(frames["train"], frames["val"], frames["test"], decode)
    made = {
        BLIND: guess and ({"val": guess[0], "test": guess[1]}, guess[2]),
        EMPTY: (empty, None),
    }
    runs = {}
    for run, held in made.items():
        told = {"kind": "baseline", "what": said[run], "threshold": held and held[1]}
        if held is None:
            sides = {split: unjudged(len(frames[split]), "nobody in training or in validation") for split in SPLITS}
        else:
            at = {split: matching.counts_at(found, held[1] or 0.0, decode.match_m) for split, found in held[0].items()}
            sides = {split: numbers(counts, frames[split], decode.match_m, reporting) for split, counts in at.items()}
        runs[run] = told | sides["test"] | {"validation": sides["val"]}
    return runs


def cameras_of(runs: Mapping[str, dict]) -> dict[str, Any]:
    """{"alone" | "without": {"moda": {camera: moda}, "mean", "worst", "worst_camera"}} of the controls."""
    found = {}
    for kind in ("alone", "without"):
        moda = {of["camera"]: of["moda"] for of in runs.values() if of["kind"] == kind}
        known = {camera: value for camera, value in moda.items() if value is not None}
        worst = min(known, key=lambda camera: known[camera]) if known else None
        mean = float(np.mean(list(known.values()))) if known else None
        found[kind] = {"moda": moda, "mean": mean, "worst": known.get(worst), "worst_camera": worst}
    return found


def thinned(curve: np.ndarray) -> np.ndarray:
    """(K, 4) as `matching.curve` gives it -> at most `CURVE_POINTS` rows, evenly spaced in the threshold."""
    if not len(curve) or np.isnan(curve[:, 1]).any():
        return np.empty((0, 4))
    asked = np.linspace(curve[0, 0], curve[-1, 0], CURVE_POINTS)
    return curve[np.unique(np.searchsorted(-curve[:, 0], -asked, side="right") - 1)]


def draw_curves(path: Path, curves: Mapping[str, np.ndarray], threshold: float | None) -> str:
    """MODA, precision and recall over the threshold, a panel a split."""

    def draw() -> Figure:
        figure = Figure(figsize=(11, 3.9))
        axes = figure.subplots(1, len(curves), squeeze=False, sharey=True)[0]
        for axis, (split, curve) in zip(axes, curves.items()):
            for name, column, colour in zip(("MODA", "precision", "recall"), curve.T[1:], RUNS):
                width = 3.6 if name == "MODA" else 1.6  # still seen where it is the recall: with no false detection
                axis.plot(curve[:, 0], column, color=colour, linewidth=width, label=name, drawstyle="steps-post")
            if threshold is not None:
                axis.axvline(threshold, color=FAINT, linestyle=DASHES["detections"], label=f"threshold {threshold:.3f}")
            title = {"val": "validation"}.get(split, split)
            axis.set(title=title, xlabel="confidence threshold", xlim=(0, 1), ylim=(-0.1, 1.02))
        legend(figure, axes)
        return figure

    return drawn(path, draw)


def write_curves(out: Path, curves: Mapping[str, np.ndarray], threshold: float | None) -> None:
    columns = ["threshold", "moda", "precision", "recall"]
    tables = [pd.DataFrame(curve, columns=columns).assign(split=split) for split, curve in curves.items()]
    table = pd.concat(tables) if tables else pd.DataFrame(columns=[*columns, "split"])
    write_table(out / "plots" / "threshold.csv", table[["split", *columns]])
    shown = {split: curve for split, curve in curves.items() if len(curve)}
    if shown:
        draw_curves(out / "threshold.png", shown, threshold)


def flat(details: dict) -> dict[str, float]:
    """What MLflow shows, by run; what cannot be computed is left out."""
    found: dict[str, Any] = {}
    for run, of in details["runs"].items():
        found |= {f"test/{run}/{name}": of[name] for name in METRICS}
        if "validation" in of:
            found[f"validation/{run}/moda"] = of["validation"]["moda"]
    for kind, of in details["cameras"].items():
        found |= {f"test/{kind}/mean": of["mean"], f"test/{kind}/worst": of["worst"]}
    found |= {name: details[name]["test"] for name in ("frames", "people")} | {"threshold": details["threshold"]}
    return as_metrics(found)


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
    held = scenes.load(pack)
    frames = {split: scenes.of_split(held, split) for split in scenes.SPLITS}
    for stale in [*out.glob("*.png"), *(out / "metrics").glob("*.json"), *(out / "plots").glob("*.csv")]:
        stale.unlink()  # of runs, or of a leader, that are no longer there

    networks = {name: network_of(train[name], detect[name], frames) for name in sorted(train)}
    runs = {name: judged_network(of, frames, reporting_params) for name, of in networks.items()}
    leader, how = leader_of(runs)
    first = networks[leader or next(iter(networks))]
    controlled: dict[str, dict] = {}
    if leader and first.threshold is not None and frames["test"]:
        controlled = judged_controls(first, frames["test"], reporting_params, ctx)
    baselines = judged_baselines(first.decode, frames, reporting_params)
    runs |= controlled | baselines

    curves = {s: thinned(matching.curve(first.frames[s], first.decode.match_m)) for s in SPLITS if leader}
    write_curves(out, curves, first.threshold if leader else None)
    there = {split: [people_of(scene, row) for scene, row in of] for split, of in frames.items()}
    labelled = sum(len(scene.people[row]) for scene, row in frames["test"])
    details: dict[str, Any] = {
        "leader": leader, "leader_from": how,
        "leader_null_because": None if leader else "several networks, and nobody on validation to choose by",
        "match_m": first.decode.match_m, "networks": sorted(networks), "controls": list(controlled),
        "baselines": list(baselines), "cameras": cameras_of(controlled), "runs": runs,
        "curve": {split: curve.tolist() for split, curve in curves.items()},
        "per_scene": runs[leader]["by_scene"] if leader else {},
        "frames": {split: len(of) for split, of in frames.items()},
        "scenes": {split: len({scene.name for scene, _ in of}) for split, of in frames.items()},
        "people": {split: sum(map(len, of)) for split, of in there.items()},
        "unseen": labelled - sum(map(len, there["test"])),
    }  # fmt: skip
    details["remarks"] = remarks(details | {"threshold": first.threshold if leader else None})
    # the threshold is not rounded: whoever applies it must keep the same detections
    details = rounded(details) | {"threshold": first.threshold if leader else None}
    write_json(out / "details.json", details)
    for name, of in details["runs"].items():
        write_json(out / "metrics" / f"{name}.json", {key: of[key] for key in METRICS})
    return flat(details)
