"""Which recordings train, validate and test: groups (days, trips) are never torn apart, and known ones stay.

Of all assignments of the new groups to splits the best has, in this order: every split filled; as few (split, task)
pairs without a positive as the data allow; the smallest error, the sum over splits of

    |share - target| / target + mean over tasks of |positive rate / overall rate - 1|

Up to 12 groups every assignment is tried (3^12 = 531,441); beyond that a seeded local search moves and swaps groups,
in memory that grows with their number and no faster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.yard.splits import SPLITS

EXACT_GROUPS = 12
RESTARTS = 12
PAIRS = 2**15  # swaps that a step looks at: all of up to 256 groups, of more so many drawn anew each time
CLOSE = 1e-3  # an error that nobody can tell from none; where there are more pairs the search ends with it


@dataclass(frozen=True)
class Search:
    """The counts of each group and what a good assignment looks like; scores many assignments at once."""

    counts: np.ndarray  # (G, 1 + 2 T): windows, then positives and known labels of each task
    shares: np.ndarray  # (3) targets
    settled: np.ndarray  # (3, 1 + 2 T): the counts of groups that have their split already

    def sums(self, assignments: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """(A, G) of 0..2 and (G, C) -> (A, 3, C): the counts of each split, without those that are settled."""
        return (assignments[:, None, :] == np.arange(3)[:, None]).astype(np.float64) @ counts

    def scores(self, sums: np.ndarray) -> np.ndarray:
        """`sums` (A, 3, C) of whole splits -> (A), lower is better; 1000 a missing positive, 10^6 an empty split."""
        tasks = (sums.shape[2] - 1) // 2
        size, positives, known = sums[..., 0], sums[..., 1 : 1 + tasks], sums[..., 1 + tasks :]
        total = self.counts.sum(axis=0) + self.settled.sum(axis=0)
        usable = total[1 : 1 + tasks] > 0  # a task without any positive has no rate to match
        size_error = np.abs(size / max(total[0], 1) - self.shares) / self.shares
        overall = total[1 : 1 + tasks][usable] / total[1 + tasks :][usable]
        rate = positives[..., usable] / np.maximum(known[..., usable], 1)
        rate_error = np.abs(rate / overall - 1).mean(axis=-1) if usable.any() else 0.0
        missing = (positives[..., usable] == 0).sum(axis=(1, 2))
        return (size_error + rate_error).sum(axis=-1) + 1e3 * missing + 1e6 * (size == 0).sum(axis=-1)

    def score(self, assignment: np.ndarray) -> float:
        return float(self.scores(self.settled + self.sums(assignment[None], self.counts))[0])

    def exact(self) -> np.ndarray:
        """The best of all assignments; the first in counting order of equally good ones."""
        groups = len(self.counts)
        heads = max(0, groups - 8)  # in blocks of 3^8: the sums of the last 8 groups are made once
        digits = np.indices((3,) * (groups - heads)).reshape(groups - heads, 3 ** (groups - heads)).T
        tail_sums = self.settled + self.sums(digits, self.counts[heads:])
        best, best_score = digits[0], np.inf
        for head in np.ndindex((3,) * heads):
            scores = self.scores(tail_sums + self.sums(np.array([head], dtype=int), self.counts[:heads]))
            first = int(scores.argmin())
            if scores[first] < best_score - 1e-12:
                best, best_score = np.array([*head, *digits[first]], dtype=int), scores[first]
        return best

    @property
    def looks_at_all(self) -> bool:
        return len(self.counts) * (len(self.counts) - 1) // 2 <= PAIRS

    def local(self, seed: int) -> np.ndarray:
        """From random starts the best single move or swap is made until none helps; the best end is returned."""
        rng = np.random.default_rng(seed)
        starts = [rng.choice(3, size=len(self.counts), p=self.shares) for _ in range(RESTARTS)]
        best, best_score = starts[0], np.inf
        for end in (self._descend(start, rng) for start in starts):
            score = self.score(end)
            if (score, tuple(end)) < (best_score, tuple(best)):
                best, best_score = end, score
            if best_score < CLOSE and not self.looks_at_all:
                break
        return best

    def _pairs(self, assignment: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Groups of two splits that may change places."""
        if self.looks_at_all:
            left, right = np.triu_indices(len(assignment), 1)
        else:
            left, right = rng.integers(len(assignment), size=(2, PAIRS))
        apart = assignment[left] != assignment[right]
        return left[apart], right[apart]

    def _descend(self, assignment: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        assignment = assignment.copy()
        sums = (self.settled + self.sums(assignment[None], self.counts))[0]
        score = self.scores(sums[None])[0]
        mover = np.tile(np.arange(len(assignment)), 2)
        while self.looks_at_all or score >= CLOSE:
            target = np.concatenate([assignment + 1, assignment + 2]) % 3
            left, right = self._pairs(assignment, rng)
            # A swap is what the right one brings to the left one's split, and takes from its own.
            gain = np.concatenate([-self.counts[mover], self.counts[right] - self.counts[left]])
            split, other = (
                np.concatenate(both) for both in ((assignment[mover], assignment[left]), (target, assignment[right]))
            )
            near = np.repeat(sums[None], len(gain), axis=0)
            rows = np.arange(len(gain))
            near[rows, split] += gain
            near[rows, other] -= gain
            scores = self.scores(near)
            best = int(scores.argmin())
            if scores[best] >= score - 1e-12:
                break
            if best < len(mover):
                assignment[mover[best]] = target[best]
            else:
                a, b = left[best - len(mover)], right[best - len(mover)]
                assignment[a], assignment[b] = assignment[b], assignment[a]
            sums, score = near[best], scores[best]
        return assignment


def assign(
    groups: Sequence[str],
    windows: np.ndarray,
    positives: np.ndarray,
    known: np.ndarray,
    shares: Sequence[float],
    seed: int,
    kept: Mapping[str, str] | None = None,
) -> tuple[list[str], float]:
    """The split of each recording, and the error of the assignment.

    Per recording: its group, (R) windows, (R, T) positive and (R, T) known labels of them. `kept`: groups that have
    their split already. Needs three groups or more.
    """
    kept = kept or {}
    names = sorted(set(groups))
    if len(names) < 3:
        raise ValueError(f"{len(names)} groups cannot fill three splits")
    place = {name: number for number, name in enumerate(names)}
    member = np.array([place[group] for group in groups])
    counts = np.zeros((len(names), 1 + 2 * positives.shape[1]))
    np.add.at(counts, member, np.column_stack([windows, positives, known]))
    chosen = np.array([SPLITS.index(kept[name]) if name in kept else -1 for name in names])
    free = chosen < 0
    settled = np.array([counts[chosen == split].sum(axis=0) for split in range(3)])
    search = Search(counts[free], np.array(shares, dtype=np.float64), settled)
    chosen[free] = search.exact() if free.sum() <= EXACT_GROUPS else search.local(seed)
    return [SPLITS[chosen[index]] for index in member], search.score(chosen[free])
