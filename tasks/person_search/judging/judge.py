"""One run's vectors against the truth: how well it ranks, how sure of that one can be, and where its threshold is.

Pure: arrays in, numbers out. `evaluate` reads and writes the files.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from tasks.person_search.formats.crops import GALLERY, QUERY, Split
from tasks.person_search.judging import ranking, thresholds
from tasks.person_search.judging.ranking import RANKS, Ranking
from tasks.person_search.judging.thresholds import Pairs
from tasks.yard.metrics import bootstrap


class Sides(NamedTuple):
    """What `ranking.rank` and `thresholds.pairs` take, in their order."""

    query: np.ndarray  # (Q, D)
    gallery: np.ndarray  # (G, D)
    query_ids: np.ndarray
    query_cameras: np.ndarray
    gallery_ids: np.ndarray
    gallery_cameras: np.ndarray


def rows_of(split: Split, role: int, dataset: int | None = None) -> np.ndarray:
    """The crops of a role, of all data sets or of one."""
    return np.flatnonzero((split.role == role) & (True if dataset is None else split.dataset == dataset))


def sides(split: Split, vectors: np.ndarray, dataset: int | None = None) -> Sides:
    """Queries and gallery of a split, by its vectors (N, D)."""
    query, gallery = (rows_of(split, role, dataset) for role in (QUERY, GALLERY))
    place = np.stack([split.dataset, split.camera], axis=1)  # camera 1 of two data sets is not one camera
    where = np.unique(place, axis=0, return_inverse=True)[1].ravel()
    who = split.identity
    return Sides(vectors[query], vectors[gallery], who[query], where[query], who[gallery], where[gallery])


def why_null(found: Ranking, of: Sides) -> str | None:
    """Why there is no number; None if there is."""
    if not len(of.query_ids):
        return "no query"
    if not len(of.gallery_ids):
        return f"no gallery for {len(of.query_ids)} queries"
    return None if found.queries else f"none of {len(of.query_ids)} queries has a match on another camera"


def numbers(found: Ranking, of: Sides, count: int, seed: int) -> tuple[dict, dict[str, np.ndarray]]:
    """What details.json says of one ranking, and the replicates behind its intervals (empty without a match)."""
    people = len(np.unique(of.query_ids[found.used]))
    drawn = ranking.replicates(found, of.query_ids, count, seed)
    names = [*(f"rank{k}" for k in RANKS), "map", "minp"]
    spread = {name: bootstrap.spread(drawn[name], people) if people else None for name in names}
    counts = {
        "people": people, "gallery": len(of.gallery_ids), "distractors": int((of.gallery_ids < 0).sum()),
        "gallery_people": len(np.unique(of.gallery_ids[of.gallery_ids >= 0])),
    }  # fmt: skip
    return {**found.numbers(), **counts, "intervals": spread, "null_because": why_null(found, of)}, drawn


def lead(ours: dict, drawn: dict, other: dict, other_drawn: dict) -> dict | None:
    """By how much a run's mAP is above another's, and how many times as high it is; over the same draws of people."""
    over = bootstrap.lead(ours["map"], other["map"], drawn.get("map"), other_drawn.get("map"), ours["people"])
    return over and over | {"times": ours["map"] / other["map"] if other["map"] else None}


def checked(of: Pairs, threshold: float | None) -> dict | None:
    """False-accept and false-reject rate of pairs that did not choose the threshold, with the counts behind them."""
    if threshold is None:
        return None
    found = thresholds.at_threshold(of, threshold)
    counts = (("false_accepts", "far", "different_pairs"), ("false_rejects", "frr", "same_pairs"))
    return found | {
        name: None if found[rate] is None else round(found[rate] * found[pairs]) for name, rate, pairs in counts
    }


def short(threshold: float) -> float:
    """Six decimals, rounded up: no more pairs are accepted than before, and every BLAS gives the same text."""
    return round(math.ceil(threshold * 1e6) / 1e6, 6)


def matching(val: Pairs, test: Pairs, far_target: float) -> dict:
    """From which similarity on two images are one person: set on validation, checked on test.

    {threshold, from, null_because, validation: as `thresholds.calibrate` says, test: {eer, at_far}}. The threshold is
    the one of the false-accept rate asked for, with too few pairs for that the one where both errors are equal.
    """
    on_val = thresholds.calibrate(val, far_target)
    for found in filter(None, (on_val[kind] for kind in ("eer", "at_far"))):
        found["threshold"] = short(found["threshold"])
        found |= {"far": val.far(found["threshold"]), "frr": val.frr(found["threshold"])}
    kind = next((kind for kind in ("at_far", "eer") if on_val[kind]), None)
    said = {
        "at_far": f"false-accept rate of {far_target:g} on validation",
        "eer": "equal error rate on validation",
        None: None,
    }
    test_of = {kind: checked(test, on_val[kind]["threshold"] if on_val[kind] else None) for kind in ("eer", "at_far")}
    threshold = on_val[kind]["threshold"] if kind else None
    return {
        "threshold": threshold, "kind": kind, "from": said[kind], "null_because": on_val["null_because"],
        "validation": on_val, "test": test_of,
    }  # fmt: skip


def pairs(split: Split, vectors: np.ndarray, datasets: int) -> list[Pairs]:
    """Of each of the first so many data sets: a pair is of one."""
    return [thresholds.pairs(*sides(split, vectors, dataset)) for dataset in range(datasets)]


def rank(of: Sides) -> Ranking:
    return ranking.rank(*of)
