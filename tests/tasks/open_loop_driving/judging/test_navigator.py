import numpy as np
import pytest

from tasks.open_loop_driving.judging.navigator import METRES, Navigator


def gps(x, y):
    """Of a place in our world: y is north."""
    return {"lat": y / METRES[0], "lon": x / METRES[1], "z": 0.0}


def test_points_are_given_in_the_cars_frame_and_forgotten_when_they_are_reached():
    plan = [(gps(0, 0), 4), (gps(20, 0), 1), (gps(20, 30), -1)]
    found = Navigator(plan)
    target, command = found.next(np.array([1.0, 0.0, 0.0]))
    assert target == pytest.approx([19, 0], abs=1e-6) and command == 1
    target, command = found.next(np.array([18.0, 1.0, np.pi / 2]))  # reached; faces north
    assert target == pytest.approx([29, -2], abs=1e-6) and command == 4  # void is to follow the lane
    target, _ = found.next(np.array([20.0, 29.0, np.pi / 2]))
    assert target == pytest.approx([1, 0], abs=1e-6)  # the last one stays


def test_a_point_that_the_route_comes_to_later_is_no_short_cut():
    """The way back passes beside the start."""
    plan = [(gps(0, 0), 4), (gps(60, 0), 4), (gps(60, 3), 4), (gps(0, 3), 2)]
    target, command = Navigator(plan).next(np.array([0.0, 0.0, 0.0]))
    assert target == pytest.approx([60, 0], abs=1e-6) and command == 4
