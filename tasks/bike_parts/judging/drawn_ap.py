"""AP over photographs drawn with replacement, without judging anew for each draw. Pure.

A photograph that is drawn w times gives w copies of its boxes and of its detections: each detection weighs w in COCO's
sums. Precision matters at hits alone, so a draw costs two products of matrices a part.
"""

from __future__ import annotations

import numpy as np

STEPS = 100  # COCO reads precision at 101 recalls: 0, 1 / 100, ... 1
CLOSE = 1e-9  # recalls are whole numbers over one: what is nearer is the same


def replicates(
    score: np.ndarray, hit: np.ndarray, part: np.ndarray, group: np.ndarray, true: np.ndarray, draws: np.ndarray
) -> np.ndarray:
    """(replicates) mean over parts of the AP at one overlap; NaN where no part is drawn.

    score, hit, part (1..K), group (0..G-1) of each detection; true (K, G) how many boxes of each part a group has;
    draws (replicates, G).
    """
    total, parts, draws = np.zeros(len(draws)), np.zeros(len(draws)), draws.astype(float)
    for k in np.flatnonzero(true.sum(1)):
        rows = np.flatnonzero(part == k + 1)
        rows = rows[np.argsort(-score[rows], kind="stable")]
        of_draws = draws @ true[k]
        total += areas(hit[rows], group[rows], of_draws, draws)
        parts += of_draws > 0
    with np.errstate(invalid="ignore"):
        return total / np.where(parts, parts, np.nan)


def areas(hit: np.ndarray, group: np.ndarray, true: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """(replicates) AP of one part, 0 where none is drawn; hit, group of its detections, the surest first; true
    (replicates) boxes drawn."""
    at = np.flatnonzero(hit)
    if not len(at):
        return np.zeros(len(draws))
    of_group = np.zeros((draws.shape[1], len(hit)))
    of_group[group, np.arange(len(hit))] = 1
    told = draws @ np.cumsum(of_group, axis=1)[:, at]
    hits = draws @ np.cumsum(of_group[:, at], axis=1)
    precision = np.divide(hits, told, out=np.zeros_like(hits), where=told > 0)
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    share = np.divide(hits, true[:, None], out=np.zeros_like(hits), where=true[:, None] > 0)
    reached = np.where(share > 0, np.floor(STEPS * share + CLOSE) + 1, 0)  # recalls up to each hit
    return (precision * np.diff(reached, axis=1, prepend=0)).sum(1) / (STEPS + 1)
