"""Known answers by hand, sklearn as the second opinion, and the vectorised bootstrap against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from tasks.yard.metrics import binary, bootstrap

Y = np.array([1, 0, 1, 0, 0])
P = np.array([0.9, 0.8, 0.7, 0.2, 0.1])


def samples(seed: int, n: int = 200, groups: int = 5, ties: bool = True):
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.2).astype(int)
    p = np.clip(0.3 * y + 0.6 * rng.random(n), 0, 1)
    return y, np.round(p, 1 if ties else 6), rng.integers(0, groups, n)


def test_scores_by_hand():
    found = binary.scores(Y, P)
    assert found["pr_auc"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)  # hits at rank 1 (1 of 1) and rank 3 (2 of 3)
    assert found["roc_auc"] == pytest.approx(5 / 6)  # of 2 x 3 pairs only (0.7, 0.8) is the wrong way round
    assert found["brier"] == pytest.approx((0.01 + 0.64 + 0.09 + 0.04 + 0.01) / 5)


def test_calibration_error_weighs_bins_by_their_count():
    y = np.array([0] * 90 + [1] * 10)
    p = np.array([0.05] * 90 + [0.55] * 10)  # 90 samples are off by 0.05, 10 by 0.45
    assert binary.calibration_error(y, p) == pytest.approx(0.9 * 0.05 + 0.1 * 0.45)  # unweighted it would be 0.25
    assert binary.reliability(y, p) == [
        {"mean_predicted": pytest.approx(0.05), "fraction_positive": 0.0, "count": 90},
        {"mean_predicted": pytest.approx(0.55), "fraction_positive": 1.0, "count": 10},
    ]


def test_a_score_of_one_is_in_the_last_bin():
    assert [row["count"] for row in binary.reliability(np.array([0, 1]), np.array([0.95, 1.0]))] == [2]


def test_a_network_that_says_nan_has_no_score():
    y, p = np.array([0, 1, 0, 1]), np.array([0.1, 0.9, np.nan, 0.8])
    assert binary.scores(y, p) == dict.fromkeys(("pr_auc", "roc_auc", "brier", "ece"))


def test_best_threshold_by_hand():
    assert binary.best_threshold(Y, P) == 0.7  # F1: 2/3 at 0.9, 1/2 at 0.8, 4/5 at 0.7, then falling
    assert binary.at_threshold(Y, P, 0.7) == {
        "tp": 2, "fp": 1, "fn": 0, "tn": 2, "precision": pytest.approx(2 / 3), "recall": 1.0, "f1": pytest.approx(0.8)
    }  # fmt: skip


def test_best_threshold_has_no_floor():
    """Focal loss puts rare positives far below 0.1; a search that starts there would find nothing."""
    assert binary.best_threshold(np.array([0, 0, 1]), np.array([0.001, 0.002, 0.003])) == 0.003


@pytest.mark.parametrize("y", [[], [0, 0], [1, 1]])
def test_what_cannot_be_computed_is_none_and_never_nan(y):
    y = np.array(y, int)
    p = np.linspace(0.1, 0.2, len(y))
    found = {**binary.scores(y, p), **binary.at_threshold(y, p, binary.best_threshold(y, p))}
    assert not any(value is not None and np.isnan(value) for value in found.values())
    assert found["roc_auc"] is None
    assert (found["pr_auc"] is None) == (not y.any())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_threshold_is_the_best_of_all(seed, ties):
    y, p, _ = samples(seed, n=60, ties=ties)
    if y.any():
        found = binary.at_threshold(y, p, binary.best_threshold(y, p))["f1"]
        assert found == max(binary.at_threshold(y, p, t)["f1"] for t in np.unique(p))


def test_pr_curve_is_thinned_but_keeps_its_ends():
    y, p, _ = samples(0, n=5000, ties=False)
    curve = binary.pr_curve(y, p, points=100)
    assert 90 <= len(curve["recall"]) <= 101
    assert curve["recall"][-1] == 1.0 and curve["precision"][-1] == pytest.approx(y.mean())
    assert np.all(np.diff(curve["recall"]) >= 0)


@pytest.mark.parametrize("ties", [True, False])
def test_bootstrap_equals_resampling_in_a_loop(ties):
    y, p, group = samples(3, ties=ties)
    draws = bootstrap.resamples(groups=5, replicates=50, seed=7)
    found = binary.replicates(y, p, group, draws)
    for r, counts in enumerate(draws):
        rows = np.concatenate([np.repeat(np.flatnonzero(group == g), times) for g, times in enumerate(counts)])
        assert found["pr_auc"][r] == pytest.approx(average_precision_score(y[rows], p[rows]))
        assert found["roc_auc"][r] == pytest.approx(roc_auc_score(y[rows], p[rows]))
        assert found["brier"][r] == pytest.approx(brier_score_loss(y[rows], p[rows]))


def test_bootstrap_in_blocks_equals_bootstrap_at_once(monkeypatch):
    y, p, group = samples(4)
    draws = bootstrap.resamples(5, 64, 0)
    at_once = binary.replicates(y, p, group, draws)
    monkeypatch.setattr(binary, "REPLICATES_AT_ONCE", 50)
    in_blocks = binary.replicates(y, p, group, draws)
    assert all(np.array_equal(at_once[name], in_blocks[name]) for name in at_once)


def test_draws_without_positives_are_left_out_of_the_interval():
    y, p, group = np.array([1, 0, 0, 0]), np.array([0.9, 0.1, 0.2, 0.3]), np.array([0, 0, 1, 1])
    draws = np.array([[2, 0], [1, 1], [0, 2]])
    found = binary.replicates(y, p, group, draws)["pr_auc"]
    assert found[:2].tolist() == [1.0, 1.0] and np.isnan(found[2])
    assert bootstrap.interval(found) == {"low": 1.0, "high": 1.0, "replicates": 2}
    assert bootstrap.interval(np.array([0.5, np.nan, np.nan])) is None


def test_draws_are_seeded_and_draw_as_many_groups_as_there_are():
    draws = bootstrap.resamples(6, 100, 1)
    assert np.array_equal(draws, bootstrap.resamples(6, 100, 1))
    assert set(draws.sum(axis=1)) == {6}
