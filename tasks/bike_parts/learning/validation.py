"""What training keeps its best epoch by: AP50 of the parts that are there, and macro-F1 of the states of what is found.

A box says that its part is there by score x (1 - probability that it is absent). The step evaluate judges in full.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.bike_parts.states import STATES
from tasks.bike_parts.formats.photos import ABSENT, Photos
from tasks.bike_parts.learning.network import Found

IOU = 0.5
RECALLS = np.linspace(0, 1, 101)  # COCO's


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of boxes (n, 4) and (m, 4), x, y, width, height -> (n, m)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum((a[:, :2] + a[:, 2:])[:, None], (b[:, :2] + b[:, 2:])[None])
    common = (high - low).clip(min=0).prod(2)
    return common / np.maximum(a[:, 2:].prod(1)[:, None] + b[:, 2:].prod(1)[None] - common, 1e-12)


def matched(part: np.ndarray, box: np.ndarray, true_part: np.ndarray, true_box: np.ndarray) -> np.ndarray:
    """For each box, the surest first, the place of the true one of its part that it takes; -1: none is left. One
    photograph."""
    taken = np.full(len(part), -1)
    if not len(part) or not len(true_part):
        return taken
    fits = np.where(part[:, None] == true_part[None], overlaps(box, true_box), 0.0)
    for i in range(len(part)):
        best = int(fits[i].argmax())
        if fits[i, best] >= IOU:
            taken[i], fits[:, best] = best, 0.0
    return taken


def average_precision(score: np.ndarray, hit: np.ndarray, true: int) -> float:
    """COCO's, at one overlap: the mean of the best precision from each of 101 recalls on."""
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(hit[order])
    precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    at = np.searchsorted(hits / true, RECALLS - 1e-12)
    return float(np.append(precision, 0.0)[at].mean())


def macro_f1(true: np.ndarray, said: np.ndarray) -> float | None:
    """Over the states that occur in truth."""
    found = []
    for state in np.unique(true):
        both = np.sum((true == state) & (said == state))
        found.append(2 * both / (np.sum(true == state) + np.sum(said == state)))
    return float(np.mean(found)) if found else None


def scored(photos: Photos, found: Sequence[Found]) -> dict[str, float | None]:
    """`found` in the order of `photos.photos`. `score`: the mean of the two; None where there is nothing to find."""
    true_state, said_state, part, score, hit = ([] for _ in range(5))
    there = photos.state != ABSENT
    for photo, of in zip(photos.photos, found, strict=True):
        mine = photos.photo == photo.id
        taken = matched(of.part, of.box, photos.part[mine], photos.box[mine])
        got = taken >= 0
        true_state.append(photos.state[mine][taken[got]])
        said_state.append(of.states[got].argmax(1))
        present = of.score * (1 - of.states[:, ABSENT])
        order = np.argsort(-present, kind="stable")
        hits = matched(of.part[order], of.box[order], photos.part[mine & there], photos.box[mine & there]) >= 0
        part.append(of.part[order])
        score.append(present[order])
        hit.append(hits)
    parts, scores, hits = (np.concatenate([np.empty(0), *of]) for of in (part, score, hit))
    areas = [
        average_precision(scores[parts == k], hits[parts == k], int(np.sum((photos.part == k) & there)))
        for k in np.unique(photos.part[there])
    ]
    true, said = (np.concatenate([np.empty(0, int), *of]) for of in (true_state, said_state))
    ap50 = float(np.mean(areas)) if areas else None
    f1 = macro_f1(true, said)
    share = float(np.mean(true == said)) if len(true) else None
    score = None if ap50 is None else (ap50 + (f1 or 0.0)) / 2
    return {"score": score, "ap50": ap50, "state_macro_f1": f1, "state_accuracy": share}


def balance(states: np.ndarray, power: float) -> tuple[float, ...]:
    """A weight for each state: (mean count / its own) ** power, so scaled that the mean over all boxes is 1."""
    counts = np.bincount(states[states >= 0], minlength=STATES).astype(float)
    weights = np.where(counts > 0, (counts.sum() / STATES / np.maximum(counts, 1)) ** power, 1.0)
    mean = (weights * counts).sum() / max(counts.sum(), 1)
    return tuple(float(weight / mean) if mean else 1.0 for weight in weights)
