"""Queries and gallery of a split by the vectors of one run: what is ranked, and what pairs are made of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tasks.person_search.formats.crops import GALLERY, QUERY, Split
from tasks.person_search.judging import ranking, thresholds
from tasks.person_search.judging.ranking import Ranking
from tasks.person_search.judging.thresholds import Pairs


class Sides(NamedTuple):
    """What `ranking.rank` and `thresholds.pairs` take, in their order."""

    query: np.ndarray  # (Q, D)
    gallery: np.ndarray  # (G, D)
    query_ids: np.ndarray
    query_cameras: np.ndarray
    gallery_ids: np.ndarray
    gallery_cameras: np.ndarray


def rows_of(split: Split, role: int, dataset: int | None = None) -> np.ndarray:
    """The crops of a role, of all data sets or of one."""
    return np.flatnonzero((split.role == role) & (True if dataset is None else split.dataset == dataset))


def sides_of(split: Split, vectors: np.ndarray, dataset: int | None = None) -> Sides:
    """Queries and gallery of a split, by its vectors (N, D)."""
    query, gallery = (rows_of(split, role, dataset) for role in (QUERY, GALLERY))
    place = np.stack([split.dataset, split.camera], axis=1)  # camera 1 of two data sets is not one camera
    camera = np.unique(place, axis=0, return_inverse=True)[1].ravel()
    identity = split.identity
    return Sides(vectors[query], vectors[gallery], identity[query], camera[query], identity[gallery], camera[gallery])


def rank(sides: Sides) -> Ranking:
    return ranking.rank(*sides)


def pairs(split: Split, vectors: np.ndarray, datasets: int) -> list[Pairs]:
    """Of each of the first so many data sets: a pair is of one."""
    return [thresholds.pairs(*sides_of(split, vectors, dataset)) for dataset in range(datasets)]
