"""The tables of a search: the most similar detections of one query, and a line a query."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tasks.person_search.judging.answers import Yard, nearest_of

RESULTS = [
    "rank", "unit", "camera", "name", "frame", "file", "time_s", "x1", "y1", "x2", "y2", "confidence", "similarity",
    "above", "expected_false",
]  # fmt: skip
OVERVIEW = [
    "query", "person", "found", "cameras", "cameras_right", "sightings", "best_similarity", "best_unit", "best_frame",
    "best_file", "best_time_s", "ap", "image", "expected_false", "by_chance",
]  # fmt: skip


def table(columns: Sequence[str], rows: Sequence[Sequence]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([columns, *rows])
    return text.getvalue()


def cell(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def ranked(similarity: np.ndarray, yard: Yard, threshold: float | None, most: int) -> list[list]:
    """The lines of results.csv; of equals the one that comes first."""
    most = min(most, len(similarity))
    near = np.argpartition(-similarity, most - 1)[:most] if most else np.empty(0, np.int64)
    ties = np.flatnonzero(similarity == similarity[near].min()) if most else near
    near = np.unique(np.concatenate([near, ties]))
    lines = []
    for rank, row in enumerate(near[np.argsort(-similarity[near], kind="stable")][:most], start=1):
        place = yard.camera_of(row)
        one, own = yard.indexed[place], row - yard.start[place]
        frame = int(one.rows["frame"][own])
        above = "" if threshold is None else int(similarity[row] >= np.float32(threshold))
        lines.append([
            rank, one.camera.unit, one.camera.number, one.camera.name, frame, one.camera.file_of(frame),
            cell(one.camera.time_s(frame), 3),
            *(f"{value:.2f}" for value in one.rows["box"][own]), f"{one.rows['confidence'][own]:.4f}",
            f"{similarity[row]:.6f}", above, cell(yard.expected_false(similarity[row]), 4),
        ])  # fmt: skip
    return lines


def overview(one: Mapping[str, Any]) -> list:
    """The line of queries.csv."""
    top = nearest_of(one["cameras"])
    place = [""] * 5
    if top:
        place = [cell(top["similarity"], 6), top["unit"], top["frame"], top["file"], cell(top["time_s"], 3)]
    found = "" if one["found"] is None else int(one["found"])
    where = {seen["unit"] for seen in one["sightings"]}
    verdicts = [camera["best"]["right"] for camera in one["cameras"] if camera["unit"] in where]
    right = "" if None in verdicts else sum(verdicts)
    ap = (one.get("judged") or {}).get("ap")
    person = "" if one["person"] is None else one["person"]
    return [
        one["query"], person, found, len(where), right, len(one["sightings"]), *place, "" if ap is None else ap,
        one["image"], cell(top and top["expected_false"], 4), cell(one["by_chance"], 4),
    ]  # fmt: skip
