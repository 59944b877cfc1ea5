"""The runs that are judged, each by the same judge: networks, and the baselines beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tasks.bike_parts.formats import detections
from tasks.bike_parts.formats.detections import Detections, Oracle, Second
from tasks.bike_parts.formats.photos import Photos
from tasks.bike_parts.judging import coco, drawn_ap, matching, presence, states
from tasks.bike_parts.judging.chosen import score_of
from tasks.bike_parts.judging.coco import PROTOCOLS, WITHOUT_ABSENT
from tasks.bike_parts.judging.states import Told
from tasks.yard.metrics import bootstrap
from tasks.yard.params import Reporting
from tasks.yard.step import BadInput

OVERLAPS = {"ap50": 0.5, "ap75": 0.75}  # of the APs that have an interval
# What each run tells at its top, and where it comes from: the numbers that people compare.
TOLD = {
    "ap50": ("protocols", WITHOUT_ABSENT, "ap50"), "ap": ("protocols", WITHOUT_ABSENT, "ap"),
    "state_macro_f1": ("states", "macro_f1"), "state_accuracy": ("states", "accuracy"),
    "damaged_f1": ("states", "damaged_f1"), "absent_f1": ("states", "absent_f1"),
    "recall": ("presence", "recall"), "hallucination": ("presence", "hallucination"),
}  # fmt: skip


@dataclass(frozen=True)
class Held:
    """The labelled photographs of one split, and the draws of its groups that every run is judged on."""

    photos: Photos
    draws: np.ndarray  # (replicates, G)

    @cached_property
    def groups(self) -> list[str]:
        return list(dict.fromkeys(photo.group for photo in self.photos.photos))

    @cached_property
    def group_of(self) -> dict[int, int]:
        """{id of a photograph: place of its group}"""
        place = {group: i for i, group in enumerate(self.groups)}
        return {photo.id: place[photo.group] for photo in self.photos.photos}

    def group(self, photo: np.ndarray) -> np.ndarray:
        """(n) ids of photographs -> (n) places of their groups."""
        return np.array([self.group_of[one] for one in photo.tolist()], int)


def held(photos: Photos, reporting: Reporting) -> Held:
    groups = max(1, len({photo.group for photo in photos.photos}))
    return Held(photos, bootstrap.resamples(groups, reporting.bootstrap_replicates, reporting.bootstrap_seed))


@dataclass(frozen=True)
class Run:
    """Something that finds parts in the photographs of one split."""

    of: Held
    found: Detections
    oracle: Oracle | None = None
    again: Second | None = None  # the second look at photographs of rides

    @cached_property
    def near(self) -> matching.Near:
        return matching.near(self.of.photos, self.found)

    @cached_property
    def taken(self) -> np.ndarray:
        """(detections) the annotation that each is, in whatever state it is; -1: none."""
        return matching.one_to_one(self.near, self.found.score)

    @cached_property
    def best(self) -> np.ndarray:
        """(annotations) the highest presence of a detection of each; -1: there is none."""
        return matching.best_of_each(self.near, self.found.presence, len(self.of.photos.id))


def run_of(held: Held, found: Detections, oracle: Oracle | None = None, again: Second | None = None) -> Run:
    return Run(held, detections.judgeable(held.photos, found), oracle, again)


def network(folder: Path, held: Mapping[str, Held]) -> dict[str, Run]:
    """{split: what it found}. Raises `BadInput` where the detections are of other photographs than split's."""
    path, runs = folder / detections.FILE, {}
    for split, of in held.items():
        found, oracle = detections.read(path, split)
        ids = {photo.id for photo in of.photos.photos}
        known = set(found.image.tolist()) <= ids and np.array_equal(np.sort(oracle.annotation), np.sort(of.photos.id))
        if not known or (len(found.part) and found.part.max() > len(of.photos.parts)):
            raise BadInput(f"{path}: not of the {split} photographs of split; run bike_parts-detect again")
        runs[split] = run_of(of, found, oracle, detections.read_again(path, split))
    return runs


