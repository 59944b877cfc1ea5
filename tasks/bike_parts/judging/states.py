"""How often the state of a part is told right, from counts of (true state, told state) pairs.

Everything is made from 4 x 4 confusions, one a group of photographs, so that an interval costs a product of matrices.
Macro-F1 is the mean over the states that are labelled in these photographs, of matched parts or not: who finds intact
parts alone has not told the states of the others. A state that is told and labelled nowhere counts as a wrong answer
for the part's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.bike_parts.formats.photos import ABSENT, DAMAGED, STATES
from tasks.yard.metrics import bootstrap

K = len(STATES)
SINGLED_OUT = {"damaged": DAMAGED, "absent": ABSENT}
NAMES = (
    "accuracy", "macro_f1", *(f"{state}_{name}" for state in SINGLED_OUT for name in ("precision", "recall", "f1"))
)  # fmt: skip


def confusions(true: np.ndarray, told: np.ndarray, of: np.ndarray, count: int) -> np.ndarray:
    """(count, 4, 4) pairs by what they are `of` (n), 0..count-1: rows true, columns told; unlabelled ones left out."""
    known = true >= 0
    place = (of[known] * K + true[known]) * K + told[known]
    return np.bincount(place, minlength=count * K * K).reshape(count, K, K)


def rates(counts: np.ndarray, labelled: np.ndarray) -> dict[str, np.ndarray]:
    """{name of `NAMES`: (...)} of confusions (..., 4, 4), with the number of labels (..., 4) of each state; NaN: not
    defined."""
    counts = np.asarray(counts, float)
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    true, told = counts.sum(-1), counts.sum(-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = 2 * right / (true + told)
        occurs = (labelled > 0) & (true.sum(-1, keepdims=True) > 0)
        found = {
            "accuracy": right.sum(-1) / true.sum(-1),
            "macro_f1": np.where(occurs & (true + told > 0), f1, 0).sum(-1) / occurs.sum(-1),
        }
        for name, state in SINGLED_OUT.items():
            found[f"{name}_precision"] = right[..., state] / told[..., state]
            found[f"{name}_recall"] = right[..., state] / true[..., state]
            found[f"{name}_f1"] = f1[..., state]
    return found


def numbers(counts: np.ndarray, labelled: np.ndarray) -> dict[str, float | None]:
    """Of one confusion (4, 4), with (4) labels."""
    return {name: float(value) if np.isfinite(value) else None for name, value in rates(counts, labelled).items()}


def of_pairs(true: np.ndarray, told: np.ndarray, labelled: np.ndarray | None = None) -> dict[str, float | None]:
    """`numbers` of true and told states (n), among the labels `labelled` (m); those of the pairs if it is None."""
    every = true if labelled is None else labelled
    one, all_ = (np.zeros(len(of), int) for of in (true, every))
    return numbers(confusions(true, told, one, 1)[0], labels(every, all_, 1)[0])


def replicates(counts: np.ndarray, labelled: np.ndarray, draws: np.ndarray) -> dict[str, np.ndarray]:
    """{name: (replicates)} of confusions (G, 4, 4) and labels (G, 4) of groups, drawn (replicates, G) times each."""
    return rates((draws @ counts.reshape(len(counts), -1)).reshape(-1, K, K), draws @ labelled)


def labels(state: np.ndarray, of: np.ndarray, count: int) -> np.ndarray:
    """(count, 4) how many annotations are in each state, by what they are `of` (n), 0..count-1."""
    known = state >= 0
    return np.bincount(of[known] * K + state[known], minlength=count * K).reshape(count, K)


@dataclass(frozen=True)
class Told:
    """Pairs of a labelled part and the state that is told of it, among the labels of some photographs."""

    true: np.ndarray  # (n) of each pair, -1: not labelled
    told: np.ndarray  # (n)
    group: np.ndarray  # (n) 0..G-1
    part: np.ndarray  # (n) 1..K
    of_groups: np.ndarray  # (G, 4) labels
    of_parts: np.ndarray  # (K, 4) labels

    def confusions(self) -> np.ndarray:
        """(G, 4, 4)"""
        return confusions(self.true, self.told, self.group, len(self.of_groups))

    def replicates(self, draws: np.ndarray) -> dict[str, np.ndarray]:
        return replicates(self.confusions(), self.of_groups, draws)


def judged(of: Told, parts: Sequence[str], draws: np.ndarray) -> dict[str, Any]:
    """What details.json says; draws (replicates, G)."""
    drawn = {name: bootstrap.spread(values, len(of.of_groups)) for name, values in of.replicates(draws).items()}
    whole, every = of.confusions().sum(0), of.of_parts.sum(0)
    by_part = confusions(of.true, of.told, of.part - 1, len(parts))
    count = int(every.sum())
    return {
        **numbers(whole, every), "pairs": int(whole.sum()), "confusion": whole.tolist(), "labelled": count,
        "matched_share": float(whole.sum() / count) if count else None,
        "intervals": drawn,
        "by_part": {
            name: {**numbers(counts, there), "pairs": int(counts.sum()), "confusion": counts.tolist()}
            for name, counts, there in zip(parts, by_part, of.of_parts, strict=True)
        },
        "null_because": None if whole.sum() else "no state is labelled" if not count else "no labelled part is found",
    }  # fmt: skip
