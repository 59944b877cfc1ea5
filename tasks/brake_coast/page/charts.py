"""The report's curves: each drawn once and kept as a png (for MLflow and Prefect) and as an svg (for the page).

In the svg the inks are CSS variables of the page, so that one picture reads well in light and in dark. Reads nothing;
writes the png files it is told to.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tasks.brake_coast.judging.runs import BASELINES, doubt, split_name
from tasks.yard.reporting.charts import DASHES, FAINT, RUNS, drawn, legend, panels
from tasks.yard.reporting.leaderboard import Dot, Row, panel


def looks(runs: Sequence[str]) -> dict[str, dict]:
    """Line style by run: the colour tells the architecture, the dashes what it may see; baselines are grey."""
    bases = list(dict.fromkeys(split_name(run)[0] for run in runs if run not in BASELINES))
    chosen = {}
    for run in runs:
        base, blind = split_name(run)
        if run in BASELINES:
            dashes = DASHES["detections" if run == "prevalence" else ""]
            chosen[run] = {"color": FAINT, "linestyle": dashes, "linewidth": 1.2}
        else:
            colour = RUNS[bases.index(base) % len(RUNS)]
            chosen[run] = {"color": colour, "linestyle": DASHES[blind], "linewidth": 1.3 if blind else 2.0}
    return chosen


def titled(details: dict, task: str, subset: str = "all") -> str:
    """The task, and below it whether its numbers are meaningful."""
    said = next((said for of in details.values() if (said := doubt(of.get(task, {}).get(subset, {})))), "")
    return f"{task}\n{said}" if said else task


def pr(path: Path, curves: pd.DataFrame, details: dict, tasks: Sequence[str]) -> str:
    """Precision over recall; persistence and prevalence are what stands without a model."""

    def draw() -> Figure:
        figure, axes = panels(len(tasks))
        for axis, task in zip(axes, tasks, strict=True):
            for run, look in looks(list(details)).items():
                found = details[run].get(task, {}).get("all", {})
                if run == "prevalence" and found.get("prevalence") is not None:
                    axis.axhline(found["prevalence"], **look, label=run)
                elif run == "persistence" and found.get("recall") is not None and found.get("precision") is not None:
                    axis.plot(found["recall"], found["precision"], "D", color=FAINT, markersize=6, label=run)
                elif run not in BASELINES:
                    curve = curves[(curves["variant"] == run) & (curves["task"] == task)]
                    axis.plot(curve["recall"], curve["precision"], **look, label=run, drawstyle="steps-pre")
            axis.set(
                title=titled(details, task), xlabel="recall", ylabel="precision", xlim=(-0.02, 1.02), ylim=(0, 1.02)
            )
        legend(figure, axes)
        return figure

    return drawn(path, draw)


def reliability(path: Path, details: dict, tasks: Sequence[str]) -> str:
    """How often a predicted probability came true; a dot's area is its share of the windows. Blind runs left out."""

    def draw() -> Figure:
        figure, axes = panels(len(tasks))
        for axis, task in zip(axes, tasks, strict=True):
            axis.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=DASHES["detections"], label="perfect")
            for run, look in looks(list(details)).items():
                rows = pd.DataFrame(details[run].get(task, {}).get("all", {}).get("reliability", []))
                if run in BASELINES or split_name(run)[1] or rows.empty:
                    continue
                axis.plot(rows["mean_predicted"], rows["fraction_positive"], **look, label=run)
                size = 220 * rows["count"] / rows["count"].sum() + 8
                dots = {"s": size, "color": look["color"], "zorder": 3, "alpha": 0.75}
                axis.scatter(rows["mean_predicted"], rows["fraction_positive"], **dots)
            axis.set(title=titled(details, task), xlabel="foretold probability", ylabel="share that came true")
            axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.05))
        legend(figure, axes)
        return figure

    return drawn(path, draw)


def leaderboard(path: Path, details: dict, tasks: Sequence[str], subset: str) -> str:
    """PR-AUC of every run with its 95 % interval, one panel a task; the dotted line is the prevalence."""
    runs = [run for run in details if run != "prevalence"]
    cells = [cell for run in runs for task in tasks if (cell := details[run].get(task, {}).get(subset))]
    ends = [(c["intervals"]["pr_auc"] or {"high": c["pr_auc"]})["high"] for c in cells if c["pr_auc"] is not None]
    right = min(1.02, 1.08 * max([0.05, *ends]))

    def draw() -> Figure:
        columns = min(len(tasks), 5)
        rows = -(-len(tasks) // columns)
        figure = Figure(figsize=(11, rows * (0.34 * len(runs) + 0.9)))
        axes = list(figure.subplots(rows, columns, squeeze=False, sharey=True).flat)
        for spare in axes[len(tasks) :]:
            spare.set_visible(False)
        for axis, task in zip(axes, tasks, strict=False):
            rows = []
            for run in reversed(runs):
                cell, ink = details[run].get(task, {}).get(subset, {}), looks(runs)[run]["color"]
                value = cell.get("pr_auc")
                dots = [] if value is None else [Dot(value, 6.5, hollow=bool(split_name(run)[1]))]
                rows.append(Row(run, ink, dots, cell["intervals"]["pr_auc"] if dots else None))
            panel(axis, rows, bar_width=2.2, title=titled(details, task, subset), xlabel="PR-AUC", xlim=(0, right))
            rate = details["prevalence"].get(task, {}).get(subset, {}).get("prevalence")
            if rate is not None:
                axis.axvline(rate, color=FAINT, linestyle=DASHES["detections"], linewidth=1.2)
        return figure

    return drawn(path, draw)


def learning(path: Path, histories: dict[str, list[dict]]) -> str:
    """Loss of training and of validation, and the validation score the kept epoch (dot) is chosen by."""

    def draw() -> Figure:
        figure = Figure(figsize=(11, 3.6))
        axes = figure.subplots(1, 3)
        for run, look in looks(list(histories)).items():
            rows = histories[run]
            epochs = [row["epoch"] + 1 for row in rows]
            for axis, part, name in ((axes[0], "train", "loss"), (axes[1], "val", "loss"), (axes[2], "val", "score")):
                values = [row[part].get(name) for row in rows]
                axis.plot(epochs, np.array(values, float), **look, label=run)
            if best := [row for row in rows if row["best"] and row["val"].get("score") is not None]:
                axes[2].plot(best[-1]["epoch"] + 1, best[-1]["val"]["score"], "o", color=look["color"], markersize=6)
        for axis, title in zip(axes, ("training loss", "validation loss", "validation score"), strict=True):
            axis.set(title=title, xlabel="epoch")
        legend(figure, axes)
        return figure

    return drawn(path, draw)
