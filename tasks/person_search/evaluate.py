"""How well each network finds people whom it has never seen, on cameras other than the query's.

Reads    pack/{val,test}.h5 and dataset_config.json; train/<network>/best.pt of every network, and its start.pt if given
         weights were what training started from
Writes   evaluate/metrics/<run>.json   rank-1, mAP, mINP and mAP re-ranked on test
         evaluate/details.json         all numbers: counts, intervals, re-ranked, by data set, leads over the baselines,
                                       the leader, the matching threshold, and the reason of each null
         evaluate/embeddings.h5        of the test crops, as formats/embeddings.py says
         evaluate/plots/*.csv          CMC, and errors over the threshold, for `dvc plots show`
         evaluate/{ranked,cmc,similarities,errors}.png
Alone    python -m tasks person_search-evaluate

The leader is the network with the best mAP on the validation people, and on their pairs its threshold is set; the test
people choose nothing. Runs that training had no part in stand beside it: chance, raw pixels, colour stripes, and each
network as it was before, <network>-start with the weights it was given, else <network>-untrained with random ones.
Where there is nobody to find the numbers are null, with the reason.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.person_search.formats import crops, embeddings
from tasks.person_search.formats.crops import GALLERY, QUERY, Split
from tasks.person_search.judging import matching, ranking, thresholds
from tasks.person_search.judging.ranking import RANKS, Ranking
from tasks.person_search.judging.runs import NAIVE, before
from tasks.person_search.judging.scores import judged
from tasks.person_search.judging.sides import Sides, rows_of, sides_of
from tasks.person_search.judging.thresholds import Pairs
from tasks.person_search.judging.vectors import Vectors, naive_vectors, network_vectors
from tasks.person_search.learning.embed import load_network
from tasks.person_search.page import pictures
from tasks.person_search.params import Evaluate
from tasks.yard.files import read_json, write_json, write_table
from tasks.yard.metrics.leader import leader
from tasks.yard.metrics.rounding import as_metrics, rounded
from tasks.yard.params import Reporting
from tasks.yard.reporting import charts
from tasks.yard.step import BadInput, Context

log = logging.getLogger(__name__)
SPLITS = ("val", "test")
CMC_RANKS, LIST_RANKS = 20, 10
LISTED = {"worst": 4, "spread": 4, "best": 2}  # queries on the sheet of ranked lists
SHOWN = ("rank1", "map", "minp")
RATES = ("threshold", "false_accepts", "false_rejects")  # columns of plots/errors.csv


def learnt(config: dict, pack: dict) -> list[str]:
    """Data sets of today's pack whose people a network has trained on. One with nobody in train was only judged on."""
    with_people = {person.rpartition(":")[0] for person in pack["identities"]["train"]}
    return [name for name in pack["datasets"] if name in config["datasets"] and name in with_people]


def threshold_of(
    params: Evaluate, run: str, splits: Mapping[str, Split], vectors: Vectors, datasets: list[str], out: Path
) -> dict[str, Any]:
    """The leader's threshold, with its pictures, and beside it what the baselines' own thresholds would be worth."""
    pairs = matching.pairs_of(splits, vectors[run], len(datasets))
    whole = matching.together(pairs)
    details = matching.matched(pairs, whole, datasets, params.false_accept_rate)
    details["shown"] = draw_threshold(out, whole, details, params.false_accept_rate)
    details["baselines"] = {}
    for other in filter(None, (*NAIVE, before(run, vectors))):
        theirs = matching.together(matching.pairs_of(splits, vectors[other], len(datasets)))
        details["baselines"][other] = matching.matching(theirs["val"], theirs["test"], params.false_accept_rate)
    return details


def draw_threshold(out: Path, pairs: Mapping[str, Pairs], details: dict, far_target: float) -> str | None:
    """Pictures and table of the errors over the threshold. Returns the split whose similarities are shown, if any."""
    on_val, marks = details["validation"], {}
    if on_val["eer"]:
        marks["equal errors"] = on_val["eer"]["threshold"]
    if on_val["at_far"]:
        marks[f"false accepts {far_target:g}"] = on_val["at_far"]["threshold"]
    curves = {"validation": thresholds.curve(pairs["val"]), "test": thresholds.curve(pairs["test"])}
    curves = {split: curve for split, curve in curves.items() if curve["threshold"]}
    tables = [
        pd.DataFrame({"split": split, **dict(zip(RATES, curve.values(), strict=True))})
        for split, curve in curves.items()
    ]
    empty = pd.DataFrame(columns=["split", *RATES])
    write_table(out / "plots" / "errors.csv", pd.concat(tables) if tables else empty)
    if not curves:
        return None
    shown = "test" if "test" in curves else "validation"
    of_shown = pairs["test" if shown == "test" else "val"]
    charts.save(out / "similarities.png", lambda: pictures.similarities(of_shown, marks))
    charts.save(out / "errors.png", lambda: pictures.errors(curves, marks))
    return shown


def cmc_table(rankings: Mapping[str, Ranking]) -> pd.DataFrame:
    shares = {run: ranked.cmc_curve(CMC_RANKS) for run, ranked in rankings.items() if ranked.queries}
    rows = [(run, rank, share) for run, curve in shares.items() for rank, share in enumerate(curve, 1)]
    return pd.DataFrame(rows, columns=["run", "rank", "share"])


