"""How well a gallery is ranked for each query: CMC, mAP and mINP, exact, without sorting more than numbers.

    ranking = rank(query, gallery, query_ids, query_cameras, gallery_ids, gallery_cameras)
    ranking.map, ranking.cmc[1]

The rules of Market-1501: gallery items of the query's identity that its own camera saw are left out for that query; a
query that then has no match is skipped and counted; an identity below 0 is nobody's (a distractor: it is ranked, and
never a match). Of equal distances the item that comes first in the gallery comes first.

No row is argsorted. A distance and its gallery index make one 64-bit key whose order is exactly that of a stable sort;
the rank of a match is the place of its key among the row's sorted keys (numpy sorts those with SIMD).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from tasks.yard.metrics import bootstrap

CELLS_AT_ONCE = 2**21  # of one block of queries: 8 MB of distances and 16 MB of keys, however large the gallery
RANKS = (1, 5, 10, 20)
Metric = Literal["cosine", "euclidean"]
Blocks = Iterable[tuple[np.ndarray, np.ndarray]]  # (B) rows, (B, G) float32 distances
LAST = np.uint64(2**64 - 1)  # a key after all others


@dataclass(frozen=True)
class Ranking:
    """Per query, in the order in which they were given; a skipped one has NaN, or 0 where ranks are counted from 1."""

    ap: np.ndarray  # (Q) float64: mean over its matches of the precision at each match
    inp: np.ndarray  # (Q) float64: matches / rank of the last one (Ye et al. 2021)
    first: np.ndarray  # (Q) int64: rank of the first match

    @cached_property
    def used(self) -> np.ndarray:
        """(Q) bool: has at least one match."""
        return self.first > 0

    @property
    def queries(self) -> int:
        return int(self.used.sum())

    @property
    def skipped(self) -> int:
        return len(self.first) - self.queries

    @cached_property
    def map(self) -> float | None:
        return float(self.ap[self.used].mean()) if self.queries else None

    @cached_property
    def minp(self) -> float | None:
        return float(self.inp[self.used].mean()) if self.queries else None

    @cached_property
    def cmc(self) -> dict[int, float | None]:
        """{k: share of queries whose first match is among the k nearest}."""
        curve = self.cmc_curve(max(RANKS))
        return {k: float(curve[k - 1]) if self.queries else None for k in RANKS}

    def cmc_curve(self, ranks: int) -> np.ndarray:
        """(ranks) float64: CMC-1, CMC-2, ...; NaN where no query has a match."""
        hits = np.bincount(self.first[self.used], minlength=ranks + 1)[1 : ranks + 1]
        return np.cumsum(hits) / self.queries if self.queries else np.full(ranks, np.nan)

    def numbers(self) -> dict[str, float | int | None]:
        """What goes into metrics: rank1, rank5, ..., map, minp, and the counts behind them."""
        shares = {f"rank{k}": value for k, value in self.cmc.items()}
        return {**shares, "map": self.map, "minp": self.minp, "queries": self.queries, "skipped": self.skipped}


def rank(
    query: np.ndarray,
    gallery: np.ndarray,
    query_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_ids: np.ndarray,
    gallery_cameras: np.ndarray,
    *,
    metric: Metric = "cosine",
) -> Ranking:
    """Features (Q, D) and (G, D), identities and cameras (Q) and (G) -> how well each query's people are found."""
    blocks = distance_blocks(query, gallery, metric)
    return _rank(blocks, *map(np.asarray, (query_ids, query_cameras, gallery_ids, gallery_cameras)))


def rank_distances(
    distance: np.ndarray,
    query_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_ids: np.ndarray,
    gallery_cameras: np.ndarray,
) -> Ranking:
    """The same for distances (Q, G) that are known: re-ranked ones, or those of a network of another kind."""
    blocks = matrix_blocks(distance)
    return _rank(blocks, *map(np.asarray, (query_ids, query_cameras, gallery_ids, gallery_cameras)))


