"""What is said of one query: where the person was seen, how sure, and what strangers would give; results.json.

Pure: similarities with all detections in, words and numbers out. `search` reads and writes the files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.person_search.formats.cameras import Indexed
from tasks.person_search.importers.queries import Query
from tasks.person_search.judging import calibration, strangers
from tasks.person_search.judging.calibration import Calibration
from tasks.person_search.judging.search_judge import IOU, weighed
from tasks.person_search.judging.search_metrics import ious
from tasks.person_search.judging.sightings import Sighting, sightings
from tasks.person_search.judging.strangers import Strangers
from tasks.yard.reporting.words import counted


@dataclass(frozen=True)
class Yard:
    """All detections of all cameras, one after the other."""

    indexed: Sequence[Indexed]
    start: np.ndarray  # (cameras + 1): the detections of camera i are start[i] .. start[i + 1] - 1
    embedding: np.ndarray  # (N, D), the longer the surer the detector was (search_judge.weighed)
    strangers: Strangers | None = None
    known: Calibration = calibration.NOTHING

    def camera_of(self, row: int) -> int:
        return int(np.searchsorted(self.start, row, side="right")) - 1

    def expected_false(self, similarity: float) -> float | None:
        """Detections of strangers that are at least so similar to a query."""
        return self.strangers and round(self.strangers.expected(float(similarity), len(self.embedding)), 4)

    def by_chance(self, similarity: float | None) -> float | None:
        """Of the searches for somebody who is not there, the share that finds something at least so similar."""
        return calibration.chance_of(self.known, similarity, len(self.embedding))


def together(
    indexed: Sequence[Indexed], strangers: Strangers | None = None, known: Calibration = calibration.NOTHING
) -> Yard:
    start = np.cumsum([0, *(len(one.rows["frame"]) for one in indexed)])
    vectors = np.concatenate([weighed(one.rows, known.weight) for one in indexed])
    return Yard(indexed, start, vectors, strangers, known)


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
        return f"not found: nobody was detected in {counted(len(best), 'camera', 'cameras')}"
    near = f"{nearest['similarity']:.3f}, in {nearest['unit']}, {nearest['spot']}"
    if threshold is None:
        return f"ranked only, for there is no threshold ({why}): the most similar is {near}"
    if not found:
        where = counted(len(best), "camera", "cameras")
        return f"not found in {where}: the most similar is {near}, below the threshold of {threshold:.3f}"
    names = list(dict.fromkeys(one["unit"] for one in found))
    wrong = [one["unit"] for one in best if one["unit"] in names and one["best"]["right"] is False]
    right = [name for name in names if name not in wrong]
    others = f"another person is taken for them in {len(wrong)}, {', '.join(wrong)}"
    if not right:
        return f"found in none of {len(best)} cameras: {others}; the most similar is {near}"
    text = f"found in {len(right)} of {len(best)} cameras, {', '.join(right)}"
    return f"{text}; {others + '; ' if wrong else ''}the most similar is {near}"


def by_chance(best: Sequence[dict], threshold: float | None, yard: Yard) -> str:
    """How many detections of strangers reach what was claimed, or the most similar one where nobody is."""
    nearest = nearest_of(best)
    if (
        nearest is None
        or (expected := yard.expected_false(nearest["similarity"] if threshold is None else threshold)) is None
    ):
        return ""
    what = "would be so similar" if threshold is None else "would reach the threshold"
    text = f"; of {len(yard.embedding):,} detections {strangers.shown(expected)} {what} by chance"
    if (share := yard.by_chance(nearest and nearest["similarity"])) is not None:
        text += (
            f", and {share:.1%} of the searches for somebody who is not there find one as similar as the most similar"
        )
    return text


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
    for held in [*(each["best"] for each in found), *(each["best"] for each in best if each["best"])]:
        held["expected_false"] = yard.expected_false(held["similarity"])
    return {
        "query": query.key, "image": query.shown, "dataset": query.dataset, "person": query.person,
        "camera": query.camera, "threshold": None if threshold is None else round(threshold, 6),
        "expected_false": None if threshold is None else yard.expected_false(threshold),
        "by_chance": yard.by_chance((nearest_of(best) or {}).get("similarity")),
        "detections": len(yard.embedding), "found": None if threshold is None else bool(found),
        "says": said(found, best, threshold, why) + by_chance(best, threshold, yard),
        "sightings": found, "cameras": best,
    }  # fmt: skip


def marked_from(similarity: np.ndarray, yard: Yard) -> float | None:
    """Where a film marks the person without a threshold: from where on one stranger is expected, or, where nobody knows
    of strangers, the most similar detection alone."""
    if not len(similarity):
        return None
    level = yard.strangers and yard.strangers.level(1 / len(similarity))
    return float(similarity.max()) if level is None else min(level, float(similarity.max()))
