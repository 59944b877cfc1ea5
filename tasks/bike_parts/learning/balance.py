"""How much each state counts, so that rare ones are learnt too."""

from __future__ import annotations

import numpy as np

from models.bike_parts.states import STATES


def balance(states: np.ndarray, power: float) -> tuple[float, ...]:
    """A weight for each state: (mean count / its own) ** power, so scaled that the mean over all boxes is 1."""
    counts = np.bincount(states[states >= 0], minlength=STATES).astype(float)
    weights = np.where(counts > 0, (counts.sum() / STATES / np.maximum(counts, 1)) ** power, 1.0)
    mean = (weights * counts).sum() / max(counts.sum(), 1)
    return tuple(float(weight / mean) if mean else 1.0 for weight in weights)
