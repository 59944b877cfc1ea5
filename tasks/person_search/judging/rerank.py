"""k-reciprocal re-ranking (Zhong et al., CVPR 2017): two images are near if their nearest neighbours are the same.

    distance = rerank(query, gallery, k1=20, k2=6, share=0.3)
    ranking.rank_distances(distance, ...)

The published code holds several dense matrices over all images, queries and gallery together. Here only the nearest
k1 + 1 of each image are kept, the neighbour weights as sparse rows, and one (Q, G) matrix: the result.
It looks at the whole test set at once, so it is for test figures; a search that knows one query gains little from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.person_search.judging import ranking

PAIRS_AT_ONCE = 2**14  # pairs whose features are gathered together: 32 MB of 512-d float32


@dataclass(frozen=True)
class Rows:
    """A sparse matrix (N, N) by rows: those of row i are index[start[i] : start[i + 1]], rising, and their values."""

    start: np.ndarray  # (N + 1) int64
    index: np.ndarray  # (M) int64
    value: np.ndarray  # (M) float32


def rerank(
    query: np.ndarray,
    gallery: np.ndarray,
    *,
    k1: int,
    k2: int,
    share: float,
    metric: ranking.Metric = "cosine",
) -> np.ndarray:
    """Features (Q, D), (G, D) -> (Q, G) float32: share x distance + (1 - share) x Jaccard distance of neighbours.

    k1: neighbours that must be mutual; k2: neighbours whose weights are averaged (1: none); share: the paper's lambda.
    As in the published code, the distance is the squared Euclidean one (for cosine: of the unit vectors), divided by
    the largest one of its row. Images of the query's own camera are neighbours as well: the same-camera rule comes
    after, in the ranking.
    """
    query, gallery = (ranking.prepared(x, metric) for x in (query, gallery))
    images = np.concatenate([query, gallery])
    near, largest = neighbours(images, k1 + 1, metric)
    weights = encoded(images, near, largest, k1, metric)
    if k2 > 1:
        weights = averaged(weights, near[:, :k2])
    return mixed(query, gallery, weights, largest, share, metric)


def neighbours(images: np.ndarray, k: int, metric: ranking.Metric) -> tuple[np.ndarray, np.ndarray]:
    """(N, k) the nearest of all images, itself included, nearest first; (N) the distance of the farthest."""
    k = min(k, len(images))
    near, largest = np.empty((len(images), k), np.int64), np.empty(len(images), np.float32)
    for rows in ranking.blocks_of(len(images), len(images)):
        distance = ranking.between(images[rows], images, metric)
        largest[rows] = distance.max(axis=1)
        near[rows] = ranking.index_of(ranking.nearest_keys(ranking.keys(distance), k))
    return near, np.maximum(largest, np.finfo(np.float32).tiny)


def mutual(near: np.ndarray) -> np.ndarray:
    """(N, k) bool: the neighbour has this image among its own k nearest."""
    found = np.empty(near.shape, bool)
    for rows in ranking.blocks_of(len(near), near.shape[1] ** 2):
        found[rows] = (near[near[rows]] == rows[:, None, None]).any(axis=2)
    return found


def reciprocal_sets(near: np.ndarray, k1: int) -> tuple[np.ndarray, np.ndarray]:
    """All (image, member of its set R*), flat, by rising image, then rising member: equations 3 to 5 of the paper.

    R holds an image's mutual neighbours. R* also holds the smaller set, of k1 / 2 neighbours, of each member of R of
    which more than 2/3 lies in R.
    """
    half = near[:, : round(k1 / 2) + 1]  # rounds halves to even, as the published code does
    in_r, in_half = mutual(near), mutual(half)
    cells = []  # image * N + member: of each block of images, distinct and rising
    for rows in ranking.blocks_of(len(near), near.shape[1] ** 2 * half.shape[1]):
        image, place = np.nonzero(in_r[rows])
        member = near[rows][image, place]
        r = np.where(in_r[rows], near[rows], -1)[image]
        owner, joined = joining(r, half[member], in_half[member])
        pairs = np.concatenate([rows[image] * len(near) + member, rows[image[owner]] * len(near) + joined])
        cells.append(np.unique(pairs))
    return np.divmod(np.concatenate(cells), len(near))


def joining(r: np.ndarray, small: np.ndarray, in_small: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of M members the set R they belong to (M, k), -1 no image, and their own smaller sets (M, h), where `in_small`:
    (member, image) of those sets of which more than 2/3 lies in R."""
    shared = in_small & (small[:, :, None] == r[:, None, :]).any(axis=2)
    # The published test is in floating point, len(both) > 2./3 * len(set); of whole numbers it is this one.
    joins = 3 * shared.sum(axis=1) > 2 * in_small.sum(axis=1)
    owner, place = np.nonzero(in_small & joins[:, None])
    return owner, small[owner, place]


