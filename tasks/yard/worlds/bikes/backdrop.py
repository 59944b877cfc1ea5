"""What stands behind a bike: a wall or a hedge, a ground, fences, leaves, posters, pieces of other bikes."""

from __future__ import annotations

import math

import cv2
import numpy as np

from tasks.yard.worlds.canvas import Colour, darker

WALLS: tuple[Colour, ...] = (
    (215, 220, 222), (150, 165, 180), (95, 110, 150), (190, 205, 210), (120, 130, 120), (110, 150, 190), (70, 80, 85),
    (160, 140, 110), (60, 170, 215),
)  # fmt: skip
GROUNDS: tuple[Colour, ...] = (
    (140, 142, 145), (105, 110, 112), (165, 170, 175), (120, 135, 160), (85, 110, 95), (70, 120, 85),
)  # fmt: skip
LEAVES: tuple[Colour, ...] = (
    (50, 110, 60), (60, 140, 90), (40, 85, 50), (40, 120, 170), (40, 80, 150), (90, 150, 120),
)  # fmt: skip


def near(rng: np.random.Generator, colour: Colour, by: float = 10) -> Colour:
    shade, *own = (rng.standard_normal(4) * (by, by / 2, by / 2, by / 2)).tolist()
    blue, green, red = (int(min(max(value + shade + off, 0), 255)) for value, off in zip(colour, own, strict=True))
    return blue, green, red


def leaves(rng: np.random.Generator, picture: np.ndarray, places: np.ndarray, size_px: float) -> None:
    """One leaf at each place (n, 2)."""
    colour = LEAVES[int(rng.integers(len(LEAVES)))]
    spread = rng.normal(0, 14, (len(places), 1)) + rng.normal(0, 7, (len(places), 3))
    colours = np.clip(np.array(colour) + spread, 0, 255).astype(int).tolist()
    turns = rng.uniform(0, 180, len(places)).tolist()
    sizes = (size_px * rng.uniform(0.6, 1.4, len(places))).tolist()
    for (x, y), tint, turn, size in zip(places.round().astype(int).tolist(), colours, turns, sizes, strict=True):
        axes = (max(1, round(size)), max(1, round(size * 0.55)))
        cv2.ellipse(picture, (x, y), axes, turn, 0, 360, tint, -1)


