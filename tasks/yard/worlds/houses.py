"""Houses of a street seen squarely, with shops, windows and posters of people: the walls around a place."""

from __future__ import annotations

import cv2
import numpy as np

from tasks.yard.worlds import people
from tasks.yard.worlds.canvas import Colour, darker

WALL_PX_PER_M = 32
WALLS: list[Colour] = [
    (150, 176, 196), (120, 142, 168), (78, 96, 148), (176, 184, 186), (132, 138, 142), (108, 132, 152), (168, 188, 204),
    (124, 150, 136),
]  # fmt: skip
SIGNS: list[Colour] = [(60, 52, 150), (120, 74, 40), (66, 104, 52), (50, 150, 196), (60, 60, 62), (200, 204, 206)]


def jitter(rng: np.random.Generator, colour: Colour, spread: float = 8) -> Colour:
    return tuple(int(v) for v in (np.array(colour) + rng.normal(0, spread, 3)).clip(10, 245))


def pick(rng: np.random.Generator, colours: list[Colour]) -> Colour:
    return jitter(rng, colours[int(rng.integers(len(colours)))])


def poster(rng: np.random.Generator, high_px: int) -> np.ndarray:
    """A printed person in a frame: what a detector should learn to leave alone."""
    picture = np.full((high_px, int(high_px * 0.62), 3), pick(rng, SIGNS), np.uint8)
    look = people.draw_look(rng)
    px_per_m = high_px / 2.3
    feet = picture.shape[1] / 2, high_px * (1.05 if rng.random() < 0.5 else 1.35)
    scale = px_per_m if feet[1] < 1.1 * high_px else 1.3 * px_per_m
    people.figure(look, rng.uniform(-0.5, 0.5), rng.uniform(0, 6), feet, scale).paste(picture)
    cv2.rectangle(picture, (0, int(0.82 * high_px)), (picture.shape[1], high_px), pick(rng, SIGNS), -1)
    cv2.rectangle(picture, (0, 0), (picture.shape[1] - 1, high_px - 1), (46, 46, 46), max(2, high_px // 30))
    return picture


def wall(rng: np.random.Generator, wide_m: float, high_m: float) -> np.ndarray:
    """A row of houses seen squarely, BGR at WALL_PX_PER_M: shops at the bottom, windows above."""
    scale = WALL_PX_PER_M
    picture = np.zeros((int(high_m * scale), int(wide_m * scale), 3), np.uint8)

    def box(x1, y1, x2, y2, colour) -> None:  # metres from the left, metres up
        rows = int((high_m - y2) * scale), int((high_m - y1) * scale) - 1
        cv2.rectangle(picture, (int(x1 * scale), rows[0]), (int(x2 * scale) - 1, rows[1]), colour, -1)

    x = 0.0
    while x < wide_m:
        wide = float(rng.uniform(6, 11))
        colour = pick(rng, WALLS)
        box(x, 0, x + wide, high_m, colour)
        if rng.random() < 0.4:  # courses of brick
            for up in np.arange(3.4, high_m, 0.25):
                box(x, up, x + wide, up + 0.05, darker(colour, 0.88))
        pitch, tall = float(rng.uniform(1.5, 2.4)), float(rng.uniform(1.2, 1.8))
        glass, frame = jitter(rng, (96, 84, 72)), pick(rng, [(220, 222, 222), (70, 74, 80)])
        for up in np.arange(4.1, high_m - 1.2, 2.9):
            for left in np.arange(x + 0.4, x + wide - 1.2, pitch):
                box(left - 0.08, up - 0.08, left + 0.98, up + tall + 0.08, frame)
                box(left, up, left + 0.42, up + tall, jitter(rng, glass, 12))
                box(left + 0.48, up, left + 0.9, up + tall, jitter(rng, glass, 12))
        box(x, 3.0, x + wide, 3.7, pick(rng, SIGNS))
        box(x + 0.25 * wide, 3.2, x + 0.7 * wide, 3.5, pick(rng, SIGNS))
        left = x + 0.3
        while left < x + wide - 1.3:
            part, width = rng.random(), float(rng.uniform(1.6, 2.8))
            if part < 0.5:
                pane = jitter(rng, (84, 78, 72), 16)
                box(left, 0.5, min(left + width, x + wide - 0.2), 2.8, darker(colour, 0.55))
                box(left + 0.08, 0.58, min(left + width, x + wide - 0.2) - 0.08, 2.72, pane)
                for shelf in np.arange(left + 0.2, min(left + width, x + wide - 0.2) - 0.4, 0.4):
                    box(shelf, 0.6, shelf + 0.3, 0.6 + float(rng.uniform(0.2, 0.9)), jitter(rng, pane, 40))
            elif part < 0.72:
                width = 1.1
                box(left, 0, left + width, 2.5, darker(pick(rng, SIGNS), 0.8))
                box(left + 0.15, 1.2, left + width - 0.15, 2.3, jitter(rng, (84, 78, 72), 16))
            elif part < 0.88:
                width = 1.35
                print_ = poster(rng, int(2.05 * scale))
                row, column = int((high_m - 2.5) * scale), int(left * scale)
                room = picture[row : row + print_.shape[0], column : column + print_.shape[1]]
                room[:] = print_[: room.shape[0], : room.shape[1]]
            left += width + float(rng.uniform(0.25, 0.7))
        x += wide
    noise = cv2.resize(rng.normal(0, 7, (picture.shape[0] // 24 + 2, picture.shape[1] // 24 + 2)), picture.shape[1::-1])
    return (picture + noise[..., None]).clip(0, 255).astype(np.uint8)
