"""Where a part has to be, or would be, from where the others are in the two photographs of a ride.

The camera stands elsewhere after the ride, the steer and the cranks are turned, and yet it is one bike. Each photograph
is brought to the usual layout by an affine map that fits most of its parts (robustly: some are found in a wrong place).
What is left, the middle of each part and the logarithm of its edges, in both photographs at once, is drawn from a
Gaussian that the rides of the training split teach: it knows how handles and pedals go together, and that a bike whose
lock is high has it high in both. The place of a part is its mean given all other parts, never the part itself, so that
it says something new: where to look for what is gone, and whether what was found is in a likely place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.bike_parts.formats.photos import Photos
from tasks.bike_parts.judging.matching import corners
from tasks.bike_parts.judging.verdicts import Seen, repeated

FEW_PAIRS, FEW_PARTS = 20, 6  # training rides, parts found in a photograph: with fewer nothing is expected
OFTEN = 0.5  # of the training photographs: a part that fewer show has no usual place
ROUNDS = 6  # of a robust fit
SHRINK, LEAST = 0.02, 1e-5  # of correlations; variance that is added to each: there are few rides for so many of them
FOUND = 0.02  # standard deviation by which what was found for sure is off, of the spread of a bike's parts
DOUBTS = 3  # rounds in which what is far from where the others expect it comes to count for less


@dataclass(frozen=True)
class Layout:
    """Of K parts; x, y and logarithms of width and height, less what is usual, of the photograph before and after."""

    usual: np.ndarray  # (K, 2) middles, NaN: this part has no usual place
    spread: np.ndarray  # (2, K, 4, K, 4) how each goes with each of the same photograph [0] and of the other one [1]
    size: np.ndarray  # (K, 2) usual logarithms of the edges

    @property
    def known(self) -> np.ndarray:
        """(K) bool"""
        return np.isfinite(self.usual[:, 0])

    def told(self) -> dict[str, Any]:
        usual = [[round(float(x), 5) for x in row] if known else None
                 for row, known in zip(self.usual, self.known, strict=True)]  # fmt: skip
        return {"usual": usual, "size": self.size.round(5).tolist(), "spread": self.spread.round(6).tolist()}


def layout_of(told: dict[str, Any] | None) -> Layout | None:
    """From what `told` made."""
    if told is None:
        return None
    usual = [row or (np.nan, np.nan) for row in told["usual"]]
    return Layout(np.array(usual, float), np.array(told["spread"], float), np.array(told["size"], float))


def mirrored(boxes: np.ndarray) -> np.ndarray:
    return boxes[:, [2, 1, 0, 3]] * (-1, 1, -1, 1)


def middles(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def affine(here: np.ndarray, there: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(3, 2) by which places (n, 2) become others, as most of them say: those that are far off count for little."""
    places, counts = np.concatenate([here, np.ones((len(here), 1))], 1), weight
    for _ in range(ROUNDS):
        root = np.sqrt(counts)[:, None]
        found = np.linalg.lstsq(places * root, there * root, rcond=None)[0]
        off = np.linalg.norm(places @ found - there, axis=1)
        counts = weight / (1 + (off / (2 * max(float(np.median(off)), 1e-6))) ** 2)
    return found


@dataclass(frozen=True)
class View:
    """How one photograph shows the usual layout."""

    map: np.ndarray  # (3, 2) from it to the layout
    turned: bool  # it faces the other way

    @property
    def scale(self) -> float:
        """Logarithm of a length's factor."""
        return float(np.log(max(abs(np.linalg.det(self.map[:2])), 1e-12)) / 2)

    def within(self, boxes: np.ndarray, layout: Layout) -> np.ndarray:
        """(K, 4) x1, y1, x2, y2 px -> (K, 4) less what is usual."""
        boxes = mirrored(boxes) if self.turned else boxes
        edges = np.log(np.maximum(boxes[:, 2:] - boxes[:, :2], 1)) + self.scale
        return np.concatenate([middles(boxes) @ self.map[:2] + self.map[2] - layout.usual, edges - layout.size], 1)

    def back(self, places: np.ndarray, layout: Layout) -> np.ndarray:
        middle = (places[:, :2] + layout.usual - self.map[2]) @ np.linalg.inv(self.map[:2])
        half = np.exp(np.clip(places[:, 2:] + layout.size - self.scale, -10, 10)) / 2
        boxes = np.concatenate([middle - half, middle + half], 1)
        return mirrored(boxes) if self.turned else boxes


