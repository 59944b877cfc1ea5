"""Find this person: every query image against every detection of every camera.

Reads    download/<unit>/{frames/, queries/}, index/, evaluate/details.json (the threshold), train/<leader>/best.pt
Writes   search/search.json             {threshold, network, cameras, queries: {query: what is said of it}, metrics or
                                        why there are none, skipped: images that cannot be read, standing: {camera:
                                        what is detected in one place again and again and is no
                                        known person}, empty: why}
         search/queries.csv             a line a query: who, found or not, where, how sure
         search/<query>/results.json    sightings and, of each camera, the best detection
         search/<query>/results.csv     the most similar detections of all cameras, most similar first
         search/<query>/sheet.png       the query, and the best frame of each camera; for some of the queries
         search/<query>/search.mp4      the cameras side by side, the found person marked; for the query or queries
                                        that most cameras saw; search.jpg is the moment in which most of them show it
Alone    python -m tasks person_search-search
Another  python -m flows run person_search --set person_search.search.queries=<a folder or an image>

A detection at least as similar as the threshold may be the person, in the query's own camera too; below it in all
cameras the person is not found, and that is said. A frame is called as its source calls it, and has a time only where
the source says one. Where the true boxes are known (truth.csv, and queries called by
Market's names) the search is judged by the rule of the benchmarks, without the query's own camera, beside the true
boxes in place of the detections and beside chance. Nothing is judged where nothing is known.
"""

from __future__ import annotations

import csv
import io
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tasks.person_search.formats import cameras
from tasks.person_search.formats.cameras import Indexed
from tasks.person_search.importers import queries
from tasks.person_search.importers.queries import Query
from tasks.person_search.judging.leader import leader_of
from tasks.person_search.judging.search_judge import CELLS_AT_ONCE, IOU, judged
from tasks.person_search.judging.search_metrics import ious
from tasks.person_search.judging.sightings import Sighting, sightings
from tasks.person_search.judging.standing import mark, standing
from tasks.person_search.learning.embed import embed, load_network
from tasks.person_search.page import search_pictures, search_video
from tasks.person_search.params import Search
from tasks.yard.files import file_hash, read_json, write_json, write_text
from tasks.yard.metrics.rounding import rounded
from tasks.yard.step import BadInput, Context

log = logging.getLogger(__name__)
NOBODY_ASKED = (
    "no camera has an image of whom to find: put some in queries/ of the source, beside its cameras/, "
    "or give person_search.search.queries a folder or an image"
)
RESULTS = [
    "rank", "unit", "camera", "name", "frame", "file", "time_s", "x1", "y1", "x2", "y2", "confidence", "similarity",
    "above",
]  # fmt: skip
OVERVIEW = [
    "query", "person", "found", "cameras", "cameras_right", "sightings", "best_similarity", "best_unit", "best_frame",
    "best_file", "best_time_s", "ap", "image",
]  # fmt: skip


@dataclass(frozen=True)
class Yard:
    """All detections of all cameras, one after the other."""

    indexed: Sequence[Indexed]
    start: np.ndarray  # (cameras + 1): the detections of camera i are start[i] .. start[i + 1] - 1
    embedding: np.ndarray  # (N, D)

    def camera_of(self, row: int) -> int:
        return int(np.searchsorted(self.start, row, side="right")) - 1


def together(indexed: Sequence[Indexed]) -> Yard:
    start = np.cumsum([0, *(len(one.rows["frame"]) for one in indexed)])
    return Yard(indexed, start, np.concatenate([one.rows["embedding"] for one in indexed]))


def box_of(box: np.ndarray) -> list[float]:
    return [round(float(value), 2) for value in box]


def is_there(one: Indexed, query: Query) -> bool | None:
    """Is the query's person seen by this camera? None where nobody knows."""
    if one.oracle is None or query.person is None:
        return None
    return query.dataset == one.camera.dataset and bool((one.oracle["identity"] == query.person).any())


def is_right(one: Indexed, query: Query, row: int) -> bool | None:
    """Is this detection on a true box of the query's person? None where nobody knows."""
    there = is_there(one, query)
    if not there:
        return there
    true = one.oracle["box"][(one.oracle["frame"] == one.rows["frame"][row]) & (one.oracle["identity"] == query.person)]
    box = np.broadcast_to(one.rows["box"][row], true.shape)
    return bool((ious(true, box) >= IOU).any())