def encoded(images: np.ndarray, near: np.ndarray, largest: np.ndarray, k1: int, metric: ranking.Metric) -> Rows:
    """Each image as weights over its set R*: exp(-distance), summing to 1 (equation 7, with a sum of 1)."""
    owner, member = reciprocal_sets(near, k1)
    distance = np.empty(len(owner), np.float32)
    for begin in range(0, len(owner), PAIRS_AT_ONCE):
        part = slice(begin, begin + PAIRS_AT_ONCE)
        a, b = images[owner[part]], images[member[part]]
        if metric == "cosine":
            distance[part] = 1 - np.einsum("nd,nd->n", a, b)
        else:
            distance[part] = np.einsum("nd,nd->n", a - b, a - b)
    weight = np.exp(-distance / largest[owner])
    total = np.bincount(owner, weights=weight, minlength=len(images))
    start = np.searchsorted(owner, np.arange(len(images) + 1))
    return Rows(start, member, (weight / total[owner]).astype(np.float32))


def averaged(weights: Rows, near: np.ndarray) -> Rows:
    """The mean of the rows of each image's k2 nearest, itself among them: local query expansion."""
    images, k2 = near.shape
    starts, indices, values = [np.zeros(1, np.int64)], [], []
    lengths = np.diff(weights.start)
    for rows in ranking.blocks_of(images, 64 * k2):  # about 64 weights a row
        source = near[rows].ravel()
        slot, place = ranking.ragged(weights.start[source], lengths[source])
        cell, back = np.unique(slot // k2 * images + weights.index[place], return_inverse=True)
        owner, index = np.divmod(cell, images)
        starts.append(starts[-1][-1] + np.cumsum(np.bincount(owner, minlength=len(rows))))
        indices.append(index)
        values.append((np.bincount(back, weights=weights.value[place]) / k2).astype(np.float32))
    return Rows(np.concatenate(starts), np.concatenate(indices), np.concatenate(values))


def mixed(
    query: np.ndarray, gallery: np.ndarray, weights: Rows, largest: np.ndarray, share: float, metric: ranking.Metric
) -> np.ndarray:
    """The final distances (equations 10 and 12); Jaccard's need only the columns in which the query has weight."""
    queries, images = len(query), len(query) + len(gallery)
    owner = np.repeat(np.arange(images), np.diff(weights.start))
    of_gallery = owner >= queries
    order = np.argsort(weights.index[of_gallery], kind="stable")
    item, value = (owner[of_gallery] - queries)[order], weights.value[of_gallery][order]
    begin = np.searchsorted(weights.index[of_gallery][order], np.arange(images + 1))
    found = np.empty((queries, len(gallery)), np.float32)
    for rows in ranking.blocks_of(queries, len(gallery)):
        distance = ranking.between(query[rows], gallery, metric)
        for q, own in zip(rows, distance, strict=True):
            part = slice(weights.start[q], weights.start[q + 1])
            columns = weights.index[part]
            nth, place = ranking.ragged(begin[columns], begin[columns + 1] - begin[columns])
            least = np.minimum(weights.value[part][nth], value[place])
            overlap = np.bincount(item[place], weights=least, minlength=len(gallery))
            found[q] = share * own / largest[q] + (1 - share) * (1 - overlap / (2 - overlap))
    return found
