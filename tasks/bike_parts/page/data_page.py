"""check_data's page: charts, photographs with their boxes, boxes that are odd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.bike_parts.formats.annotations import Part
from tasks.bike_parts.formats.cleaned import Clean
from tasks.bike_parts.formats.photos import STATES
from tasks.bike_parts.judging.outliers import Outlier
from tasks.bike_parts.page import check_charts, overlays
from tasks.bike_parts.page.drawing import INKS
from tasks.yard.files import write_text
from tasks.yard.reporting.pages import photo_uri, render

TEMPLATE = Path(__file__).parent / "check_data.html.j2"
SHEET_PX = 1440
AROUND = 0.6  # of an odd box's longer side that is shown around it and its usual place


def evenly(photos: Sequence[Clean], count: int) -> list[Clean]:
    """Some photographs, evenly spread."""
    places = np.linspace(0, len(photos) - 1, min(count, len(photos))).round().astype(int)
    return [photos[i] for i in dict.fromkeys(places.tolist())]


def window(part: Part, usual: overlays.Box, photo: Clean) -> overlays.Box:
    """What of a photograph shows a box and its usual place."""
    ends = np.array([[b[0], b[1], b[0] + b[2], b[1] + b[3]] for b in (part.box, usual)])
    low, high = ends[:, :2].min(0), ends[:, 2:].max(0)
    around = AROUND * max(high - low)
    low, high = (low - around).clip(0), np.minimum(high + around, [photo.width, photo.height])
    side = max(high - low)
    low = (low + high - side) / 2
    return float(low[0]), float(low[1]), float(side), float(side)


def pictures(
    out: Path, download: Path, photos: Sequence[Clean], rows: Sequence[tuple[Clean, Part]], odd: Sequence[Outlier],
    parts: Sequence[str], count: int,
) -> tuple[dict[str, str], dict[str, str]]:  # fmt: skip
    """({name: data URI} of the photographs, and of the odd boxes); writes overlays.png and outliers.png."""
    for stale in ("overlays.png", "outliers.png"):
        (out / stale).unlink(missing_ok=True)
    if tiles := [overlays.tile(download / of.name, of.parts, of.file) for of in evenly(photos, count)]:
        overlays.sheet(out / "overlays.png", tiles)
    seen: set[str] = set()
    chosen = []
    for of in odd:  # one a photograph: a photograph that is laid wrongly would fill the sheet
        if rows[of.row][0].name not in seen and len(chosen) < count:
            seen.add(rows[of.row][0].name)
            chosen.append(of)
    tiles = []
    for of in chosen:
        photo, part = rows[of.row]
        words = f"{part.name}{f', fits {parts[of.like]}' if of.like is not None else ''}: {photo.file}"
        tiles.append(overlays.tile(download / photo.name, [part], words, window(part, of.usual, photo), of.usual))
    if tiles:
        overlays.sheet(out / "outliers.png", tiles)
    both = [
        {name: photo_uri(path, SHEET_PX)} if (path := out / f"{name}.png").exists() else {}
        for name in ("overlays", "outliers")
    ]
    return both[0], both[1]


def figures(
    out: Path, parts: Sequence[str], counts: np.ndarray, trust: np.ndarray, area: np.ndarray, each: np.ndarray,
    min_trust: float,
) -> dict[str, str]:  # fmt: skip
    """{name: svg}. counts: (K, 4) of part x state; trust before the cleaning."""
    made = {"histograms": check_charts.histograms(out / "histograms.png", trust, area, each, min_trust)}
    for stale in ("states.png", "ranking.png"):
        (out / stale).unlink(missing_ok=True)
    if counts.sum():
        made["states"] = check_charts.heat_map(out / "states.png", parts, counts)
        made["ranking"] = check_charts.ranking(out / "ranking.png", parts, counts)
    return made


def write(out: Path, details: Mapping[str, Any], report: Mapping[str, Any], **more: Any) -> None:
    labels = [*STATES, "not labelled"] if details["counts"]["states_not_labelled"] else list(STATES)
    table = [
        {"part": part, "counts": [of[state] for state in labels], "all": sum(of[state] for state in labels),
         "without": details["photos_without"][part]}
        for part, of in details["states"].items()
    ]  # fmt: skip
    colours = dict(zip(labels, INKS.values(), strict=False))  # the last: not labelled
    page = {"details": details, "datasets": report["datasets"], "quarantined": report["quarantined"],
            "states": labels, "table": table, "colours": colours, **more}  # fmt: skip
    write_text(out / "report.html", render(TEMPLATE, page))
