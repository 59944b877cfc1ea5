"""Judge every trained run on the held-out drives, beside the baselines it has to beat.

Reads   pack/{val,test}.h5 and train/<run>/best.pt of every run.
Writes  metrics/<run>.json {task: five numbers}; the baselines are runs among them
        details.json       all numbers: counts, intervals, confusion, reliability, events, and the reason of each null
        thresholds.json    {run: {task: threshold}}, chosen on validation
        plots/*.csv        precision-recall and calibration curves, for `dvc plots show`
        predictions/<recording>.csv   as formats/predictions.py says
Alone   python -m tasks brake_coast-evaluate

Every window that fits a held-out drive is judged (stride 1, by the labels of its last frame; unknown labels are left
out and counted), once over all windows and once over those `not_yet` doing what the task predicts: braking goes on for
seconds, so most positives of brake_1s are already braking, and predicting those is easy.

The share of unknown labels stands beside every number. Above 30 % (`runs.DOUBTFUL_SHARE`) the number is marked: those
that are known are then no sample of the drives.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.brake_coast.formats import predictions, windows
from tasks.brake_coast.formats.windows import Split
from tasks.brake_coast.judging.runs import BASELINES, BLIND, SUBSETS, doubt, is_doubtful
from tasks.brake_coast.judging.scores import baseline_scores, judged, lead
from tasks.brake_coast.learning.inference import load_model, predict
from tasks.brake_coast.params import Evaluate
from tasks.yard.files import write_json, write_table
from tasks.yard.metrics import binary, bootstrap
from tasks.yard.metrics.rounding import as_metrics, rounded
from tasks.yard.params import Reporting
from tasks.yard.step import BadInput, Context

log = logging.getLogger(__name__)
SHOWN = (
    "pr_auc",
    "pr_auc_not_yet",
    "brier",
    "event_recall",
    "unknown_share",
)  # as many as a person reads at once
MAIN = ("pr_auc", "roc_auc", "brier", "ece", "precision", "recall", "f1")


def curves(run: str, task: str, on_test: dict, y: np.ndarray, p: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Precision over recall, and the reliability of each bin."""
    key, known = {"variant": run, "task": task}, y >= 0
    bins = pd.DataFrame(on_test["all"]["reliability"], columns=["mean_predicted", "fraction_positive", "count"])
    return pd.DataFrame({**key, **binary.pr_curve(y[known], p[known])}), pd.DataFrame({**key, **bins})


def main_numbers(on_test: dict) -> dict[str, float | int | None]:
    """What MLflow shows of one run and task."""
    return {
        **{name: on_test["all"][name] for name in ("windows", "positives", "prevalence", *MAIN)},
        **{name: on_test["all"][name] for name in ("unknown_share", "not_meaningful")},
        "pr_auc_not_yet": on_test["not_yet"]["pr_auc"],
        "prevalence_not_yet": on_test["not_yet"]["prevalence"],
        "unknown_share_not_yet": on_test["not_yet"]["unknown_share"],
        "not_meaningful_not_yet": on_test["not_yet"]["not_meaningful"],
        **{f"event_{name}": on_test["events"].get(name) for name in ("recall", "chance_recall")},
        **{name: on_test["events"].get(name) for name in ("events", "false_alarms_per_hour", "lead_s_median")},
    }


def run(
    params: Evaluate,
    out: Path,
    ctx: Context = Context(),
    *,
    pack: Path,
    train: dict[str, Path],
    reporting_params: Reporting,
) -> dict[str, float]:
    """Returns the main metrics, flat: {"<run>/<task>/pr_auc": ...}; what cannot be computed is left out of them."""
    runs = [folder for _, folder in sorted(train.items()) if (folder / "best.pt").exists()]
    if not runs:
        raise BadInput(f"none of {', '.join(train)} has a best.pt to evaluate; run brake_coast-train first")
    val, test = (Split(windows.load(pack / f"{name}.h5")) for name in ("val", "test"))
    if not len(test.starts):
        raise BadInput(f"{pack / 'test.h5'}: holds no window to test on; add recordings")

    scores: dict[str, dict[str, dict[str, np.ndarray]]] = {}  # run -> task -> split -> (N)
    tasks: list[str] = []
    for folder in ctx.progress(runs, desc="predict", unit="run"):
        model, config = load_model(folder / "best.pt")
        tasks += [task for task in config["tasks"] if task not in tasks]
        both = {
            name: predictions.rounded(predict(model, split.frames, split.starts, params.batch))
            for name, split in (("val", val), ("test", test))
        }
        scores[folder.name] = {t: {n: p[:, i] for n, p in both.items()} for i, t in enumerate(config["tasks"])}
    columns = {predictions.column(name, task): s["test"] for name, of in scores.items() for task, s in of.items()}
    predictions.write(out, test.frames, test.ends, columns)
    for name in BASELINES:
        scores[name] = {task: baseline_scores(task, val, test)[name] for task in tasks}

    recordings = np.unique(test.frames.recording[test.ends])
    draws = bootstrap.resamples(len(recordings), reporting_params.bootstrap_replicates, reporting_params.bootstrap_seed)
    details: dict[str, dict[str, dict]] = {}
    drawn: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    plots = []
    for name in ctx.progress(list(scores), desc="judge", unit="run"):
        details[name] = {}
        for task, split in scores[name].items():
            y = val.labels(task)
            threshold = binary.best_threshold(y[y >= 0], split["val"][y >= 0])
            on_test, drawn[name, task] = judged(params, test, task, split["test"], threshold, draws)
            counts = {
                name: int(of.sum()) for name, of in (("windows", y >= 0), ("positives", y == 1), ("unknown", y < 0))
            }
            counts["not_meaningful"] = is_doubtful(counts)
            on_val = {**counts, **binary.scores(y[y >= 0], split["val"][y >= 0], params.calibration_bins)}
            details[name][task] = {"threshold": threshold, "validation": on_val, **on_test}
            plots.append(curves(name, task, on_test, test.labels(task), split["test"]))
    for name, task in drawn:
        for blind in BLIND:
            if (other := (f"{name}-{blind}", task)) in drawn:
                for subset in SUBSETS:
                    over = lead(details, drawn, (name, task), other, subset)
                    details[name][task][subset][f"pr_auc_over_{blind}"] = over

    for task in tasks:
        if said := doubt(details["prevalence"][task]["all"]):
            log.warning("%s: the numbers on the test drives are %s", task, said)
    for path in (out / "metrics").glob("*.json"):
        if path.stem not in details:
            path.unlink()  # of a run no longer asked for
    for name, tables in zip(("pr", "calibration"), zip(*plots, strict=True), strict=True):
        write_table(out / "plots" / f"{name}.csv", pd.concat([t for t in tables if len(t)] or tables[:1]))
    main = {name: {task: main_numbers(on_test) for task, on_test in of.items()} for name, of in details.items()}
    write_json(out / "details.json", rounded(details))
    for name, of in main.items():
        shown = {task: {key: numbers[key] for key in SHOWN} for task, numbers in of.items()}
        write_json(out / "metrics" / f"{name}.json", rounded(shown))
    thresholds = {name: {task: numbers["threshold"] for task, numbers in of.items()} for name, of in details.items()}
    write_json(out / "thresholds.json", rounded(thresholds))
    return as_metrics(
        {f"{name}/{t}/{key}": v for name, of in main.items() for t, n in of.items() for key, v in n.items()}
    )
