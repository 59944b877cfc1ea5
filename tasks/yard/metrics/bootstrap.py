"""How sure of a number one can be: resamples of independent groups, and the interval of what they give.

Pure functions over numpy arrays. A number that the data cannot give is None, never NaN: NaN is not JSON and hides in
means.
"""

from __future__ import annotations

import numpy as np


def resamples(groups: int, replicates: int, seed: int) -> np.ndarray:
    """(replicates, groups) how often each group is drawn when as many groups as there are are drawn with replacement.

    Drawn once and handed to every model, so that models are compared on the same draws. Samples of one recording are
    not independent (windows overlap by 95 %), recordings are: so whole recordings are drawn.
    """
    return np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), size=replicates)


def interval(values: np.ndarray, share: float = 0.95) -> dict[str, float | int] | None:
    """Percentile interval of bootstrap replicates, those that are NaN left out; None if fewer than half remain."""
    usable = values[np.isfinite(values)]
    if len(usable) * 2 < len(values) or not len(usable):
        return None
    low, high = np.quantile(usable, [(1 - share) / 2, (1 + share) / 2])
    return {"low": float(low), "high": float(high), "replicates": len(usable)}


def spread(values: np.ndarray, groups: int) -> dict[str, float | int] | None:
    """The 95 % interval; of one group there is none: drawing it again and again says nothing."""
    return interval(values) if groups > 1 else None


def lead(
    value: float | None, other: float | None, replicates: np.ndarray | None, other_replicates: np.ndarray | None,
    groups: int,
) -> dict | None:  # fmt: skip
    """By how much one number is above another, {difference, interval}; None where one of them is not known.

    The interval is a paired one: both replicates are of the same draws of `groups` groups.
    """
    if value is None or other is None:
        return None
    return {"difference": value - other, "interval": spread(replicates - other_replicates, groups)}
