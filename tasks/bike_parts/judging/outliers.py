"""Boxes that are not where their part is on other bikes, or not of its size: a steer box on a pedal.

Every photograph is laid over one bike, learnt from all of them: moved, scaled and mirrored by the centres of its boxes
so that most of them lie where they lie on the others. A box is then judged by its part's usual place and extent, in
robust standard deviations. Where most photographs show too few parts for that, the picture itself is the measure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LEAST_PARTS = 5  # of a photograph that is laid over the others: four numbers are fitted to them
LEAST_BOXES = 12  # of a part, to know what is usual
ROUNDS, REWEIGHTED = 6, 4
LEAST_PLACE, LEAST_EXTENT = 0.03, 0.1  # standard deviations, of the bike's size and of a logarithm: hands are not exact
TO_SIGMA = 1.4826  # of a median absolute deviation
NEAR, RARE = 2.0, 0.02  # a box is usual too where so many others of its part lie within so many deviations of it
FITS_OTHER = 3.0  # standard deviations within which a box is as another part's usually is
FEATURES = ("across", "down", "width", "height")


@dataclass(frozen=True)
class Boxes:
    """All boxes of a data set, photograph by photograph."""

    photo: np.ndarray  # (n) 0..P-1
    part: np.ndarray  # (n) 0..K-1
    box: np.ndarray  # (n, 4) x, y, width, height, px
    size: np.ndarray  # (P, 2) width, height of the photographs, px


@dataclass(frozen=True)
class Outlier:
    row: int  # of Boxes
    deviations: float  # the most that it is off, in robust standard deviations
    what: str  # one of FEATURES
    like: int | None  # the part that it would be usual for
    usual: tuple[float, float, float, float]  # the box that its part has here on most photographs


def robust(values: np.ndarray, least: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(median, standard deviation) of each column (n, d), the latter `least` (d) at least."""
    middle = np.median(values, axis=0)
    return middle, np.maximum(TO_SIGMA * np.median(np.abs(values - middle), axis=0), least)


