"""One image of COCO's layout in several entries, of one label file or of several: their boxes are put together."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tasks.yard.layouts.example import SAME_BOX, Labels, rows
from tasks.yard.metrics.boxes import ious
from tasks.yard.step import BadInput

SHAPE = 0.02  # by which two entries may differ in an image's shape


@dataclass
class Entry:
    """One image of one label file."""

    place: str
    path: Path
    size_px: tuple[float, float]
    split: str | None
    sequence: str
    boxes: list[tuple[list[float], int]] = field(default_factory=list)
    crowds: list[list[float]] = field(default_factory=list)


def join(first: Entry, other: Entry) -> int:
    """Add to an entry what another one has for the same image; returns how many of its boxes were there already.

    Raises `ValueError` if they contradict each other.
    """
    scale = np.tile(np.divide(first.size_px, other.size_px), 2)
    if abs(scale[0] / scale[1] - 1) > SHAPE:
        sizes = " and ".join(f"{e.size_px[0]:g}x{e.size_px[1]:g}" for e in (first, other))
        raise ValueError(f"two entries ({first.place}, {other.place}) say that it has the sizes {sizes}")
    here, twice = list(first.boxes), 0
    for box, number in other.boxes:
        moved = (np.array(box) * scale).tolist()
        same = rows(mine for mine, its in here if its == number)
        if len(same) and ious(rows([moved]), same).max() >= SAME_BOX:
            twice += 1
        else:
            first.boxes.append((moved, number))
    first.crowds += [moved for box in other.crowds if (moved := (np.array(box) * scale).tolist()) not in first.crowds]
    return twice


def once(first: Entry) -> int:
    """Takes away boxes that one entry has twice, to the last digit; returns how many."""
    kept = list({(tuple(box), number): (box, number) for box, number in first.boxes}.values())
    twice, first.boxes = len(first.boxes) - len(kept), kept
    return twice


def merged(all_entries: list[tuple[Path, Entry]], labels: Labels) -> list[tuple[Path, Entry]]:
    """One entry an image file."""
    of: dict[Path, list[tuple[Path, Entry]]] = {}
    for root, entry in all_entries:
        of.setdefault(entry.path.resolve(), []).append((root, entry))
    kept, several, twice = [], 0, 0
    for (root, first), *others in of.values():
        twice += once(first)
        for _, other in others:
            if None not in (first.split, other.split) and first.split != other.split:
                raise BadInput(
                    f"{first.path} is in {first.split} and in {other.split} ({first.place}, {other.place}); "
                    f"give each split images of its own"
                )
            first.split = first.split or other.split
        try:
            twice += sum(join(first, other) for _, other in others)
        except ValueError as error:
            labels.broken[first.path.relative_to(root).as_posix()] = str(error)
            continue
        several += bool(others)
        kept.append((root, first))
    if several:
        labels.remarks.append(f"{several} images are in several entries of the label files: their boxes are together")
    if twice:
        labels.remarks.append(f"{twice} boxes are drawn twice (they overlap by {SAME_BOX:g} or more): each counts once")
    return kept
