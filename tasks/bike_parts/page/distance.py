"""How far photographs are from those that a network knows, as a table and in words: a stranger's differ from the
trained ones, and probabilities that were calibrated on the one kind do not hold for the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SHORT = 0.6  # so much less than on the test split is said


def median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if len(values) else None


def extent(boxes: np.ndarray, size_px: tuple[int, int]) -> float | None:
    """Share of the photograph's width that the found parts (n, 4) span; None where too few are found to tell."""
    if len(boxes) < 3:
        return None
    return float((boxes[:, 0] + boxes[:, 2]).max() - boxes[:, 0].min()) / size_px[0]


def grounds(photos: Sequence[tuple[tuple[int, int], np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """What photographs are like, each (size, boxes of the parts that are found, their scores)."""
    wide = [max(size) for size, _, _ in photos]
    spans = [span for size, boxes, _ in photos if (span := extent(boxes, size)) is not None]
    return {
        "photos": len(photos), "longer_px": [min(wide), max(wide)] if wide else None,
        "aspect": median([size[0] / size[1] for size, _, _ in photos]),
        "found": float(np.mean([len(boxes) for _, boxes, _ in photos])) if photos else None,
        "score": median(np.concatenate([scores for _, _, scores in photos]).tolist()) if photos else None,
        "extent": median(spans),
    }  # fmt: skip


def size(of: Mapping[str, Any]) -> str:
    low, high = of["longer_px"] or (None, None)
    return "\N{EN DASH}" if low is None else f"{low} px" if low == high else f"{low} to {high} px"


def distance(trained: Mapping[str, Any], these: Mapping[str, Any], parts: int) -> dict[str, Any]:
    """The table of how far the photographs are from those that the network knows."""

    def number(value: float | None, digits: int, unit: str = "") -> str:
        return "\N{EN DASH}" if value is None else f"{value:.{digits}f}{unit}"

    def row(name: str, key: str, digits: int, factor: float = 1, unit: str = "") -> list[str]:
        values = [None if of[key] is None else factor * of[key] for of in (trained, these)]
        return [name, *(number(value, digits, unit) for value in values)]

    return {
        "columns": ["test split", "these"],
        "rows": [
            ["photographs", *(f"{of['photos']:,}" for of in (trained, these))],
            ["longer side", size(trained), size(these)],
            row("width / height", "aspect", 2),
            row(f"parts found in a photograph, of {parts}", "found", 1),
            row("score of what is found", "score", 2),
            row("width of the picture that the parts span", "extent", 0, 100, " %"),
        ],
    }


def far(trained: Mapping[str, Any], these: Mapping[str, Any], cropped: bool) -> list[str]:
    """What about that has to be said."""
    told = []
    if trained["longer_px"] and these["longer_px"]:
        (low, high), (ours_low, ours_high) = trained["longer_px"], these["longer_px"]
        if ours_low > 2 * high or 2 * ours_high < low:
            told.append(
                f"The longer side of these photographs is {size(these)}, of the test split's {size(trained)}: "
                "they are brought to one size, and what is small in them is lost or blurred."
            )
    if trained["found"] and these["found"] is not None and these["found"] < SHORT * trained["found"]:
        told.append(
            f"In these photographs {these['found']:.1f} parts are found on average, on the test split "
            f"{trained['found']:.1f}: they are of another kind than those that the network has learnt from, and its "
            "probabilities do not hold for them."
        )
    if trained["extent"] and these["extent"] and these["extent"] < SHORT * trained["extent"] and not cropped:
        told.append(
            f"The parts span {100 * these['extent']:.0f} % of the width of these photographs, on the test split "
            f"{100 * trained['extent']:.0f} %: "
            "with bike_parts.inspect.detector=yolov8n.pt each bicycle is cut out first."
        )
    return told