def hit(one: Indexed, query: Query, row: int, similarity: np.ndarray, threshold: float | None) -> dict[str, Any]:
    """What is said of one detection of one camera."""
    frame = int(one.rows["frame"][row])
    return {
        "frame": frame, "file": one.camera.file_of(frame), "time_s": one.camera.time_s(frame),
        "spot": one.camera.spot(frame), "box": box_of(one.rows["box"][row]),
        "confidence": round(float(one.rows["confidence"][row]), 4), "similarity": round(float(similarity[row]), 6),
        "above": None if threshold is None else bool(similarity[row] >= np.float32(threshold)),
        "right": is_right(one, query, row),
    }  # fmt: skip


def sighting(
    one: Indexed, query: Query, seen: Sighting, similarity: np.ndarray, threshold: float | None
) -> dict[str, Any]:
    frames = one.rows["frame"][seen.rows]
    first, last = int(frames[0]), int(frames[-1])
    return {
        "unit": one.camera.unit, "camera": one.camera.number, "name": one.camera.name, "from_frame": first,
        "to_frame": last, "from_s": one.camera.time_s(first), "to_s": one.camera.time_s(last), "frames": len(frames),
        "best": hit(one, query, seen.best, similarity, threshold),
    }  # fmt: skip


def nearest_of(best: Sequence[dict]) -> dict[str, Any] | None:
    """Of each camera's best detection the most similar one, with its unit."""
    held = [one["best"] | {"unit": one["unit"]} for one in best if one["best"]]
    return max(held, key=lambda hit: hit["similarity"], default=None)


def said(found: Sequence[dict], best: Sequence[dict], threshold: float | None, why: str) -> str:
    """The answer in a sentence."""
    nearest = nearest_of(best)
    if nearest is None:
        return f"not found: nobody was detected in {len(best)} cameras"
    near = f"{nearest['similarity']:.3f}, in {nearest['unit']}, {nearest['spot']}"
    if threshold is None:
        return f"ranked only, for there is no threshold ({why}): the most similar is {near}"
    if not found:
        return f"not found in {len(best)} cameras: the most similar is {near}, below the threshold of {threshold:.3f}"
    names = list(dict.fromkeys(one["unit"] for one in found))
    wrong = [one["unit"] for one in best if one["unit"] in names and one["best"]["right"] is False]
    right = [name for name in names if name not in wrong]
    others = f"another person is taken for them in {len(wrong)}, {', '.join(wrong)}"
    if not right:
        return f"found in none of {len(best)} cameras: {others}; the most similar is {near}"
    text = f"found in {len(right)} of {len(best)} cameras, {', '.join(right)}"
    return f"{text}; {others + '; ' if wrong else ''}the most similar is {near}"


def answer(
    query: Query, similarity: np.ndarray, yard: Yard, threshold: float | None, why: str, gap_s: float
) -> dict[str, Any]:
    """What results.json says of one query, from its similarities (N) with all detections.

    found: somebody is as similar as the threshold asks; right: this is the person, as far as anybody knows.
    """
    best, found = [], []
    for place, one in enumerate(yard.indexed):
        mine = similarity[yard.start[place] : yard.start[place + 1]]
        camera = one.camera
        top = hit(one, query, int(mine.argmax()), mine, threshold) if len(mine) else None
        own = query.camera == camera.number and query.dataset == camera.dataset
        best.append({
            "unit": camera.unit, "camera": camera.number, "name": camera.name, "own": own,
            "there": is_there(one, query), "best": top,
        })  # fmt: skip
        if threshold is not None:
            seen = sightings(one.rows["frame"], mine, threshold=threshold, fps=camera.fps, gap_s=gap_s)
            found += [sighting(one, query, each, mine, threshold) for each in seen]
    found.sort(key=lambda each: (-each["best"]["similarity"], each["unit"], each["from_frame"]))
    return {
        "query": query.key, "image": query.shown, "dataset": query.dataset, "person": query.person,
        "camera": query.camera, "threshold": None if threshold is None else round(threshold, 6),
        "found": None if threshold is None else bool(found), "says": said(found, best, threshold, why),
        "sightings": found, "cameras": best,
    }  # fmt: skip


