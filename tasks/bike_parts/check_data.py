"""What is labelled, and which of it is fit to learn from: counted, cleaned, drawn.

Reads    download/<unit>/ (formats/annotations.py), download/report.json
Writes   check_data/cleaned.json   what is left (formats/cleaned.py)
         check_data/details.json   {counts, states, spread, dropped, left_out, outliers, ...}: the numbers of the page
         check_data/report.html    the page; its pictures lie beside it
Alone    python -m tasks bike_parts-check_data

Left out, each with its reason and a count: boxes of little trust, boxes that are empty or outside of their picture,
photographs without a part, second copies of a photograph. A box that reaches out of its picture is clipped.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tasks.bike_parts.formats import annotations, cleaned
from tasks.bike_parts.formats.annotations import Part, Photo
from tasks.bike_parts.formats.cleaned import Clean
from tasks.bike_parts.formats.photos import STATES
from tasks.bike_parts.judging.outliers import Boxes, outliers, spread
from tasks.bike_parts.page import data_page
from tasks.bike_parts.params import CheckData
from tasks.yard.files import read_json, write_json
from tasks.yard.params import Reporting
from tasks.yard.reporting.words import rendered
from tasks.yard.splits import SPLITS
from tasks.yard.step import BadInput, Context

log = logging.getLogger(__name__)

LEAST_PX = 1.0  # of a box's sides: networks make NaN of less
MOST_OUTLIERS = 500  # in details.json
SAME_BOXES = 5  # of two photographs, to the last digit: labels that nobody drew
NAMED = 20  # of what is left out for one reason
UNSAID = "not labelled"
LABELS = (*STATES, UNSAID)  # by state; -1 is the last
LOW_TRUST, OUTSIDE, EMPTY = "boxes of trust below {}", "boxes outside of their picture", "boxes without an area"
NOTHING, BARE, COPY = "photographs without a part left", "photographs without a labelled part", "copies of a photograph"


class Cleaning:
    """What is left out and mended, by reason."""

    def __init__(self, params: CheckData):
        self.params = params
        self.low_trust = LOW_TRUST.format(f"{params.min_trust:g}")
        self.counts: Counter[str] = Counter()
        self.named: dict[str, list[str]] = defaultdict(list)
        self.clipped = self.doubted = 0

    def leave_out(self, reason: str, what: str) -> None:
        self.counts[reason] += 1
        if len(self.named[reason]) < NAMED:
            self.named[reason].append(what)

    def part(self, of: Part, photo: Photo, name: str) -> Part | None:
        """The part with its box within the picture; None if it is left out."""
        where = f"{name}: {of.name}"
        if of.trust < self.params.min_trust:
            return self.leave_out(self.low_trust, f"{where}, trust {of.trust:g}")
        x, y, width, height = of.box
        if min(width, height) < LEAST_PX:
            return self.leave_out(EMPTY, f"{where}, {width:g} x {height:g} px")
        x1, y1, x2, y2 = max(0.0, x), max(0.0, y), min(x + width, photo.width), min(y + height, photo.height)
        if min(x2 - x1, y2 - y1) < LEAST_PX:
            return self.leave_out(OUTSIDE, f"{where}, {[round(v, 1) for v in of.box]}")
        box = x1, y1, x2 - x1, y2 - y1
        self.clipped += max(abs(a - b) for a, b in zip(box, of.box, strict=True)) > 1e-6
        return Part(of.name, of.state, of.trust, box)

    def photo(self, photo: Photo, name: str) -> tuple[tuple[Part, ...], tuple[str, ...]]:
        """(the parts that are left, none where the photograph is left out; the names of the others)."""
        if not photo.parts:
            self.leave_out(BARE, name)
            return (), ()
        looked = [(of.name, self.part(of, photo, name)) for of in photo.parts]
        kept = tuple(part for _, part in looked if part is not None)
        if not kept:
            self.leave_out(NOTHING, name)
        doubted = tuple(sorted({of for of, part in looked if part is None}))
        self.doubted += len(doubted) if kept else 0
        return kept, doubted


def units_in(download: Path) -> list[Path]:
    return sorted(path.parent for path in download.glob(f"*/{annotations.ABOUT}"))


def photos_of(download: Path) -> list[tuple[str, str, Photo]]:
    """(path below download/, data set, photograph) of every unit."""
    found = []
    for unit in units_in(download):
        photos, about = annotations.read(unit)
        found += [(f"{unit.name}/{annotations.IMAGES}/{photo.file}", about["dataset"], photo) for photo in photos]
    return found


def copies(photos: Iterable[tuple[str, str, Photo]]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """({name of a copy: the one that is kept}, {name of that: files of its copies}) of pictures of the same bytes. Kept
    is the one of the last split of train, val, test: what is judged on must not be learnt from."""
    same: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
    for name, dataset, photo in photos:
        rank = -SPLITS.index(photo.split) if photo.split else 1
        same[photo.picture].append((rank, name, f"{dataset}/{photo.file}"))
    lost, also = {}, {}
    for mine in same.values():
        (_, kept, _), *others = sorted(mine)
        lost |= {name: kept for _, name, _ in others}
        also[kept] = sorted(file for _, _, file in others)
    return lost, also


def cleaned_photos(photos: list[tuple[str, str, Photo]], cleaning: Cleaning) -> list[Clean]:
    lost, also = copies(photos)
    found = []
    for name, dataset, photo in photos:
        if name in lost:
            cleaning.leave_out(COPY, f"{name}, the same bytes as {lost[name]}")
            continue
        parts, doubted = cleaning.photo(photo, name)
        if parts:
            found.append(Clean(
                name, f"{dataset}/{photo.file}", tuple(also[name]), photo.width, photo.height,
                f"{dataset}/{photo.group}", photo.split, parts, doubted,
            ))  # fmt: skip
    return found


def states_by_part(photos: Iterable[Clean], parts: list[str]) -> dict[str, dict[str, int]]:
    """{part: {state: boxes}}; `not labelled` stands beside the four."""
    counts = {part: dict.fromkeys(LABELS, 0) for part in parts}
    for photo in photos:
        for part in photo.parts:
            counts[part.name][LABELS[part.state]] += 1
    return counts


def boxes_of(rows: list[tuple[int, Part]], photos: list[Clean], parts: list[str]) -> Boxes:
    place = {name: i for i, name in enumerate(parts)}
    return Boxes(
        np.array([photo for photo, _ in rows], int),
        np.array([place[part.name] for _, part in rows], int),
        np.array([part.box for _, part in rows], float).reshape(-1, 4),
        np.array([(of.width, of.height) for of in photos], float).reshape(-1, 2),
    )


def same_boxes(left: Iterable[Clean]) -> list[str]:
    """Photographs whose boxes are those of one before."""
    seen: set[tuple] = set()
    found = []
    for photo in left:
        key = tuple(sorted((part.name, part.box) for part in photo.parts))
        if len(key) >= SAME_BOXES and key in seen:
            found.append(photo.name)
        seen.add(key)
    return found


def remarks_of(
    cleaning: Cleaning, report: Mapping[str, Any], counts: Mapping[str, int], left: Iterable[Clean]
) -> list[str]:
    told = [f"{name}: {line}" for name, about in report["datasets"].items() for line in about["remarks"]]
    told += [f"{count} {reason} are left out" for reason, count in cleaning.counts.items()]
    if cleaning.clipped:
        told.append(f"{cleaning.clipped} boxes reach out of their picture and are clipped to it")
    if cleaning.doubted:
        told.append(
            f"{cleaning.doubted} parts of these photographs have no box left: where they are is not known, so that "
            "they are neither learnt nor judged there"
        )
    if invented := same_boxes(left):
        told.append(
            f"{len(invented)} photographs have all boxes of another one, to the last digit, first {invented[0]}: "
            "labels that nobody drew? (DelftBikes publishes no true labels of its test photographs)"
        )
    if report["parts_without_a_box"]:
        told.append(f"no photograph has a box of {', '.join(report['parts_without_a_box'])}: nobody can learn it")
    if counts["states_labelled"] and counts["states_not_labelled"]:
        told.append(f"{counts['states_not_labelled']} boxes have no state: they teach where parts are, and no state")
    return told


def counts_of(left: list[Clean], before: int, states: Mapping[str, Mapping[str, int]], clipped: int) -> dict[str, Any]:
    of_state = {label: sum(of[label] for of in states.values()) for label in LABELS}
    boxes = sum(of_state.values())
    return {
        "photos_before": before, "photos": len(left), "groups": len({of.group for of in left}), "boxes": boxes,
        "parts_a_photo": boxes / len(left), "clipped": clipped,
        **{state: of_state[state] for state in STATES},
        "states_labelled": boxes - of_state[UNSAID], "states_not_labelled": of_state[UNSAID],
    }  # fmt: skip


def run(
    params: CheckData, out: Path, ctx: Context = Context(), *, download: Path, reporting_params: Reporting
) -> dict[str, float]:
    """Returns counts. Raises `BadInput` if nothing is left."""
    report = read_json(download / "report.json")
    parts = report["parts"]
    photos = photos_of(download)
    cleaning = Cleaning(params)
    left = cleaned_photos(photos, cleaning)
    if not left:
        said = "; ".join(f"{count} {reason}" for reason, count in cleaning.counts.items())
        raise BadInput(f"{download}: of {len(photos)} photographs none is left ({said}); mend the labels")
    states = states_by_part(left, parts)
    counts = counts_of(left, len(photos), states, cleaning.clipped)
    remarks = remarks_of(cleaning, report, counts, left)
    cleaned.write(out, parts, left, remarks, cleaning.counts)
    rows = [(place, part) for place, photo in enumerate(left) for part in photo.parts]
    boxes = boxes_of(rows, left, parts)
    odd = outliers(boxes, parts, params.outlier_limit)
    named = [(left[place], part) for place, part in rows]
    details = {
        "parts": parts, "counts": counts, "states": states,
        "shares": {state: counts[state] / counts["states_labelled"] for state in STATES if counts["states_labelled"]},
        "photos_without": {
            part: len(left) - sum(any(of.name == part for of in photo.parts) for photo in left) for part in parts
        },
        "spread": spread(boxes, parts), "dropped": cleaning.counts, "left_out": cleaning.named, "remarks": remarks,
        "outlier_limit": params.outlier_limit,
        "outliers": [
            {"photo": named[of.row][0].name, "part": named[of.row][1].name, "state": LABELS[named[of.row][1].state],
             "box": named[of.row][1].box, "deviations": of.deviations, "what": of.what,
             "like": None if of.like is None else parts[of.like]}
            for of in odd[:MOST_OUTLIERS]
        ],
        "outliers_found": len(odd),
    }  # fmt: skip
    write_json(out / "details.json", details)
    trust = np.array([part.trust for _, _, photo in photos for part in photo.parts])
    area = boxes.box[:, 2:].prod(1) / boxes.size[boxes.photo].prod(1)
    each = np.array([len(photo.parts) for photo in left])
    by_state = np.array([[states[part][state] for state in STATES] for part in parts])
    shown, strange = data_page.pictures(out, download, left, named, odd, parts, params.pictures)
    data_page.write(
        out, details, report, shown=shown, odd=strange, source_url=reporting_params.source_url,
        figures=data_page.figures(out, parts, by_state, trust, area, each, params.min_trust),
        rendered=rendered((of["layout"] for of in report["units"].values()), annotations.BATCHES[1]),
    )  # fmt: skip
    for remark in remarks:
        log.warning("%s", remark)
    return {
        **{key: counts[key] for key in ("photos", "groups", "boxes", "clipped", "states_not_labelled", *STATES)},
        "left_out": sum(cleaning.counts.values()), "outliers": len(odd),
    }  # fmt: skip
