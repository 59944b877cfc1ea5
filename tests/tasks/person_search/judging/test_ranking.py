"""Known answers by hand, and the textbook loop over queries as the second opinion."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.person_search.judging import ranking
from tasks.yard.metrics import bootstrap
from tests.tasks.person_search.textbook import textbook


def crowd(seed: int, queries: int = 12, gallery: int = 40, people: int = 6, cameras: int = 3, ties: bool = False):
    """Distances (Q, G) and the four label arrays; some gallery items are nobody's."""
    rng = np.random.default_rng(seed)
    distance = rng.random((queries, gallery)).astype(np.float32) - np.float32(0.3)
    if ties:
        distance = np.round(distance, 1)  # -0.0 among them
    ids = rng.integers(0, people, queries), rng.integers(-1, people, gallery)
    seen_by = rng.integers(1, cameras + 1, queries), rng.integers(1, cameras + 1, gallery)
    return distance, (ids[0], seen_by[0], ids[1], seen_by[1])


def test_by_hand():
    """Ranks of matches: query 0: 1, 4 of those left; query 1: 3; query 2: its only match is of its own camera."""
    distance = [
        [0.0, 0.1, 0.2, 0.3, 0.4, 0.5],
        [0.6, 0.5, 0.3, 0.4, 0.2, 0.1],
        [0.6, 0.5, 0.3, 0.4, 0.2, 0.1],
    ]
    gallery_ids, gallery_cameras = np.array([7, 7, -1, 8, 7, 9]), np.array([1, 2, 3, 1, 3, 1])
    found = ranking.rank_distances(
        np.array(distance), np.array([7, 8, 9]), np.array([1, 2, 1]), gallery_ids, gallery_cameras
    )
    # Query 0 (person 7, camera 1): item 0 is left out; then 7, nobody, 8, 7. Query 1: 9, 7, nobody, 8.
    assert found.ap[:2] == pytest.approx([(1 / 1 + 2 / 4) / 2, 1 / 4]) and np.isnan(found.ap[2])
    assert found.inp[:2] == pytest.approx([2 / 4, 1 / 4])
    assert found.first.tolist() == [1, 4, 0]
    assert found.numbers() == {
        "rank1": 0.5, "rank5": 1.0, "rank10": 1.0, "rank20": 1.0,
        "map": pytest.approx(0.5), "minp": pytest.approx(0.375), "queries": 2, "skipped": 1,
    }  # fmt: skip
    assert found.cmc_curve(4).tolist() == [0.5, 0.5, 0.5, 1.0]


def test_features_by_hand():
    """By angle the long vector is nearer, by distance the short one."""
    query, gallery = np.array([[1.0, 0.0]]), np.array([[0.9, 0.3], [9.0, 0.1]])
    labels = np.array([1]), np.array([1]), np.array([1, 2]), np.array([2, 2])
    assert ranking.rank(query, gallery, *labels).ap[0] == 0.5
    assert ranking.rank(query, gallery, *labels, metric="euclidean").ap[0] == 1.0
    assert ranking.between(query, gallery, "euclidean")[0] == pytest.approx([0.1, 64.01])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.integers(1, 4))
def test_equals_the_textbook_loop(seed, ties, cameras):
    distance, labels = crowd(seed, cameras=cameras, ties=ties)
    found, expected = ranking.rank_distances(distance, *labels), textbook(distance, *labels)
    assert np.array_equal(found.first, expected.first)
    assert np.allclose(found.ap, expected.ap, equal_nan=True, rtol=1e-12)
    assert np.allclose(found.inp, expected.inp, equal_nan=True, rtol=1e-12)
    assert found.skipped == np.isnan(expected.ap).sum()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_order_of_the_gallery_does_not_matter_where_no_two_distances_are_equal(seed):
    distance, (ids, cameras, gallery_ids, gallery_cameras) = crowd(seed)
    mixed = np.random.default_rng(seed).permutation(len(gallery_ids))
    a = ranking.rank_distances(distance, ids, cameras, gallery_ids, gallery_cameras)
    b = ranking.rank_distances(distance[:, mixed], ids, cameras, gallery_ids[mixed], gallery_cameras[mixed])
    assert np.array_equal(a.ap, b.ap, equal_nan=True) and np.array_equal(a.first, b.first)


