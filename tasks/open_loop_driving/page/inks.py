"""What is drawn in which colour, in films, stills and on the page's legend: one table for all of them."""

from __future__ import annotations

from collections.abc import Sequence

TRUTH, COARSE, LAST = "#3fd07a", "#f2b544", "#35c4f0"
BETWEEN = ("#d96cf0", "#ff7f6a", "#9d8cff", "#c9d64b")  # refined layers before the last one
TARGET, EGO = "#e8edf3", "#e8edf3"
AGENTS = {"vehicle": "#8fa3c4", "walker": "#ff8fb3", "cyclist": "#ff8fb3"}
OTHERS = "#5f6b7a"  # lights, signs, and what stands about
NAMES = {"coarse": "coarse plan"}


def of_layers(layers: Sequence[str]) -> list[str]:
    """An ink for each layer: the coarse one and the last one are always the same."""
    if len(layers) < 2:
        return [LAST] * len(layers)
    return [COARSE, *(BETWEEN[i % len(BETWEEN)] for i in range(len(layers) - 2)), LAST]


def named(layer: str) -> str:
    return NAMES.get(layer, f"refined {layer}")


def rgb(ink: str) -> tuple[int, int, int]:
    return int(ink[1:3], 16), int(ink[3:5], 16), int(ink[5:7], 16)
