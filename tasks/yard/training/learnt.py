"""What a network has learnt from, as its checkpoint tells it, and what of the test data none of some networks knows.

A checkpoint's config holds `learnt`, of training and of validation: {name: null, or [[first, last], ...]}. A name is a
recording's, a day's, a person's, a scene's; spans (times, frames) say which parts, null that it is the whole.

Splits change when data come or go: what a champion learnt from may be in the test data of today. A network that was
trained before checkpoints told it is judged on all of them, and that is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.yard.step import BadInput

Spans = list[list[int]]
Learnt = dict[str, Spans | None]
FEWEST = 2  # of fewer, nothing says how much they differ


@dataclass(frozen=True)
class Item:
    """One recording, person or frame of the test data: the names it is known by, and which part of them it is."""

    names: tuple[str, ...]
    span: tuple[int, int] | None = None

    def is_of(self, learnt: Learnt, apart: int) -> bool:
        return any(name in learnt and self.overlaps(learnt[name], apart) for name in self.names)

    def overlaps(self, spans: Spans | None, apart: int) -> bool:
        if spans is None or self.span is None:
            return True
        first, last = self.span
        return any(first - apart < end and begin < last + apart for begin, end in spans)


@dataclass(frozen=True)
class Unseen:
    kept: np.ndarray  # (items) bool
    words: str  # "3 of 5 test drives (the others ...)"


def learnt_from(items: Iterable[Item], before: Learnt | None = None) -> Learnt:
    """The record that goes into a checkpoint. A name that is learnt from as a whole once is so for good.

    `before`: the record of the network that training started from.
    """
    found: Learnt = {name: None if spans is None else list(spans) for name, spans in (before or {}).items()}
    for item in items:
        for name in item.names:
            known = found.setdefault(name, [])
            if item.span is None:
                found[name] = None
            elif known is not None and list(item.span) not in known:
                known.append(list(item.span))
    return dict(sorted(found.items()))


def unseen(items: Sequence[Item], configs: Mapping[str, dict], what: str, apart: int = 1) -> Unseen:
    """Which test items none of the networks {"the champion": its config} has learnt from; `what` they are called.

    `apart`: parts of one recording that are nearer to each other share what they show (1: only what is the same).
    Raises `BadInput` where too little is left to judge by.
    """
    records = {who: config.get("learnt") for who, config in configs.items()}
    kept = np.array([not any(item.is_of(of, apart) for of in records.values() if of) for item in items], bool)
    count, all_of = int(kept.sum()), f"{len(items)} {what}"
    words = all_of if count == len(items) else f"{count} of {all_of} (they have learnt from the others)"
    if unknown := [who for who, of in records.items() if of is None]:
        words += f" (what {' and '.join(unknown)} learnt from is unknown)"
    if len(items) and count < FEWEST and count < len(items):
        raise BadInput(
            f"no verdict: of {all_of} {count or 'none'} is left that neither has learnt from. Add recordings; or "
            "delete the alias `champion` in MLflow, and a leader that beats its baselines takes it"
        )
    return Unseen(kept, words)
