"""Colours that bikes and their parts have. BGR."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.yard.worlds.canvas import Colour

PAINTS: tuple[Colour, ...] = (
    (40, 40, 40), (45, 45, 160), (150, 80, 30), (60, 110, 50), (190, 190, 190), (60, 160, 200), (120, 60, 110),
    (160, 130, 60), (90, 90, 95), (200, 170, 120), (40, 30, 90), (215, 215, 210),
)  # fmt: skip
METALS: tuple[Colour, ...] = ((195, 195, 190), (165, 165, 160), (70, 70, 70), (215, 210, 200))
RUBBERS: tuple[Colour, ...] = ((35, 35, 35), (50, 48, 45), (45, 60, 85), (190, 205, 215))
LEATHERS: tuple[Colour, ...] = ((30, 30, 30), (45, 75, 130), (60, 60, 60), (190, 200, 205), (35, 45, 100))
BRIGHT: tuple[Colour, ...] = ((190, 70, 20), (30, 30, 190), (30, 170, 200), (60, 140, 40), (160, 40, 150), (45, 45, 45))


SCRAPES: tuple[Colour, ...] = ((30, 110, 235), (60, 240, 250), (235, 240, 245), (190, 110, 250))  # rust, primers, foam


def some(rng: np.random.Generator, colours: tuple[Colour, ...]) -> Colour:
    """One of them, a little lighter or darker."""
    colour = colours[int(rng.integers(len(colours)))]
    shift = rng.normal(0, 8, 3) + rng.normal(0, 10)
    blue, green, red = np.clip(np.array(colour) + shift, 8, 247).astype(int).tolist()
    return blue, green, red


def bare(colours: Sequence[Colour], rng: np.random.Generator) -> Colour:
    """What lies under the paint of a part of these colours: one of the two that it is least like."""
    own = np.mean(colours, axis=0)
    far = sorted(SCRAPES, key=lambda colour: -float(np.abs(np.array(colour) - own).sum()))
    return far[int(rng.integers(2))]
