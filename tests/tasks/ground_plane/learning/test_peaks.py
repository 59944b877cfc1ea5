"""From maps to places: what is drawn as Gaussians comes back, between the cells; nothing where nothing is judged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ground_plane.judging.matching import match
from tasks.ground_plane.learning.peaks import peaks
from tasks.ground_plane.params import Decode
from tasks.yard.geometry import camera as geometry

CELL_M, GRID, SIGMA_CELLS = 0.2, (20, 30), 0.9
DECODE = Decode(match_m=0.5, nms_m=0.5, max_detections=150)
EVERYWHERE = np.ones(GRID, bool)


def bumps(people: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """The greatest of Gaussians at plane coordinates (n, 2), seen at the centres of the cells."""
    gap = geometry.cells(GRID, CELL_M)[None] - people[:, None, None]
    return (heights[:, None, None] * np.exp(-(gap**2).sum(-1) / (2 * (SIGMA_CELLS * CELL_M) ** 2))).max(0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_people_come_back_where_they_stand_between_the_cells(seed):
    """On a lattice of a metre and a half, each anywhere within half a metre of their place."""
    rng = np.random.default_rng(seed)
    people = np.array([(x, y) for x in (1.0, 2.5, 4.0) for y in (1.0, 2.5)]) + rng.uniform(-0.25, 0.25, (6, 2))
    xy, confidence = peaks(bumps(people, rng.uniform(0.4, 1, 6)), EVERYWHERE, CELL_M, DECODE, 0.2)
    pairs, _ = match(xy, people, 0.005)
    assert len(xy) == len(pairs) == 6
    assert (np.diff(confidence) <= 0).all()


def test_a_cell_forced_to_one_is_still_less_than_half_a_cell_off():
    """Training forces the nearest cell to 1, whatever the place between the cells."""
    person = np.array([[2.18, 1.65]])
    scores = bumps(person, np.ones(1))
    scores[8, 10] = 1.0
    xy, confidence = peaks(scores, EVERYWHERE, CELL_M, DECODE, 0.1)
    assert confidence.tolist() == [1.0] and np.abs(xy - person).max() < 0.03


def test_of_two_near_peaks_the_surer_stays():
    scores = np.zeros(GRID)
    scores[5, 5], scores[5, 7], scores[5, 9] = 0.6, 0.9, 0.7
    _, confidence = peaks(scores, EVERYWHERE, CELL_M, DECODE, 0.1)
    assert confidence.tolist() == [pytest.approx(0.9)]  # 0.4 m to either side of it
    near = DECODE.model_copy(update={"nms_m": 0.39})
    assert peaks(scores, EVERYWHERE, CELL_M, near, 0.1)[1] == pytest.approx([0.9, 0.7, 0.6])
    assert peaks(scores, EVERYWHERE, CELL_M, near, 0.65)[1] == pytest.approx([0.9, 0.7])
    assert len(peaks(scores, EVERYWHERE, CELL_M, near.model_copy(update={"max_detections": 1}), 0.1)[0]) == 1


def test_beyond_the_mask_is_nothing_and_it_pulls_no_peak():
    scores = bumps(np.array([[2.1, 2.1], [4.5, 2.1]]), np.array([0.8, 0.9]))
    scores[10, 11] = 0.79  # beside the first, not trained, and thus anything
    mask = EVERYWHERE.copy()
    mask[:, 11:] = False
    xy, _ = peaks(scores, mask, CELL_M, DECODE, 0.1)
    np.testing.assert_allclose(xy, [[2.1, 2.1]], atol=1e-6)
    assert len(peaks(scores, ~EVERYWHERE, CELL_M, DECODE, 0.0)[0]) == 0


@given(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([(1, 1), (1, 7), (9, 1), GRID]))
def test_a_flat_map_of_any_shape_is_no_trap(value, grid):
    xy, confidence = peaks(np.full(grid, value), np.ones(grid, bool), CELL_M, DECODE, 0.0)
    assert np.isfinite(xy).all() and xy.shape == (len(confidence), 2) and (len(xy) > 0) == (value > 0)
    gaps = np.hypot(*(xy[:, None] - xy[None]).T) + np.eye(len(xy))
    assert (gaps >= DECODE.nms_m).all()
