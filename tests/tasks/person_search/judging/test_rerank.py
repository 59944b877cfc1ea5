"""Against a direct transcription of the code that its authors published (zhunzhong07/person-re-ranking)."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.person_search.judging import ranking
from tasks.person_search.judging.rerank import rerank


def published(query: np.ndarray, gallery: np.ndarray, k1: int, k2: int, share: float) -> np.ndarray:
    """python-version/re_ranking_feature.py and _ranklist.py, line by line but for names."""
    features = np.concatenate([query, gallery]).astype(np.float64)
    original = ((features[:, None] - features[None]) ** 2).sum(axis=2)
    original = np.transpose(original / np.max(original, axis=0))
    weights = np.zeros_like(original)
    initial_rank = np.argsort(original)
    for i in range(len(features)):
        forward = initial_rank[i, : k1 + 1]
        backward = initial_rank[forward, : k1 + 1]
        reciprocal = forward[np.where(backward == i)[0]]
        expansion = reciprocal
        for candidate in reciprocal:
            forward_c = initial_rank[candidate, : int(np.around(k1 / 2.0)) + 1]
            backward_c = initial_rank[forward_c, : int(np.around(k1 / 2.0)) + 1]
            reciprocal_c = forward_c[np.where(backward_c == candidate)[0]]
            if len(np.intersect1d(reciprocal_c, reciprocal)) > 2.0 / 3 * len(reciprocal_c):
                expansion = np.append(expansion, reciprocal_c)
        expansion = np.unique(expansion)
        weight = np.exp(-original[i, expansion])
        weights[i, expansion] = weight / np.sum(weight)
    if k2 != 1:
        weights = np.stack([np.mean(weights[initial_rank[i, :k2]], axis=0) for i in range(len(features))])
    jaccard = np.zeros((len(query), len(features)))
    for i in range(len(query)):
        overlap = np.minimum(weights[i], weights).sum(axis=1)
        jaccard[i] = 1 - overlap / (2.0 - overlap)
    return (jaccard * (1 - share) + original[: len(query)] * share)[:, len(query) :]


def people(seed: int, images: int = 90, identities: int = 9, width: int = 16):
    """Noisy unit vectors of a few people, the first 20 of them the queries."""
    rng = np.random.default_rng(seed)
    identity = rng.integers(0, identities, images)
    x = rng.standard_normal((identities, width))[identity] + 0.9 * rng.standard_normal((images, width))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    return x[:20], x[20:], identity[:20], identity[20:]


@pytest.mark.slow
@pytest.mark.parametrize(("k1", "k2", "share"), [(20, 6, 0.3), (7, 1, 0.0), (5, 3, 0.5), (95, 4, 0.3)])
def test_equals_the_published_algorithm(k1, k2, share):
    for seed in range(3 if k1 < 90 else 1):  # with all images as neighbours a set holds them all
        query, gallery, *_ = people(seed)
        expected = published(query, gallery, k1, k2, share)
        for metric, scale in (("cosine", 3.0), ("euclidean", 1.0)):  # on unit vectors the two are the same
            found = rerank(query * np.float32(scale), gallery, k1=k1, k2=k2, share=share, metric=metric)
            assert np.allclose(found, expected, atol=2e-6)


def test_small_blocks_give_the_same(monkeypatch):
    query, gallery, *_ = people(0)
    whole = rerank(query, gallery, k1=20, k2=6, share=0.3)
    monkeypatch.setattr(ranking, "CELLS_AT_ONCE", 500)
    assert np.allclose(whole, rerank(query, gallery, k1=20, k2=6, share=0.3), atol=1e-6)


def test_it_pays_where_people_form_clusters():
    query, gallery, query_ids, gallery_ids = people(1)
    labels = query_ids, np.zeros(20, int), gallery_ids, np.ones(70, int)
    before = ranking.rank(query, gallery, *labels).map
    after = ranking.rank_distances(rerank(query, gallery, k1=8, k2=3, share=0.3), *labels).map
    assert after > before + 0.03
