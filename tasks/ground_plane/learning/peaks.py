"""From a map of scores to places: local maxima, placed between cells, no two of them too near to one another.

One threshold for all frames is chosen on validation; here everything above a low floor is kept.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import maximum_filter

from tasks.ground_plane.params import Decode

FLOOR = 0.05  # no threshold below it is looked for; of a network without one nothing below it is told
TINY = 1e-6  # the logarithm of a score has a bottom


def peaks(
    scores: np.ndarray, mask: np.ndarray, cell_m: float, decode: Decode, floor: float
) -> tuple[np.ndarray, np.ndarray]:
    """Scores (rows, columns) in 0..1 -> plane coordinates (n, 2) float64, metres, and confidences (n) float32.

    The most confident come first, at most `decode.max_detections`. A peak is a cell of `mask` that no neighbour in the
    mask exceeds; its score, at least `floor` and above 0, is the confidence. Of peaks nearer than `decode.nms_m` the
    more confident one stays.
    """
    inside = np.where(mask, scores, 0).astype(np.float32)
    row, column = np.nonzero((inside == maximum_filter(inside, 3, mode="constant")) & (inside > 0) & (inside >= floor))
    order = np.argsort(-inside[row, column], kind="stable")
    row, column = row[order], column[order]
    logs = np.pad(np.where(mask, np.log(np.maximum(inside, TINY)), np.nan), 1, constant_values=np.nan)
    x = column + 0.5 + _offset(logs[row + 1, column], logs[row + 1, column + 1], logs[row + 1, column + 2])
    y = row + 0.5 + _offset(logs[row, column + 1], logs[row + 1, column + 1], logs[row + 2, column + 1])
    xy = np.stack([x, y], axis=1) * cell_m
    kept = apart(xy, decode.nms_m, decode.max_detections)
    return xy[kept], inside[row, column][kept]


def _offset(before: np.ndarray, middle: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Cells from a peak to the top of the parabola through three logarithms, -.5 to .5: exact for a Gaussian.

    0 where a neighbour is outside of the mask (NaN), for nothing is predicted there.
    """
    bend = 2 * middle - before - after
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (after - before) / (2 * bend)
    return np.where(bend > 0, np.clip(found, -0.5, 0.5), 0.0)


def apart(xy: np.ndarray, nms_m: float, most: int) -> np.ndarray:
    """Which of (n, 2), the best first, stay when each takes away the worse ones nearer than `nms_m`; `most` at most."""
    free = np.ones(len(xy), bool)
    kept: list[int] = []
    while len(kept) < most and free.any():
        best = int(free.argmax())
        kept.append(best)
        free &= np.hypot(*(xy - xy[best]).T) >= nms_m
        free[best] = False
    return np.array(kept, int)