def top(
    query: np.ndarray,
    gallery: np.ndarray,
    query_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_ids: np.ndarray,
    gallery_cameras: np.ndarray,
    *,
    k: int,
    metric: Metric = "cosine",
) -> np.ndarray:
    """(Q, k) int64: the nearest gallery items of each query, nearest first, under the same rule.

    -1 fills up where fewer are left. A query whose identity is unknown (below 0) is shown everything.
    """
    blocks = distance_blocks(query, gallery, metric)
    return _top(blocks, *map(np.asarray, (query_ids, query_cameras, gallery_ids, gallery_cameras)), k)


def top_distances(
    distance: np.ndarray,
    query_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_ids: np.ndarray,
    gallery_cameras: np.ndarray,
    *,
    k: int,
) -> np.ndarray:
    """`top` for distances (Q, G) that are known."""
    blocks = matrix_blocks(distance)
    return _top(blocks, *map(np.asarray, (query_ids, query_cameras, gallery_ids, gallery_cameras)), k)


def replicates(ranking: Ranking, query_ids: np.ndarray, count: int, seed: int) -> dict[str, np.ndarray]:
    """{metric: (count)} of rank1, ..., map and minp: as many identities as there are, drawn with replacement.

    Queries of one person are not independent, so whole persons are drawn. The same seed and queries give the same
    draws: the difference of two networks' replicates is a paired one. Empty without a match.
    """
    rows = np.flatnonzero(ranking.used)
    if not len(rows):
        return {}
    person = np.unique(np.asarray(query_ids)[rows], return_inverse=True)[1]
    draws = bootstrap.resamples(int(person.max()) + 1, count, seed)
    first = ranking.first[rows]
    values = {f"rank{k}": first <= k for k in RANKS} | {"map": ranking.ap[rows], "minp": ranking.inp[rows]}
    queries = draws @ np.bincount(person)
    return {name: draws @ np.bincount(person, weights=value) / queries for name, value in values.items()}


def prepared(features: np.ndarray, metric: Metric) -> np.ndarray:
    """(N, D) float32, of length 1 for cosine. A vector of zeros stays one: it is like nothing (similarity 0)."""
    features = np.ascontiguousarray(features, np.float32)
    if not np.isfinite(features).all():
        raise ValueError("embeddings hold NaN or infinity: the training diverged; lower its learning rate")
    if metric == "euclidean":
        return features
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), np.finfo(np.float32).tiny)


def between(a: np.ndarray, b: np.ndarray, metric: Metric) -> np.ndarray:
    """(A, D), (B, D) as `prepared` returns them -> (A, B) float32: 1 - cosine, or the squared Euclidean distance."""
    product = a @ b.T
    if metric == "cosine":
        return np.subtract(1, product, out=product)
    product *= -2
    product += np.einsum("nd,nd->n", a, a)[:, None]
    product += np.einsum("nd,nd->n", b, b)
    return np.maximum(product, 0, out=product)


def distance_blocks(query: np.ndarray, gallery: np.ndarray, metric: Metric) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(rows, distances (rows, G)) block by block; each block is the caller's to overwrite."""
    query, gallery = prepared(query, metric), prepared(gallery, metric)
    for rows in blocks_of(len(query), len(gallery)):
        yield rows, between(query[rows], gallery, metric)


