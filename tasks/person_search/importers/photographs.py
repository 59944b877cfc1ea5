"""Whom to find, from a photograph as people have them: the detector says where in it the person is.

A crop, as cameras and other programs cut them, is taken as it is, and so has the vector that the search gives it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from tasks.person_search.importers.queries import Query
from tasks.yard.layouts.images import decoded, fault, write_image
from tasks.yard.step import BadInput

SURE = 0.5  # confidence of a person in a photograph: it is made of them
CROP_SHAPE, CROP_HEIGHT_PX = 0.6, 400  # so narrow and so small only crops are
FILLS = (0.6, 0.75)  # of width and height: a person of whom this is the picture
WIDE = 1.0  # width over height: no crop of one person is wider


def is_crop(width: int, height: int) -> bool:
    return width <= CROP_SHAPE * height and height <= CROP_HEIGHT_PX


def cropped(query: Query, look: Callable[[np.ndarray], np.ndarray], out: Path) -> tuple[Query, str | None]:
    """The query, cut out of its photograph into `out` if it is one, and what was done.

    `look`: an image -> the people in it (n, 5), box and confidence.

    Raises `BadInput` for a file that is no image, or one in which nobody is seen.
    """
    image = decoded(query.path)
    if image is None:
        raise BadInput(f"{query.shown}: {fault(query.path)}; give another image of whom to find")
    height, width = image.shape[:2]
    if is_crop(width, height):
        return query, None
    found = look(image)
    found = found[found[:, 4] >= SURE]
    if not len(found):
        if width > WIDE * height:
            raise BadInput(
                f"{query.shown}: nobody is seen in it ({width} x {height} px); give a photograph of the person, or "
                "one cropped to them"
            )
        return query, f"{query.shown}: nobody is seen in it; all of it is taken for the person"
    low, high = np.maximum(found[:, :2], 0), np.minimum(found[:, 2:4], [width, height])
    sides = high - low
    largest = int(sides.prod(axis=1).argmax())
    if (sides[largest] >= np.multiply(FILLS, (width, height))).all():
        return query, None
    (x1, y1), (x2, y2) = low[largest].round().astype(int), high[largest].round().astype(int)
    path = out / f"{query.key}.png"
    write_image(path, image[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)])
    others = len(found) - 1
    more = f"; the largest of {len(found)} people in it, crop it to another if you mean them" if others else ""
    return replace(query, path=path), f"{query.shown}: cut to the person at {x1}, {y1} to {x2}, {y2} px{more}"
