"""How much boxes overlap."""

from __future__ import annotations

import numpy as np


def ious(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(P, 4), (P, 4) boxes x1, y1, x2, y2 -> (P) intersection over union; 0 where both are empty. One box against many:
    (1, 4), (P, 4)."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    shared = sides.clip(0).prod(axis=1)
    union = sum((x[:, 2:] - x[:, :2]).clip(0).prod(axis=1) for x in (a, b)) - shared
    return np.divide(shared, union, out=np.zeros(len(union)), where=union > 0)
