"""What searches among people of validation say about searches: how sure a detection must be, how much it counts when it
is not, and how similar.

The queries are crops of people of validation, the index the frames of the cameras for validation, looked through by the
same detector and network as all others. Nobody of test is seen.

    without             the frames without people of test, where a truth.csv names some
    chosen              the confidence whose detections give the best search mAP, and the weight of confidence with them
    calibrated          each query's own person taken out of the whole index: what a search finds of strangers
    read                calibration.json, as the step `calibrate` leaves it and a model carries it along
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.person_search.formats.cameras import Indexed
from tasks.person_search.formats.reid_layout import key_of
from tasks.person_search.judging.impostors import FEWEST, Impostors
from tasks.person_search.judging.search_judge import IOU, gathered, numbered, scored
from tasks.person_search.judging.search_metrics import Boxes, overlapping
from tasks.person_search.judging.strangers import SEARCHES, Strangers
from tasks.yard.files import read_if_there

FILE = "calibration.json"
PIECE = 0.1  # IoU: a detection that overlaps somebody so much shows them, or a piece of them
LEVELS = 200  # similarities at which strangers are counted
RATES = (0.01, 0.05, 0.1, 0.2, 0.5)  # that the page shows


@dataclass(frozen=True)
class Asked:
    """Crops of people of validation, as the network sees them."""

    vectors: np.ndarray  # (Q, D)
    dataset: Sequence[str]
    person: Sequence[int]
    camera: Sequence[int]

    @property
    def people(self) -> int:
        return len(set(zip(self.dataset, self.person, strict=True)))


@dataclass(frozen=True)
class Calibration:
    """What a model knows of searches; a part that nobody could measure is None."""

    confidence: float | None
    impostors: Impostors | None
    strangers: Strangers | None
    null_because: str | None
    detector: str | None = None  # the hash of its weights
    weight: float = 0.0  # of a detection's confidence in how similar it is (search_judge.weighed)


NOTHING = Calibration(None, None, None, "nobody calibrated it on searches")


def surer(indexed: Sequence[Indexed], confidence: float) -> list[Indexed]:
    """The detections of at least this confidence: those that the detector would have given with it as its limit."""
    found = []
    for one in indexed:
        kept = one.rows["confidence"] >= np.float32(confidence)
        found.append(Indexed(one.camera, {name: rows[kept] for name, rows in one.rows.items()}, one.oracle))
    return found


def without(indexed: Sequence[Indexed], tested: Collection[str]) -> tuple[list[Indexed], int]:
    """The cameras without the true boxes of these people ("<data set>:<person>") and without what is detected there;
    and how many true boxes these were."""
    found, lost = [], 0
    for one in indexed:
        theirs = np.array([key_of(one.camera.dataset, int(pid)) in tested for pid in one.oracle["identity"]], bool)
        if theirs.any():
            truth, seen = (
                Boxes(np.zeros(len(of["frame"]), np.int64), of["frame"], of["box"]) for of in (one.oracle, one.rows)
            )
            true, detection = overlapping(truth, seen, PIECE)
            kept = np.ones(len(seen), bool)
            kept[detection[theirs[true]]] = False
            rows = {name: column[kept] for name, column in one.rows.items()}
            one = Indexed(one.camera, rows, {name: column[~theirs] for name, column in one.oracle.items()})
        found.append(one)
        lost += int(theirs.sum())
    return found, lost


@dataclass(frozen=True)
class Gallery:
    """All detections of the cameras, and whom they show."""

    boxes: Boxes
    embedding: np.ndarray
    truth: Boxes
    who: np.ndarray  # (Q) number of each query's person; one that nobody has where no camera shows them
    where: np.ndarray  # (Q) number of its camera


def gallery_of(asked: Asked, indexed: Sequence[Indexed], weight: float = 0.0) -> Gallery:
    people, places = numbered(indexed)
    truth, _ = gathered(indexed, "oracle", people, places)
    boxes, embedding = gathered(indexed, "detections", people, places, weight)
    pairs = list(zip(asked.dataset, asked.person, strict=True))
    who = np.array([people.get(pair, len(people)) for pair in pairs], np.int64)
    pairs = list(zip(asked.dataset, asked.camera, strict=True))
    where = np.array([places.get(pair, -1) for pair in pairs], np.int64)
    return Gallery(boxes, embedding, truth, who, where)


def search_map(asked: Asked, indexed: Sequence[Indexed], weight: float = 0.0) -> dict[str, float | int | None]:
    of = gallery_of(asked, indexed, weight)
    score = scored(asked.vectors, of.embedding, of.who, of.where, of.boxes, of.truth)
    return {"map": score.map, "box_recall": score.recall, "queries": score.queries, "detections": len(of.boxes)}


def chosen(
    asked: Asked, indexed: Sequence[Indexed], confidences: Sequence[float], weights: Sequence[float] = (0.0,)
) -> tuple[float | None, float, list[dict[str, Any]]]:
    """(the best confidence, the best weight with it, the numbers of each confidence with its best weight).

    Of equals the highest confidence, which leaves the fewest detections to look at, and the lowest weight. No
    confidence where nobody is found with any."""
    tried = []
    for confidence in sorted(confidences):
        kept = surer(indexed, confidence)
        each = [{"confidence": confidence, "weight": w, **search_map(asked, kept, w)} for w in sorted(weights)]
        tried.append(max(each, key=lambda one: (round(one["map"] or 0.0, 6), -one["weight"])))
    able = [one for one in tried if one["map"]]
    best = max(able, key=lambda one: (round(one["map"], 6), one["confidence"]), default=None)
    return (best["confidence"], best["weight"], tried) if best else (None, 0.0, tried)


def shows(of: Gallery, iou: float) -> np.ndarray:
    """(people + 1, N) bool: does a detection overlap somebody so much? The last row is of whom no camera shows."""
    found = np.zeros((max([*of.who, *of.truth.identity], default=0) + 1, len(of.boxes)), bool)
    true, detection = overlapping(of.truth, of.boxes, iou)
    known = of.truth.identity[true] >= 0
    found[of.truth.identity[true][known], detection[known]] = True
    return found


def counted(similarity: np.ndarray, strangers: np.ndarray) -> dict[str, list]:
    """How many pairs of a query and a detection of somebody else are at least so similar, at some levels."""
    values = np.sort(similarity[strangers])
    low, high = (float(values[0]), float(values[-1])) if len(values) else (0.0, 0.0)
    levels = np.append(np.linspace(low, high, LEVELS, dtype=np.float32), np.nextafter(np.float32(high), np.float32(2)))
    accepted = len(values) - np.searchsorted(values, levels)
    return {"similarity": [float(level) for level in levels], "accepted": accepted.tolist(), "pairs": len(values)}


def promised(best: Impostors, similarity: np.ndarray, right: np.ndarray, elsewhere: np.ndarray) -> list[dict[str, Any]]:
    """At each rate the threshold, and what it finds of those who are there: in a camera that is not the query's own."""
    there = (right & elsewhere).any(axis=1)
    found = []
    for rate in RATES:
        threshold, beyond = best.threshold(rate, round(best.detections))
        hits = ((similarity >= np.float32(threshold)) & right & elsewhere).any(axis=1)
        claimed = sum(value >= np.float32(threshold) for value in best.best)
        found.append({
            "rate": rate, "threshold": threshold, "beyond": beyond, "claimed": int(claimed),
            "found_right": float(hits[there].mean()) if there.any() else None,
        })  # fmt: skip
    return found


