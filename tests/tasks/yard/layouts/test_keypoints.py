"""Key points or a polygon? By the description, and by the lines where it does not say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasks.yard.layouts import keypoints, yolo
from tasks.yard.step import BadInput

FILE = Path("data.yaml")


def pose(rng, count, of_each):
    """A line of a box with key points in it."""
    centre, sides = rng.uniform(0.4, 0.6, 2), rng.uniform(0.2, 0.5, 2)
    points = centre + sides * rng.uniform(-0.5, 0.5, (count, 2))
    points = np.hstack([points, rng.integers(1, 3, (count, 1))]) if of_each == 3 else points
    return " ".join(f"{value:.6g}" for value in [0, *centre, *sides, *points.ravel()])


def polygon(rng, corners):
    """A line of a star-shaped polygon."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    reach = rng.uniform(0.05, 0.2, (corners, 1))
    points = rng.uniform(0.25, 0.75, 2) + reach * np.stack([np.cos(angles), np.sin(angles)], 1)
    return " ".join(f"{value:.6g}" for value in [0, *points.ravel()])


@pytest.mark.parametrize("shape", [(17, 3), (14, 3), (16, 3), (1, 3), (12, 2), (17, 2), (4, 2)])
def test_lines_of_poses_tell_themselves(shape):
    rng = np.random.default_rng(0)
    assert keypoints.shown(FILE, (pose(rng, *shape) for _ in range(40))) == shape


@pytest.mark.parametrize("corners", [4, 5, 8, 16])
def test_polygons_stay_polygons_also_if_all_have_as_many_corners(corners):
    rng = np.random.default_rng(0)
    assert keypoints.shown(FILE, (polygon(rng, corners) for _ in range(40))) is None
    assert keypoints.shown(FILE, (polygon(rng, corners + k % 2) for k in range(40))) is None


def test_what_may_be_either_is_asked_for():
    triangle = "0 0.5 0.5 0.6 0.6 0.5 0.6"  # and a box of 0.6 x 0.6 in the middle with one key point in it
    with pytest.raises(BadInput, match=r"7 values, .*box with 1 key points of 2 values .*write kpt_shape: \[1, 2\]"):
        keypoints.shown(FILE, [triangle] * 3)


def test_a_line_is_a_box_with_key_points_where_the_description_says_so():
    line = "0 0.7 0.6 0.2 0.5 0.65 0.4 2 0 0 0"
    assert yolo.box_of(line, {0: "person"}, (2, 3)) == (0, pytest.approx([0.6, 0.35, 0.8, 0.85]))
    with pytest.raises(ValueError, match=r"11 values; .*by kpt_shape \(3, 3\) 14 in all"):
        yolo.box_of(line, {0: "person"}, (3, 3))
    with pytest.raises(ValueError, match="key points lie outside of their box"):
        yolo.box_of("0 0.9 0.9 0.1 0.1 0.1 0.1 0.2 0.2", {0: "person"}, (2, 2))
    for wrong in ([17], "17", [0, 3], [17, 4], [17, True]):
        with pytest.raises(BadInput, match="kpt_shape is"):
            keypoints.said(FILE, {"kpt_shape": wrong})
