"""Who stands where in one frame: MARMOT's <annotator>_<frame id>.json.

    [["rectID", "personID", "modified", "Xw", "Yw", "Zw", <4 names a view>], [0, 7, false, 120.0, 85.5, 0, ...], ...]

Row 0 names the columns, the others hold people. The four columns a view, in the order of the cameras' numbers, are the
corners x1, y1, x2, y2 of a box in the image as filmed; -1 or null where nothing is seen of the person.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from tasks.yard.files import read_json
from tasks.yard.step import BadInput

COLUMNS = ("rectID", "personID", "modified", "Xw", "Yw", "Zw")
CORNERS = ("x1", "y1", "x2", "y2")
NAME = re.compile(r"(?P<annotator>.*)_(?P<frame>\d{1,9})\.json", re.IGNORECASE)


@dataclass(frozen=True)
class Label:
    people: np.ndarray  # (n, 3) float64: person id, Xw, Yw in the file's unit
    boxes: np.ndarray  # (n, V, 4) float64: x1, y1, x2, y2; NaN where there is none; V of the header


def chosen(folder: Path) -> tuple[dict[int, Path], dict[str, int]]:
    """({frame id: file} of the annotator with most files, {annotator: files}); of equals the first by name."""
    found = [(path, NAME.fullmatch(path.name)) for path in sorted(folder.glob("*.json")) if path.name[0] != "."]
    named = [(path, match) for path, match in found if match]
    if strange := [path for path, match in found if not match]:
        raise BadInput(f"{strange[0]}: a label is called <annotator>_<frame id>.json; rename or remove it")
    count = Counter(match["annotator"] for _, match in named)
    most = min(count, key=lambda who: (-count[who], who), default="")
    labels: dict[int, Path] = {}
    for path, match in named:
        if match["annotator"] == most and (other := labels.setdefault(int(match["frame"]), path)) != path:
            raise BadInput(f"{other} and {path} are of one frame; remove one of them")
    return dict(sorted(labels.items())), dict(sorted(count.items()))


def frame_of(path: Path) -> str:
    match = NAME.fullmatch(path.name)
    return f"{path}: frame {int(match['frame'])}" if match else str(path)


def rows(path: Path) -> tuple[list[str], list[list[Any]]]:
    """Header and rows of a label. Raises `BadInput` that names the file, its frame and what is wrong."""
    try:
        said = read_json(path)
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{frame_of(path)}: cannot be read as JSON ({error}); mend or remove it") from None
    if not isinstance(said, list) or not said or not all(isinstance(row, list) for row in said):
        raise BadInput(f"{frame_of(path)}: expected a list of rows, of which the first is {', '.join(COLUMNS)}, ...")
    header = [str(name) for name in said[0]]
    for column in ("personID", "Xw", "Yw"):
        if column not in header:
            raise BadInput(f"{frame_of(path)}: its header lacks {column!r}; row 0 is {', '.join(COLUMNS)}, ...")
    return header, said[1:]


def number(value: Any) -> float:
    """NaN for what is none."""
    try:
        return float(value) if isinstance(value, int | float) else float("nan")
    except OverflowError:
        return float("nan")


def read(path: Path) -> Label:
    """Raises `BadInput` that names the file, its frame, and the row and column that is wrong."""
    header, said = rows(path)
    columns = [header.index(name) for name in ("personID", "Xw", "Yw")]
    views = max(0, len(header) - len(COLUMNS)) // len(CORNERS)
    people = np.empty((len(said), 3))
    boxes = np.full((len(said), views, 4), np.nan)
    for place, row in enumerate(said):
        for into, column in enumerate(columns):
            value = row[column] if column < len(row) else None
            people[place, into] = number(value)
            if not isfinite(people[place, into]):
                raise BadInput(f"{frame_of(path)}: row {place + 1}: {header[column]!r} is {value}; expected a number")
        corners = [number(value) for value in row[len(COLUMNS) : len(COLUMNS) + views * len(CORNERS)]]
        if len(corners) == views * len(CORNERS):
            boxes[place] = np.reshape(corners, (views, 4))
    area = (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])  # not of -1 or NaN
    boxes[~area] = np.nan
    return Label(people, boxes)


def document(
    people: Sequence[tuple[int, float, float]], boxes: Sequence[Sequence[Sequence[float]]], views: int
) -> list[list]:
    """What a label holds: person id, X, Y in cm, and of each person one box a view (four times -1: not seen)."""
    header = [*COLUMNS, *(f"{corner}_{view}" for view in range(views) for corner in CORNERS)]
    return [header] + [
        [place, person, False, x, y, 0.0, *(value for box in mine for value in box)]
        for place, ((person, x, y), mine) in enumerate(zip(people, boxes, strict=True))
    ]