def table(columns: Sequence[str], rows: Sequence[Sequence]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([columns, *rows])
    return text.getvalue()


def cell(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def ranked(similarity: np.ndarray, yard: Yard, threshold: float | None, most: int) -> list[list]:
    """The lines of results.csv; of equals the one that comes first."""
    most = min(most, len(similarity))
    near = np.argpartition(-similarity, most - 1)[:most] if most else np.empty(0, np.int64)
    ties = np.flatnonzero(similarity == similarity[near].min()) if most else near
    near = np.unique(np.concatenate([near, ties]))
    lines = []
    for rank, row in enumerate(near[np.argsort(-similarity[near], kind="stable")][:most], start=1):
        place = yard.camera_of(row)
        one, own = yard.indexed[place], row - yard.start[place]
        frame = int(one.rows["frame"][own])
        above = "" if threshold is None else int(similarity[row] >= np.float32(threshold))
        lines.append([
            rank, one.camera.unit, one.camera.number, one.camera.name, frame, one.camera.file_of(frame),
            cell(one.camera.time_s(frame), 3),
            *(f"{value:.2f}" for value in one.rows["box"][own]), f"{one.rows['confidence'][own]:.4f}",
            f"{similarity[row]:.6f}", above,
        ])  # fmt: skip
    return lines


def overview(one: Mapping[str, Any]) -> list:
    """The line of queries.csv."""
    top = nearest_of(one["cameras"])
    place = [""] * 5
    if top:
        place = [cell(top["similarity"], 6), top["unit"], top["frame"], top["file"], cell(top["time_s"], 3)]
    found = "" if one["found"] is None else int(one["found"])
    where = {seen["unit"] for seen in one["sightings"]}
    verdicts = [camera["best"]["right"] for camera in one["cameras"] if camera["unit"] in where]
    right = "" if None in verdicts else sum(verdicts)
    ap = (one.get("judged") or {}).get("ap")
    person = "" if one["person"] is None else one["person"]
    return [
        one["query"], person, found, len(where), right, len(one["sightings"]), *place, "" if ap is None else ap,
        one["image"],
    ]  # fmt: skip


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
            similarity[yard.start[place] : yard.start[place + 1]], one.camera.file_of,
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
    indexed = cameras.read_index(index, download)
    yard = together(indexed)
    network, config = load_network(checkpoint)
    place = None if params.queries is None else Path(params.queries)
    asked = queries.of_units(download) if place is None else queries.own(place)
    if not asked:
        return nothing(out, NOBODY_ASKED)
    wide = queries.wide(asked)
    asked, crops, skipped = queries.read(ctx.progress(asked, desc="queries", unit="image"), config)
    vectors = embed(network, crops, config)
    threshold = leader.threshold if params.threshold is None else params.threshold
    chosen = leader.chosen if params.threshold is None else "person_search.search.threshold"

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
    metrics, why = judged(asked, vectors, indexed, answers)
    metrics = rounded(metrics)
    tidy(out, [query.key for query in asked])
    for one in answers:
        write_json(out / one["query"] / "results.json", one)
    write_text(out / "queries.csv", table(OVERVIEW, [overview(one) for one in answers]))

    sheets, films = shown(answers, params.sheet_queries, params.video_queries)
    frames = {one.camera.unit: one.camera.files for one in indexed}
    for i, one in enumerate(answers):
        for name, mine in (("sheet.png", sheets), ("search.mp4", films), ("search.jpg", films)):
            if i not in mine:
                (out / one["query"] / name).unlink(missing_ok=True)
    for i in ctx.progress(sheets, desc="sheets", unit="sheet"):
        search_pictures.sheet(out / asked[i].key / "sheet.png", asked[i].path, answers[i], frames)
    for i in films:
        tracks = tracks_of(yard, asked[i], vectors[i] @ yard.embedding.T, frames)
        film = out / asked[i].key / "search.mp4"
        search_video.write(film, asked[i].path, answers[i], tracks, threshold, params.video_seconds, ctx.progress)
    units = [one.camera.unit for one in indexed]
    write_json(out / "search.json", {
        "empty": None, "network": leader.network, "threshold": threshold, "threshold_from": chosen,
        "cameras": units, "skipped": skipped, "wide": wide, "metrics": metrics, "metrics_null_because": why,
        "standing": {unit: found for unit, found in still.items() if found},
        "queries": {one["query"]: {"says": one["says"], "found": one["found"]} for one in answers},
        "sheets": [asked[i].key for i in sheets], "videos": [asked[i].key for i in films],
    })  # fmt: skip
    counts = {"queries": len(asked), "cameras": len(units), "detections": len(yard.embedding)}
    if threshold is not None:
        counts["found"] = sum(one["found"] for one in answers)
    return {**counts, **flat(metrics)}
