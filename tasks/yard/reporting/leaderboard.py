"""The picture of a leaderboard: a row a run, a dot its number, a bar the 95 % interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes


@dataclass(frozen=True)
class Dot:
    value: float
    size: float
    hollow: bool = False


@dataclass(frozen=True)
class Row:
    name: str
    ink: str
    dots: Sequence[Dot] = ()
    interval: Mapping[str, float] | None = None  # low, high


def panel(axis: Axes, rows: Sequence[Row], *, bar_width: float = 2.6, **settings: Any) -> None:
    """The first row lowest; `settings` as `Axes.set` takes them: title, xlim, ..."""
    for y, row in enumerate(rows):
        if row.interval:
            ends = row.interval["low"], row.interval["high"]
            axis.hlines(y, *ends, color=row.ink, linewidth=bar_width, alpha=0.45)
        for dot in row.dots:
            inside = "none" if dot.hollow else row.ink
            axis.plot(dot.value, y, "o", color=row.ink, markerfacecolor=inside, markersize=dot.size)
    axis.set(ylim=(-0.6, len(rows) - 0.4), **settings)
    axis.set_yticks(range(len(rows)), [row.name for row in rows])
    axis.grid(axis="y", visible=False)
