"""From which similarity on two images are one person: set on validation, checked on test, beside the baselines.

Pure: pairs in, numbers out. `evaluate` reads and writes the files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tasks.person_search.formats.crops import Split
from tasks.person_search.judging import thresholds
from tasks.person_search.judging.sides import pairs
from tasks.person_search.judging.thresholds import Pairs

PairsOf = Mapping[str, list[Pairs]]  # split -> of each data set


def checked(of: Pairs, threshold: float | None) -> dict | None:
    """False-accept and false-reject rate of pairs that did not choose the threshold, with the counts behind them."""
    if threshold is None:
        return None
    rates = thresholds.at_threshold(of, threshold)
    counts = (("false_accepts", "far", "different_pairs"), ("false_rejects", "frr", "same_pairs"))
    return rates | {
        name: None if rates[rate] is None else round(rates[rate] * rates[total]) for name, rate, total in counts
    }


def short(threshold: float) -> float:
    """Six decimals, rounded up: no more pairs are accepted than before, and every BLAS gives the same text."""
    return round(math.ceil(threshold * 1e6) / 1e6, 6)


def matching(val: Pairs, test: Pairs, far_target: float) -> dict[str, Any]:
    """{threshold, kind, from, null_because, validation: as `thresholds.calibrate` says, test: {eer, at_far}}.

    The threshold is the one of the false-accept rate asked for, with too few pairs for that the one where both errors
    are equal.
    """
    on_val = thresholds.calibrate(val, far_target)
    for rates in filter(None, (on_val["eer"], on_val["at_far"])):
        rates["threshold"] = short(rates["threshold"])
        rates |= {"far": val.far(rates["threshold"]), "frr": val.frr(rates["threshold"])}
    on_test = {kind: checked(test, on_val[kind]["threshold"] if on_val[kind] else None) for kind in ("eer", "at_far")}
    reasons = {
        "at_far": f"false-accept rate of {far_target:g} on validation",
        "eer": "equal error rate on validation",
    }
    kind = next((kind for kind in reasons if on_val[kind]), None)
    return {
        "threshold": on_val[kind]["threshold"] if kind else None, "kind": kind, "from": reasons.get(kind),
        "null_because": on_val["null_because"], "validation": on_val, "test": on_test,
    }  # fmt: skip


def pairs_of(splits: Mapping[str, Split], vectors: Mapping[str, np.ndarray], datasets: int) -> PairsOf:
    return {name: pairs(split, vectors[name], datasets) for name, split in splits.items()}


def matched(leader: PairsOf, whole: Mapping[str, Pairs], datasets: list[str], far_target: float) -> dict[str, Any]:
    """The leader's threshold, and what it is worth on each data set; `whole`: split -> pairs of all data sets."""
    details = matching(whole["val"], whole["test"], far_target) | {"by_dataset": {}}
    if details["threshold"] is not None and len(datasets) > 1:
        for dataset, on_test in zip(datasets, leader["test"], strict=True):
            if len(on_test.same) or len(on_test.different):
                details["by_dataset"][dataset] = checked(on_test, details["threshold"])
    return details


def together(of_datasets: PairsOf) -> dict[str, Pairs]:
    return {split: thresholds.together(parts) for split, parts in of_datasets.items()}


def no_threshold(why: str | None) -> dict[str, Any]:
    """What `matched` says where nobody leads."""
    return {
        "threshold": None, "kind": None, "from": None, "null_because": why, "validation": None,
        "test": {"eer": None, "at_far": None}, "by_dataset": {}, "baselines": {}, "shown": None,
    }  # fmt: skip
