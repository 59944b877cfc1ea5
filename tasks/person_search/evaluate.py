"""How well each network finds people whom it has never seen, on cameras other than the query's.

Reads    pack/{val,test}.h5 and dataset_config.json; train/<network>/best.pt of each network
Writes   evaluate/metrics/<run>.json   rank-1, mAP and mINP on test, for dvc metrics and for MLflow
         evaluate/details.json   all of it: intervals, re-ranked, by data set, the leader, the matching threshold
         evaluate/embeddings.h5  of the test crops: identity, camera, role, path, and embeddings/<network> (N, D) float32
         evaluate/ranked.png, cmc.png, similarities.png, errors.png
Alone    python -m tasks person_search-evaluate

The leader is the network with the best mAP on the validation people, and on their pairs the threshold is set from which
two images are taken for one person; the test people choose nothing. Runs that nobody trained stand beside: chance, raw
pixels, colour stripes, and each network as it was before training.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from models.person_search.factory import build
from tasks.files import read_json, replacing, write_json
from tasks.person_search import baselines, crops, pictures, ranking, thresholds
from tasks.person_search.crops import GALLERY, QUERY, Split
from tasks.person_search.embed import embed, load_network
from tasks.person_search.params import Evaluate
from tasks.person_search.ranking import Ranking
from tasks.person_search.rerank import rerank
from tasks.step import Context

VERSION = ("v110", "v110")  # as in pack: the bytes do not depend on the library's newest format
UNTRAINED = "-untrained"
BASELINES = ("chance", "raw_pixels", "colour_stripes")
SHOWN_RANKS = 10
EVEN = 1  # seed of the untrained weights and of chance: nothing hangs on it


def sides(split: Split, vectors: np.ndarray, dataset: int | None = None) -> tuple[np.ndarray, ...]:
    """What `ranking.rank` takes: queries, gallery, and whose and from which camera they are."""
    mine = np.full(len(split.role), True) if dataset is None else split.dataset == dataset
    query, gallery = (np.flatnonzero(mine & (split.role == role)) for role in (QUERY, GALLERY))
    who, where = split.identity, split.camera + 1000 * split.dataset  # camera 1 of two data sets is not one camera
    return vectors[query], vectors[gallery], who[query], where[query], who[gallery], where[gallery]


def scored(of: tuple[np.ndarray, ...], params: Evaluate) -> tuple[Ranking, dict[str, Any]]:
    """A ranking and what is told of it: means, and intervals over resampled people."""
    found = ranking.rank(*of)
    people = len(np.unique(of[2][found.used]))
    spread = ranking.intervals(found, of[2], params.bootstrap_replicates, params.bootstrap_seed)
    return found, {**found.numbers(), "people": people, "gallery": len(of[4]), "intervals": spread}


def untrained(config: dict, images: np.ndarray, batch: int) -> np.ndarray:
    """Vectors of the same network before training. Its norms have seen no data, so they see these crops first."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(EVEN)
        network = build(**config["network"])
    network.train()
    with torch.no_grad():
        for part in np.array_split(images, max(1, len(images) // batch)):
            network(crops.normalised(crops.floats(torch.from_numpy(part)), config["mean"], config["std"]))
    return embed(network.eval(), images, config, batch)


def vectors_of(train: dict[str, Path], images: np.ndarray, batch: int, ctx: Context) -> dict[str, np.ndarray]:
    """{run: (N, D)} of every network, trained and not."""
    found = {}
    for name in ctx.progress(sorted(train), desc="embed", unit="network"):
        network, config = load_network(train[name] / "best.pt")
        found[name] = embed(network, images, config, batch)
        found[f"{name}{UNTRAINED}"] = untrained(config, images, batch)
    return found


def naive(images: np.ndarray) -> dict[str, np.ndarray]:
    made = (baselines.chance(images, EVEN), baselines.raw_pixels(images), baselines.colour_stripes(images))
    return dict(zip(BASELINES, made, strict=True))


def matching(val: tuple[np.ndarray, ...], test: tuple[np.ndarray, ...], params: Evaluate, out: Path) -> dict[str, Any]:
    """The threshold from which two images are one person: at the false-accept rate asked for, else where errors meet."""
    on_val, on_test = thresholds.pairs(*val), thresholds.pairs(*test)
    found = thresholds.calibrate(on_val, params.false_accept_rate)
    kind = "at_far" if found["at_far"] else "eer" if found["eer"] else None
    chosen = found[kind]["threshold"] if kind else None
    marks = {f"false accepts {params.false_accept_rate:g}" if kind == "at_far" else "errors meet": chosen}
    curves = {name: thresholds.curve(of) for name, of in (("validation", on_val), ("test", on_test))}
    if kind:
        pictures.similarities(out / "similarities.png", on_test, marks)
        pictures.errors(out / "errors.png", {name: of for name, of in curves.items() if of["threshold"]}, marks)
    told = {
        "at_far": f"false-accept rate {params.false_accept_rate:g} on validation",
        "eer": "equal error rate on validation",
    }
    return {
        "threshold": chosen, "from": told.get(kind), "null_because": found["null_because"],
        "validation": found, "test": thresholds.at_threshold(on_test, chosen),
    }  # fmt: skip


def show_ranking(out: Path, split: Split, names: list[str], of: tuple[np.ndarray, ...], found: Ranking) -> None:
    def people(role: int) -> pictures.People:
        rows = np.flatnonzero(split.role == role)
        return pictures.People(split.images[rows], split.identity[rows], split.camera[rows], [names[i] for i in rows])

    chosen = pictures.chosen_queries(found, worst=4, spread=4, best=2)
    nearest = ranking.top(*of, k=SHOWN_RANKS)
    pictures.ranked_lists(out / "ranked.png", chosen, people(QUERY), people(GALLERY), nearest, found)


def write_embeddings(path: Path, split: Split, names: list[str], vectors: dict[str, np.ndarray]) -> None:
    with replacing(path) as temporary, h5py.File(temporary, "w", libver=VERSION) as file:
        for name, values in (("identity", split.identity), ("camera", split.camera), ("role", split.role)):
            file.create_dataset(name, data=values, track_times=False)
        file.create_dataset("path", data=names, dtype=h5py.string_dtype(), track_times=False)
        for run, values in vectors.items():
            file.create_dataset(f"embeddings/{run}", data=values.astype(np.float32), track_times=False)


def paths_in(file: Path) -> list[str]:
    with h5py.File(file) as held:
        return held["path"].asstr()[:].tolist()


def numbers_of(told: dict) -> dict[str, float]:
    """The few that stand in metrics/<run>.json."""
    found = {key: value for key, value in told["test"].items() if key in ("map", "minp") or key.startswith("rank")}
    if told.get("reranked"):
        found["map_reranked"] = told["reranked"]["map"]
    return {key: round(value, 6) for key, value in found.items() if value is not None}


def run(
    params: Evaluate, out: Path, ctx: Context = Context(), *, pack: Path, train: dict[str, Path]
) -> dict[str, float]:
    """Returns rank-1, mAP and mINP on test by run, and the threshold's errors. Raises `BadInput` for a foreign pack."""
    config = read_json(pack / "dataset_config.json")
    val, test = (crops.load(pack / f"{split}.h5") for split in ("val", "test"))
    names = paths_in(pack / "test.h5")
    (out / "metrics").mkdir(parents=True, exist_ok=True)
    for stale in (*out.glob("*.png"), *(out / "metrics").iterdir()):
        stale.unlink()

    on_test = vectors_of(train, test.images, params.batch, ctx) | naive(test.images)
    on_val = vectors_of(train, val.images, params.batch, ctx) | naive(val.images)
    runs: dict[str, dict] = {}
    rankings: dict[str, Ranking] = {}
    for name in on_test:
        rankings[name], told = scored(sides(test, on_test[name]), params)
        runs[name] = {"test": told, "validation": ranking.rank(*sides(val, on_val[name])).numbers()}
        if name in train and rankings[name].queries:
            query, gallery, *whose = sides(test, on_test[name])
            runs[name]["reranked"] = ranking.rank_distances(
                rerank(query, gallery, **params.rerank.model_dump()), *whose
            ).numbers()
        if name in train and len(config["datasets"]) > 1:
            per = {
                dataset: scored(sides(test, on_test[name], i), params)[1]
                for i, dataset in enumerate(config["datasets"])
            }
            runs[name]["by_dataset"] = {dataset: of for dataset, of in per.items() if of["map"] is not None}
        write_json(out / "metrics" / f"{name}.json", numbers_of(runs[name]))

    judged = {name: score for name in train if (score := runs[name]["validation"]["map"]) is not None}
    leader = max(judged, key=judged.get) if judged else None
    details: dict[str, Any] = {
        "leader": leader, "networks": sorted(train), "baselines": [name for name in runs if name not in train], "runs": runs,
        "leader_null_because": None if leader else config["empty"] or config["missing"].get("val") or "no validation query has a match",
        "test_null_because": None if rankings and any(r.queries for r in rankings.values()) else config["empty"] or config["missing"].get("test") or "no test query has a match",
    }  # fmt: skip
    if leader is None:
        details["threshold"] = {"threshold": None, "from": None, "null_because": details["leader_null_because"]}
    else:
        of = sides(test, on_test[leader])
        details["threshold"] = matching(sides(val, on_val[leader]), of, params, out)
        if rankings[leader].queries:
            show_ranking(out, test, names, of, rankings[leader])
    if any(ranked.queries for ranked in rankings.values()):
        pictures.cmc(out / "cmc.png", rankings, details["baselines"])
    write_embeddings(out / "embeddings.h5", test, names, {name: on_test[name] for name in sorted(train)})
    write_json(out / "details.json", details)
    found = {f"test/{name}/{key}": value for name in runs for key, value in numbers_of(runs[name]).items()}
    for key in ("far", "frr"):
        if (value := details["threshold"].get("test", {}).get(key)) is not None:
            found[f"threshold/test_{key}"] = round(value, 6)
    return found