def bricks(rng: np.random.Generator, picture: np.ndarray, colour: Colour, bottom: int) -> None:
    high, wide = int(rng.integers(6, 13)), int(rng.integers(14, 30))
    joint = darker(colour, rng.uniform(0.72, 1.2))
    for row, y in enumerate(range(0, bottom, high)):
        cv2.line(picture, (0, y), (picture.shape[1], y), joint, 1)
        for x in range(-(row % 2) * wide // 2, picture.shape[1], wide):
            cv2.line(picture, (x, y), (x, min(y + high, bottom)), joint, 1)


def boards(rng: np.random.Generator, picture: np.ndarray, colour: Colour, bottom: int) -> None:
    wide = int(rng.integers(9, 26))
    for x in range(int(rng.integers(-wide, 0)), picture.shape[1], wide):
        cv2.rectangle(picture, (x, 0), (x + wide, bottom), near(rng, colour, 7), -1)
        cv2.line(picture, (x, 0), (x, bottom), darker(colour, 0.6), 1)


def fence(rng: np.random.Generator, picture: np.ndarray, bottom: int) -> None:
    colour, width = near(rng, (90, 90, 90), 40), picture.shape[1]
    top, wide = int(rng.uniform(0.05, 0.5) * bottom), int(rng.integers(9, 22))
    thick = int(rng.integers(1, 4))
    for x in range(int(rng.integers(0, wide)), width, wide):
        cv2.line(picture, (x, top), (x, bottom), colour, thick)
    for y in (top, (top + bottom) // 2):
        cv2.line(picture, (0, y), (width, y), colour, thick)


def paving(rng: np.random.Generator, picture: np.ndarray, colour: Colour, top: int) -> None:
    height, width = picture.shape[:2]
    joint, y, step = darker(colour, rng.uniform(0.75, 0.9)), float(top), rng.uniform(3, 7)
    while y < height:
        cv2.line(picture, (0, round(y)), (width, round(y)), joint, 1)
        y, step = y + step, step * 1.35
    middle, spread = rng.uniform(0, width), rng.uniform(12, 30)
    for i in range(-12, 13):
        x = middle + i * spread
        cv2.line(picture, (round(x), top), (round(middle + (x - middle) * 2.2), height), joint, 1, cv2.LINE_AA)


def other_bike(rng: np.random.Generator, picture: np.ndarray, bottom: int) -> None:
    """A wheel and some tubes of another bike, mostly beyond the edge."""
    height, width = picture.shape[:2]
    radius = rng.uniform(0.14, 0.26) * width
    x = rng.choice([-1, 1]) * rng.uniform(0.42, 0.62) * width + width / 2
    y = bottom + rng.uniform(-0.15, 0.25) * height - radius * 0.6
    at, dark = (round(x), round(y)), near(rng, (60, 60, 60), 25)
    for i in range(8):
        a = i * math.pi / 4 + 0.2
        cv2.line(
            picture,
            at,
            (round(x + radius * math.cos(a)), round(y + radius * math.sin(a))),
            near(rng, (140, 140, 140)),
            1,
        )
    cv2.circle(picture, at, round(radius), dark, int(rng.integers(2, 5)), cv2.LINE_AA)
    paint = near(rng, (90, 90, 110), 50)
    for _ in range(int(rng.integers(1, 4))):
        a = rng.uniform(-2.4, -0.6)
        end = (round(x + 1.8 * radius * math.cos(a)), round(y + 1.8 * radius * math.sin(a)))
        cv2.line(picture, at, end, paint, int(rng.integers(2, 5)), cv2.LINE_AA)


def posters(rng: np.random.Generator, picture: np.ndarray, bottom: int) -> None:
    height, width = picture.shape[:2]
    for _ in range(int(rng.integers(1, 5))):
        x, y = int(rng.uniform(0, width)), int(rng.uniform(0, bottom))
        w, h = int(rng.uniform(0.05, 0.22) * width), int(rng.uniform(0.06, 0.3) * height)
        cv2.rectangle(picture, (x, y), (x + w, y + h), rng.integers(20, 235, 3).tolist(), -1)
        if rng.random() < 0.5:
            cv2.rectangle(picture, (x + 2, y + 2), (x + w - 2, y + h - 2), rng.integers(20, 235, 3).tolist(), 1)


def bits(rng: np.random.Generator, picture: np.ndarray) -> None:
    """Short lines and small blots of any colour, as parts have them."""
    height, width = picture.shape[:2]
    count = int(rng.integers(3, 15))
    at = (rng.uniform(0, 1, (count, 2)) * (width, height)).round().astype(int)
    to = at + rng.normal(0, 9, (count, 2)).round().astype(int)
    colours = rng.integers(15, 245, (count, 3)).tolist()
    for a, b, colour, kind in zip(at.tolist(), to.tolist(), colours, rng.random(count).tolist(), strict=True):
        if kind < 0.5:
            cv2.line(picture, a, b, colour, 1 + int(kind * 6), cv2.LINE_AA)
        elif kind < 0.8:
            cv2.circle(picture, a, 2 + int(kind * 4), colour, -1)
        else:
            cv2.rectangle(picture, a, b, colour, -1)


def draw(rng: np.random.Generator, size_px: tuple[int, int], ground_px: float) -> np.ndarray:
    """(H, W, 3) uint8 BGR; `ground_px` is how far down the wheels stand."""
    width, height = size_px
    bottom = int(np.clip(ground_px - rng.uniform(0.02, 0.4) * height, 0.3 * height, height - 4))
    wall, ground = near(rng, WALLS[int(rng.integers(len(WALLS)))]), near(rng, GROUNDS[int(rng.integers(len(GROUNDS)))])
    picture = np.empty((height, width, 3), np.uint8)
    picture[:bottom], picture[bottom:] = wall, ground
    kind = rng.random()
    if kind < 0.3:
        bricks(rng, picture, wall, bottom)
    elif kind < 0.5:
        boards(rng, picture, wall, bottom)
    elif kind < 0.68:
        count = int(rng.integers(90, 170))
        leaves(rng, picture, rng.uniform(0, 1, (count, 2)) * (width, bottom), rng.uniform(4, 9))
    if rng.random() < 0.6:
        paving(rng, picture, ground, bottom)
    for share, add in ((0.3, fence), (0.4, posters), (0.4, other_bike)):
        if rng.random() < share:
            add(rng, picture, bottom)
    if rng.random() < 0.5:
        count = int(rng.integers(5, 30))
        where = np.stack([rng.uniform(0, width, count), rng.uniform(bottom, height, count)], 1)
        leaves(rng, picture, where, rng.uniform(2, 4))
    bits(rng, picture)
    return picture
