"""Groups of photographs dealt out to splits so that each part in each state has its share everywhere: a swap search.

A group goes whole. What has to be even are columns of counts, one each for part x state (one-hot: an integer code of a
state would call `intact` what is missing) and one for photographs. Groups of two splits change places, or one moves,
where that lowers the sum of squared errors of all shares.
"""

from __future__ import annotations

import numpy as np

TRIED = 512  # exchanges a round, of which the best one that helps is made, and the best of those beside it
LEAST_GAIN = 1e-15


def errors(counts: np.ndarray, split: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """(S, C): by how much the share of each column (G, C) that a split has differs from `shares` (S) asked for."""
    totals = counts.sum(0).clip(1)
    return np.stack([counts[split == s].sum(0) for s in range(len(shares))]) / totals - shares[:, None]


def rms(counts: np.ndarray, split: np.ndarray, shares: np.ndarray) -> float:
    """Root of the mean square of `errors`, over columns that are not empty."""
    found = errors(counts, split, shares)[:, counts.sum(0) > 0]
    return float(np.sqrt((found**2).mean())) if found.size else 0.0


def start(photos: np.ndarray, split: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Chance: groups that are free (split -1) in a random order, each to the split that lacks most photographs."""
    is_free, split = split < 0, split.copy()
    wanted = shares * photos.sum()
    have = np.array([photos[split == s].sum() for s in range(len(shares))], float)
    for group in rng.permutation(np.flatnonzero(split < 0)):
        lacks = int(np.argmax(wanted - have))
        split[group] = lacks
        have[lacks] += photos[group]
    free = np.flatnonzero(is_free)
    for empty in [s for s in range(len(shares)) if not (split == s).any()]:  # few groups: each split has one too
        able = [group for group in free if (split == split[group]).sum() > 1]
        if able:
            split[min(able, key=lambda group: photos[group])] = empty
    return split


def deal(
    counts: np.ndarray, photos: np.ndarray, fixed: np.ndarray, shares: np.ndarray, seed: int, rounds: int
) -> np.ndarray:
    """The split (G) of each group: `fixed` where that is not -1.

    counts: (G, C) of part x state; photos: (G); shares: (S), their sum 1.
    """
    if not len(fixed):
        return fixed
    rng = np.random.default_rng(seed)
    split = start(photos, fixed, shares, rng)
    free = np.flatnonzero(fixed < 0)
    columns = np.column_stack([counts, photos]).astype(float)
    columns = columns[:, columns.sum(0) > 0]
    x = columns / columns.sum(0)
    x[:, -1] *= np.sqrt(columns.shape[1])  # the number of photographs weighs as much as all the others together
    goal = shares[:, None] * x.sum(0)
    error = np.stack([x[split == s].sum(0) for s in range(len(shares))]) - goal
    for _ in range(rounds if len(free) > 1 else 0):
        a, b = rng.choice(free, TRIED), rng.choice(free, TRIED)
        one, other = split[a], split[b]
        a, b, one, other = (of[one != other] for of in (a, b, one, other))
        moves = rng.random(len(a)) < 0.25  # a goes to the split of b, and b stays
        step = x[a] - np.where(moves[:, None], 0, x[b])  # what `other` gains and `one` loses
        gain = 2 * (step * (error[one] - error[other] - step)).sum(1)
        for i in np.argsort(-gain, kind="stable"):
            if gain[i] <= LEAST_GAIN:
                break
            d = step[i]  # errors have moved since by the exchanges made before
            if split[a[i]] != one[i] or split[b[i]] != other[i]:
                continue
            if 2 * (d * (error[one[i]] - error[other[i]] - d)).sum() <= LEAST_GAIN:
                continue
            if moves[i] and (split == one[i]).sum() == 1:
                continue  # a split never loses its last group
            error[one[i]] -= d
            error[other[i]] += d
            split[a[i]], split[b[i]] = other[i], split[b[i]] if moves[i] else one[i]
    return split
