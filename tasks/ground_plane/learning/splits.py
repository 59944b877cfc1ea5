"""The split of each frame of a sequence that its source does not divide: contiguous parts, training first.

Neighbouring frames are nearly the same picture, so between two parts some labelled frames are in no split:
`guard_frames` of them, fewer where training would keep less than half of its own. A frame that had a split before keeps
it; frames that have come since are runs, each of which goes whole to where most is lacking.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from tasks.ground_plane.params import Shares
from tasks.yard.splits import SPLITS
from tasks.yard.step import BadInput

GUARD = "guard"  # of a frame between two splits


def frame_name(unit: str, frame: int) -> str:
    """What splits.json calls a frame of a sequence that is cut."""
    return f"{unit}/{frame}"


def cut(labelled: int, splits: tuple[str, ...], shares: Shares, guard: int) -> tuple[list[int], int]:
    """How many labelled frames each split has, in its order (one at least, all but train by their shares), and how many
    are left out between two of them.

    Raises `BadInput` where there are fewer frames than splits.
    """
    if labelled < len(splits):
        raise BadInput(f"{labelled} labelled frames cannot be cut into {' and '.join(splits)}; label more")
    if len(splits) == 1:
        return [labelled], 0
    counts = [max(1, round(getattr(shares, split) * labelled)) for split in splits[1:]]
    while sum(counts) >= labelled:  # few frames, large shares: training has one too
        counts[counts.index(max(counts))] -= 1
    train = labelled - sum(counts)
    gap = min(guard, train // (2 * len(counts)))
    return [train - gap * len(counts), *counts], gap


def drawn(counts: list[int], gap: int, splits: tuple[str, ...]) -> list[str]:
    """The split of each labelled frame where none had one before."""
    parts = [splits[0]] * counts[0]
    for split, count in zip(splits[1:], counts[1:], strict=True):
        parts += [GUARD] * gap + [split] * count
    return parts


def filled(before: Sequence[str | None], splits: tuple[str, ...], shares: Shares) -> list[str]:
    """Frames that have come since: each run of them goes to the split that lacks most."""
    wanted = {split: getattr(shares, split) for split in splits[1:]}
    wanted = {splits[0]: 1 - sum(wanted.values())} | wanted
    lacking = {split: share * len(before) - before.count(split) for split, share in wanted.items()}
    found: list[str] = []
    for split, run in groupby(before):
        count = len(list(run))
        if split is None:
            split = max(splits, key=lacking.__getitem__)
            lacking[split] -= count
        found += [split] * count
    return found


def guarded(chosen: Sequence[str], before: Sequence[str | None], gap: int) -> list[str]:
    """What is nearer than `gap` to another split is in none: of two frames the one that has come since, then the one to
    train on, then the one of validation."""
    rank = np.array(
        [(name is not None) * len(SPLITS) + SPLITS.index(to) for name, to in zip(before, chosen, strict=True)]
    )
    part = np.array([SPLITS.index(to) for to in chosen])
    lost = np.zeros(len(part), bool)
    for step in range(1, gap + 1):
        one, other = slice(None, -step), slice(step, None)
        differ = part[one] != part[other]
        lost[one] |= differ & (rank[one] < rank[other])
        lost[other] |= differ & (rank[other] < rank[one])
    return [GUARD if out else to for to, out in zip(chosen, lost, strict=True)]


def of_frames(
    labelled: Sequence[bool], before: Sequence[str | None], splits: tuple[str, ...], shares: Shares, guard: int
) -> tuple[list[str], int]:
    """(the split of each frame, the guard that there was room for); one without a label is as the labelled one before.

    `before`: what a frame was in the last time. Raises `BadInput` where there are fewer frames than splits.
    """
    if len(splits) == 1:  # also where nobody has labelled any
        return [splits[0]] * len(labelled), 0
    known = [split if split in splits else None for split, ours in zip(before, labelled, strict=True) if ours]
    counts, gap = cut(len(known), splits, shares, guard)
    parts = guarded(filled(known, splits, shares), known, gap) if any(known) else drawn(counts, gap, splits)
    place = np.maximum(np.cumsum(labelled) - 1, 0)  # among the labelled ones
    return [parts[at] for at in place], gap
