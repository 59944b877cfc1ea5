"""Which recordings train, validate and test: groups (days, trips) are never torn apart.

Of all assignments of groups to splits the best has, in this order: every split filled; as few (split, task) pairs
without a positive as the data allow; the smallest error, the sum over splits of

    |share - target| / target + mean over tasks of |positive rate / overall rate - 1|

Up to 12 groups every assignment is tried (3^12 = 531,441); beyond that a seeded local search moves and swaps groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SPLITS = ("train", "val", "test")
EXACT_GROUPS = 12
RESTARTS = 12


@dataclass(frozen=True)
class Search:
    """The counts of each group and what a good assignment looks like; scores many assignments at once."""

    counts: np.ndarray  # (G, 1 + 2 T): windows, then positives and known labels of each task
    shares: np.ndarray  # (3) targets

    def scores(self, assignments: np.ndarray) -> np.ndarray:
        """`assignments` (A, G) of 0..2 -> (A), lower is better; 1000 a missing positive, 10^6 an empty split."""
        return self.scores_of(self.sums(assignments, self.counts))

    @staticmethod
    def sums(assignments: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """(A, G) and (G, C) -> (A, 3, C): the counts of each split."""
        return (assignments[:, None, :] == np.arange(3)[:, None]).astype(np.float64) @ counts

    def scores_of(self, sums: np.ndarray) -> np.ndarray:
        """`sums` (A, 3, C): the counts of each split."""
        tasks = (sums.shape[2] - 1) // 2
        size, positives, known = sums[..., 0], sums[..., 1 : 1 + tasks], sums[..., 1 + tasks :]
        total = self.counts.sum(axis=0)
        usable = total[1 : 1 + tasks] > 0  # a task without any positive has no rate to match
        size_error = np.abs(size / max(total[0], 1) - self.shares) / self.shares
        overall = total[1 : 1 + tasks][usable] / total[1 + tasks :][usable]
        rate = positives[..., usable] / np.maximum(known[..., usable], 1)
        rate_error = np.abs(rate / overall - 1).mean(axis=-1) if usable.any() else 0.0
        missing = (positives[..., usable] == 0).sum(axis=(1, 2))
        return (size_error + rate_error).sum(axis=-1) + 1e3 * missing + 1e6 * (size == 0).sum(axis=-1)

    def exact(self) -> np.ndarray:
        """The best of all assignments; the first in counting order of equally good ones."""
        groups = len(self.counts)
        heads = max(0, groups - 8)  # in blocks of 3^8: the sums of the last 8 groups are made once
        digits = np.indices((3,) * (groups - heads)).reshape(groups - heads, -1).T
        tail_sums = self.sums(digits, self.counts[heads:])
        best, best_score = None, np.inf
        for head in np.ndindex((3,) * heads):
            scores = self.scores_of(tail_sums + self.sums(np.array([head], dtype=int), self.counts[:heads]))
            first = int(scores.argmin())
            if scores[first] < best_score - 1e-12:
                best, best_score = np.array([*head, *digits[first]]), scores[first]
        return best

    def local(self, seed: int) -> np.ndarray:
        """From random starts the best single move or swap is made until none helps; the best end is returned."""
        rng = np.random.default_rng(seed)
        groups = len(self.counts)
        ends = [self._descend(rng.choice(3, size=groups, p=self.shares)) for _ in range(RESTARTS)]
        return min(ends, key=lambda end: (self.scores(end[None])[0], tuple(end)))

    def _descend(self, assignment: np.ndarray) -> np.ndarray:
        groups = len(assignment)
        moves = np.arange(2 * groups)
        left, right = np.triu_indices(groups, 1)
        swaps = np.arange(len(left))
        score = self.scores(assignment[None])[0]
        while True:
            moved = np.repeat(assignment[None], 2 * groups, axis=0)
            moved[moves, moves % groups] = np.concatenate([assignment + 1, assignment + 2]) % 3
            swapped = np.repeat(assignment[None], len(left), axis=0)
            swapped[swaps, left], swapped[swaps, right] = assignment[right], assignment[left]
            near = np.concatenate([moved, swapped])
            scores = self.scores(near)
            best = int(scores.argmin())
            if scores[best] >= score - 1e-12:
                return assignment
            assignment, score = near[best], scores[best]


def assign(
    groups: Sequence[str],
    windows: np.ndarray,
    positives: np.ndarray,
    known: np.ndarray,
    shares: Sequence[float],
    seed: int,
) -> tuple[list[str], float]:
    """The split of each recording, and the error of the assignment.

    Per recording: its group, (R) windows, (R, T) positive and (R, T) known labels of them. Needs three groups or more.
    """
    names = sorted(set(groups))
    if len(names) < 3:
        raise ValueError(f"{len(names)} groups cannot fill three splits")
    member = np.array([names.index(group) for group in groups])
    counts = np.zeros((len(names), 1 + 2 * positives.shape[1]))
    np.add.at(counts, member, np.column_stack([windows, positives, known]))
    search = Search(counts, np.array(shares, dtype=np.float64))
    best = search.exact() if len(names) <= EXACT_GROUPS else search.local(seed)
    return [SPLITS[best[index]] for index in member], float(search.scores(best[None])[0])