def test_of_equals_the_first_in_the_gallery_comes_first():
    labels = np.array([5]), np.array([1])
    for ids, first in (([5, 6, 6], 1), ([6, 6, 5], 3)):
        found = ranking.rank_distances(np.zeros((1, 3)), *labels, np.array(ids), np.array([2, 2, 2]))
        assert found.first[0] == first


def test_blocks_of_queries_give_what_one_block_gives(monkeypatch):
    distance, labels = crowd(3, queries=50, gallery=30)
    whole, best = ranking.rank_distances(distance, *labels), ranking.top_distances(distance, *labels, k=7)
    monkeypatch.setattr(ranking, "CELLS_AT_ONCE", 100)
    parts = ranking.rank_distances(distance, *labels)
    assert np.array_equal(whole.ap, parts.ap, equal_nan=True)
    assert np.array_equal(best, ranking.top_distances(distance, *labels, k=7))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_top_is_the_head_of_the_sorted_row_without_what_is_left_out(seed, ties):
    distance, labels = crowd(seed, queries=5, gallery=15, people=3, ties=ties)
    found = ranking.top_distances(distance, *labels, k=12)
    for q, row in enumerate(found):
        left_out = (labels[2] == labels[0][q]) & (labels[3] == labels[1][q])
        expected = [i for i in np.argsort(distance[q], kind="stable") if not left_out[i]][:12]
        assert row.tolist() == expected + [-1] * (12 - len(expected))


def test_a_query_of_nobody_known_is_shown_everything_and_counts_as_skipped():
    gallery = np.eye(3)
    labels = np.array([-1]), np.array([1]), np.array([-1, 4, -1]), np.array([1, 1, 2])
    query = np.array([[1.0, 0.1, 0.2]])
    assert ranking.top(query, gallery, *labels, k=3).tolist() == [[0, 2, 1]]
    found = ranking.rank(query, gallery, *labels)
    assert found.skipped == 1 and found.map is None and set(found.cmc.values()) == {None}


def test_perfect_features_score_one():
    labels = np.arange(8), np.ones(8, int), np.tile(np.arange(8), 3), np.repeat([1, 2, 3], 8)
    found = ranking.rank(np.eye(8), np.tile(np.eye(8), (3, 1)), *labels)
    assert (found.map, found.minp, found.cmc[1]) == (1, 1, 1)


def test_diverged_embeddings_are_an_error_and_dead_ones_are_not():
    labels = np.array([1]), np.array([1]), np.array([1, 2]), np.array([2, 2])
    with pytest.raises(ValueError, match="diverged"):
        ranking.rank(np.array([[np.nan, 1]]), np.eye(2), *labels)
    assert ranking.rank(np.zeros((1, 2)), np.eye(2), *labels).queries == 1


def test_bootstrap_equals_drawing_people_in_a_loop():
    distance, labels = crowd(1, queries=40)
    found = ranking.rank_distances(distance, *labels)
    drawn = ranking.replicates(found, labels[0], count=20, seed=3)
    people = np.unique(labels[0][found.used])
    draws = np.random.default_rng(3).multinomial(len(people), np.full(len(people), 1 / len(people)), size=20)
    for r, counts in enumerate(draws):
        of = [np.flatnonzero((labels[0] == person) & found.used) for person in people]
        rows = np.concatenate([np.tile(some, times) for some, times in zip(of, counts, strict=True)])
        assert drawn["map"][r] == pytest.approx(found.ap[rows].mean())
        assert drawn["rank1"][r] == pytest.approx((found.first[rows] == 1).mean())
    span = bootstrap.spread(ranking.replicates(found, labels[0], 500, 0)["map"], len(people))
    assert span["low"] < found.map < span["high"]


def test_with_nobody_to_find_there_are_no_replicates():
    found = ranking.rank_distances(np.array([[0.1, 0.2]]), *(np.array(x) for x in ([1], [1], [3, 2], [2, 2])))
    assert ranking.replicates(found, np.array([1]), 10, 0) == {}
