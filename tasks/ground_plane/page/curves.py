"""MODA, precision and recall over the threshold, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tasks.yard.files import write_table
from tasks.yard.reporting.charts import DASHES, FAINT, RUNS, legend, save

CURVE_POINTS = 200


def thinned(curve: np.ndarray) -> np.ndarray:
    """(K, 4) as `matching.curve` gives it -> at most `CURVE_POINTS` rows, evenly spaced in the threshold."""
    if not len(curve) or np.isnan(curve[:, 1]).any():
        return np.empty((0, 4))
    asked = np.linspace(curve[0, 0], curve[-1, 0], CURVE_POINTS)
    return curve[np.unique(np.searchsorted(-curve[:, 0], -asked, side="right") - 1)]


def over_threshold(curves: Mapping[str, np.ndarray], threshold: float | None) -> Figure:
    """MODA, precision and recall over the threshold, a panel a split."""
    figure = Figure(figsize=(11, 3.9))
    axes = figure.subplots(1, len(curves), squeeze=False, sharey=True)[0]
    for axis, (split, curve) in zip(axes, curves.items(), strict=True):
        for name, column, colour in zip(("MODA", "precision", "recall"), curve.T[1:], RUNS, strict=False):
            width = 3.6 if name == "MODA" else 1.6  # still seen where it is the recall: with no false detection
            axis.plot(curve[:, 0], column, color=colour, linewidth=width, label=name, drawstyle="steps-post")
        if threshold is not None:
            axis.axvline(threshold, color=FAINT, linestyle=DASHES["detections"], label=f"threshold {threshold:.3f}")
        title = {"val": "validation"}.get(split, split)
        axis.set(title=title, xlabel="confidence threshold", xlim=(0, 1), ylim=(-0.1, 1.02))
    legend(figure, axes)
    return figure


def write_curves(out: Path, curves: Mapping[str, np.ndarray], threshold: float | None) -> None:
    columns = ["threshold", "moda", "precision", "recall"]
    tables = [pd.DataFrame(curve, columns=columns).assign(split=split) for split, curve in curves.items()]
    table = pd.concat(tables) if tables else pd.DataFrame(columns=[*columns, "split"])
    write_table(out / "plots" / "threshold.csv", table[["split", *columns]])
    shown = {split: curve for split, curve in curves.items() if len(curve)}
    if shown:
        save(out / "threshold.png", lambda: over_threshold(shown, threshold))
