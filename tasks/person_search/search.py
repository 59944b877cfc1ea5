"""Find this person: every query image against every detection of every camera.

Reads    download/<unit>/{frames/, queries/}, index/, calibrate/calibration.json (how often a search errs),
         evaluate/details.json (the leader, and the threshold of pairs where nothing is calibrated),
         train/<leader>/best.pt
Writes   search/search.json             {threshold, network, cameras, queries: {query: what is said of it}, metrics or
                                        why there are none, skipped: images that cannot be read, standing: {camera:
                                        what is detected in one place again and again and is no
                                        known person}, empty: why}
         search/queries.csv             a line a query: who, found or not, where, how sure
         search/<query>/results.json    sightings and, of each camera, the best detection
         search/<query>/results.csv     the most similar detections of all cameras, most similar first; expected_false:
                                        so many would be as similar by chance (judging/strangers.py)
         search/<query>/sheet.png       the query, and the best frame of each camera; for some of the queries
         search/<query>/ranked.jpg      the query, and the most similar people, cut out, each once; for the same queries
         search/<query>/search.mp4      the cameras side by side, the found person marked; for the query or queries
                                        that most cameras saw; search.jpg is the moment in which most of them show it
Alone    python -m tasks person_search-search
Another  python -m flows run person_search --set person_search.search.queries=<a folder or an image>

How similar a detection is: the cosine, times its confidence to the power that validation likes best (calibrate). A
detection at least as similar as the threshold may be the person, in the query's own camera too; below it in all
cameras the person is not found, and that is said. The threshold lets `false_accept_rate` of the searches for somebody
who is not there find one, among as many detections as there are; beside each answer stands, as by_chance, the share of
such searches that would find as much. A frame is called as its source calls it, and has a time only where
the source says one. Where the true boxes are known (truth.csv, and queries called by
Market's names) the search is judged by the rule of the benchmarks, without the query's own camera, beside the true
boxes in place of the detections and beside chance. Nothing is judged where nothing is known.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tasks.person_search.formats import cameras
from tasks.person_search.formats.cameras import Indexed
from tasks.person_search.formats.results import OVERVIEW, RESULTS, overview, ranked, table
from tasks.person_search.importers import queries
from tasks.person_search.importers.queries import Query
from tasks.person_search.judging import calibration, strangers
from tasks.person_search.judging.answers import Yard, answer, is_right, marked_from, together
from tasks.person_search.judging.calibration import Calibration
from tasks.person_search.judging.leader import Leader, leader_of
from tasks.person_search.judging.search_judge import CELLS_AT_ONCE, judged
from tasks.person_search.judging.standing import mark, standing
from tasks.person_search.learning.embed import embed, load_network
from tasks.person_search.page import ranked_crops, search_pictures, search_video
from tasks.person_search.params import Search
from tasks.yard.files import file_hash, read_json, write_json, write_text
from tasks.yard.metrics.rounding import rounded
from tasks.yard.step import BadInput, Context

log = logging.getLogger(__name__)
NOBODY_ASKED = (
    "no camera has an image of whom to find: put some in queries/ of the source, beside its cameras/, "
    "or give person_search.search.queries a folder or an image"
)


def lookalikes(
    similarity: np.ndarray, yard: Yard, threshold: float | None, most: int, gap_s: float
) -> list[dict[str, Any]]:
    """What ranked.jpg shows, of the `most` similar detections."""
    places, hits, alike = [], [], yard.strangers and yard.strangers.level(ranked_crops.SAME_SHARE)
    for row in np.argsort(-similarity, kind="stable")[:most]:
        place = yard.camera_of(row)
        camera, rows, own = yard.indexed[place].camera, yard.indexed[place].rows, row - yard.start[place]
        frame = int(rows["frame"][own])
        places.append(ranked_crops.Place(place, camera.time_s(frame), rows["box"][own], rows["embedding"][own]))
        hits.append({
            "path": camera.files[frame], "box": rows["box"][own].tolist(), "similarity": float(similarity[row]),
            "above": threshold is not None and bool(similarity[row] >= np.float32(threshold)),
            "camera": camera.unit, "spot": camera.spot(frame), "expected_false": yard.expected_false(similarity[row]),
        })  # fmt: skip
    return [{**hits[mine[0]], "times": len(mine)} for mine in ranked_crops.walkers(places, gap_s, alike)]


def shown(answers: Sequence[Mapping[str, Any]], sheets: int, videos: int) -> tuple[list[int], list[int]]:
    """(queries with a sheet, those with a video too): evenly spread ones; those that most cameras saw."""

    def seen(i: int) -> tuple:
        best = max((s["best"]["similarity"] for s in answers[i]["sightings"]), default=-1.0)
        return -len({s["unit"] for s in answers[i]["sightings"]}), -best, answers[i]["query"]

    count = len(answers)
    filmed = sorted(range(count), key=seen)[:videos]
    spread = {int(i) for i in np.linspace(0, count - 1, min(sheets, count)).round()} if sheets and count else set()
    return sorted(spread | set(filmed)), filmed


def tidy(out: Path, keep: Sequence[str]) -> None:
    """Remove the folders of queries that are no longer asked."""
    for path in out.iterdir() if out.is_dir() else ():
        if path.is_dir() and path.name not in keep:
            shutil.rmtree(path)


def tracks_of(
    yard: Yard, query: Query, similarity: np.ndarray, frames: Mapping[str, Mapping[int, Path]]
) -> list[search_video.Track]:
    """What the film of one query shows of each camera."""
    return [
        search_video.Track(
            one.camera.name, one.camera.fps, frames[one.camera.unit], one.rows["frame"], one.rows["box"],
            similarity[yard.start[place] : yard.start[place + 1]], one.rows["confidence"], one.camera.file_of,
            partial(is_right, one, query),
        )
        for place, one in enumerate(yard.indexed)
    ]  # fmt: skip


def nothing(out: Path, why: str) -> dict[str, float]:
    log.warning("%s; nothing is searched", why)
    tidy(out, [])
    write_text(out / "queries.csv", table(OVERVIEW, []))
    write_json(out / "search.json", {
        "empty": why, "cameras": [], "queries": {}, "skipped": [], "wide": [], "metrics": None,
        "metrics_null_because": why,
    })  # fmt: skip
    return {"queries": 0, "cameras": 0}


def flat(metrics: Mapping[str, Any] | None) -> dict[str, float]:
    """What MLflow shows; a number that there is not is left out."""
    if metrics is None:
        return {}
    found = {"detector_recall": metrics["detector_recall"]}
    for name, prefix in (("detector", ""), ("oracle", "oracle_"), ("chance", "chance_")):
        for key in ("map", "top1"):
            found[f"{prefix}{key}"] = (metrics[name] or {}).get(key)
    found["judged_queries"] = (metrics["detector"] or {}).get("queries", 0)
    found |= {key: metrics["open_set"][key] for key in ("found_right", "sightings_right", "said_not_found")}
    return {key: value for key, value in found.items() if value is not None}


def run(
    params: Search,
    out: Path,
    ctx: Context = Context(),
    *,
    download: Path,
    index: Path,
    evaluate: Path,
    train: dict[str, Path],
    calibrate: Path,
) -> dict[str, float]:
    """Returns counts, and where truth is known search mAP and top-1 beside those of the true boxes and of chance.

    Without a camera, or with nobody to find, the result is empty and says so: the cameras are indexed, and can be asked
    tomorrow. Raises `BadInput` if a place named in `search.queries` holds no image.
    """
    about = read_json(index / "index.json")
    if about["empty"]:
        return nothing(out, about["empty"])
    leader = leader_of(evaluate)
    checkpoint = leader.checkpoint(train)
    if about["network_sha256"] != file_hash(checkpoint):
        raise BadInput(f"{index}: made with another network than {checkpoint}; run person_search-index again")
    place = None if params.queries is None else Path(params.queries)
    asked = queries.of_units(download) if place is None else queries.own(place)
    if not asked:
        return nothing(out, NOBODY_ASKED)
    known = calibration.read(calibrate / calibration.FILE)
    return find(params, out, ctx, asked, cameras.read_index(index, download), leader, checkpoint, known)


def threshold_of(params: Search, yard: Yard, leader: Leader) -> tuple[float | None, str]:
    """(from which similarity on somebody is found, how that was chosen or why there is none)."""
    if params.threshold is not None:
        return params.threshold, "person_search.search.threshold"
    found = calibration.threshold_of(yard.known, params.false_accept_rate, len(yard.embedding))
    return found or (leader.threshold, leader.chosen)


def find(
    params: Search, out: Path, ctx: Context, asked: Sequence[Query], indexed: Sequence[Indexed], leader: Leader,
    checkpoint: Path, known: Calibration = calibration.NOTHING,
) -> dict[str, float]:  # fmt: skip
    """Ask for everybody, and write what came of it. Raises `BadInput` if none of the images can be read."""
    yard = together(indexed, known.strangers or leader.strangers or strangers.in_frames(indexed), known)
    network, config = load_network(checkpoint)
    wide = queries.wide(asked)
    asked, crops, skipped = queries.read(ctx.progress(asked, desc="queries", unit="image"), config)
    vectors = embed(network, crops, config)
    threshold, chosen = threshold_of(params, yard, leader)

    answers: list[dict] = []
    step = max(1, CELLS_AT_ONCE // max(len(yard.embedding), 1))
    for i, query in enumerate(ctx.progress(asked, desc="search", unit="query")):
        if i % step == 0:
            block = vectors[i : i + step] @ yard.embedding.T
        similarity = block[i % step]
        answers.append(answer(query, similarity, yard, threshold, chosen, params.gap_s))
        lines = ranked(similarity, yard, threshold, params.results)
        write_text(out / query.key / "results.csv", table(RESULTS, lines))
    still = {one.camera.unit: standing(one) for one in indexed}
    mark(answers, still)
    metrics, why = judged(asked, vectors, indexed, answers, known.weight)
    metrics = rounded(metrics)
    tidy(out, [query.key for query in asked])
    for one in answers:
        write_json(out / one["query"] / "results.json", one)
    write_text(out / "queries.csv", table(OVERVIEW, [overview(one) for one in answers]))

    sheets, films = shown(answers, params.sheet_queries, params.video_queries)
    frames = {one.camera.unit: one.camera.files for one in indexed}
    for i, one in enumerate(answers):
        for name, mine in (("sheet.png", sheets), ("ranked.jpg", sheets), ("search.mp4", films), ("search.jpg", films)):
            if i not in mine:
                (out / one["query"] / name).unlink(missing_ok=True)
    for i in ctx.progress(sheets, desc="sheets", unit="sheet"):
        search_pictures.sheet(out / asked[i].key / "sheet.png", asked[i].path, answers[i], frames)
        alike = lookalikes(vectors[i] @ yard.embedding.T, yard, threshold, params.results, params.gap_s)
        ranked_crops.write(out / asked[i].key / "ranked.jpg", asked[i].path, asked[i].key, answers[i]["says"], alike)
    for i in films:
        similarity = vectors[i] @ yard.embedding.T
        tracks = tracks_of(yard, asked[i], similarity, frames)
        film, level = out / asked[i].key / "search.mp4", threshold
        if level is None:
            level = marked_from(similarity, yard)
        search_video.write(film, asked[i].path, answers[i], tracks, level, params.video_seconds, ctx.progress)
    units = [one.camera.unit for one in indexed]
    write_json(out / "search.json", {
        "empty": None, "network": leader.network, "threshold": threshold, "threshold_from": chosen,
        "cameras": units, "skipped": skipped, "wide": wide, "metrics": metrics, "metrics_null_because": why,
        "expected_false_from": yard.strangers and yard.strangers.of,
        "detections": len(yard.embedding), "calibrated": known.impostors is not None and params.threshold is None,
        "not_calibrated_because": known.null_because,
        "standing": {unit: found for unit, found in still.items() if found},
        "queries": {one["query"]: {"says": one["says"], "found": one["found"]} for one in answers},
        "sheets": [asked[i].key for i in sheets], "videos": [asked[i].key for i in films],
    })  # fmt: skip
    counts = {"queries": len(asked), "cameras": len(units), "detections": len(yard.embedding)}
    if threshold is not None:
        counts["found"] = sum(one["found"] for one in answers)
    return {**counts, **flat(metrics)}
