"""Evaluation of Market-1501's size, against the textbook loop over queries: `python -m tests.benchmarks.ranking`.

3,368 queries x 15,913 gallery items, 512 random numbers each, 750 people, 6 cameras: CMC, mAP and mINP from features.
Each side runs in a process of its own, so that its peak memory is its own. The loop comes in two kinds: in numpy, and
as torchreid has it, with a Python list of precisions a query; the latter is given every 8th query, and so are we.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from functools import partial
from statistics import median

import numpy as np

from tasks.person_search.judging import ranking
from tests.tasks.person_search.textbook import textbook

QUERIES, GALLERY, WIDTH, PEOPLE, CAMERAS = 3368, 15_913, 512, 750, 6
REPEATS = 3


def market(seed: int, every: int, shrunk: int) -> tuple[np.ndarray, ...]:
    queries, gallery = QUERIES // shrunk, GALLERY // shrunk
    rng = np.random.default_rng(seed)
    features = [rng.standard_normal((n, WIDTH), dtype=np.float32) for n in (queries, gallery)]
    people = rng.integers(0, PEOPLE, queries), rng.integers(-1, PEOPLE, gallery)
    cameras = [rng.integers(1, CAMERAS + 1, n) for n in (queries, gallery)]
    return features[0][::every], features[1], people[0][::every], cameras[0][::every], people[1], cameras[1]


def loop(query: np.ndarray, gallery: np.ndarray, *labels: np.ndarray, listed: bool) -> ranking.Ranking:
    """All distances at once, as usual; made block by block as ours are, so that they are the same to the last bit."""
    distance = np.empty((len(query), len(gallery)), np.float32)
    for rows, block in ranking.distance_blocks(query, gallery, "cosine"):
        distance[rows] = block
    return textbook(distance, *labels, listed=listed)


def measured(side, seed: int, every: int, shrunk: int) -> tuple[ranking.Ranking, float, float]:
    """The result, its seconds, and the peak memory of this process in GB, with numpy and the features in it."""
    data = market(seed, every, shrunk)
    begin = time.perf_counter()
    found = side(*data)
    seconds = time.perf_counter() - begin
    return found, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def alone(side, *args):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measured, (side, *args))


def same(a: ranking.Ranking, b: ranking.Ranking) -> bool:
    """Equal but for the last bits of sums that were added up in another order."""
    sums = all(np.allclose(getattr(a, n), getattr(b, n), rtol=1e-12, equal_nan=True) for n in ("ap", "inp"))
    return sums and np.array_equal(a.first, b.first)


def against(name: str, other, every: int, shrunk: int) -> ranking.Ranking:
    on = measured if shrunk > 1 else alone
    repeats = range(1 if shrunk > 1 else REPEATS)
    runs = [tuple(on(side, seed, every, shrunk) for side in (ranking.rank, other)) for seed in repeats]
    assert all(same(ours[0], theirs[0]) for ours, theirs in runs), f"the {name} finds something else"
    fast, slow = (median(run[side][1] for run in runs) for side in (0, 1))
    small, large = (max(run[side][2] for run in runs) for side in (0, 1))
    print(
        f"{len(runs[0][0][0].ap):5d} queries   {fast:6.2f} s {small:5.2f} GB   {name:28} {slow:6.2f} s {large:5.2f} GB"
        f"   {slow / fast:5.1f} x, equal results"
    )
    return runs[0][0][0]


def main(tiny: bool = False) -> None:
    shrunk = 50 if tiny else 1
    print(f"CMC, mAP, mINP over a gallery of {GALLERY // shrunk}, features of {WIDTH}, distances included")
    found = against("loop over queries", partial(loop, listed=False), every=1, shrunk=shrunk)
    against("torchreid's loop over queries", partial(loop, listed=True), every=8, shrunk=shrunk)
    print(f"(random features: mAP {found.map:.4f}, rank-1 {found.cmc[1]:.4f}, mINP {found.minp:.4f})")


if __name__ == "__main__":
    main()
