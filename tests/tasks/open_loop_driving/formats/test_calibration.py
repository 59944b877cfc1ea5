"""The one calibration: exact there and back, whatever is done to the picture; files that cannot be one are named."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.open_loop_driving.formats import calibration
from tasks.open_loop_driving.importers.drives import PUBLISHED, pinhole
from tasks.yard.step import BadInput

MOUNTS = st.tuples(
    st.floats(-3, 3), st.floats(-1, 1), st.floats(0.5, 3), st.floats(-180, 180), st.floats(40, 150)
)  # fmt: skip


def front():
    return pinhole("front", (1.5, 0.0, 2.5, 0.0, 90.0), (100, 200))


@given(MOUNTS, st.integers(0, 2**31))
def test_camera_and_car_are_each_others_inverse_to_1e_9(mount, seed):
    camera = pinhole("any", mount, (90, 160))
    assert np.abs(camera.ego_from_camera @ camera.camera_from_ego - np.eye(4)).max() < 1e-9
    assert camera.centre == pytest.approx(mount[:3], abs=1e-9)
    rng = np.random.default_rng(seed)
    pixels, depth = rng.uniform(0, 90, (20, 2)), rng.uniform(1, 60, 20)
    there, back = camera.project(camera.lift(pixels, depth))
    assert np.abs(there - pixels).max() < 1e-9 and np.abs(back - depth).max() < 1e-9


def test_a_transposed_matrix_would_misplace_the_camera():
    """The released code transposes the 4 x 4 and loses where the camera is: by 1.5 m for the front one."""
    camera = pinhole("front", PUBLISHED["thinktwice"]["front"], (900, 1600))
    point = np.array([0.0, 0.0, 10.0, 1.0])
    right, wrong = camera.ego_from_camera @ point, camera.camera_from_ego.T @ point
    assert right[:3] == pytest.approx([11.5, 0, 2.5]) and np.linalg.norm((right - wrong)[:3]) > 1.5


def test_where_things_are_seen():
    camera = front()
    pixels, depth = camera.project(np.array([[11.5, 0, 2.5], [11.5, 5, 2.5], [11.5, 0, 0], [-9, 0, 2.5]]))
    assert pixels[:3] == pytest.approx(np.array([[100, 50], [50, 50], [100, 75]])) and depth[:3] == pytest.approx(10)
    assert camera.sees(pixels, depth).tolist() == [True, True, True, False]


def test_resized_and_cropped_pictures_show_the_same_ways():
    camera, point = front(), np.array([[20.0, 3.0, 1.0]])
    (u, v), depth = camera.project(point)[0][0], camera.project(point)[1]
    assert camera.resized(50, 400).project(point)[0][0] == pytest.approx([2 * u, v / 2])
    cut = camera.cropped(10, 30, 80, 120)
    assert cut.project(point)[0][0] == pytest.approx([u - 30, v - 10]) and cut.project(point)[1] == depth


def test_a_file_comes_back():
    camera = front()
    found = calibration.parse_all({"back": camera.document(), "front": camera.document()}, "route.json")
    assert list(found) == ["front", "back"]
    assert (found["front"].K == camera.K).all() and (found["front"].camera_from_ego == camera.camera_from_ego).all()


@pytest.mark.parametrize(
    "change, said",
    [
        ({"K": [[1, 2], [3, 4]]}, "'K' is not 3 x 3"),
        ({"K": [[math.nan, 0, 1], [0, 1, 1], [0, 0, 1]]}, "'K' is not 3 x 3 finite"),
        ({"K": [[-9, 0, 1], [0, 9, 1], [0, 0, 1]]}, "'K' is no camera matrix"),
        ({"camera_from_ego": np.diag([1, -1, 1, 1]).tolist()}, "right-handed"),
        ({"width": 0}, "'height' and 'width'"),
    ],
)
def test_what_cannot_be_a_camera_is_named(change, said):
    with pytest.raises(BadInput, match=said) as error:
        calibration.parse({**front().document(), **change}, "front", "route.json")
    assert str(error.value).startswith("route.json: camera front: ")


def test_a_key_that_is_missing_is_named():
    document = front().document()
    del document["K"]
    with pytest.raises(BadInput, match="key 'K' is missing"):
        calibration.parse(document, "front", "route.json")
