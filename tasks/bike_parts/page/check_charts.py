"""The curves and maps of check_data's page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from tasks.bike_parts.formats.photos import ABSENT, DAMAGED, STATES
from tasks.bike_parts.page.drawing import INKS
from tasks.yard.reporting import charts

ROW_INCH = 0.24  # of a part
BINS = 30


def heat_map(path: Path, parts: Sequence[str], counts: np.ndarray) -> str:
    """Share of each state (K, 4) among a part's boxes."""

    def draw() -> Figure:
        figure = Figure(figsize=(7.5, 1.3 + ROW_INCH * len(parts)))
        axis = figure.subplots()
        total = counts.sum(1, keepdims=True)
        share = np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)
        axis.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1, aspect="auto")  # the square root: rare states show
        for (row, column), value in np.ndenumerate(share):
            if total[row]:
                ink = "white" if value > 0.45 else charts.INK
                axis.text(column, row, f"{100 * value:.1f} %", ha="center", va="center", fontsize=8, color=ink)
        axis.set_xticks(range(len(STATES)), STATES)
        axis.set_yticks(range(len(parts)), parts)
        axis.set(title="share of each state by part")
        axis.grid(False)
        return figure

    return charts.drawn(path, draw)


def ranking(path: Path, parts: Sequence[str], counts: np.ndarray) -> str:
    """The parts that are damaged and absent most often, by their share (K, 4)."""

    def draw() -> Figure:
        figure = Figure(figsize=(11, 1.2 + ROW_INCH * min(len(parts), 12)))
        total = counts.sum(1)
        for axis, state in zip(figure.subplots(1, 2), (DAMAGED, ABSENT), strict=True):
            share = np.divide(counts[:, state], total, out=np.zeros(len(parts)), where=total > 0)
            order = np.argsort(-share, kind="stable")[:12][::-1]
            axis.barh(range(len(order)), 100 * share[order], color=INKS[STATES[state]])
            axis.set_yticks(range(len(order)), [parts[i] for i in order])
            axis.set(title=f"most often {STATES[state]}, % of a part's boxes", xlim=(0, max(1, 105 * share.max())))
            axis.grid(axis="y", visible=False)
        return figure

    return charts.drawn(path, draw)


def histograms(path: Path, trust: np.ndarray, area: np.ndarray, each: np.ndarray, min_trust: float) -> str:
    """Trust of all boxes, their share of the picture (above 0), and how many parts a photograph shows."""

    def draw() -> Figure:
        figure = Figure(figsize=(11, 2.9))
        one, two, three = figure.subplots(1, 3)
        one.hist(trust, bins=np.linspace(0, 1, 21), color=charts.RUNS[0])
        one.axvline(min_trust, color=charts.RUNS[1], linewidth=1.2)
        one.set(title="trust; below the line left out", xlabel="trust", ylabel="boxes")
        tens = np.log10(100 * area)
        two.hist(tens, bins=BINS, color=charts.RUNS[2])
        decades = [ten for ten in range(-6, 3) if tens.min() - 0.2 <= ten <= tens.max() + 0.2]
        two.set_xticks(decades, [f"{10.0**ten:g}" for ten in decades])  # a logarithmic axis takes a second
        two.set(title="area of the boxes", xlabel="% of the picture", ylabel="boxes")
        three.hist(each, bins=np.arange(each.min() - 0.5, each.max() + 1.5), color=charts.RUNS[3])
        three.set(title="parts a photograph", xlabel="boxes", ylabel="photographs")
        return figure

    return charts.drawn(path, draw)
