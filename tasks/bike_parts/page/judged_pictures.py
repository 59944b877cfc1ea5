"""Pictures and tables of evaluate: what is taken for what, and recall over hallucination."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tasks.bike_parts.formats.photos import STATES
from tasks.bike_parts.judging.coco import PROTOCOLS
from tasks.yard.reporting.charts import FAINT, INK, RUNS, legend, panels

COLUMNS = ["run", "split", "threshold", "recall", "hallucination"]


def confusion(counts: Mapping[str, np.ndarray]) -> Figure:
    """{title: (4, 4) true states by told ones}; shares of each row, with the counts."""
    figure, axes = panels(len(counts), height=4.1)
    for axis, (title, of) in zip(axes, counts.items(), strict=True):
        of = np.asarray(of)
        share = of / np.maximum(of.sum(1, keepdims=True), 1)
        axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for (row, column), number in np.ndenumerate(of):
            ink = "white" if share[row, column] > 0.6 else INK
            text = f"{share[row, column]:.0%}\n{number}" if of[row].sum() else "-"
            axis.text(column, row, text, ha="center", va="center", fontsize=8, color=ink)
        axis.set(title=title, xlabel="told", ylabel="true", xticks=range(len(STATES)), yticks=range(len(STATES)))
        axis.set_xticklabels(STATES)
        axis.set_yticklabels(STATES)
        axis.grid(False)
    return figure


def presence(curves: Mapping[str, np.ndarray], chosen: Mapping[str, tuple[float, float]]) -> Figure:
    """{run: (n, 3) threshold, recall, hallucination}; {run: (hallucination, recall) at its threshold}."""
    figure, axes = panels(1, height=3.9)
    axis = axes[0]
    axis.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, linestyle=":")
    for (run, curve), ink in zip(curves.items(), RUNS * len(curves), strict=False):
        if len(curve) and np.isfinite(curve).all():
            axis.plot(curve[:, 2], curve[:, 1], color=ink, linewidth=1.8, label=run)
        if run in chosen:
            axis.plot(*chosen[run], "o", color=ink, markersize=6)
    axis.set(
        title="Parts found, of those that are there and of those that are not; dots: the threshold of validation",
        xlabel="hallucination: share of absent parts that are found", ylabel="recall: share of present parts",
        xlim=(0, 1), ylim=(0, 1.02),
    )  # fmt: skip
    legend(figure, [axis])
    return figure


def presence_table(curves: Mapping[tuple[str, str], np.ndarray]) -> pd.DataFrame:
    """{(run, split): curve} as rows for `dvc plots`."""
    rows = [[run, split, *row] for (run, split), curve in curves.items() for row in curve.tolist()]
    return pd.DataFrame(rows, columns=COLUMNS)


def by_part(of: Mapping[str, dict], parts: list[str]) -> pd.DataFrame:
    """A row for each run and part, on test."""
    rows = []
    for name, run in of.items():
        for part in parts:
            row: dict[str, Any] = {"run": name, "part": part}
            for protocol in PROTOCOLS:
                found = run["protocols"][protocol]["by_part"][part]
                row |= {f"{key}_{protocol}": found[key] for key in ("ap", "ap50", "boxes")}
            state = run["states"]["by_part"][part]
            row |= {f"state_{key}": state[key] for key in ("pairs", "accuracy", "macro_f1", "damaged_f1", "absent_f1")}
            rows.append(row)
    return pd.DataFrame(rows)
