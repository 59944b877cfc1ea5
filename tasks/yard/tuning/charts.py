"""The pictures of a search. Reads nothing; writes the png files it is told to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from tasks.yard.reporting.charts import save_png
from tasks.yard.tuning.section import Interval, Pruner

WHOLE, STOPPED, BEST, STANDS = "#2b6be4", "#a9b2bd", "#c2410c", "#0f8a6a"
STYLE: dict[Any, Any] = {
    "font.size": 9, "axes.titlesize": 10, "axes.titleweight": "bold", "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True, "grid.color": "#dfe4ea",
    "legend.frameon": False, "legend.fontsize": 8, "figure.constrained_layout.use": True,
    "axes.titley": 1.0,
}  # fmt: skip


def _best(trials: list[dict]) -> dict:
    return max((t for t in trials if t["state"] == "complete"), key=lambda t: (t["score"], -t["number"]))


def history(path: Path, trials: list[dict], stands: float | None, pruner: Pruner) -> None:
    """Score of each trial with the best so far, and the course of each with the rungs at which it may end."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 3.8))
        left, right = figure.subplots(1, 2)
        best = _best(trials)
        for state, look in (("complete", {"color": WHOLE}), ("pruned", {"color": STOPPED, "marker": "x"})):
            some = [t for t in trials if t["state"] == state]
            if some:
                left.scatter(
                    [t["number"] for t in some], [t["score"] for t in some], s=26, zorder=3, label=state, **look
                )
        failed = [t["number"] for t in trials if t["state"] == "failed"]
        if failed:
            lowest = min(t["score"] for t in trials if t["score"] is not None)
            left.scatter(failed, [lowest] * len(failed), marker="v", color="black", s=26, label="failed: no score")
        numbers = [t["number"] for t in trials if t["state"] == "complete"]
        so_far = np.maximum.accumulate([t["score"] for t in trials if t["state"] == "complete"])
        left.step(
            [*numbers, trials[-1]["number"]],
            [*so_far, so_far[-1]],
            where="post",
            color=BEST,
            lw=1.4,
            label="best so far",
        )
        if stands is not None:
            left.axhline(stands, color=STANDS, ls=":", lw=1.4, label="values that stand")
        left.set(title="trials", xlabel="trial", ylabel="validation score of the kept epoch")
        left.xaxis.get_major_locator().set_params(integer=True)
        longest = max(len(t["curve"]) for t in trials)
        for t in sorted(trials, key=lambda t: (t is best, t["state"] == "complete")):
            values = np.fmax.accumulate(np.array(t["curve"], float)) if t["curve"] else np.empty(0)
            colour = BEST if t is best else WHOLE if t["state"] == "complete" else STOPPED
            right.plot(np.arange(1, len(values) + 1), values, color=colour, lw=2.2 if t is best else 1.0)
        at = pruner.min_epochs
        while pruner.kind == "asha" and at < longest:
            right.axvline(at, color="#6b7684", ls=":", lw=1)
            at *= pruner.reduction
        right.set(
            title=f"courses; trial {best['number']} is the best",
            xlabel="epoch; dotted: rungs",
            ylabel="best score so far",
        )
        right.xaxis.get_major_locator().set_params(integer=True)
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        save_png(path, figure)


def importance(path: Path, found: Mapping[str, float]) -> None:
    """How much of the scores' variance each key explains."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 0.42 * len(found) + 1.2))
        axis = figure.subplots()
        names = sorted(found, key=lambda key: found[key])
        axis.barh(names, [found[key] for key in names], color=WHOLE, height=0.6)
        for y, key in enumerate(names):
            axis.text(found[key], y, f" {found[key]:.2f}", va="center", fontsize=8)
        axis.set(title="what the score depends on", xlabel="share of the variance explained (fANOVA, whole trials)")
        axis.margins(x=0.12)
        axis.grid(axis="y", visible=False)
        save_png(path, figure)


def space(path: Path, trials: list[dict], keys: Mapping[str, Any]) -> None:
    """Score over each value that was searched; crosses were stopped, and their score is of fewer epochs."""
    with matplotlib.rc_context(STYLE):
        columns = min(len(keys), 4)
        rows = -(-len(keys) // columns)
        figure = Figure(figsize=(2.9 * columns + 0.6, 2.7 * rows))
        axes = list(figure.subplots(rows, columns, squeeze=False, sharey=True).flat)
        best = _best(trials)
        for axis, (key, of) in zip(axes, keys.items(), strict=False):
            named = None if isinstance(of, Interval) else [str(choice) for choice in of.choices]
            for t in sorted((t for t in trials if t["score"] is not None), key=lambda t: t is best):
                value = t["params"][key]
                x = value if named is None else named.index(str(value))
                whole = t["state"] == "complete"
                colour = BEST if t is best else WHOLE if whole else STOPPED
                axis.scatter(x, t["score"], color=colour, marker="o" if whole else "x", s=40 if t is best else 24)
            if named is not None:
                axis.set_xticks(range(len(named)), named)
                axis.set_xlim(-0.5, len(named) - 0.5)
            elif of.log:
                axis.set_xscale("log")
            axis.set_title(key, fontsize=9)
        for axis in axes[::columns]:
            axis.set_ylabel("validation score")
        for spare in axes[len(keys) :]:
            spare.set_visible(False)
        save_png(path, figure)
