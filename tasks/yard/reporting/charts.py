"""How a line's curves look: each drawn once and kept as a png (for MLflow and Prefect) and as an svg (for the page).

In the svg the inks are CSS variables of the page, so that one picture reads well in light and in dark.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from tasks.yard.files import replacing

INK, FAINT, GRID = "#1f2630", "#6b7684", "#dfe4ea"
CSS = {INK: "var(--ink)", FAINT: "var(--faint)", GRID: "var(--grid)"}
RUNS = ("#2b6be4", "#c2410c", "#0f8a6a", "#8b3fd1", "#b3831b", "#c22f6d")  # mid tones, for light and dark
LEGEND_COLUMNS, LEGEND_ROW = 2, 0.17  # below a panel; inches
COMPRESSION = 3  # of png files: with photographs a half of the time of the default, 6, for a tenth more room
DASHES = {"": "-", "telemetry": (0, (5, 2)), "detections": (0, (1.2, 1.8))}
STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"], "font.size": 9, "text.color": INK, "axes.labelcolor": FAINT, "axes.titlesize": 10,
    "axes.titleweight": "bold", "axes.titlecolor": INK, "axes.edgecolor": GRID, "axes.linewidth": 0.8,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.7,
    "xtick.color": FAINT, "ytick.color": FAINT,
    "xtick.major.size": 0, "ytick.major.size": 0, "axes.spines.top": False, "axes.spines.right": False,
    "legend.frameon": False, "svg.fonttype": "none", "figure.constrained_layout.use": True,
    "axes.titley": 1.0,  # where it is put if no axis has an offset: to find that out, all labels are measured
}  # fmt: skip


def save_png(path: Path, figure: Figure, dpi: int = 110) -> None:
    """What `savefig` writes, drawn once: that one draws a figure once more before, for its layout alone."""
    figure.set_dpi(dpi)
    figure.set_facecolor("white")
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_png(
            temporary, metadata={"Software": None}, pil_kwargs={"compress_level": COMPRESSION}
        )


def save(path: Path, draw: Callable[[], Figure]) -> None:
    """A figure that stands inside no page."""
    with matplotlib.rc_context(STYLE):
        save_png(path, draw())


def drawn(path: Path, draw: Callable[[], Figure]) -> str:
    """Write `path` (png) and return the same figure as svg markup for inlining, which says how wide it is drawn."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": path.stem}):
        figure = draw()
        save_png(path, figure)
        figure.set_layout_engine("none")  # it is laid out: that takes longer than to draw
        for patch in (figure.patch, *(axes.patch for axes in figure.axes)):
            patch.set_facecolor("none")
        text = io.StringIO()
        undated = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        FigureCanvasSVG(figure).print_svg(text, metadata=undated)
    svg = text.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    for side in ("width", "height"):  # the page decides; the viewBox keeps the shape
        svg = re.sub(rf'(<svg[^>]*?) {side}="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{path.stem}-", svg)  # all figures of a page share one space of ids
    for colour, variable in CSS.items():
        svg = svg.replace(colour, variable)
    return f'<div class="chart" style="--drawn: {figure.get_figwidth():g}in">{svg}</div>'


def side_by_side(size: tuple[float, float], names: int, title: str | None = None) -> tuple[Figure, list[Axes]]:
    """Three panels in margins that fit numbers and titles: to measure every label takes as long as to draw.

    `size` in inches is without the room for what `legend_below` puts there, at most `names` names a panel. Titles of
    panels are to stand at y=1.0 (or axes.titley), for the same reason.
    """
    below = 0.5 + LEGEND_ROW * -(-names // LEGEND_COLUMNS)
    width, height = size[0], size[1] - 0.5 + below
    size, top = (width, height), 0.7 if title else 0.35
    margins = {"left": 0.85 / width, "right": 1 - 0.15 / width, "bottom": below / height, "wspace": 0.25}
    figure = Figure(figsize=size)
    figure.set_layout_engine("none")
    if title:
        figure.suptitle(title)
    panels = list(figure.subplots(1, 3, gridspec_kw={**margins, "top": 1 - top / height}))
    for axes in panels:
        axes.xaxis.set_label_coords(0.5, -0.28 / (height - below - top))  # below the numbers
        axes.yaxis.set_label_coords(-0.1, 0.5)  # there are none, and they would be looked for
    return figure, panels


def legend_below(axes: Axes) -> None:
    """The names of a panel of `side_by_side`, where they hide no curve."""
    if axes.get_legend_handles_labels()[0]:
        root = axes.get_figure(root=True)
        inches = axes.get_position().height * root.get_figheight()  # type: ignore[union-attr]
        axes.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.42 / inches), borderaxespad=0, ncols=LEGEND_COLUMNS,
            fontsize=7.5, frameon=False,
        )  # fmt: skip


def panels(count: int, height: float = 3.1) -> tuple[Figure, list]:
    columns = min(count, 4) if count != 5 and count != 6 else 3
    rows = -(-count // columns)
    figure = Figure(figsize=(11, height * rows + 0.45))
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in axes[count:]:
        spare.set_visible(False)
    return figure, axes[:count]


def legend(figure: Figure, axes: Sequence) -> None:
    """One legend for all panels, below them."""
    named = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=min(len(named), 4), fontsize=8.5)
