"""The page of a step that answers in pictures and a few numbers, an analysis or an export: report.html beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tasks.yard.files import write_text
from tasks.yard.reporting.pages import data_uri, render

TEMPLATE = Path(__file__).parent / "sheet.html.j2"


def write(
    out: Path,
    stage: str,
    title: str,
    lead: str,
    numbers: Mapping[str, float],
    source_url: str | None,
    world: str | None,
) -> None:
    """All pictures (*.png) and numbers (*.json) that lie in `out`, the few that are worth a curve as a table.

    `world`: what `words.rendered` says of the recordings.
    """
    page = {
        "stage": stage, "title": title, "lead": lead, "numbers": numbers, "source_url": source_url, "rendered": world,
        "pictures": {path.stem: data_uri(path) for path in sorted(out.glob("*.png"))},
        "files": {path.name: path.read_text(encoding="utf-8") for path in sorted(out.glob("*.json"))},
    }  # fmt: skip
    write_text(out / "report.html", render(TEMPLATE, page))
