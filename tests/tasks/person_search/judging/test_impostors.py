"""Thresholds of whole searches, on draws from distributions whose tails are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.person_search.judging.impostors import Impostors


def of_draws(searches: int, detections: int, seed: int = 0, spread: float = 0.1) -> Impostors:
    """Similarities of strangers are exponential from 0: the highest of n is at most t with (1 - e^(-t / spread))^n."""
    uniform = np.random.default_rng(seed).random(searches)
    best = -spread * np.log1p(-(uniform ** (1 / detections)))
    return Impostors(sorted(best.tolist()), searches, detections)


def true_rate(threshold: float, detections: int, spread: float = 0.1) -> float:
    return 1 - (1 - math.exp(-threshold / spread)) ** detections


@pytest.mark.parametrize("detections", [300, 1000, 4000, 20_000])
@pytest.mark.parametrize("rate", [0.05, 0.2, 0.5])
def test_the_rate_holds_for_an_index_of_another_size(rate, detections):
    calibrated = [of_draws(60, 1000, seed, spread=0.03) for seed in range(200)]
    kept = [true_rate(one.threshold(rate, detections)[0], detections, 0.03) for one in calibrated]
    assert 0.8 * rate < np.mean(kept) < 1.1 * rate + 0.02


def test_a_threshold_that_does_not_know_the_size_of_the_index_would_break_its_promise():
    one = of_draws(2000, 1000, spread=0.03)
    assert true_rate(one.threshold(0.05, 1000)[0], 20_000, 0.03) > 0.5
    assert true_rate(one.threshold(0.05, 20_000)[0], 20_000, 0.03) == pytest.approx(0.05, abs=0.03)


def test_the_threshold_of_known_searches_lies_just_above_the_ones_it_refuses():
    one = Impostors([i / 100 for i in range(1, 20)], 19, 100)
    assert one.threshold(0.05, 100) == (pytest.approx(0.19, abs=1e-6), False)  # none of 19: at most one in 20
    assert one.threshold(0.1, 100) == (pytest.approx(0.18, abs=1e-6), False)
    threshold, beyond = one.threshold(0.01, 100)
    assert beyond and 0.19 < threshold < 0.35


def test_the_share_beside_an_answer_is_the_rate_that_its_similarity_would_be_the_threshold_of():
    """99 searches tell it to one in a hundred at their own size of the index."""
    one = of_draws(99, 1000, spread=0.03)
    for rate in (0.02, 0.1, 0.3):
        for detections in (500, 1000, 5000):
            threshold, _ = one.threshold(rate, detections)
            assert rate - 0.01 * max(1, detections / 1000) < one.share(threshold, detections) < rate + 1e-9


@given(st.lists(st.floats(-1, 1), min_size=20, max_size=60), st.integers(1, 10_000), st.floats(0.001, 0.9))
def test_stricter_rates_and_larger_indexes_never_lower_the_threshold(best, detections, rate):
    one = Impostors(sorted(best), 5, 1000)
    threshold, _ = one.threshold(rate, detections)
    assert one.threshold(rate / 2, detections)[0] >= threshold
    assert one.threshold(rate, 2 * detections)[0] >= threshold
    assert threshold <= 1.000001
    assert 0 <= one.share(threshold, detections) <= 1
