"""Does a predicted probability come true as often as it says, and do corrections fitted on validation help?

Writes   calibration.json    per run and task ECE, Brier score and reliability of every correction on the test drives,
                             what was fitted, and how many samples stand behind it
         calibration.png     the reliability of the leading run, before and after
         corrections.png     Brier score and ECE of every run, before and after

Corrections of a logit z, each fitted on validation and judged on test:

    none           z
    prior          z + logit(validation rate) - logit(training rate): what is left if only the share of positives moved
                   (Saerens, Latinne and Decaestecker 2002, with the new prior known from validation's labels)
    temperature    z / T (Guo et al. 2017)
    platt          a z + b (Platt 1999, with his smoothed targets, so that few positives do not make it certain)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from tasks.brake_coast.judging.analyses.inputs import Inputs
from tasks.brake_coast.judging.runs import is_doubtful, split_name, unknown_share
from tasks.brake_coast.learning.inference import load_model, predict
from tasks.brake_coast.params import Analyse, Calibration
from tasks.yard.files import write_json
from tasks.yard.metrics import binary, bootstrap
from tasks.yard.metrics.rounding import rounded
from tasks.yard.params import Reporting
from tasks.yard.reporting import charts
from tasks.yard.reporting.charts import save

METHODS = ("none", "prior", "temperature", "platt")
COLOURS = dict(zip(METHODS, (charts.FAINT, *charts.RUNS[:3]), strict=True))
SLOPES = (0.05, 20.0)  # of temperature and Platt: scores that rank backwards are not turned round
EDGE = 1e-6  # predictions are written with six decimals


def logit(p: np.ndarray | float) -> np.ndarray:
    p = np.clip(np.asarray(p, float), EDGE, 1 - EDGE)
    return np.log(p) - np.log1p(-p)


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(z / 2))


def newton(inputs: np.ndarray, offset: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Weights (K) with the least log loss of sigmoid(inputs @ weights + offset), inputs (N, K), by Newton's method.

    A step that does not lower the loss is halved until it does.
    """

    def loss(weights: np.ndarray) -> float:
        z = inputs @ weights + offset
        return float(np.sum(np.logaddexp(0, z) - targets * z))

    weights = np.zeros(inputs.shape[1])
    for _ in range(100):
        p = sigmoid(inputs @ weights + offset)
        curve = (inputs * (p * (1 - p))[:, None]).T @ inputs + 1e-9 * np.eye(len(weights))
        step = np.linalg.solve(curve, inputs.T @ (targets - p))
        while loss(weights + step) > loss(weights) and np.abs(step).max() > 1e-12:
            step = step / 2
        weights = weights + step
        if np.abs(step).max() < 1e-10:
            break
    return weights


