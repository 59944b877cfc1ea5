"""The foot of a page says where it comes from, once and for all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.yard.reporting import pages
from tasks.yard.reporting.stamp import LICENCE, PLACE, stamp
from tasks.yard.tracking.origin import Origin

ROOT = Path(__file__).parents[4]
ORIGIN = Origin(
    "2026-11-29 18:10 CET", "toy-report", "toy 2026-11-29 #7", "a" * 40 + "-dirty", {"data/toy/download": "b" * 32},
    "small, version 3", "http://127.0.0.1:5000/#/models/toy/versions/3", "http://127.0.0.1:5000/#/experiments/1/runs/9",
)  # fmt: skip


def test_every_page_with_a_licence_gets_its_origin(tmp_path):
    (tmp_path / "page.html.j2").write_text('<footer>{% include "licence.html.j2" %}</footer>')
    page = tmp_path / "below" / "report.html"
    page.parent.mkdir()
    page.write_text(pages.render(tmp_path / "page.html.j2", {"source_url": None}))
    assert page.read_text().count(PLACE) == 1 and (ROOT / LICENCE).is_file()
    stamp(tmp_path, lambda: ORIGIN, {"train": {"seed": 4, "name": "<b>"}})
    text = page.read_text()
    assert PLACE not in text and "AGPL-3.0" in text
    for told in ("toy 2026-11-29 #7", "2026-11-29 18:10", "a" * 40, "with uncommitted changes", "b" * 32, "seed: 4"):
        assert told in text, told
    assert 'href="http://127.0.0.1:5000/#/models/toy/versions/3"' in text and "experiments/1/runs/9" in text
    assert "<b>\n" not in text and "&lt;b&gt;" in text

    def never() -> Origin:
        raise AssertionError("a page that has its origin is not asked about again")

    stamp(tmp_path, never, {})
    assert page.read_text() == text


@pytest.mark.parametrize("template", sorted(ROOT.glob("tasks/*/page/view.html.j2")), ids=lambda path: path.parts[-3])
def test_the_pages_of_the_viewers_say_where_the_source_is(template):
    footer = template.read_text().partition("<footer>")[2].partition("</footer>")[0]
    assert '{% include "licence.html.j2" %}' in footer


def test_what_is_not_known_is_not_said(tmp_path):
    (tmp_path / "report.html").write_text(f"<p>{PLACE}</p>")
    stamp(tmp_path, lambda: Origin("2026-11-29 18:10 CET", "toy-report", None, "unknown", {}), {})
    text = (tmp_path / "report.html").read_text()
    assert "toy-report" in text and "no known commit" in text and "MLflow" not in text and "Model" not in text
