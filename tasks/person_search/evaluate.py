"""How well each network finds people whom it has never seen, on cameras other than the query's.

Reads    pack/{val,test}.h5 and dataset_config.json; train/<network>/best.pt of every network, and its start.pt if given
         weights were what training started from
Writes   evaluate/metrics/<run>.json   rank-1, mAP, mINP and mAP re-ranked on test: a row a run in `dvc metrics show`
         evaluate/details.json         all numbers: counts, intervals, re-ranked, by data set, leads over the baselines,
                                       the leader, the matching threshold, and the reason of each null
         evaluate/embeddings.h5        of the test crops, in the order of pack/test.h5: identity int32 (N), -1 a
                                       distractor; camera int32; role uint8, 1 query, 2 gallery; dataset int32, place in
                                       the attribute `datasets`; path utf-8; embeddings/<network> float32 (N, D), each
                                       of length 1, so that a product of two is their cosine
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

import h5py
import numpy as np
import pandas as pd
import torch
from torch import nn

from models.person_search.factory import build
from tasks.person_search.formats import crops
from tasks.person_search.formats.crops import GALLERY, QUERY, Split
from tasks.person_search.judging import baselines, judge, ranking, thresholds
from tasks.person_search.judging.judge import Sides
from tasks.person_search.judging.ranking import RANKS, Ranking
from tasks.person_search.judging.rerank import rerank
from tasks.person_search.judging.runs import CHANCE, NAIVE, START, UNTRAINED, before, leader, ranked_runs
from tasks.person_search.learning.embed import accelerator, embed, load_network
from tasks.person_search.page import pictures
from tasks.person_search.params import Evaluate
from tasks.yard.files import read_json, replacing, write_json, write_table
from tasks.yard.metrics.rounding import as_metrics, rounded
from tasks.yard.params import Reporting
from tasks.yard.step import BadInput, Context

log = logging.getLogger(__name__)
VERSION = ("v110", "v110")  # as in pack: the bytes do not depend on the library's newest format
SPLITS = ("val", "test")
SEED = 1  # of chance and of untrained weights
NORM_CROPS = 64  # whose statistics an untrained network's norms take: without any it would be needlessly poor
CMC_RANKS, LIST_RANKS = 20, 10
LISTED = {"worst": 4, "spread": 4, "best": 2}  # queries on the sheet of ranked lists
SHOWN = ("rank1", "map", "minp")
Vectors = dict[str, dict[str, np.ndarray]]  # run -> split -> (N, D)


def untrained(config: dict, images: np.ndarray) -> nn.Module:
    """The network with random weights; its norms have seen one batch."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = build(**config["network"])
    some = crops.floats(torch.from_numpy(images[:NORM_CROPS])).double()  # sums that no number of threads changes
    if len(some) > 1:
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = 1.0
        with torch.inference_mode():
            network.double().train()(crops.normalised(some, config["mean"], config["std"]))
    return network.float().to(accelerator(), memory_format=torch.channels_last).eval()


def before_and_after(name: str, folder: Path, images: np.ndarray) -> dict[str, tuple[Path, nn.Module, dict]]:
    """{run: (file, network, what it was made from)}, trained and as it was before."""
    best, start = folder / "best.pt", folder / "start.pt"
    trained = best, *load_network(best, accelerator())
    if start.exists():
        return {name: trained, f"{name}{START}": (start, *load_network(start, accelerator()))}
    return {name: trained, f"{name}{UNTRAINED}": (best, untrained(trained[2], images), trained[2])}