def of_coco(run: Run, protocol: str) -> dict[str, Any]:
    """The twelve numbers, those of each part, and intervals of AP50 and AP75."""
    photos, draws = run.of.photos, run.of.draws
    score = coco.ranked_by(run.found, protocol)
    whole, by_part = coco.twelve(photos.photos, photos.parts, coco.of_protocol(photos, protocol), run.found, score)
    mine = coco.truth(photos, protocol)
    true = np.zeros((len(photos.parts), draws.shape[1]))
    np.add.at(true, (photos.part[mine] - 1, run.of.group(photos.photo[mine])), 1)
    group, spans = run.of.group(run.found.image), {}
    for name, iou in OVERLAPS.items():
        hit = matching.one_to_one(run.near, score, mine, iou) >= 0
        drawn = drawn_ap.replicates(score, hit, run.found.part, group, true, draws)
        spans[name] = bootstrap.spread(drawn, draws.shape[1])
    boxes = int(mine.sum())
    for k, part in enumerate(photos.parts):
        by_part[part]["boxes"] = int(true[k].sum())
    why = None if boxes else "no labelled box" if not len(photos.id) else "no part is there"
    return {**whole, "boxes": boxes, "intervals": spans, "by_part": by_part, "null_because": why}


def told_of(run: Run, rows: np.ndarray, told: np.ndarray) -> Told:
    """States told (n) of annotations (n)."""
    photos, of = run.of.photos, run.of
    groups = states.labels(photos.state, of.group(photos.photo), of.draws.shape[1])
    parts = states.labels(photos.state, photos.part - 1, len(photos.parts))
    return Told(photos.state[rows], told, of.group(photos.photo[rows]), photos.part[rows], groups, parts)


def on_matches(run: Run) -> Told:
    """Of one-to-one matches, by score."""
    got = run.taken >= 0
    return told_of(run, run.taken[got], run.found.states[got].argmax(1))


def on_true_boxes(run: Run) -> Told | None:
    """Of the true boxes, so that errors of the detector are left out; None for what has no state head to ask."""
    if run.oracle is None:
        return None
    order = np.argsort(run.of.photos.id)
    rows = order[np.searchsorted(run.of.photos.id[order], run.oracle.annotation)]
    return told_of(run, rows, run.oracle.states.argmax(1))


def judged(run: Run, threshold: float | None) -> dict[str, Any]:
    """What details.json says of a run on one split. `threshold`: of presence."""
    photos, true_boxes = run.of.photos, on_true_boxes(run)
    found: dict[str, Any] = {
        "protocols": {name: of_coco(run, name) for name in PROTOCOLS},
        "states": states.judged(on_matches(run), photos.parts, run.of.draws),
        "oracle": true_boxes and states.judged(true_boxes, photos.parts, run.of.draws),
        "presence": presence.at(run.best, photos.state, run.of.group(photos.photo), threshold, run.of.draws),
        "detections": len(run.found.score),
    }
    for name, (*way, key) in TOLD.items():
        part = found
        for step in way:
            part = part[step]
        found[name] = part[key]
        found.setdefault("intervals", {})[name] = part["intervals"].get(key)
    found["score"] = score_of(found["ap50"], found["state_macro_f1"])
    return found


def score_replicates(run: Run) -> np.ndarray:
    """(replicates) of `score_of`, over the draws of its groups."""
    photos, draws = run.of.photos, run.of.draws
    mine, score = coco.truth(photos, WITHOUT_ABSENT), coco.ranked_by(run.found, WITHOUT_ABSENT)
    true = np.zeros((len(photos.parts), draws.shape[1]))
    np.add.at(true, (photos.part[mine] - 1, run.of.group(photos.photo[mine])), 1)
    hit = matching.one_to_one(run.near, score, mine) >= 0
    ap50 = drawn_ap.replicates(score, hit, run.found.part, run.of.group(run.found.image), true, draws)
    told = on_matches(run)
    return (ap50 + told.replicates(draws)["macro_f1"]) / 2 if told.of_groups.sum() else ap50