def draw_lists(path: Path, split: Split, paths: list[str], sides: Sides, ranked: Ranking) -> None:
    def people(role: int) -> pictures.People:
        rows = rows_of(split, role)
        return pictures.People(split.images[rows], split.identity[rows], split.camera[rows], [paths[i] for i in rows])

    nearest = ranking.top(*sides, k=LIST_RANKS)
    chosen = pictures.chosen_queries(ranked, **LISTED)
    pictures.ranked_lists(path, chosen, people(QUERY), people(GALLERY), nearest, ranked)


def shown_numbers(of: dict) -> dict[str, float | None]:
    """What metrics/<run>.json says."""
    return {name: of["test"][name] for name in SHOWN} | {"map_reranked": (of["reranked"] or {}).get("map")}


def as_name(dataset: str) -> str:
    """A data set as MLflow takes it in the name of a metric."""
    return "".join(c if c.isalnum() or c in "_-. " else "_" for c in dataset)


def flat(details: dict) -> dict[str, float]:
    """What MLflow shows, by run; what cannot be computed is left out."""
    numbers: dict[str, float | None] = {}
    for run, of in details["runs"].items():
        numbers |= {f"test/{run}/{name}": of["test"][name] for name in (*(f"rank{k}" for k in RANKS), "map", "minp")}
        numbers |= {f"test/{run}/reranked/{name}": (of["reranked"] or {}).get(name) for name in ("rank1", "map")}
        numbers |= {f"validation/{run}/{name}": of["validation"][name] for name in ("rank1", "map")}
        for dataset, part in of.get("by_dataset", {}).items():
            numbers |= {f"test/{run}/{as_name(dataset)}/{name}": part[name] for name in ("rank1", "map")}
        if run not in details["baselines"]:
            numbers |= {f"test/{run}/{name}": of["test"][name] for name in ("queries", "people", "gallery")}
    of = details["threshold"]
    numbers["threshold"] = of["threshold"]
    for kind in ("eer", "at_far"):
        numbers |= {f"threshold/{kind}/test_{rate}": (of["test"][kind] or {}).get(rate) for rate in ("far", "frr")}
    for dataset, part in of["by_dataset"].items():
        numbers |= {f"threshold/{as_name(dataset)}/test_{rate}": part[rate] for rate in ("far", "frr")}
    return as_metrics(numbers)


def why_nothing(config: dict, split: str, of: dict) -> str | None:
    """Why a split could not be judged on: what pack says of it, else what the ranking does; None if it could."""
    if of["null_because"] is None:
        return None
    return config.get("empty") or config.get("missing", {}).get(split) or of["null_because"]


def run(
    params: Evaluate,
    out: Path,
    ctx: Context = Context(),
    *,
    pack: Path,
    train: dict[str, Path],
    reporting_params: Reporting,
) -> dict[str, float]:
    """Returns the main metrics, flat: {"test/<run>/map": ...}; what cannot be computed is left out of them."""
    networks = {name: folder for name, folder in train.items() if (folder / "best.pt").exists()}
    if not networks:
        raise BadInput(f"none of {', '.join(train)} has a best.pt to evaluate; run person_search-train first")
    config = read_json(pack / "dataset_config.json")
    splits = {name: crops.load(pack / f"{name}.h5") for name in SPLITS}
    paths = crops.paths(pack / "test.h5")
    for stale in [*out.glob("*.png"), *(out / "metrics").glob("*.json"), *(out / "plots").glob("*.csv")]:
        stale.unlink()  # of runs, or of a leader, that are no longer there

    vectors = naive_vectors(splits) | network_vectors(networks, splits, params.batch, ctx)
    runs, rankings = judged(params, reporting_params, splits, vectors, config["datasets"], ctx)
    for name, folder in networks.items():
        runs[name]["learnt"] = learnt(load_network(folder / "best.pt")[1], config)
    on_val = {name: runs[name]["validation"]["map"] for name in sorted(networks)}
    best, how = leader(on_val, "best mAP on the validation people")
    some = runs[next(iter(networks))]
    why = {split: why_nothing(config, key, some[split]) for split, key in (("validation", "val"), ("test", "test"))}
    for split, reason in why.items():
        if reason:
            log.warning("nothing to judge on in %s: %s", split, reason)
    details: dict[str, Any] = {
        "leader": best, "leader_from": how,
        "leader_null_because": None if best else f"several networks, and none could be judged: {why['validation']}",
        "networks": sorted(networks), "baselines": [run for run in runs if run not in networks],
        "datasets": config["datasets"], "rerank": params.rerank.model_dump(), "runs": runs,
        "validation_null_because": why["validation"], "test_null_because": why["test"],
        "threshold": matching.no_threshold(why["validation"]),
    }  # fmt: skip
    if best:
        details["threshold"] = threshold_of(params, best, splits, vectors, config["datasets"], out)
    if best and rankings[best].queries:
        sides = sides_of(splits["test"], vectors[best]["test"])
        draw_lists(out / "ranked.png", splits["test"], paths, sides, rankings[best])
    if any(ranked.queries for ranked in rankings.values()):
        charts.save(out / "cmc.png", lambda: pictures.cmc(rankings, details["baselines"], CMC_RANKS))
    write_table(out / "plots" / "cmc.csv", cmc_table(rankings))
    on_test = {name: vectors[name]["test"] for name in sorted(networks)}
    embeddings.write(out / "embeddings.h5", splits["test"], paths, config["datasets"], on_test)
    write_json(out / "details.json", rounded(details))
    for name, of in runs.items():
        write_json(out / "metrics" / f"{name}.json", rounded(shown_numbers(of)))
    return flat(details)
