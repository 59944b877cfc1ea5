"""What stands in one place over many frames? Pairs that are near in, groups out. Pure.

A detector that takes a sign or a pillar for a person does so again and again at one place; people move. Hardly ever in
every frame: its score wavers about the threshold, and somebody may stand before it.
"""

from __future__ import annotations

import numpy as np

FEWEST_FRAMES = 4  # fewer say nothing: somebody may stand so long
SHARE = 0.4  # of the frames


def groups(near: np.ndarray, frame: np.ndarray, frames: int) -> list[np.ndarray]:
    """near (N, N) bool, frame (N) of each detection, of so many frames -> rows of each that stands there in many.

    The largest comes first; a detection is in one group.
    """
    near, least = near.copy(), max(FEWEST_FRAMES, SHARE * frames)
    found = []
    while len(frame):
        _, number = np.unique(frame, return_inverse=True)
        there = np.zeros((len(frame), number.max() + 1), bool)
        rows, others = np.nonzero(near)
        there[rows, number[others]] = True
        counts = there.sum(axis=1)
        best = int(counts.argmax())
        if counts[best] < least:
            break
        mine = np.flatnonzero(near[best])
        found.append(mine)
        near[mine], near[:, mine] = False, False
    return found