def fit(y: np.ndarray, z: np.ndarray, train_rate: float) -> dict[str, tuple[float, float]]:
    """{correction: (a, b)} of a z + b, from validation's labels y and logits z, which hold both classes."""
    positives, negatives = y.sum(), (1 - y).sum()
    smooth = np.where(y == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    slope = float(np.clip(newton(z[:, None], np.zeros_like(z), y)[0], *SLOPES))
    a, b = newton(np.stack([z, np.ones_like(z)], axis=1), np.zeros_like(z), smooth)
    if not SLOPES[0] <= a <= SLOPES[1]:
        a = np.clip(a, *SLOPES)
        (b,) = newton(np.ones((len(z), 1)), a * z, smooth)
    shift = float(logit(y.mean()) - logit(train_rate))
    return {"none": (1.0, 0.0), "prior": (1.0, shift), "temperature": (slope, 0.0), "platt": (float(a), float(b))}


def judged(
    y: np.ndarray, p: np.ndarray, group: np.ndarray, before: np.ndarray, bins: int, reporting: Reporting
) -> dict:
    """ECE, Brier score and reliability on test, and the change of the Brier score with its interval over recordings."""
    groups, member = np.unique(group, return_inverse=True)
    draws = bootstrap.resamples(len(groups), reporting.bootstrap_replicates, reporting.bootstrap_seed)
    gained = np.bincount(member, weights=(p - y) ** 2 - (before - y) ** 2, minlength=len(groups))
    return {
        "brier": float(np.mean((p - y) ** 2)),
        "ece": binary.calibration_error(y, p, bins),
        "mean_foretold": float(p.mean()),
        "reliability": binary.reliability(y, p, bins),
        "brier_change": float(gained.sum() / len(y)),
        "brier_change_interval": bootstrap.spread((draws @ gained) / (draws @ np.bincount(member)), len(groups)),
    }


def counted(labels: np.ndarray) -> dict[str, float | int | None]:
    """Of labels of 1, 0 and -1 for unknown."""
    y = labels[labels >= 0]
    of = {"windows": len(y), "unknown": len(labels) - len(y)}
    doubt = {"unknown_share": unknown_share(**of), "not_meaningful": is_doubtful(of)}
    return {**of, **doubt, "positives": int(y.sum()), "rate": float(y.mean()) if len(y) else None}


def corrections(inputs: Inputs, params: Calibration, reporting: Reporting) -> dict[str, dict[str, dict]]:
    """{run: {task: what is fitted and judged, or the reason why not}}."""
    val, test = inputs.val, inputs.test
    recordings = test.frames.recording[test.ends]
    found: dict[str, dict[str, dict]] = {}
    for run in inputs.runs:
        model, config = load_model(inputs.checkpoint(run))
        foretold = predict(model, val.frames, val.starts, params.batch)
        found[run] = {}
        for column, task in enumerate(config["tasks"]):
            fitting, judging = val.labels(task) >= 0, test.labels(task) >= 0
            y, y_test = val.labels(task)[fitting], test.labels(task)[judging]
            of: dict = {
                "validation": counted(val.labels(task)),
                "test": counted(test.labels(task)),
                "train_rate": config["network"]["priors"][task],
            }
            found[run][task] = of | {"null_because": why_not(y, y_test)}
            if why_not(y, y_test):
                continue
            z = logit(foretold[fitting, column])
            before = inputs.probabilities(run, task)[judging]
            fitted = fit(y, z, of["train_rate"])
            after = {
                name: before if name == "none" else sigmoid(a * logit(before) + b) for name, (a, b) in fitted.items()
            }
            found[run][task]["corrections"] = {
                name: {
                    "slope": fitted[name][0],
                    "shift": fitted[name][1],
                    **judged(y_test, p, recordings[judging], before, params.bins, reporting),
                }
                for name, p in after.items()
            }
    return found


def why_not(y: np.ndarray, y_test: np.ndarray) -> str | None:
    if len(np.unique(y)) < 2:
        return f"validation has {int(y.sum())} positives among {len(y)} windows: nothing to fit to"
    return None if len(y_test) else "no test window with a known label"


def reliability(of: dict[str, dict], run: str) -> Figure:
    figure, axes = charts.panels(len(of))
    for axis, (task, found) in zip(axes, of.items(), strict=True):
        top = 0.05
        for name in METHODS:
            rows = found["corrections"][name]["reliability"]
            x, y, n = (np.array([row[key] for row in rows]) for key in ("mean_predicted", "fraction_positive", "count"))
            axis.plot(x, y, color=COLOURS[name], linewidth=1.4, label=name)
            axis.scatter(x, y, s=180 * n / n.sum() + 8, color=COLOURS[name], alpha=0.75, zorder=3, linewidth=0)
            top = max(top, x.max(), y.max())
        axis.plot(
            [0, 1], [0, 1], color=charts.FAINT, linewidth=1, linestyle=charts.DASHES["detections"], label="perfect"
        )
        n = found["test"]
        said = "\n(!) not meaningful: mostly unknown" if found["test"]["not_meaningful"] else ""
        axis.set(title=f"{task}{said}", xlabel="predicted probability", ylabel="share that came true")
        axis.set(xlim=(-0.02 * top, 1.06 * top), ylim=(-0.02 * top, 1.06 * top))
        counts = {"transform": axis.transAxes, "ha": "right", "fontsize": 8, "color": charts.FAINT}
        axis.text(0.97, 0.04, f"{n['positives']} of {n['windows']} came true", **counts)
    figure.suptitle(f"{run}: fitted on validation, judged on test", fontsize=10)
    charts.legend(figure, axes)
    return figure


def dots(found: dict[str, dict[str, dict]]) -> Figure:
    """A column a task, a row of panels a score, a line a run, a dot a correction."""
    tasks = list(dict.fromkeys(task for of in found.values() for task in of))
    runs = list(reversed(found))
    figure = Figure(figsize=(2.4 * len(tasks) + 2.2, 2 * (0.3 * len(runs) + 0.7) + 0.5))
    grid = figure.subplots(2, len(tasks), squeeze=False, sharey=True)
    for row, (score, title) in enumerate((("brier", "Brier score"), ("ece", "calibration error (ECE)"))):
        for axis, task in zip(grid[row], tasks, strict=True):
            for y, run in enumerate(runs):
                of = found[run].get(task, {}).get("corrections", {})
                if of:
                    axis.hlines(
                        y, *(f(of[m][score] for m in METHODS) for f in (min, max)), color=charts.GRID, linewidth=2
                    )
                for name in METHODS if of else ():
                    axis.plot(
                        of[name][score],
                        y,
                        "D" if name == "none" else "o",
                        color=COLOURS[name],
                        markersize=5.5,
                        label=name,
                    )
            axis.set(xlabel=title, ylim=(-0.6, len(runs) - 0.4), title=task if row == 0 else "")
            axis.set_yticks(range(len(runs)), runs, fontsize=8)
            axis.locator_params(axis="x", nbins=4)
    charts.legend(figure, list(grid.flat))
    return figure


def make(params: Analyse, reporting: Reporting, out: Path, inputs: Inputs) -> dict[str, float]:
    found = corrections(inputs, params.calibration, reporting)
    usable = {run: {task: of for task, of in tasks.items() if "corrections" in of} for run, tasks in found.items()}
    usable = {run: tasks for run, tasks in usable.items() if tasks}
    shown = inputs.leader
    if shown in usable:
        save(out / "calibration.png", lambda: reliability(usable[shown], shown))
    if usable:
        save(out / "corrections.png", lambda: dots(usable))
    write_json(out / "calibration.json", rounded({"leader": shown, "runs": found}))
    return {
        f"{run}/{task}/{score}_{name}": of["corrections"][name][score]
        for run, tasks in usable.items()
        if not split_name(run)[1]
        for task, of in tasks.items()
        for name in METHODS
        for score in ("brier", "ece")
    }