def network_vectors(train: Mapping[str, Path], splits: Mapping[str, Split], batch: int, ctx: Context) -> Vectors:
    """Of every network, trained and before. Raises `BadInput` for crops of another size than it was trained on."""
    found: Vectors = {}
    seen = max((splits[name].images for name in SPLITS), key=len)
    total = 2 * len(train) * sum(len(split.images) for split in splits.values())
    with ctx.progress(total=total, desc="embed", unit="crop") as bar:
        for name, folder in sorted(train.items()):
            for run, (file, made, config) in before_and_after(name, folder, seen).items():
                found[run] = {}
                for split, held in splits.items():
                    parts = [np.empty((0, made.feature_dim), np.float32)]
                    for start in range(0, len(held.images), batch):
                        part = held.images[start : start + batch]
                        try:
                            parts.append(embed(made, part, config, batch))
                        except BadInput as error:
                            raise BadInput(f"{file}: {error}") from None
                        bar.update(len(part))
                    vectors = np.concatenate(parts)
                    if not np.isfinite(vectors).all():
                        raise BadInput(f"{file}: gives NaN or infinity: the training diverged; train again")
                    found[run][split] = vectors
    return found


def naive_vectors(splits: Mapping[str, Split]) -> Vectors:
    made = {
        CHANCE: lambda images: baselines.chance(images, SEED),
        "raw_pixels": baselines.raw_pixels,
        "colour_stripes": baselines.colour_stripes,
    }
    return {run: {name: made[run](split.images) for name, split in splits.items()} for run in NAIVE}


def learnt(config: dict, pack: dict) -> list[str]:
    """Data sets of today's pack whose people a network has trained on. One with nobody in train was only judged on."""
    with_people = {person.rpartition(":")[0] for person in pack["identities"]["train"]}
    return [name for name in pack["datasets"] if name in config["datasets"] and name in with_people]


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
        of = {name: judge.sides(splits[name], vectors[run][name]) for name in SPLITS}
        rankings[run] = judge.rank(of["test"])
        test, drawn[run] = judge.numbers(rankings[run], of["test"], *draws)
        runs[run] = {"test": test, "validation": judge.numbers(judge.rank(of["val"]), of["val"], *draws)[0]}
        runs[run]["reranked"] = None
        if rankings[run].queries:
            distance = rerank(of["test"].query, of["test"].gallery, **params.rerank.model_dump())
            again = ranking.rank_distances(distance, *of["test"][2:])
            runs[run]["reranked"] = judge.numbers(again, of["test"], *draws)[0]
        if len(datasets) > 1:
            parts = {name: judge.sides(splits["test"], vectors[run]["test"], i) for i, name in enumerate(datasets)}
            each = {name: judge.numbers(judge.rank(part), part, *draws)[0] for name, part in parts.items()}
            runs[run]["by_dataset"] = {name: found for name, found in each.items() if found["map"] is not None}
    for run in runs:
        others = [other for other in (*NAIVE, before(run, runs)) if other in runs and other != run]
        runs[run]["over"] = {
            other: judge.lead(runs[run]["test"], drawn[run], runs[other]["test"], drawn[other]) for other in others
        }
    return runs, rankings


def matched(
    params: Evaluate, name: str, splits: Mapping[str, Split], vectors: Vectors, datasets: list[str], out: Path
) -> dict[str, Any]:
    """The leader's threshold, with its pictures, and beside it what the baselines' own thresholds would be worth."""

    def pairs_of(run: str) -> dict[str, list[thresholds.Pairs]]:
        return {split: judge.pairs(splits[split], vectors[run][split], len(datasets)) for split in SPLITS}

    each = pairs_of(name)
    held = {split: thresholds.together(parts) for split, parts in each.items()}
    found = judge.matching(held["val"], held["test"], params.false_accept_rate)
    marks = {
        label: found["validation"][kind]["threshold"]
        for kind, label in (("eer", "equal errors"), ("at_far", f"false accepts {params.false_accept_rate:g}"))
        if found["validation"][kind]
    }
    curves = {split: thresholds.curve(held[key]) for split, key in (("validation", "val"), ("test", "test"))}
    curves = {split: curve for split, curve in curves.items() if curve["threshold"]}
    if curves:
        shown = held["test"] if "test" in curves else held["val"]
        pictures.similarities(out / "similarities.png", shown, marks)
        pictures.errors(out / "errors.png", curves, marks)
    tables = [
        pd.DataFrame({"split": split, **dict(zip(("threshold", "false_accepts", "false_rejects"), curve.values()))})
        for split, curve in curves.items()
    ]
    columns = ["split", "threshold", "false_accepts", "false_rejects"]
    write_table(out / "plots" / "errors.csv", pd.concat(tables) if tables else pd.DataFrame(columns=columns))
    found["shown"] = "test" if "test" in curves else "validation" if curves else None
    found["by_dataset"] = {}
    if found["threshold"] is not None and len(datasets) > 1:
        rates = {part: judge.checked(of, found["threshold"]) for part, of in zip(datasets, each["test"], strict=True)}
        found["by_dataset"] = {part: of for part, of in rates.items() if of["same_pairs"] or of["different_pairs"]}
    found["baselines"] = {}
    for run in filter(None, (*NAIVE, before(name, vectors))):
        other = {split: thresholds.together(parts) for split, parts in pairs_of(run).items()}
        found["baselines"][run] = judge.matching(other["val"], other["test"], params.false_accept_rate)
    return found


