"""The curves of the report: who is better than whom, how it was learnt, and what a threshold does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from pandas import read_csv

from tasks.yard.reporting.charts import DASHES, FAINT, RUNS, drawn, legend
from tasks.yard.reporting.leaderboard import Dot, Row, panel

BOARD = {"ap50": "AP50, parts that are there", "state_macro_f1": "macro-F1 of the states"}
CURVES = {"loss": "loss", "ap50": "AP50 on validation", "state_macro_f1": "macro-F1 of states on validation"}


def leaderboard(path: Path, runs: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> str:
    """Every run on test with the 95 % interval."""

    def draw() -> Figure:
        figure = Figure(figsize=(11, 0.34 * len(names) + 1.1))
        for axis, (key, title) in zip(figure.subplots(1, len(BOARD), sharey=True), BOARD.items(), strict=True):
            rows = []
            for run in names:
                value, span = runs[run].get(key), (runs[run].get("intervals") or {}).get(key)
                ink = RUNS[0] if runs[run]["kind"] == "network" else FAINT
                rows.append(Row(run, ink, [] if value is None else [Dot(value, 6.5)], span))
            panel(axis, rows, title=title, xlim=(0, 1.02))
        return figure

    return drawn(path, draw)


def learning(path: Path, histories: Mapping[str, Sequence[Mapping]]) -> str:
    """Loss of training and (dashed) validation; AP50 and macro-F1 on validation with the kept epoch (dot)."""

    def draw() -> Figure:
        figure = Figure(figsize=(11, 3.4))
        axes = dict(zip(CURVES, figure.subplots(1, len(CURVES)), strict=True))
        for (run, rows), ink in zip(histories.items(), RUNS * len(histories), strict=False):
            known = [(row["epoch"] + 1, row["train"]["loss"]) for row in rows if row["train"].get("loss") is not None]
            if known:
                axes["loss"].plot(*zip(*known, strict=True), color=ink, linewidth=1.8, label=f"{run}, training")
            for key, axis in axes.items():
                judged = [row for row in rows if row["val"].get(key) is not None]
                if not judged:
                    continue
                style = {"linestyle": DASHES["telemetry"], "label": f"{run}, validation"} if key == "loss" else {}
                epochs, values = [row["epoch"] + 1 for row in judged], [row["val"][key] for row in judged]
                axis.plot(epochs, values, color=ink, linewidth=1.8, **style)
                if key != "loss" and (best := [row for row in judged if row["best"]]):
                    axis.plot(best[-1]["epoch"] + 1, best[-1]["val"][key], "o", color=ink, markersize=6)
        for key, axis in axes.items():
            axis.set(title=CURVES[key], xlabel="epoch", **({"yscale": "log"} if key == "loss" else {"ylim": (0, 1.02)}))
        legend(figure, [axes["loss"]])
        return figure

    return drawn(path, draw)


def presence(path: Path, table: Path, details: Mapping[str, Any]) -> str | None:
    """Recall of parts that are there and hallucination of absent ones over the threshold, by split; the threshold."""
    if details["leader"] is None or not table.exists():
        return None
    rows = read_csv(table)
    rows = rows[rows["run"] == details["leader"]]
    splits = [split for split in ("val", "test") if (rows["split"] == split).any()]
    if not splits:
        return None

    def draw() -> Figure:
        figure = Figure(figsize=(11, 3.6))
        axes = figure.subplots(1, len(splits), squeeze=False, sharey=True)[0]
        for axis, split in zip(axes, splits, strict=True):
            mine = rows[rows["split"] == split]
            for key, ink in (("recall", RUNS[0]), ("hallucination", RUNS[1])):
                axis.plot(mine["threshold"], mine[key], color=ink, linewidth=1.8, label=key, drawstyle="steps-post")
            if details["threshold"] is not None:
                axis.axvline(details["threshold"], color=FAINT, linestyle=DASHES["detections"], label="the threshold")
            title = {"val": "validation"}.get(split, split)
            axis.set(title=title, xlabel="threshold of presence", xlim=(0, 1), ylim=(0, 1.02))
        legend(figure, axes)
        return figure

    return drawn(path, draw)
