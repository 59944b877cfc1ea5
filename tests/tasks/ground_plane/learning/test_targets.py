from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.ground_plane.learning.targets import heatmap, heatmaps

GRID, CELL_M = (12, 20), 0.25
PLACE = st.tuples(st.floats(0, 20 * 0.25 - 1e-3), st.floats(0, 12 * 0.25 - 1e-3))


@given(place=PLACE, radius=st.floats(0.5, 6))
def test_the_highest_cell_is_the_one_somebody_stands_in_and_exactly_1(place, radius):
    found = heatmap(np.array([place]), GRID, CELL_M, radius)
    row, column = np.unravel_index(found.argmax(), GRID)
    assert found.dtype == np.float32 and found.max() == 1
    assert (column, row) == tuple(int(value // CELL_M) for value in place)
    assert (found == 1).sum() == 1 and found.min() >= 0


@given(places=st.lists(PLACE, max_size=6))
def test_of_several_people_the_nearest_counts(places):
    people = np.array(places).reshape(-1, 2)
    alone = [heatmap(one[None], GRID, CELL_M, 2.0) for one in people]
    np.testing.assert_array_equal(heatmap(people, GRID, CELL_M, 2.0), np.max([np.zeros(GRID), *alone], axis=0))


def test_the_gaussian_is_around_the_true_place():
    found = heatmap(np.array([[1.05, 1.0]]), GRID, CELL_M, 2.0)
    sigma = 5 / 6 * CELL_M
    for row, column in ((3, 4), (4, 5), (6, 2)):
        x, y = (column + 0.5) * CELL_M, (row + 0.5) * CELL_M
        wanted = math.exp(-((x - 1.05) ** 2 + (y - 1.0) ** 2) / (2 * sigma**2))
        assert found[row, column] == pytest.approx(wanted, rel=1e-5)


def test_who_stands_outside_vanishes():
    outside = np.array([[-0.01, 1.0], [1.0, -0.01], [5.0, 1.0], [1.0, 3.0]])
    assert not heatmap(outside, GRID, CELL_M, 4.0).any()
    assert not heatmap(np.empty((0, 2)), GRID, CELL_M, 4.0).any()


def test_places_that_are_not_real_leave_no_trace():
    places = torch.tensor([[[3.5, 2.5], [8.5, 8.5]]])
    found = heatmaps(places, torch.tensor([[True, False]]), GRID, 2.0)
    torch.testing.assert_close(found, heatmaps(places[:, :1], torch.tensor([[True]]), GRID, 2.0))