def calibrated(asked: Asked, indexed: Sequence[Indexed], weight: float = 0.0) -> dict[str, Any]:
    """What calibration.json says of searches for people who are not there."""
    of = gallery_of(asked, indexed, weight)
    similarity = asked.vectors @ of.embedding.T
    strangers = ~shows(of, PIECE)[of.who]
    able = strangers.any(axis=1)
    searches = {"searches": int(able.sum()), "people": asked.people, "best": [], "detections": 0.0}
    if able.sum() < FEWEST:
        few = f"{able.sum()} searches among people of validation: a rate of errors takes {FEWEST}"
        return {"impostors": searches, "strangers": None, "promised": None, "null_because": few}
    best = np.where(strangers, similarity, -np.inf).max(axis=1)[able]
    order = np.argsort(best, kind="stable")
    searches |= {"best": best[order].tolist(), "detections": float(strangers[able].sum(axis=1).mean())}
    # Whom no camera shows has no row but the last, which is empty: they are searched for, and not found.
    right = shows(of, IOU)[of.who]
    elsewhere = of.boxes.camera[None] != of.where[:, None]
    told = promised(impostors_of(searches), similarity, right, elsewhere)
    return {
        "impostors": searches, "strangers": counted(similarity, strangers), "promised": told, "null_because": None,
        "there": int((right & elsewhere).any(axis=1).sum()),
    }  # fmt: skip


def impostors_of(said: Mapping[str, Any]) -> Impostors | None:
    return Impostors(said["best"], said["people"], said["detections"]) if said["best"] else None


def read(file: Path) -> Calibration:
    """Where there is none everything is None."""
    said = read_if_there(file)
    if not said:
        return NOTHING
    strangers = said.get("strangers")
    impostors = impostors_of(said["impostors"]) if said.get("impostors") else None
    # Without them the threshold is that of pairs, which are plain cosines: so is the search then.
    weight = 0.0 if impostors is None else said.get("confidence_weight") or 0.0
    return Calibration(
        said["confidence"], impostors,
        strangers and Strangers(strangers["similarity"], strangers["accepted"], strangers["pairs"], SEARCHES),
        said["null_because"], said.get("weights_sha256"), weight,
    )  # fmt: skip


def says(rate: float, detections: int, of: Impostors, beyond: bool) -> str:
    """How a threshold came to be, in words."""
    words = (
        f"{rate:.3g} of the searches for somebody who is not there, among {detections:,} detections; calibrated on "
        f"{len(of.best)} searches for {of.people} people of validation among {of.detections:,.0f}"
    )
    return f"{words}, and beyond all that was seen there" if beyond else words


def threshold_of(of: Calibration, rate: float, detections: int) -> tuple[float, str] | None:
    """(the similarity from which on somebody is said to be found, how it was chosen)."""
    if of.impostors is None:
        return None
    value, beyond = of.impostors.threshold(rate, max(detections, 1))
    return value, says(rate, detections, of.impostors, beyond)


def chance_of(of: Calibration, similarity: float | None, detections: int) -> float | None:
    """Of searches for somebody who is not there, the share that finds something at least so similar."""
    if of.impostors is None or similarity is None or not math.isfinite(similarity):
        return None
    return round(of.impostors.share(similarity, max(detections, 1)), 4)
