from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tasks.yard.reporting import charts
from tasks.yard.training import history
from tests.browser import CHROMIUM, PHONE_PX, told


@pytest.mark.slow
@pytest.mark.parametrize("losses", [(0.9, 0.2), (3e-5, 1e-5), (40.0, 0.01)])
def test_no_number_of_the_curves_is_cut_off(tmp_path, monkeypatch, losses):
    drawn: list[Figure] = []
    monkeypatch.setattr(charts, "save_png", lambda path, figure: drawn.append(figure))
    rows = []
    for n, loss in enumerate(losses):
        train, val = {"loss": loss, **{f"loss_of_{k}": loss for k in range(6)}}, {"loss": loss, "score": 1000 * loss}
        rows.append({"epoch": n, "best": n == 1, "learning_rate": 1e-5, "train": train, "val": val})
    history.draw(tmp_path, rows, "a training")
    (figure,) = drawn
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer, width = canvas.get_renderer(), figure.bbox.width
    panels = [axes.get_tightbbox(renderer) for axes in figure.axes]
    assert panels[0].x0 >= 0 and panels[-1].x1 <= width and min(box.y0 for box in panels) >= 0
    assert all(left.x1 < right.x0 for left, right in pairwise(panels))
    assert figure._suptitle.get_window_extent(renderer).y0 > max(box.y1 for box in panels)


def test_the_svg_of_a_page_is_the_picture_without_a_ground(tmp_path):
    def draw() -> Figure:
        figure, (axes,) = charts.panels(1)
        axes.plot(np.arange(3), np.arange(3), color=charts.INK)
        return figure

    svg = charts.drawn(tmp_path / "a.png", draw)
    assert (tmp_path / "a.png").stat().st_size > 1000
    assert "var(--ink)" in svg and charts.INK not in svg and "fill: #ffffff" not in svg
    assert svg == charts.drawn(tmp_path / "a.png", draw)


def test_a_chart_keeps_its_type_legible_on_a_phone(tmp_path):
    """It scrolls within the page, and the page is no wider for it."""
    wide, narrow = (
        charts.drawn(tmp_path / "a.png", lambda width=width: Figure(figsize=(width, 1))) for width in (11, 4.5)
    )
    assert wide.startswith('<div class="chart" style="--drawn: 11in"><svg') and "--drawn: 4.5in" in narrow
    style = (Path(charts.__file__).parent / "page.css").read_text()
    phone = style.partition("@media (max-width: 640px) { .chart svg {")[2].partition("}")[0]
    share = float(re.search(r"min-width: calc\(([.\d]+) \* var\(--drawn\)\)", phone)[1])
    assert ".chart { overflow-x: auto; }" in style and charts.STYLE["font.size"] * 96 / 72 * share > 9  # px
    body = f"<style>{style}</style><body><main><section><figure>{wide}</figure></section></main></body>"
    (tmp_path / "page.html").write_text(body)
    if CHROMIUM:
        tell = "document.body.dataset.chart = document.querySelector('svg').clientWidth"
        found = told(tmp_path / "page.html", tmp_path, script=tell)
        assert int(found["wide"]) <= PHONE_PX < int(found["chart"])