def viewed(boxes: np.ndarray, score: np.ndarray, usual: np.ndarray) -> View | None:
    """From boxes (K, 4), NaN where a part is not found. None: too few are, or they lie in one line."""
    there = np.isfinite(boxes[:, 0]) & np.isfinite(usual[:, 0])
    if there.sum() < FEW_PARTS:
        return None
    x, y = middles(boxes)[there].T
    weight = np.maximum(score[there], 0.01) ** 2
    turned = bool(np.cov(x, usual[there, 0], aweights=weight)[0, 1] < 0)
    found = affine(np.stack([-x if turned else x, y], 1), usual[there], weight)
    return View(found, turned) if abs(np.linalg.det(found[:2])) > 1e-9 else None


def surest(seen: Seen, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """(K, 4) x1, y1, x2, y2 of the surest box of each part, NaN where there is none, and (K) its score."""
    boxes, score = np.full((parts, 4), np.nan), np.zeros(parts)
    order = np.argsort(seen.score, kind="stable")
    boxes[seen.part[order] - 1], score[seen.part[order] - 1] = corners(seen.box[order]), seen.score[order]
    return boxes, score


def of_photo(photos: Photos, photo: int) -> np.ndarray:
    """(K, 4) labelled boxes, NaN where there is none."""
    rows, boxes = photos.photo == photo, np.full((len(photos.parts), 4), np.nan)
    boxes[photos.part[rows] - 1] = corners(photos.box[rows])
    return boxes


def usual_of(shown: Sequence[np.ndarray]) -> np.ndarray:
    """(K, 2) where parts are on average, the photographs brought to one place, size and direction."""
    first = None
    for _ in range(2):  # the second time all face as most parts of the first photographs' mean do
        held = []
        for boxes in shown:
            middle = middles(boxes)
            middle = (middle - np.nanmean(middle, 0)) / np.nanstd(middle - np.nanmean(middle, 0))
            both = np.isfinite(middle[:, 0]) & (True if first is None else np.isfinite(first[:, 0]))
            if first is not None and both.any() and np.sum(middle[both, 0] * first[both, 0]) < 0:
                middle = middle * (-1, 1)
            held.append(middle)
            first = middle if first is None else first
        places = np.array(held)
        shares = np.isfinite(places[..., 0]).mean(0)
        with np.errstate(invalid="ignore"):
            first = np.where(shares[:, None] >= OFTEN, np.nansum(places, 0) / (shares * len(places))[:, None], np.nan)
    return first


def learnt(photos: Photos, pairs: Sequence[tuple[int, int]]) -> Layout | None:
    """From the labels of the training split. None: it has too few rides."""
    if len(pairs) < FEW_PAIRS:
        return None
    boxes = {photo: of_photo(photos, photo) for pair in pairs for photo in pair}
    for part in repeated(photos):
        for of in boxes.values():
            of[part - 1] = np.nan
    shown = [of for of in boxes.values() if np.isfinite(of[:, 0]).sum() >= FEW_PARTS]
    if len(shown) < FEW_PAIRS:
        return None
    parts = len(photos.parts)
    bare = Layout(usual_of(shown), np.zeros((2, parts, 4, parts, 4)), np.zeros((parts, 2)))
    places = {}
    for photo, of in boxes.items():
        if view := viewed(of, np.ones(parts), bare.usual):
            places[photo] = view.within(of, bare)
    both = [(a, b) for a, b in pairs if a in places and b in places]
    if len(both) < FEW_PAIRS:
        return None
    rows = np.array([[places[a], places[b]] for a, b in both] + [[places[b], places[a]] for a, b in both])
    known = np.isfinite(rows[..., 0]).any((0, 1))
    usual = np.where((known & np.isfinite(bare.usual[:, 0]))[:, None], bare.usual, np.nan)
    mean = np.zeros((parts, 4))
    mean[known] = np.nanmean(rows[:, :, known], (0, 1))
    off = np.nan_to_num(rows - mean).reshape(len(rows), -1)
    spread = (off.T @ off / len(off)).reshape(2, parts * 4, 2, parts * 4)[0].swapaxes(0, 1)
    least = np.diag(np.diag(spread[0]))
    spread = np.stack([(1 - SHRINK) * spread[0] + SHRINK * least + LEAST * np.eye(parts * 4), (1 - SHRINK) * spread[1]])
    return Layout(usual + mean[:, :2], spread.reshape(2, parts, 4, parts, 4), mean[:, 2:])


@dataclass(frozen=True)
class Expected:
    """In one of the two photographs."""

    box: np.ndarray  # (K, 4) x1, y1, x2, y2 px where each part should be; NaN: nobody knows
    off: np.ndarray  # (K) standard deviations by which the middle of what was found is off; NaN: it was not found


def expected(layout: Layout, sides: Sequence[Seen]) -> list[Expected] | None:
    """Of what is seen in two photographs of one bike. None: too little is."""
    parts = len(layout.usual)
    found = [surest(of, parts) for of in sides]
    score = np.concatenate([of for _, of in found])
    same, other = layout.spread.reshape(2, parts * 4, parts * 4)
    spread = np.block([[same, other], [other.T, same]])
    views = [viewed(boxes, of, layout.usual) for boxes, of in found]
    if views[0] is None or views[1] is None:
        return None
    places = np.concatenate([view.within(boxes, layout) for view, (boxes, _) in zip(views, found, strict=True)])
    doubt = np.ones(2 * parts)
    for _ in range(DOUBTS + 1):
        mean, off = alone(places, (FOUND * doubt / np.maximum(score, FOUND)) ** 2, spread)
        doubt = 1 + np.nan_to_num(off) ** 2 / 8
    boxes = [view.back(of, layout) for view, of in zip(views, mean.reshape(2, parts, 4), strict=True)]
    return [
        Expected(np.where(layout.known[:, None], box, np.nan), of)
        for box, of in zip(boxes, off.reshape(2, parts), strict=True)
    ]


def alone(places: np.ndarray, noise: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, 4) where each part is expected by all others, and (n) by how many standard deviations the middle of what was
    found is off. places (n, 4), NaN: not found; noise (n): variance of what was found; spread (4n, 4n)."""
    there = np.isfinite(places[:, 0])
    seen = np.repeat(there, 4)
    sure = np.linalg.inv(spread[np.ix_(seen, seen)] + np.diag(np.repeat(noise, 4)[seen]))
    pull = sure @ places[there].ravel()
    mean, off = (spread[:, seen] @ pull).reshape(-1, 4), np.full(len(places), np.nan)
    blocks = sure.reshape(there.sum(), 4, there.sum(), 4)
    for i, part in enumerate(np.flatnonzero(there)):  # leaving one out of a Gaussian, from the inverse of all
        of_one = np.linalg.inv(blocks[i, :, i])
        mean[part] = places[part] - of_one @ pull[4 * i : 4 * i + 4]
        apart = (places[part] - mean[part])[:2]
        free = of_one[:2, :2] - np.eye(2) * (noise[part] - FOUND**2)
        off[part] = np.sqrt(max(apart @ np.linalg.solve(free, apart), 0))
    return mean, off
