"""Photographs of the test split that are worth a look: the leader's best, its worst, and one state taken for another.

A photograph is scored by the share of its labelled parts that are believed to be found, and in the right state.
"""

from __future__ import annotations

import numpy as np

from tasks.bike_parts.formats.photos import ABSENT, DAMAGED, INTACT
from tasks.bike_parts.judging.runs import Run

SHOWN = 12
GRAVE = {(INTACT, DAMAGED), (INTACT, ABSENT), (DAMAGED, INTACT), (ABSENT, INTACT), (DAMAGED, ABSENT), (ABSENT, DAMAGED)}


def of_photos(run: Run, believe: float) -> list[dict]:
    """{photo, parts, right, confused} of each photograph with labelled parts, in their order."""
    photos = run.of.photos
    got = (run.taken >= 0) & (run.found.score >= believe)
    told = np.full(len(photos.id), -2)
    told[run.taken[got]] = run.found.states[got].argmax(1)
    right = (told >= 0) & ((told == photos.state) | (photos.state < 0))
    grave = np.array([pair in GRAVE for pair in zip(photos.state.tolist(), told.tolist(), strict=True)], bool)
    rows = []
    for photo in photos.photos:
        mine = photos.photo == photo.id
        if mine.any():
            rows.append({
                "photo": photo.id, "parts": int(mine.sum()), "right": int(right[mine].sum()),
                "confused": int(grave[mine].sum()),
            })  # fmt: skip
    return rows


def chosen(run: Run, believe: float, count: int = SHOWN) -> dict[str, list[int]]:
    """{best, worst, confused: ids}, each in order; a photograph of the best is none of the worst."""
    rows = of_photos(run, believe)
    by_share = sorted(rows, key=lambda row: (-row["right"] / row["parts"], row["photo"]))
    half = min(count, len(rows) // 2)
    confused = [row for row in sorted(rows, key=lambda row: (-row["confused"], row["photo"])) if row["confused"]]
    return {
        "best": [row["photo"] for row in by_share[: max(half, min(1, len(rows)))]],
        "worst": [row["photo"] for row in by_share[::-1][:half]],
        "confused": [row["photo"] for row in confused[:count]],
    }