def cmc_table(rankings: Mapping[str, Ranking]) -> pd.DataFrame:
    ranks = range(1, CMC_RANKS + 1)
    shares = {run: found.cmc_curve(CMC_RANKS) for run, found in rankings.items() if found.queries}
    rows = [(run, rank, share) for run, curve in shares.items() for rank, share in zip(ranks, curve)]
    return pd.DataFrame(rows, columns=["run", "rank", "share"])


def draw_lists(path: Path, split: Split, paths: list[str], of: Sides, found: Ranking) -> None:
    def people(role: int) -> pictures.People:
        rows = judge.rows_of(split, role)
        return pictures.People(split.images[rows], split.identity[rows], split.camera[rows], [paths[i] for i in rows])

    nearest = ranking.top(*of, k=LIST_RANKS)
    chosen = pictures.chosen_queries(found, **LISTED)
    pictures.ranked_lists(path, chosen, people(QUERY), people(GALLERY), nearest, found)


def paths_in(file: Path) -> list[str]:
    with h5py.File(file) as held:
        return held["path"].asstr()[:].tolist()


def write_embeddings(
    path: Path, split: Split, paths: list[str], datasets: list[str], vectors: dict[str, np.ndarray]
) -> None:
    encoded = [name.encode() for name in paths]
    columns = {name: getattr(split, name) for name in ("identity", "camera", "role", "dataset")}
    columns["path"] = np.array(encoded, h5py.string_dtype("utf-8", max(map(len, encoded), default=1)))
    with replacing(path) as temporary, h5py.File(temporary, "w", libver=VERSION) as file:
        file.attrs["datasets"] = datasets or [""]
        file.attrs["role"] = "1 query, 2 gallery"
        file.attrs["embeddings"] = "(crops, length) float32 of each network, every row of length 1"
        for name, values in columns.items():
            file.create_dataset(name, data=values, track_times=False)
        for run, values in vectors.items():
            file.create_dataset(f"embeddings/{run}", data=values.astype(np.float32), track_times=False)


def shown_numbers(of: dict) -> dict[str, float | None]:
    """What metrics/<run>.json says."""
    return {name: of["test"][name] for name in SHOWN} | {"map_reranked": (of["reranked"] or {}).get("map")}


def as_metric(dataset: str) -> str:
    """A name as MLflow takes it in that of a metric."""
    return "".join(c if c.isalnum() or c in "_-. " else "_" for c in dataset)


