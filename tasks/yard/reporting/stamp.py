"""The foot of every page: where it comes from.

A step does not know which run it is part of, and what it writes is the same at both doors. So its template leaves a
place, by including licence.html.j2, and whoever ran the step fills it in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tasks.yard.files import write_text

LICENCE = Path("tasks/yard/reporting/licence.html.j2")  # among the deps of each stage that writes a page
PLACE = "<!-- origin -->"
TEMPLATE = Path(__file__).parent / "origin.html.j2"


def unstamped(out: Path) -> list[Path]:
    """The pages of a step that have the place, and nothing in it yet."""
    return [path for path in sorted(out.rglob("*.html")) if PLACE in path.read_text(encoding="utf-8")]


def stamp(out: Path, origin: Callable[[], Any], params: Mapping[str, Any]) -> None:
    """Fill in the origin, which is asked for only if there is a page; `params`: of the line, by section."""
    if not (found := unstamped(out)):
        return
    from tasks.yard.reporting.pages import render  # of PIL and jinja2 a step without a page has no need

    told = origin()
    brought = next(((path, md5) for path, md5 in told.data.items() if path.endswith("/download")), None)
    first = brought or next(iter(told.data.items()), None)
    text = yaml.safe_dump(dict(params), sort_keys=False, allow_unicode=True, width=110)
    block = render(TEMPLATE, {"origin": told, "data": first, "params": text})
    for path in found:
        write_text(path, path.read_text(encoding="utf-8").replace(PLACE, block))
