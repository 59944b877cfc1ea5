"""Probabilities that were bent on purpose come back, and too few labels change nothing."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.bike_parts.judging.believed import Calibration, calibration_of
from tasks.bike_parts.judging.calibration import fitted

NO_BOXES = np.empty(0), np.empty(0, bool)


def bent(count: int = 4000, temperature: float = 0.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(true probabilities, those of a head that is too sure and says damaged too often, states drawn from the first)"""
    random = np.random.default_rng(0)
    scores = random.normal([1.5, -0.5, 0, -0.5], 1.5, (count, 4))
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    wrong = np.exp(scores / temperature + np.array([0, 1.5, 0, 0]))
    return p, wrong / wrong.sum(1, keepdims=True), (random.random((count, 1)) > p.cumsum(1)).sum(1)


def test_a_head_that_is_too_sure_and_prefers_a_state_is_put_right():
    p, said, true = bent()
    put_right = fitted(*NO_BOXES, said, true)
    assert np.abs(put_right(said) - p).mean() < 0.2 * np.abs(said - p).mean()
    assert put_right.temperature == pytest.approx(2.0, rel=0.2)
    assert calibration_of(put_right.told()) == put_right


def test_scores_of_boxes_mean_how_often_they_are_right():
    random = np.random.default_rng(0)
    score = random.uniform(0.02, 0.98, 5000)
    hit = random.random(5000) < score**2
    put_right = fitted(score, hit, np.empty((0, 4)), np.empty(0, int))
    assert abs(put_right.score(score).mean() - hit.mean()) < 0.02
    low = score < 0.4
    assert abs(put_right.score(score[low]).mean() - hit[low].mean()) < 0.05
    assert (np.diff(put_right.score(np.sort(score))) >= 0).all()


def test_too_few_labels_change_nothing():
    states = np.full((10, 4), 0.25)
    assert fitted(np.full(5, 0.5), np.ones(5, bool), states, np.full(10, -1)) == Calibration()
    assert Calibration()(np.empty((0, 4))).shape == (0, 4)
