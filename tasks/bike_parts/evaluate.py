"""How many parts each network finds and how many states it tells right, beside what needs no photograph.

Reads    split/{train,val,test}_coco.json, detect/<network>/detections.h5 of every network
Writes   evaluate/metrics/<run>.json   AP50, AP, macro-F1, ... on test
         evaluate/details.json         leader; of each run, on test and on validation, COCO's numbers by three
                                       protocols, states on matches and on true boxes, recall against hallucination,
                                       by part and with intervals; `believe`, `calibration`, `rides`, `together` and
                                       `claim`; changes between the photographs of a ride; examples; the
                                       reason of each null
         evaluate/parts.csv            each run by part, on test
         evaluate/presence.csv         recall and hallucination of each run over the threshold; plots/presence.csv: the
                                       leader's, for `dvc plots show`
         evaluate/{confusion,presence}.png
Alone    python -m tasks bike_parts-evaluate

The leader is the network with the best mean of AP50 (parts that are there) and macro-F1 of states on validation, where
all thresholds and calibrations come from too; the test photographs choose nothing. Intervals are of whole bikes drawn
with replacement: photographs of one bike are alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.bike_parts.formats import photos as photos_of
from tasks.bike_parts.formats.photos import STATES, Photos
from tasks.bike_parts.judging import baselines, decided, examples, pairs, presence, runs
from tasks.bike_parts.judging.coco import PROTOCOLS
from tasks.bike_parts.judging.runs import TOLD, Held, Run, run_of
from tasks.bike_parts.page import judged_pictures
from tasks.bike_parts.params import Evaluate
from tasks.yard.files import write_json, write_table
from tasks.yard.metrics.leader import leader
from tasks.yard.metrics.rounding import as_metrics, rounded
from tasks.yard.params import Reporting
from tasks.yard.reporting import charts
from tasks.yard.step import Context

SPLITS = ("val", "test")


def judged(run: Mapping[str, Run], params: Evaluate, **about: Any) -> dict[str, Any]:
    """A run on both splits, at the threshold of presence that it has from validation."""
    val = run["val"]
    threshold, how = presence.threshold_for(val.best, val.of.photos.state, params.recall)
    on = {split: runs.judged(run[split], threshold) for split in SPLITS}
    return about | {"threshold": threshold, "threshold_from": how} | on["test"] | {"validation": on["val"]}


def beside(train: Photos, held: Mapping[str, Held], first: Mapping[str, Run], seed: int) -> dict[str, dict[str, Run]]:
    """{baseline: {split: run}}; `first`: the leader's. Without `blind` where all photographs are of one bike, and
    without `majority_state` where no state is labelled: it would be the leader itself."""
    found: dict[str, dict[str, Run]] = {baselines.MEAN_BOX: {}, baselines.MAJORITY: {}, baselines.BLIND: {}}
    for split, of in held.items():
        other = baselines.blind(of.photos, first[split].found, seed)
        found[baselines.MEAN_BOX][split] = run_of(of, baselines.mean_box(train, of.photos))
        if (train.state >= 0).any():
            found[baselines.MAJORITY][split] = run_of(of, baselines.with_majority(train, first[split].found))
        if other is not None:
            found[baselines.BLIND][split] = run_of(of, other)
    return {name: of for name, of in found.items() if len(of) == len(held)}


def counted(held: Mapping[str, Photos]) -> dict[str, Any]:
    """Photographs, bikes, labelled parts, and how often each state is there."""
    return {
        split: {
            "photos": len(of.photos), "groups": len({photo.group for photo in of.photos}), "parts": len(of.id),
            "pairs": len(pairs.pairs_of(of)), "not_labelled": int((of.state < 0).sum()),
            "states": {name: int((of.state == number).sum()) for number, name in enumerate(STATES)},
        }
        for split, of in held.items()
    }  # fmt: skip


def flat(details: Mapping[str, Any]) -> dict[str, float]:
    """What MLflow shows, by run; what cannot be computed is left out."""
    numbers: dict[str, Any] = {}
    for name, of in details["runs"].items():
        numbers |= {f"test/{name}/{key}": of[key] for key in TOLD}
        numbers |= {f"test/{name}/{key}/{protocol}": of["protocols"][protocol][key] for protocol in PROTOCOLS
                    for key in ("ap", "ap50", "ap75", "ar_100")}  # fmt: skip
        numbers |= {f"validation/{name}/{key}": of["validation"][key] for key in ("score", "ap50", "state_macro_f1")}
        if of["oracle"] is not None:
            numbers[f"test/{name}/oracle/state_macro_f1"] = of["oracle"]["macro_f1"]
    for key in ("recall", "false_a_pair", "precision", "ece"):
        numbers[f"test/changes/{key}"] = details["changes"]["test"].get(key)
    return as_metrics(numbers | {"threshold": details["threshold"], "claim": details["claim"]})


def run(
    params: Evaluate,
    out: Path,
    ctx: Context = Context(),
    *,
    split: Path,
    detect: dict[str, Path],
    reporting_params: Reporting,
) -> dict[str, float]:
    """Returns the metrics, flat: {"test/<run>/ap50": ...}; what cannot be computed is left out of them."""
    labelled = {name: photos_of.read(split, name) for name in photos_of.SPLITS}
    held = {name: runs.held(labelled[name], reporting_params) for name in SPLITS}
    for stale in [*out.glob("*.png"), *(out / "metrics").glob("*.json"), *out.glob("**/*.csv")]:
        stale.unlink()  # of runs, or of a leader, that are no longer there

    networks = {name: runs.network(detect[name], held) for name in sorted(detect)}
    told = {
        name: judged(of, params, kind="network", what="trained")
        for name, of in ctx.progress(networks.items(), desc="evaluate", unit="network")
    }
    on_val = {name: of["validation"]["score"] for name, of in told.items()}
    best, how = leader(on_val, "best mean of AP50 and macro-F1 of states on the validation photographs")
    shown = best or next(iter(networks))
    first = networks[shown]
    others = beside(labelled["train"], held, first, reporting_params.bootstrap_seed)
    for name, of in others.items():
        told[name] = judged(of, params, kind="baseline", what=baselines.WHAT[name])

    everyone = networks | others
    curves = {
        (name, at): presence.curve(of[at].best, of[at].of.photos.state)
        for name, of in everyone.items()
        for at in SPLITS
    }
    majority = baselines.majority(labelled["train"])
    details: dict[str, Any] = {
        "leader": best, "leader_from": how,
        "leader_null_because": None if best else "several networks, and no labelled part on validation to choose by",
        "networks": sorted(networks), "baselines": list(others), "parts": labelled["train"].parts,
        "protocols": PROTOCOLS, "counts": counted(labelled), "runs": told,
        "majority": {part: STATES[state] for part, state in zip(labelled["train"].parts, majority, strict=True)},
        "threshold": told[best]["threshold"] if best else None,
        **decided.on_validation(shown, first, labelled["train"], params, reporting_params),
    }  # fmt: skip
    # thresholds are not rounded: whoever applies them must keep the same detections
    details["examples"] = examples.chosen(first["test"], details["believe"])
    exact = {key: details[key] for key in ("threshold", "believe", "claim")}
    details = rounded(details) | exact
    for name, of in details["runs"].items():
        of["threshold"] = told[name]["threshold"]
    write_json(out / "details.json", details)
    for name, of in details["runs"].items():
        write_json(out / "metrics" / f"{name}.json", {key: of[key] for key in TOLD})
    write_table(out / "parts.csv", judged_pictures.by_part(details["runs"], details["parts"]))
    write_table(out / "presence.csv", judged_pictures.presence_table(curves))
    of_leader = {key: curve for key, curve in curves.items() if key[0] == shown}
    write_table(out / "plots" / "presence.csv", judged_pictures.presence_table(of_leader))
    confused = {
        f"{shown}, found parts": told[shown]["states"]["confusion"],
        f"{shown}, true boxes": told[shown]["oracle"]["confusion"],
    }
    charts.save(out / "confusion.png", lambda: judged_pictures.confusion(confused))
    on_test = {name: curve for (name, at), curve in curves.items() if at == "test"}
    chosen = {
        name: (of["hallucination"], of["recall"])
        for name, of in told.items()
        if of["hallucination"] is not None and of["recall"] is not None
    }
    charts.save(out / "presence.png", lambda: judged_pictures.presence(on_test, chosen))
    return flat(details)
