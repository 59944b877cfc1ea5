"""Who was found: detections and people paired one to one on the ground, and what that is worth over a whole data set.

MODA = 1 - (FP + FN) / people, MODP = mean over TP of 1 - distance / match_m (Kasturi et al., PAMI 2009; N-MODA and
N-MODP as the WILDTRACK evaluation computes them). Every frame of the truth counts, with detections or without, and MODA
may be below 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from tasks.ground_plane.formats.scenes import Scene

METRICS = ("moda", "modp", "precision", "recall")
Frame = tuple[np.ndarray, np.ndarray, np.ndarray]  # detections (n, 2) metres, confidences (n), people (m, 2) metres


def distances_between(found: np.ndarray, people: np.ndarray) -> np.ndarray:
    """(n, 2) and (m, 2) -> (n, m)."""
    found, people = np.reshape(found, (-1, 2)).astype(float), np.reshape(people, (-1, 2)).astype(float)
    return np.hypot(*np.moveaxis(found[:, None] - people[None], -1, 0))


def match(found: np.ndarray, people: np.ndarray, match_m: float) -> tuple[np.ndarray, np.ndarray]:
    """(n, 2), (m, 2) metres -> pairs (k, 2) of their places and distances (k): the most pairs no farther than
    `match_m`, and of these the ones with the least distance in sum."""
    distance = distances_between(found, people)
    near = distance <= match_m
    if not near.any():
        return np.empty((0, 2), int), np.empty(0)
    never = match_m * (min(distance.shape) + 1)  # one pair fewer costs more than any distances saved
    pairs = np.stack(linear_sum_assignment(np.where(near, distance, never)), axis=1)
    pairs = pairs[near[pairs[:, 0], pairs[:, 1]]]
    return pairs, distance[pairs[:, 0], pairs[:, 1]]


def rates(tp, fp, fn, distance_m, match_m: float) -> dict[str, np.ndarray]:
    """{metric: array} of counts of any shape; NaN where it is undefined."""
    tp, fp, fn, distance_m = (np.asarray(values, float) for values in (tp, fp, fn, distance_m))
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "moda": np.where(tp + fn > 0, 1 - (fp + fn) / (tp + fn), np.nan),
            "modp": np.where(tp > 0, 1 - distance_m / match_m / tp, np.nan),
            "precision": np.where(tp + fp > 0, tp / (tp + fp), np.nan),
            "recall": np.where(tp + fn > 0, tp / (tp + fn), np.nan),
        }


@dataclass(frozen=True)
class Counts:
    """Of one frame, or by `sum(counts, Counts())` of many."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    distance_m: float = 0.0  # sum over the pairs

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def metrics(self, match_m: float) -> dict[str, float | None]:
        """moda, modp, precision, recall; None where it is undefined (nobody there, nothing found)."""
        found = rates(*astuple(self), match_m)
        return {name: float(value) if np.isfinite(value) else None for name, value in found.items()}


def count(found: np.ndarray, people: np.ndarray, match_m: float) -> Counts:
    """One frame."""
    _, distances = match(found, people, match_m)
    tp = len(distances)
    return Counts(tp, len(found) - tp, len(people) - tp, float(distances.sum()))


def counts_at(frames: Sequence[Frame], threshold: float, match_m: float) -> list[Counts]:
    """Of each frame, with the detections of at least this confidence."""
    return [count(xy[confidence >= threshold], people, match_m) for xy, confidence, people in frames]


def people_of(scene: Scene, row: int) -> np.ndarray:
    """Places (m, 2) of the people of a frame that are judged: those in a cell that a camera sees."""
    xy, mask = scene.people[row][:, 1:], scene.mask
    cell = np.floor(xy / scene.cell_m).astype(int)
    inside = ((cell >= 0) & (cell < mask.shape[::-1])).all(1)
    inside[inside] = mask[cell[inside, 1], cell[inside, 0]]
    return xy[inside]


def gains(near: np.ndarray) -> np.ndarray:
    """(n, m) bool, the most confident detection first -> (n) bool: does it add a pair to the most there can be?

    The number of pairs of the first k detections is the sum of the first k: sets of detections that can all be paired
    are a matroid, so one augmenting path for each, from the best to the worst, answers for every threshold at once.
    """
    whose = np.full(near.shape[1], -1).tolist()  # detection that has each person
    candidates = [np.flatnonzero(row).tolist() for row in near]

    def seated(detection: int, tried: set[int]) -> bool:
        for person in candidates[detection]:
            if person not in tried:
                tried.add(person)
                if whose[person] < 0 or seated(whose[person], tried):
                    whose[person] = detection
                    return True
        return False

    return np.array([seated(detection, set()) for detection in range(len(near))], bool)


def curve(frames: Sequence[Frame], match_m: float) -> np.ndarray:
    """(K, 4) float64: threshold, MODA, precision, recall at each distinct confidence, the highest first.

    Exact, by the one-to-one matching anew at each of them; NaN where a metric is undefined.
    """
    scores, gained = [np.empty(0)], [np.empty(0, bool)]
    for xy, confidence, people in frames:
        order = np.argsort(-confidence, kind="stable")
        scores.append(np.asarray(confidence, float)[order])
        gained.append(gains(distances_between(xy[order], people) <= match_m))
    score, gain = np.concatenate(scores), np.concatenate(gained)
    order = np.argsort(-score, kind="stable")
    score, tp = score[order], np.cumsum(gain[order])
    last = np.flatnonzero(np.append(np.diff(score) != 0, True)) if len(score) else np.empty(0, int)
    people = sum(len(there) for _, _, there in frames)
    found = rates(tp[last], last + 1 - tp[last], people - tp[last], 0, match_m)
    return np.stack([score[last], found["moda"], found["precision"], found["recall"]], axis=1)


def best_threshold(frames: Sequence[Frame], match_m: float, floor: float = 0.0) -> float | None:
    """The threshold with the highest MODA, of equals the highest; None without people or detections.

    It lies halfway between the lowest confidence that is kept and the next one, which is `floor` where all are kept, so
    that neither decides by a hair. Where keeping nothing is best (MODA 0) it lies above the highest.
    """
    drawn = curve(frames, match_m)
    if not len(drawn) or not np.isfinite(drawn[:, 1]).all():
        return None
    nothing = max(1.0, np.nextafter(np.float32(drawn[0, 0]), np.float32(np.inf)))
    edges = np.concatenate([[nothing], drawn[:, 0], [min(floor, drawn[-1, 0])]])
    best = int(np.argmax(np.concatenate([[0.0], drawn[:, 1]])))  # place 0: nothing is kept
    kept, left = edges[best], edges[best + 1]
    halfway = float(np.float32((kept + left) / 2))
    return halfway if halfway > left else float(kept)
