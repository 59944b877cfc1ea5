"""The lens: undistorted, bent again, and what a wrong calibration costs on the ground."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.ground_plane.formats import calibration
from tasks.yard.files import write_json
from tasks.yard.geometry.camera import Camera
from tasks.yard.geometry.lens import Calibration
from tasks.yard.step import BadInput
from tests.tasks.ground_plane import tiny_scene

STOP = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-10)
SMALL = st.floats(-0.05, 0.05)


@st.composite
def lenses(draw) -> Calibration:
    """Barrel and pincushion, off-centre, for the image of the tiny scene."""
    dist = np.array([draw(st.floats(-0.25, 0.15)), draw(SMALL), draw(SMALL) / 10, draw(SMALL) / 10, 0.0])
    of = tiny_scene.calibration(1)
    off = [[draw(st.floats(-5, 20)), 0, draw(st.floats(-4, 4))], [0, draw(st.floats(-5, 20)), 0], [0, 0, 0]]
    K = of.K + np.array(off)
    height, width = of.size
    K_new, _ = cv2.getOptimalNewCameraMatrix(K, dist, (width, height), 0.0)
    return replace(of, K=K, K_new=K_new, dist=dist)


@given(lenses(), st.floats(2, 93), st.floats(2, 61))
def test_a_pixel_comes_back_through_the_lens(of, u, v):
    filmed = of.as_filmed(np.array([[u, v]]))
    back = cv2.undistortPoints(filmed[:, None], of.K, of.dist, R=None, P=of.K_new, criteria=STOP)
    assert np.abs(back.reshape(2) - [u, v]).max() < 1e-4


def test_an_undistorted_image_has_a_mark_where_k_new_says():
    """Drawn at the filmed place of a point of the ground, found where a camera without distortion sees that point."""
    of = tiny_scene.calibration(2)
    big = replace(of, K=np.diag([8, 8, 1]) @ of.K, K_new=np.diag([8, 8, 1]) @ of.K_new, size=(512, 768), roi=None)
    moved = []
    for place in ([1.0, 0.8], [5.2, 3.1], [0.3, 3.7], [3.0, 2.0]):
        point = np.array([[*tiny_scene.PLANE.to_world(np.array(place)), 0.0]])
        straight = big.camera().project(point)[0]
        seen, _ = cv2.projectPoints(point, cv2.Rodrigues(big.R)[0], big.T, big.K, big.dist)  # OpenCV's own camera
        filmed = big.as_filmed(straight)
        assert np.allclose(filmed, seen.reshape(1, 2), atol=1e-6)
        v, u = np.mgrid[:512, :768]
        blob = 255 * np.exp(-((u - filmed[0, 0]) ** 2 + (v - filmed[0, 1]) ** 2) / 32)
        flat = big.undistorted(blob.astype(np.float32))
        weight = flat / flat.sum()
        assert np.hypot((u * weight).sum() - straight[0, 0], (v * weight).sum() - straight[0, 1]) < 0.5
        moved.append(np.abs(filmed - straight).max())
    assert max(moved) > 10  # the lens does bend it


def test_an_image_without_distortion_is_left_alone():
    of = tiny_scene.calibration(1)
    straight = replace(of, dist=np.zeros(5), K_new=of.K)
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    assert np.array_equal(straight.undistorted(image), image)
    pixels = np.array([[3.0, 4.0], [90.5, 60.25]])
    assert np.allclose(straight.as_filmed(pixels), pixels)


def test_a_principal_point_off_by_a_pixel_moves_the_ground_by_depth_over_focal():
    """Aside by depth / f; ahead by depth^2 / (f h), for a camera that looks level from h above the ground."""
    rotation, translation = tiny_scene.looking([0, 0, 2.0], [10, 0, 2.0])
    K = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    true = Camera(K, rotation, translation, (480, 640))
    for depth in (5.0, 10.0, 20.0):
        pixel, far = true.project(np.array([[depth, 0.0, 0.0]]))
        assert np.isclose(far[0], depth)
        aside = replace(true, K=np.add(K, [[0, 0, 1], [0, 0, 0], [0, 0, 0]])).ground(pixel)[0] - true.ground(pixel)[0]
        assert np.allclose(np.abs(aside), [0, depth / 500], atol=1e-9)
        # one row up is farther away: 500 h / depth rows below the horizon become one less
        ahead = replace(true, K=np.add(K, [[0, 0, 0], [0, 0, 1], [0, 0, 0]])).ground(pixel)[0] - true.ground(pixel)[0]
        assert np.allclose(ahead, [1000 / (1000 / depth - 1) - depth, 0], atol=1e-9)
        assert ahead[0] == pytest.approx(depth**2 / 1000, rel=0.03)


def test_a_camera_is_read_as_it_was_written_centimetres_in_the_file(tmp_path):
    of = tiny_scene.calibration(3)
    write_json(tmp_path / "cam3_new.json", calibration.document(of))
    assert np.allclose(json.loads((tmp_path / "cam3_new.json").read_text())["T"], of.T * 100)
    found = calibration.read(tmp_path / "cam3_new.json")
    assert found.name == "cam3" and found.size == of.size
    for key in ("K", "K_new", "R", "T", "dist", "roi"):
        assert np.allclose(getattr(found, key), getattr(of, key), rtol=1e-14)


@pytest.mark.parametrize("key", calibration.KEYS)
def test_a_missing_key_is_named_with_the_file(tmp_path, key):
    said = calibration.document(tiny_scene.calibration(1))
    del said[key]
    write_json(tmp_path / "cam1.json", said)
    with pytest.raises(BadInput, match=rf"cam1\.json: key '{key}' is missing"):
        calibration.read(tmp_path / "cam1.json")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("K", [[1, 2], [3, 4]]),
        ("K", [[50, 0, 3], [0, 50, 3], [0, 0, 0]]),
        ("K_new", [[-50, 0, 3], [0, 50, 3], [0, 0, 1]]),
        ("R", [[1, 0, 0], [0, 1, 0], [0, 0, -1]]),
        ("R", "none"),
        ("T", [1, 2]),
        ("T", None),
        ("dist", [0.1, 0.2, 0.3]),
        ("dist", []),
        ("dist", "none"),
        ("size", [64]),
        ("size", [0, 96]),
        ("ROI", [[1, 2], [3, 4]]),
        ("ROI", [[1, 2], [3, 4], [5]]),
        ("ROI", [[1, 2, 3], [4, 5, 6]]),
        ("ROI", "all"),
    ],
)
def test_a_wrong_value_is_named_with_file_and_key(tmp_path, key, value):
    write_json(tmp_path / "cam1.json", calibration.document(tiny_scene.calibration(1)) | {key: value})
    with pytest.raises(BadInput, match=rf"cam1\.json: '{key}'"):
        calibration.read(tmp_path / "cam1.json")


def test_a_file_that_is_no_json_is_named(tmp_path):
    (tmp_path / "cam1.json").write_text('{"K": [[')
    with pytest.raises(BadInput, match=r"cam1\.json: cannot be read as JSON"):
        calibration.read(tmp_path / "cam1.json")
