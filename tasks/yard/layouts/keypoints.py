"""Lines of a YOLO dataset for poses: `class cx cy w h`, then n key points of x, y or of x, y, visibility (0, 1 or 2).

`kpt_shape: [n, 2 or 3]` of the description says so. Without it a line of key points can be taken for a polygon, whose
box is another one, so the lines are asked: those of a pose all have one length, and as a box and points they make
sense; read as polygons, they cross themselves. Where both or neither makes sense, the data set is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tasks.yard.step import BadInput

Shape = tuple[int, int]  # key points a box, values a point

LOOKED_AT = 500  # lines
NEAR = 0.1  # of a box's sides that a key point may lie beside it
MOST = 0.9  # of the lines that decide


def said(file: Path, content: dict) -> Shape | None:
    """What the description says."""
    shape = content.get("kpt_shape")
    if shape is None:
        return None
    whole = isinstance(shape, list) and len(shape) == 2 and all(type(value) is int for value in shape)
    if not whole or shape[0] < 1 or shape[1] not in (2, 3):
        raise BadInput(f"{file}: kpt_shape is [key points, 2 or 3], found {shape!r}")
    return shape[0], shape[1]


def inside_box(values: np.ndarray, shape: Shape) -> np.ndarray:
    """Of a line's key points that are marked: does each lie in the box, or near it?"""
    points = values[5:].reshape(shape)
    marked = points[(points[:, :2] != 0).any(1) & (points[:, 2] > 0 if shape[1] == 3 else True)]
    return (np.abs(marked[:, :2] - values[1:3]) <= values[3:5] * (0.5 + NEAR)).all(1)


def check(values: list[float], shape: Shape) -> None:
    """Raises `ValueError` for a line of more than a box that is no box with key points of this shape."""
    wanted = 5 + shape[0] * shape[1]
    if len(values) != wanted:
        raise ValueError(
            f"{len(values)} values; expected class, cx, cy, w, h, and by kpt_shape {shape} {wanted} in all"
        )
    near = inside_box(np.array(values), shape)
    if len(near) and near.mean() < 0.5:
        raise ValueError("most key points lie outside of their box; is it a polygon, and kpt_shape wrong?")


def as_pose(values: np.ndarray, shape: Shape) -> bool:
    """Do the numbers make sense as a box and its key points?"""
    box, points = values[1:5], values[5:].reshape(shape)
    if shape[1] == 3 and not np.isin(points[:, 2], (0, 1, 2)).all():
        return False
    fits = (box[2:] > 0).all() and (np.abs(box[:2] - 0.5) + box[2:] / 2 <= 0.51).all()
    return bool(fits and inside_box(values, shape).all())


def as_polygon(values: np.ndarray) -> bool:
    """Do the numbers make sense as a polygon, whose sides do not cross?"""
    if len(values) % 2 == 0 or (values[1:] < -1e-4).any() or (values[1:] > 1 + 1e-4).any():
        return False
    corners = values[1:].reshape(-1, 2)
    corners = corners[(corners != np.roll(corners, 1, axis=0)).any(1)]  # one that is closed repeats its first
    start, way = corners, np.roll(corners, -1, axis=0) - corners
    along = way[:, None, 0] * way[None, :, 1] - way[:, None, 1] * way[None, :, 0]
    apart = start[None] - start[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        first = (apart[..., 0] * way[None, :, 1] - apart[..., 1] * way[None, :, 0]) / along
        second = (apart[..., 0] * way[:, None, 1] - apart[..., 1] * way[:, None, 0]) / along
    tiny = 1e-6
    crosses = (first > tiny) & (first < 1 - tiny) & (second > tiny) & (second < 1 - tiny)
    return not crosses.any()


def numbers(line: str) -> np.ndarray | None:
    try:
        values = np.array([float(word) for word in line.split()])
    except ValueError:
        return None
    return values if len(values) > 6 and np.isfinite(values).all() else None


def shown(file: Path, lines: Iterable[str]) -> Shape | None:
    """What the lines say where the description does not; None for boxes and polygons. Raises `BadInput`."""
    long: list[np.ndarray] = []
    for line in lines:
        if (values := numbers(line)) is not None:
            long.append(values)
        if len(long) >= LOOKED_AT:
            break
    lengths = {len(values) for values in long}
    if len(lengths) != 1:  # polygons have as many corners as they need
        return None
    more = lengths.pop() - 5
    polygon = float(np.mean([as_polygon(values) for values in long]))
    for of_each in (3, 2):
        if more % of_each:
            continue
        shape = more // of_each, of_each
        pose = float(np.mean([as_pose(values, shape) for values in long]))
        if pose >= MOST and (polygon < 0.5 or of_each == 3):
            return shape
        if pose >= MOST or (pose > 0.5 and polygon < 0.5):
            raise BadInput(
                f"{file}: the label lines have {more + 5} values, which may be a box with {shape[0]} key points of "
                f"{of_each} values each, or a polygon; write kpt_shape: {list(shape)} there if it is the first, "
                f"or the box alone"
            )
    return None
