"""What stands in front of a bike and hides parts of it: a post, leaves, a bag, a crate, a poster, somebody's leg."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from tasks.yard.worlds.bikes.backdrop import leaves, near
from tasks.yard.worlds.canvas import darker

Box = tuple[float, float, float, float]
OCCLUDED = 0.5  # of a part's box, at least, is hidden
CLEAR = 0.3  # at most, of a part that is not occluded: nothing in between is drawn, as nobody could name it
TRIES = 6
COMPACT = ("leaves", "bag", "crate", "poster")  # as large as the part they hide
TALL = ("post", "leg")  # past all of the bike, so that they hide narrow parts only
NARROW = 0.09  # of the picture


def covered(mask: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """(n) hidden share of each box within the picture; `mask` (H, W) uint8 of 0 and 1, `corners` (n, 4) of `pixels`."""
    sums = cv2.integral(mask)
    left, top, right, bottom = corners.T
    area = np.maximum(1, (right - left) * (bottom - top))
    return (sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]) / area


def pixels(boxes: Mapping[str, Box], size_px: tuple[int, int]) -> np.ndarray:
    """(n, 4) int: first column and row, last ones and one, within the picture."""
    found = np.array(list(boxes.values()))
    found[:, 2:] += found[:, :2]
    return found.round().astype(int).clip(0, [*size_px, *size_px])


def outline(rng: np.random.Generator, kind: str, box: Box, size_px: tuple[int, int]) -> np.ndarray:
    """(n, 2) pixels: around the box, more or less, as things of this kind are."""
    x, y, w, h = box
    width, height = size_px
    cx, cy = x + w / 2 + rng.normal(0, 0.08) * w, y + h / 2 + rng.normal(0, 0.08) * h
    rx, ry = w / 2 * rng.uniform(1.0, 1.3) + 1.5, h / 2 * rng.uniform(1.0, 1.3) + 1.5
    if kind in ("post", "leg"):
        lean = rng.normal(0, 0.05) * height
        wide = max(0.85 * rx, 0.02 * width) * (1.0 if kind == "post" else 1.15)
        top = -4 if rng.random() < 0.5 else cy - ry
        low = height + 4 if top > 0 or rng.random() < 0.6 else cy + ry
        return np.array([(cx - wide + lean, top), (cx + wide + lean, top), (cx + wide, low), (cx - wide, low)])
    if kind in ("crate", "poster"):
        turn = rng.normal(0, 0.12)
        corners = np.array([(-rx, -ry), (rx, -ry), (rx, ry), (-rx, ry)])
        c, s = np.cos(turn), np.sin(turn)
        return corners @ np.array([[c, s], [-s, c]]) + (cx, cy)
    angle = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    out = rng.uniform(1.05, 1.35, 14)[:, None]
    return np.stack([rx * np.cos(angle), ry * np.sin(angle)], 1) * out + (cx, cy)


def fill(rng: np.random.Generator, canvas: np.ndarray, kind: str, points: np.ndarray, mask: np.ndarray) -> None:
    """On a canvas of the mask's size, or twice as large, or ..."""
    fine = canvas.shape[0] // mask.shape[0]
    at = np.round(points * fine).astype(np.int32)
    blue, green, red = rng.integers(25, 225, 3).tolist()
    colour = near(rng, (blue, green, red), 5)
    low, high = points.min(0), points.max(0)
    if kind == "leaves":
        count = int(np.clip(np.prod(high - low) / 7, 14, 160))
        rows, columns = np.nonzero(mask)
        picked = rng.integers(len(rows), size=count) if len(rows) else np.zeros(0, int)
        cv2.fillPoly(canvas, [at], near(rng, (40, 70, 45), 8))
        leaves(rng, canvas, (np.stack([columns, rows], 1)[picked] + 0.5) * fine, rng.uniform(1.6, 3.2) * fine)
        return
    cv2.fillPoly(canvas, [at], colour)
    if kind == "crate":
        for t in np.linspace(0.15, 0.85, 4):
            a, b = at[0] + (at[3] - at[0]) * t, at[1] + (at[2] - at[1]) * t
            cv2.line(canvas, a.astype(int).tolist(), b.astype(int).tolist(), darker(colour, 0.6), fine)
    elif kind in ("post", "leg"):
        a, b = at[0] * 0.7 + at[1] * 0.3, at[3] * 0.7 + at[2] * 0.3
        cv2.line(canvas, a.astype(int).tolist(), b.astype(int).tolist(), darker(colour, 1.35), 2 * fine)
        cv2.polylines(canvas, [at], True, darker(colour, 0.6), fine)
    elif kind == "poster":
        for t in (0.25, 0.5, 0.75):
            a, b = at[0] * 0.85 + at[1] * 0.15, at[1] * 0.8 + at[0] * 0.2
            down = (at[3] - at[0]) * t
            cv2.line(
                canvas, (a + down).astype(int).tolist(), (b + down).astype(int).tolist(), darker(colour, 0.4), fine
            )
    else:
        cv2.polylines(canvas, [at], True, darker(colour, 0.65), fine)
        fold = (at.min(0) * 0.5 + at.max(0) * 0.5).astype(int)
        cv2.line(canvas, at[10].tolist(), fold.tolist(), darker(colour, 0.7), fine)


def put(
    rng: np.random.Generator, canvas: np.ndarray, boxes: Mapping[str, Box], wanted: Mapping[str, float], count: int,
    size_px: tuple[int, int],
) -> dict[str, float]:  # fmt: skip
    """Put up to `count` things in front, each around a part drawn by the weights `wanted`; hidden shares of the boxes.

    Every part is then hidden by `OCCLUDED` or more, or by less than `CLEAR`.
    """
    mask = np.zeros(size_px[::-1], np.uint8)
    names, corners = list(boxes), pixels(boxes, size_px)
    weights = np.array([wanted[name] for name in names])
    shares = covered(mask, corners)
    for target in rng.choice(len(names), count, p=weights / weights.sum()).tolist():
        box = boxes[names[target]]
        kinds = COMPACT + (TALL if box[2] < NARROW * size_px[0] else ())
        kind = kinds[int(rng.integers(len(kinds)))]
        for _ in range(TRIES):
            points = outline(rng, kind, box, size_px)
            new = np.zeros_like(mask)
            cv2.fillPoly(new, [np.round(points).astype(np.int32)], 1)
            found = covered(mask | new, corners)
            if found[target] >= OCCLUDED and not np.any((found > CLEAR) & (found < OCCLUDED)):
                fill(rng, canvas, kind, points, new)
                mask, shares = mask | new, found
                break
    return dict(zip(names, shares.tolist(), strict=True))