def matrix_blocks(distance: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for rows in blocks_of(*distance.shape):
        yield rows, distance[rows].astype(np.float32)


def blocks_of(rows: int, columns: int) -> list[np.ndarray]:
    step = max(1, CELLS_AT_ONCE // max(columns, 1))
    return [np.arange(begin, min(begin + step, rows)) for begin in range(0, rows, step)]


def ragged(begin: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranges begin[i] .. begin[i] + count[i] - 1 one after the other: (owner i, number), both (sum of count)."""
    owner = np.repeat(np.arange(len(count)), count)
    return owner, np.arange(len(owner)) + np.repeat(begin - np.cumsum(count) + count, count)


def equal_pairs(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All (i, j) with a[i] == b[j] >= 0, by rising i, then rising j."""
    order = np.argsort(b, kind="stable")
    begin, end = (np.searchsorted(b[order], a, side) for side in ("left", "right"))
    owner, place = ragged(begin, np.where(a >= 0, end - begin, 0))
    return owner, order[place]


def keys(distance: np.ndarray) -> np.ndarray:
    """(B, G) float32 -> (B, G) uint64, all different in a row, in the order of a stable sort of each row.

    The bits of a float order as its value does once those of negative ones are flipped and the sign of the others set.
    """
    bits = (distance + np.float32(0)).view(np.uint32)  # + 0 makes one zero of the two
    bits ^= (bits.view(np.int32) >> 31).view(np.uint32) | np.uint32(2**31)
    found = bits.astype(np.uint64)
    found <<= np.uint64(32)
    found |= np.arange(distance.shape[1], dtype=np.uint64)
    return found


def places(all_keys: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Rank, from 1, of cells (row, column) among their rows of keys (B, G). `row` rises; all_keys is sorted in place.

    Within a row the ranks come out rising, whatever the order of its columns.
    """
    wanted = all_keys[row, column]
    all_keys.sort(axis=1)
    edges = np.searchsorted(row, np.arange(len(all_keys) + 1))
    ranks = np.empty(len(row), np.int64)
    for keys_of_row, begin, end in zip(all_keys, edges[:-1], edges[1:], strict=True):
        ranks[begin:end] = np.searchsorted(keys_of_row, np.sort(wanted[begin:end])) + 1
    return ranks


def summed(ranks: np.ndarray, row: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Ranks of all matches, rising within each row; rows rise -> matches, sum of precisions, first and last rank.

    Each (rows). The precision at a row's i-th match is i / its rank.
    """
    count = np.bincount(row, minlength=rows)
    end = np.cumsum(count)
    nth = np.arange(1, len(row) + 1) - np.repeat(end - count, count)
    precisions = np.bincount(row, weights=nth / ranks, minlength=rows)
    first, last = np.zeros((2, rows), np.int64)
    held = count > 0
    first[held], last[held] = ranks[(end - count)[held]], ranks[end[held] - 1]
    return count, precisions, first, last


def _rank(
    blocks: Blocks,
    query_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_ids: np.ndarray,
    gallery_cameras: np.ndarray,
) -> Ranking:
    ap, inp = np.full((2, len(query_ids)), np.nan)
    first = np.zeros(len(query_ids), np.int64)
    for rows, distance in blocks:
        row, column = equal_pairs(query_ids[rows], gallery_ids)
        seen = query_cameras[rows][row] == gallery_cameras[column]
        block = keys(finite(distance))
        block[row[seen], column[seen]] = LAST
        row, column = row[~seen], column[~seen]
        count, precisions, begin, end = summed(places(block, row, column), row, len(rows))
        held = count > 0
        ap[rows[held]] = precisions[held] / count[held]
        inp[rows[held]] = count[held] / end[held]
        first[rows] = begin
    return Ranking(ap, inp, first)


def _top(
    blocks: Blocks,
    query_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_ids: np.ndarray,
    gallery_cameras: np.ndarray,
    k: int,
) -> np.ndarray:
    found = np.full((len(query_ids), k), -1)
    some = min(k, len(gallery_ids))
    for rows, distance in blocks:
        row, column = equal_pairs(query_ids[rows], gallery_ids)
        seen = query_cameras[rows][row] == gallery_cameras[column]
        block = keys(finite(distance))
        block[row[seen], column[seen]] = LAST
        nearest = nearest_keys(block, some)
        found[rows, :some] = np.where(nearest == LAST, -1, index_of(nearest))
    return found


def nearest_keys(all_keys: np.ndarray, k: int) -> np.ndarray:
    """(B, k) the smallest keys of each row, smallest first. `all_keys` is reordered."""
    if k < all_keys.shape[1]:
        all_keys.partition(k, axis=1)
    return np.sort(all_keys[:, :k], axis=1)


def index_of(some_keys: np.ndarray) -> np.ndarray:
    """The gallery index that a key carries."""
    return (some_keys & np.uint64(2**32 - 1)).astype(np.int64)


def finite(distance: np.ndarray) -> np.ndarray:
    """The same distances; a NaN would silently come last."""
    if not np.isfinite(distance).all():
        raise ValueError("distances hold NaN or infinity: nothing can be ranked by them")
    return distance