def flat(details: dict) -> dict[str, float]:
    """What MLflow shows, by run; what cannot be computed is left out."""
    metrics = [f"rank{k}" for k in RANKS] + ["map", "minp"]
    found: dict[str, float | None] = {}
    for run, of in details["runs"].items():
        found |= {f"test/{run}/{name}": of["test"][name] for name in metrics}
        found |= {f"test/{run}/reranked/{name}": (of["reranked"] or {}).get(name) for name in ("rank1", "map")}
        found |= {f"validation/{run}/{name}": of["validation"][name] for name in ("rank1", "map")}
        for dataset, part in of.get("by_dataset", {}).items():
            found |= {f"test/{run}/{as_metric(dataset)}/{name}": part[name] for name in ("rank1", "map")}
        if run not in details["baselines"]:
            found |= {f"test/{run}/{name}": of["test"][name] for name in ("queries", "people", "gallery")}
    of = details["threshold"]
    found["threshold"] = of["threshold"]
    for kind in ("eer", "at_far"):
        found |= {f"threshold/{kind}/test_{rate}": (of["test"][kind] or {}).get(rate) for rate in ("far", "frr")}
    for dataset, part in of["by_dataset"].items():
        found |= {f"threshold/{as_metric(dataset)}/test_{rate}": part[rate] for rate in ("far", "frr")}
    return as_metrics(found)


def no_threshold(why: str | None) -> dict[str, Any]:
    return {
        "threshold": None, "kind": None, "from": None, "null_because": why, "validation": None,
        "test": {"eer": None, "at_far": None}, "by_dataset": {}, "baselines": {}, "shown": None,
    }  # fmt: skip


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
    held = {name: folder for name, folder in train.items() if (folder / "best.pt").exists()}
    if not held:
        raise BadInput(f"none of {', '.join(train)} has a best.pt to evaluate; run person_search-train first")
    config = read_json(pack / "dataset_config.json")
    splits = {name: crops.load(pack / f"{name}.h5") for name in SPLITS}
    paths = paths_in(pack / "test.h5")
    for stale in [*out.glob("*.png"), *(out / "metrics").glob("*.json"), *(out / "plots").glob("*.csv")]:
        stale.unlink()  # of runs, or of a leader, that are no longer there

    vectors = naive_vectors(splits) | network_vectors(held, splits, params.batch, ctx)
    runs, rankings = judged(params, reporting_params, splits, vectors, config["datasets"], ctx)
    for name, folder in held.items():
        runs[name]["learnt"] = learnt(load_network(folder / "best.pt")[1], config)
    name, how = leader({name: runs[name]["validation"]["map"] for name in sorted(held)})
    some = runs[next(iter(held))]
    why = {split: why_nothing(config, key, some[split]) for split, key in (("validation", "val"), ("test", "test"))}
    for split, reason in why.items():
        if reason:
            log.warning("nothing to judge on in %s: %s", split, reason)
    details: dict[str, Any] = {
        "leader": name, "leader_from": how,
        "leader_null_because": None if name else f"several networks, and none could be judged: {why['validation']}",
        "networks": sorted(held), "baselines": [run for run in runs if run not in held], "datasets": config["datasets"],
        "rerank": params.rerank.model_dump(), "runs": runs,
        "validation_null_because": why["validation"], "test_null_because": why["test"],
        "threshold": no_threshold(why["validation"]),
    }  # fmt: skip
    if name:
        details["threshold"] = matched(params, name, splits, vectors, config["datasets"], out)
    if name and rankings[name].queries:
        draw_lists(
            out / "ranked.png",
            splits["test"],
            paths,
            judge.sides(splits["test"], vectors[name]["test"]),
            rankings[name],
        )
    if any(found.queries for found in rankings.values()):
        pictures.cmc(out / "cmc.png", rankings, details["baselines"], CMC_RANKS)
    write_table(out / "plots" / "cmc.csv", cmc_table(rankings))
    mine = {run: vectors[run]["test"] for run in sorted(held)}
    write_embeddings(out / "embeddings.h5", splits["test"], paths, config["datasets"], mine)
    write_json(out / "details.json", rounded(details))
    for run, of in runs.items():
        write_json(out / "metrics" / f"{run}.json", rounded(shown_numbers(of)))
    return flat(details)