def fitted(centres: np.ndarray, there: np.ndarray, bike: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(scale (P), shift (P, 2), off (P): median distance) of each photograph's centres (P, K, 2) = scale * bike (K, 2)
    + shift, where `there` (P, K); outliers weigh less in each round."""
    weight = there.astype(float)
    for _ in range(REWEIGHTED):
        total = weight.sum(1).clip(1e-9)[:, None]
        middle = (weight[..., None] * centres).sum(1) / total
        of_bike = weight @ bike / total
        from_middle, of_bike_from = centres - middle[:, None], bike - of_bike[:, None]
        above = (weight[..., None] * from_middle * of_bike_from).sum((1, 2))
        scale = above / (weight[..., None] * of_bike_from**2).sum((1, 2)).clip(1e-9)
        scale = np.maximum(scale, 1e-6)
        shift = middle - scale[:, None] * of_bike
        away = np.linalg.norm(centres - scale[:, None, None] * bike - shift[:, None], axis=2) / scale[:, None]
        usual = np.nanmedian(np.where(there, away, np.nan), axis=1)
        weight = there / (1 + (away / (usual[:, None] + LEAST_PLACE)) ** 2)
    return scale, shift, usual


def frames(boxes: Boxes, parts: int) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """(scale (P), shift (P, 2), mirror (P) of 1 and -1, nan where it cannot be told) of every photograph over the one
    bike; None if most of them show too few parts."""
    count = len(boxes.size)
    centres, there = np.zeros((count, parts, 2)), np.zeros((count, parts), bool)
    first = np.unique(np.column_stack([boxes.photo, boxes.part]), axis=0, return_index=True)[1]
    at = boxes.photo[first], boxes.part[first]
    centres[at], there[at] = (boxes.box[:, :2] + boxes.box[:, 2:] / 2)[first], True
    able = there.sum(1) >= LEAST_PARTS
    if able.sum() < max(LEAST_BOXES, count / 2):
        return None
    centres, there = centres[able], there[able]
    example = int(np.argmax(there.sum(1)))
    bike = np.where(there[example][:, None], centres[example] - np.median(centres[example][there[example]], axis=0), 0)
    bike /= np.linalg.norm(bike[there[example]], axis=1).max()
    known = there[example].copy()
    for _ in range(ROUNDS):
        ways = [fitted(centres, there & known, bike * [sign, 1]) for sign in (1, -1)]
        mirrored = ways[1][2] < ways[0][2]
        sign = np.where(mirrored, -1, 1)
        scale = np.where(mirrored, ways[1][0], ways[0][0])
        shift = np.where(mirrored[:, None], ways[1][1], ways[0][1])
        laid = (centres - shift[:, None]) / scale[:, None, None] * np.stack([sign, np.ones(len(sign))], 1)[:, None]
        for part in np.flatnonzero(there.any(0)):
            bike[part] = np.median(laid[there[:, part], part], axis=0)
            known[part] = True
    out = np.full(count, np.nan), np.full((count, 2), np.nan), np.full(count, np.nan)
    for whole, of in zip(out, (scale, shift, sign), strict=True):
        whole[able] = of
    return out


def features(boxes: Boxes, parts: int) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """((n, 4) place on the bike, logarithms of width and height against it, nan where a photograph shows too few parts;
    the frames)."""
    laid = frames(boxes, parts)
    if laid is None:
        laid = boxes.size.max(1).astype(float), boxes.size / 2, np.ones(len(boxes.size))
    scale, shift, sign = (of[boxes.photo] for of in laid)
    place = (boxes.box[:, :2] + boxes.box[:, 2:] / 2 - shift) / scale[:, None]
    place[:, 0] *= sign
    return np.column_stack([place, np.log(boxes.box[:, 2:] / scale[:, None])]), laid


def spread(boxes: Boxes, parts: Sequence[str]) -> dict[str, dict[str, float]]:
    """{part: {boxes, area: the median share of the picture, factor: by which extents of its boxes usually differ from
    that}}."""
    area = boxes.box[:, 2:].prod(1) / boxes.size[boxes.photo].prod(1)
    found = {}
    for number, name in enumerate(parts):
        mine = area[boxes.part == number]
        if len(mine):
            middle, sigma = robust(np.log(mine)[:, None], np.zeros(1))
            found[name] = {
                "boxes": len(mine),
                "area": float(np.exp(middle[0])),
                "factor": float(np.exp(sigma[0])),
                "least": float(mine.min()),
                "most": float(mine.max()),
            }
    return found


def outliers(boxes: Boxes, parts: Sequence[str], limit: float) -> list[Outlier]:
    """Boxes that are off by more than `limit`, the farthest first."""
    if not len(boxes.box):
        return []
    found, (scale, shift, sign) = features(boxes, len(parts))
    judged = np.isfinite(found).all(1)
    least = np.array([LEAST_PLACE] * 2 + [LEAST_EXTENT] * 2)
    usual: Mapping[int, tuple[np.ndarray, np.ndarray]] = {
        number: robust(found[mine], least)
        for number in range(len(parts))
        if (mine := judged & (boxes.part == number)).sum() >= LEAST_BOXES
    }
    said = []
    for number, (middle, sigma) in usual.items():
        rows = np.flatnonzero(judged & (boxes.part == number))
        off = np.abs(found[rows] - middle) / sigma
        for row, away in zip(rows[off.max(1) > limit], off[off.max(1) > limit], strict=True):
            alike = (np.abs(found[rows] - found[row]) / sigma).max(1) <= NEAR
            if len(np.unique(boxes.photo[rows[alike]])) > max(2, RARE * len(rows)):
                continue  # a pedal is up on some bikes and down on others
            photo = boxes.photo[row]
            half = np.exp(middle[2:]) * scale[photo] / 2
            centre = middle[:2] * [sign[photo], 1] * scale[photo] + shift[photo]
            others = {
                other: (np.abs(found[row] - mean) / deviation).max()
                for other, (mean, deviation) in usual.items()
                if other != number
            }
            like = min(others, key=lambda other: others[other], default=None)
            like = like if like is not None and others[like] <= FITS_OTHER else None
            here = tuple(float(value) for value in (*(centre - half), *(2 * half)))
            said.append(Outlier(int(row), float(away.max()), FEATURES[int(away.argmax())], like, here))
    return sorted(said, key=lambda of: (-of.deviations, of.row))
