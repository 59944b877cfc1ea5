"""How well each run ranks, how sure of that one can be, and by how much it is above the baselines.

Pure: vectors in, numbers out. `evaluate` reads and writes the files.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tasks.person_search.formats.crops import Split
from tasks.person_search.judging import ranking
from tasks.person_search.judging.ranking import RANKS, Ranking
from tasks.person_search.judging.rerank import rerank
from tasks.person_search.judging.runs import NAIVE, before, ranked_runs
from tasks.person_search.judging.sides import Sides, rank, sides_of
from tasks.person_search.judging.vectors import Vectors
from tasks.person_search.params import Evaluate
from tasks.yard.metrics import bootstrap
from tasks.yard.params import Reporting
from tasks.yard.step import Context


def why_null(ranked: Ranking, sides: Sides) -> str | None:
    """Why there is no number; None if there is."""
    if not len(sides.query_ids):
        return "no query"
    if not len(sides.gallery_ids):
        return f"no gallery for {len(sides.query_ids)} queries"
    return None if ranked.queries else f"none of {len(sides.query_ids)} queries has a match on another camera"


def numbers(ranked: Ranking, sides: Sides, count: int, seed: int) -> tuple[dict, dict[str, np.ndarray]]:
    """What details.json says of one ranking, and the replicates behind its intervals (empty without a match)."""
    people, gallery_ids = len(np.unique(sides.query_ids[ranked.used])), sides.gallery_ids
    drawn = ranking.replicates(ranked, sides.query_ids, count, seed)
    names = [*(f"rank{k}" for k in RANKS), "map", "minp"]
    counts = {
        "people": people, "gallery": len(gallery_ids), "distractors": int((gallery_ids < 0).sum()),
        "gallery_people": len(np.unique(gallery_ids[gallery_ids >= 0])),
    }  # fmt: skip
    intervals = {name: bootstrap.spread(drawn[name], people) if people else None for name in names}
    return {**ranked.numbers(), **counts, "intervals": intervals, "null_because": why_null(ranked, sides)}, drawn


def lead(ours: dict, drawn: dict, other: dict, other_drawn: dict) -> dict | None:
    """By how much a run's mAP is above another's, and how many times as high it is; over the same draws of people."""
    over = bootstrap.lead(ours["map"], other["map"], drawn.get("map"), other_drawn.get("map"), ours["people"])
    return over and over | {"times": ours["map"] / other["map"] if other["map"] else None}


def judged(
    params: Evaluate,
    reporting: Reporting,
    splits: Mapping[str, Split],
    vectors: Vectors,
    datasets: list[str],
    ctx: Context,
) -> tuple[dict[str, dict], dict[str, Ranking]]:
    """({run: what details.json says of it}, {run: its ranking of test})."""
    draws = (reporting.bootstrap_replicates, reporting.bootstrap_seed)
    runs: dict[str, dict] = {}
    rankings: dict[str, Ranking] = {}
    drawn: dict[str, dict] = {}
    for run in ctx.progress(ranked_runs(vectors), desc="judge", unit="run"):
        val, test = (sides_of(splits[name], vectors[run][name]) for name in ("val", "test"))
        rankings[run] = rank(test)
        on_test, drawn[run] = numbers(rankings[run], test, *draws)
        runs[run] = {"test": on_test, "validation": numbers(rank(val), val, *draws)[0], "reranked": None}
        if rankings[run].queries:
            distance = rerank(test.query, test.gallery, **params.rerank.model_dump())
            runs[run]["reranked"] = numbers(ranking.rank_distances(distance, *test[2:]), test, *draws)[0]
        if len(datasets) > 1:
            parts = {name: sides_of(splits["test"], vectors[run]["test"], i) for i, name in enumerate(datasets)}
            each = {name: numbers(rank(part), part, *draws)[0] for name, part in parts.items()}
            runs[run]["by_dataset"] = {name: part for name, part in each.items() if part["map"] is not None}
    for run, of in runs.items():
        others = [other for other in (*NAIVE, before(run, runs)) if other in runs and other != run]
        of["over"] = {other: lead(of["test"], drawn[run], runs[other]["test"], drawn[other]) for other in others}
    return runs, rankings
