"""How well a search did, where the true boxes are known: search mAP and top-1 beside the oracle's and chance, open set.

Pure: what the index holds, the queries and their vectors in, numbers out. `search` reads and writes the files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tasks.person_search.formats.cameras import Indexed
from tasks.person_search.importers.queries import Query
from tasks.person_search.judging.search_metrics import Boxes, SearchScore, search

IOU = 0.5
CELLS_AT_ONCE = 2**26  # similarities in memory: 256 MB
CHANCE_DRAWS = 20


def weighed(rows: Mapping[str, np.ndarray], weight: float) -> np.ndarray:
    """The vectors (N, D) of detections, each as long as its confidence to the power of `weight`.

    So what is hardly a person is less similar to everybody (confidence-weighted similarity, Zheng et al. 2017)."""
    if not weight:
        return rows["embedding"]
    return rows["embedding"] * np.power(rows["confidence"], np.float32(weight))[:, None]


def gathered(
    indexed: Sequence[Indexed],
    source: str,
    people: Mapping[tuple[str, int], int],
    places: Mapping[tuple[str, int], int],
    weight: float = 0.0,
) -> tuple[Boxes, np.ndarray]:
    """The boxes of the cameras whose truth is known, and their embeddings; `source`: detections, of whose confidence
    the weight is, or oracle.

    Two units may be one camera at two times: their frames are kept apart.
    """
    camera, frame, box, identity, embedding = [], [], [], [], []
    for nth, one in enumerate(indexed):
        rows = one.rows if source == "detections" else one.oracle
        count = len(rows["frame"])
        camera.append(np.full(count, places[one.camera.dataset, one.camera.number]))
        frame.append(rows["frame"].astype(np.int64) + nth * 2**32)
        box.append(rows["box"])
        embedding.append(weighed(rows, weight) if source == "detections" else rows["embedding"])
        known = rows.get("identity", np.full(count, -1))
        identity.append(np.array([people.get((one.camera.dataset, int(pid)), -1) for pid in known], np.int64))
    return Boxes(*map(np.concatenate, (camera, frame, box, identity))), np.concatenate(embedding)


def scored(
    vectors: np.ndarray, embedding: np.ndarray, who: np.ndarray, where: np.ndarray, boxes: Boxes, truth: Boxes
) -> SearchScore:
    """`search` over blocks of queries, so that their similarities fit into memory."""
    step = max(1, CELLS_AT_ONCE // max(len(boxes), 1))
    parts = [
        search(vectors[i : i + step] @ embedding.T, who[i : i + step], where[i : i + step], boxes, truth, iou=IOU)
        for i in range(0, len(vectors), step)
    ]
    columns = ("ap", "first", "boxes", "found")
    return SearchScore(*(np.concatenate([getattr(part, key) for part in parts]) for key in columns))


def chance(who: np.ndarray, where: np.ndarray, boxes: Boxes, truth: Boxes) -> dict[str, float | None]:
    """Search mAP and top-1 of detections in any order: the mean over some draws."""
    rng, step = np.random.default_rng(0), max(1, CELLS_AT_ONCE // max(len(boxes), 1))
    maps, tops = [], []
    for _ in range(CHANCE_DRAWS):
        parts = []
        for i in range(0, len(who), step):
            mine = who[i : i + step]
            drawn = rng.random((len(mine), len(boxes)), np.float32)
            parts.append(search(drawn, mine, where[i : i + step], boxes, truth, iou=IOU))
        used = np.concatenate([part.used for part in parts])
        maps.append(np.concatenate([part.ap for part in parts])[used].mean())
        tops.append((np.concatenate([part.first for part in parts])[used] == 1).mean())
    return {"map": float(np.mean(maps)), "top1": float(np.mean(tops))}


def open_set(answers: Sequence[Mapping[str, Any]]) -> dict[str, int | float | None]:
    """How often the threshold was right: of people who are there, and of people whom no camera saw.

    found_right: of the queries whose person another camera saw, those with at least one right sighting there;
    sightings_right: of all sightings outside the query's own camera, those whose most similar detection is the person.
    """
    known = [one for one in answers if one["found"] is not None and any(c["there"] is not None for c in one["cameras"])]
    known = [one for one in known if all(c["there"] is not None for c in one["cameras"])]
    elsewhere = [one for one in known if any(c["there"] and not c["own"] for c in one["cameras"])]
    nowhere = [one for one in known if not any(c["there"] for c in one["cameras"])]

    def rights(one: Mapping[str, Any]) -> list[bool]:
        own = {c["unit"] for c in one["cameras"] if c["own"]}
        return [bool(seen["best"]["right"]) for seen in one["sightings"] if seen["unit"] not in own]

    def share(hits: list[bool]) -> float | None:
        return sum(hits) / len(hits) if hits else None

    return {
        "there": len(elsewhere), "found_right": share([any(rights(one)) for one in elsewhere]),
        "sightings": sum(len(rights(one)) for one in known),
        "sightings_right": share([right for one in known for right in rights(one)]),
        "nowhere": len(nowhere), "said_not_found": share([not one["found"] for one in nowhere]),
    }  # fmt: skip


def numbered(known: Sequence[Indexed]) -> tuple[dict[tuple[str, int], int], dict[tuple[str, int], int]]:
    """A number for each (data set, person) in the true boxes, and for each (data set, camera)."""
    people: dict[tuple[str, int], int] = {}
    places: dict[tuple[str, int], int] = {}
    for one in known:
        places.setdefault((one.camera.dataset, one.camera.number), len(places))
        for pid in np.unique(one.oracle["identity"][one.oracle["identity"] > 0]).tolist():
            people.setdefault((one.camera.dataset, pid), len(people))
    return people, places


def judged(
    asked: Sequence[Query],
    vectors: np.ndarray,
    indexed: Sequence[Indexed],
    answers: Sequence[dict],
    weight: float = 0.0,
) -> tuple[dict | None, str | None]:
    """The numbers of search.json, or why there are none; each query's own are put into its answer."""
    known = [one for one in indexed if one.oracle is not None]
    mine = [i for i, query in enumerate(asked) if query.person is not None]
    if not known or not mine:
        return None, "no query is called by Market's names (0002_c1s1_...)" if known else "no camera has a truth.csv"
    people, places = numbered(known)
    who = np.array([people.get((asked[i].dataset, asked[i].person), len(people)) for i in mine])
    where = np.array([places.get((asked[i].dataset, asked[i].camera), -1) for i in mine])
    truth, oracle = gathered(known, "oracle", people, places)
    boxes, embedding = gathered(known, "detections", people, places, weight)
    by_detector = scored(vectors[mine], embedding, who, where, boxes, truth)
    for i, ap, first, count, found in zip(
        mine, by_detector.ap, by_detector.first, by_detector.boxes, by_detector.found, strict=True
    ):
        numbers = {"ap": round(float(ap), 6), "first": int(first), "boxes": int(count), "boxes_found": int(found)}
        answers[i]["judged"] = numbers if count else None
    taken = sum(int(one.oracle["found"].sum()) for one in known)
    found = {
        "detector_recall": taken / len(truth) if len(truth) else None,
        "open_set": open_set([answers[i] for i in mine]),
    }
    if not by_detector.queries:
        return found | {"detector": None, "oracle": None, "chance": None}, "no query's person is seen by another camera"
    by_truth = scored(vectors[mine], oracle, who, where, truth, truth)
    numbers = {"detector": by_detector.numbers(), "oracle": by_truth.numbers()}
    return found | numbers | {"chance": chance(who, where, boxes, truth)}, None
