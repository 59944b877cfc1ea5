"""Pixels, metres and cells: the same place by every way there is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.yard.geometry import camera as geometry
from tasks.yard.geometry.camera import Camera, Plane
from tests.tasks.ground_plane import tiny_scene

ANGLE = st.floats(-3.1, 3.1)


@st.composite
def cameras(draw) -> Camera:
    """Any place 1 to 20 m above the ground, looking down at it by 10 to 80 degrees, turned about its axis."""
    eye = np.array([draw(st.floats(-30, 30)), draw(st.floats(-30, 30)), draw(st.floats(1, 20))])
    down, way, roll = np.deg2rad(draw(st.floats(10, 80))), draw(ANGLE), draw(ANGLE)
    aim = np.array([np.cos(way) * np.cos(down), np.sin(way) * np.cos(down), -np.sin(down)])
    rotation, _ = tiny_scene.looking(eye, eye + aim)
    c, s = np.cos(roll), np.sin(roll)
    rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ rotation
    height, width = draw(st.integers(40, 1200)), draw(st.integers(40, 2000))
    focal = draw(st.floats(0.4, 3)) * width
    skew, tall = draw(st.floats(-1, 1)), draw(st.floats(0.8, 1.2))
    K = np.array([[focal, skew, width / 2], [0, focal * tall, height / 2], [0, 0, 1]])
    return Camera(K, rotation, -rotation @ eye, (height, width))


@st.composite
def before(draw, camera: Camera) -> np.ndarray:
    """Points of the ground (n, 2) before the camera: 1 to 60 m deep."""
    ahead, aside = draw(st.floats(1, 50)), draw(st.floats(-30, 30))
    forward, right = camera.R[2, :2], np.array([-camera.R[2, 1], camera.R[2, 0]])
    forward = forward / np.linalg.norm(forward)
    return camera.centre[:2] + np.array([ahead * forward + aside * right])


@given(st.data())
def test_a_place_comes_back_from_its_pixel(data):
    camera = data.draw(cameras())
    xy = data.draw(before(camera))
    pixels, depth = camera.project(np.column_stack([xy, np.zeros(len(xy))]))
    assert (depth > 0).all()
    assert np.abs(camera.ground(pixels) - xy).max() < 1e-6


@given(st.data())
def test_the_homography_is_k_r1_r2_t(data):
    camera = data.draw(cameras())
    xy = data.draw(before(camera))
    r1, r2 = camera.R[:, 0], camera.R[:, 1]
    by_hand = camera.K @ np.stack([r1, r2, camera.T], axis=1)
    assert np.allclose(camera.homography(), by_hand, rtol=0, atol=1e-9)
    pixels, depth = camera.project(np.column_stack([xy, np.zeros(len(xy))]))
    u, v, w = camera.homography() @ [*xy[0], 1.0]
    assert np.allclose([u / w, v / w], pixels[0], atol=1e-6) and np.isclose(w, depth[0])
    opencv, _ = cv2.projectPoints(np.array([[*xy[0], 0.0]]), cv2.Rodrigues(camera.R)[0], camera.T, camera.K, None)
    skew = camera.K[0, 1] / camera.K[1, 1] * (v / w - camera.K[1, 2])  # which OpenCV does not know
    assert np.allclose(opencv[0, 0] + [skew, 0], pixels[0], atol=1e-5)


def test_a_rounded_rotation_is_taken_as_it_is_in_both_directions():
    """Files hold R with few digits; its transpose is then not its inverse."""
    true = tiny_scene.calibration(1).camera()
    camera = Camera(true.K, np.round(true.R, 3), true.T, true.size)
    xy = tiny_scene.PLANE.to_world(np.array([[0.5, 0.5], [5.5, 3.5]]))
    pixels, _ = camera.project(np.column_stack([xy, np.zeros(2)]))
    assert np.abs(camera.ground(pixels) - xy).max() < 1e-6


def test_above_the_horizon_there_is_no_ground():
    rotation, translation = tiny_scene.looking([0, 0, 2], [10, 0, 2])  # level: the horizon is its middle row
    camera = Camera(np.array([[50.0, 0, 50], [0, 50, 50], [0, 0, 1]]), rotation, translation, (101, 101))
    found = camera.ground(np.array([[50, 60], [50, 50], [50, 40]]))
    assert np.allclose(found[0], [10, 0])  # 2 m below by 10 of 50 px: 10 m away
    assert np.isnan(found[1:]).all()
    assert np.allclose(geometry.polygon_on_ground(camera, [[50, 60], [40, 40], [60, 40]]), [[10, 0]])


@pytest.mark.slow
@given(cameras(), st.integers(8, 500), st.integers(8, 500))
def test_a_resized_camera_keeps_the_edges_of_its_image(camera, height, width):
    camera = Camera(camera.K, camera.R, camera.T, camera.size, np.array([[-0.5, -0.5], [10, 3], [4, 20]]))
    small = camera.resized(height, width)
    old_h, old_w = camera.size
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    rays = np.linalg.inv(camera.K) @ np.column_stack([corners * [old_w, old_h] - 0.5, np.ones(4)]).T
    seen = small.K @ rays
    assert np.allclose((seen[:2] / seen[2]).T, corners * [width, height] - 0.5)
    assert np.allclose(small.roi[0], -0.5)
    assert np.allclose(small.resized(*camera.size).K, camera.K)


def test_a_resized_camera_sees_a_mark_where_opencv_puts_it():
    """A square of 8 x 8 px becomes one pixel; its middle is that pixel's centre."""
    camera = Camera(np.array([[80.0, 0, 47.5], [0, 80, 31.5], [0, 0, 1]]), np.eye(3), np.zeros(3), (64, 96))
    image = np.zeros((64, 96), np.uint8)
    image[24:32, 40:48] = 255
    small = cv2.resize(image, (12, 8), interpolation=cv2.INTER_AREA)
    row, column = np.argwhere(small == 255)[0]
    there = np.array([[(43.5 - 47.5) / 80, (27.5 - 31.5) / 80, 1.0]])
    assert np.allclose(camera.project(there)[0], [[43.5, 27.5]])
    assert np.allclose(camera.resized(8, 12).project(there)[0], [[column, row]])


def test_cells_behind_the_camera_or_outside_its_image_are_not_seen():
    """It stands in the middle of the plane, 2 m high, and looks along X, 45 degrees down."""
    rotation, translation = tiny_scene.looking([5, 5, 2], [7, 5, 0])
    camera = Camera(np.array([[50.0, 0, 49.5], [0, 50, 49.5], [0, 0, 1]]), rotation, translation, (100, 100))
    plane = Plane((0.0, 0.0), (10.0, 10.0))
    centres = geometry.cells(plane.grid(0.5), 0.5)
    sampling, seen = geometry.looked_up(camera, plane, centres)
    x, y = centres[..., 0], centres[..., 1]
    assert seen.any() and not seen[x < 5].any()
    assert (sampling[~seen] == 2).all() and (np.abs(sampling[seen]) <= 1).all()
    # By hand: axes are forward (1, 0, -1) / sqrt 2, down (-1, 0, -1) / sqrt 2; half the image is 50 of 50 px wide.
    deep, low, right = (x - 5 + 2) / 2**0.5, (2 - (x - 5)) / 2**0.5, -(y - 5)
    assert (seen == ((deep > 0) & (np.abs(low) <= deep) & (np.abs(right) <= deep))).all()
    assert np.allclose(sampling[seen], np.stack([right / deep, low / deep], -1)[seen], atol=1e-5)


def test_a_region_of_interest_masks_what_is_outside_of_it():
    camera = tiny_scene.calibration(1).camera()
    middle, edge = np.array([[48.0, 40.0]]), np.array([[48.0, 2.0]])
    assert camera.sees(middle, np.ones(1)) and not camera.sees(edge, np.ones(1))
    everywhere = Camera(camera.K, camera.R, camera.T, camera.size)
    assert everywhere.sees(edge, np.ones(1)) and not everywhere.sees(edge, -np.ones(1))


def test_sampling_finds_the_blob_in_features_of_any_stride():
    """What torch reads at the place of a mark is the mark, in the image and in its means over 2 x 2 and 4 x 4 px."""
    K = np.array([[60.0, 0, 47.5], [0, 60, 31.5], [0, 0, 1]])
    camera = Camera(K, *tiny_scene.looking([0, -4, 3], [0, 0, 0]), (64, 96))
    plane = Plane((-2.0, -2.0), (4.0, 4.0))
    pixel = np.array([[43.5, 35.5]])  # the middle of a block of 4 x 4
    xy = plane.to_plane(camera.ground(pixel))
    sampling, seen = geometry.looked_up(camera, plane, xy[None])
    assert seen.all()
    image = torch.zeros(1, 1, 64, 96)
    image[:, :, 34:38, 42:46] = 1.0
    shifted = torch.roll(image, (-2, -2), (2, 3))
    grid = torch.from_numpy(sampling)[None]
    for stride in (1, 2):
        features = torch.nn.functional.avg_pool2d(image, stride)
        assert torch.nn.functional.grid_sample(features, grid, align_corners=False).item() == pytest.approx(1, abs=1e-4)
    features = torch.nn.functional.avg_pool2d(shifted, 4)  # its block now is one feature, half a stride up and left
    assert torch.nn.functional.grid_sample(features, grid, align_corners=False).item() == pytest.approx(0.25, abs=1e-4)


@given(st.floats(-500, 500), st.floats(-500, 500), st.floats(1, 50), st.floats(1, 50), st.floats(-0.77, 0.77))
def test_the_smallest_rectangle_around_a_turned_one_is_itself(x, y, width, height, angle):
    plane = Plane((x, y), (width, height), angle)
    corners = plane.to_world(np.array([[0, 0], [width, 0], [width, height], [0, height], [width / 2, height / 3]]))
    found = Plane.around(corners)
    inside = found.to_plane(corners)
    assert found.holds(inside).all() and plane.holds(plane.to_plane(corners)).all()
    assert np.allclose(found.size_m, plane.size_m, atol=1e-3 * (width + height))
    assert abs(np.sin(found.angle_rad - angle)) < 1e-3


def test_the_plane_does_not_lose_its_place_in_large_coordinates():
    """UTM metres have 7 digits before the point; single precision has 7 in all."""
    origin = (446_123.25, 5_412_345.75)
    plane = Plane(origin, (12.0, 8.0), 0.2)
    found = Plane.around(plane.to_world(np.array([[0, 0], [12, 0], [12, 8], [0, 8.0]])))
    assert np.allclose(found.origin_m, origin, atol=1e-4) and np.allclose(found.size_m, (12, 8), atol=1e-4)


@given(st.floats(-50, 50), st.floats(-50, 50), ANGLE, st.floats(-20, 20), st.floats(-20, 20))
def test_plane_and_world_are_one_way_and_back(x, y, angle, a, b):
    plane = Plane((x, y), (6.0, 4.0), angle)
    assert np.allclose(plane.to_plane(plane.to_world([a, b])), [a, b])
    assert np.isclose(np.linalg.norm(plane.to_world([a, b]) - [x, y]), np.hypot(a, b))


def test_cells_cover_the_plane_from_its_corner():
    plane = Plane((3.0, 1.0), (1.2, 0.8))
    assert plane.grid(0.4) == (2, 3) and plane.grid(0.5) == (2, 3)
    centres = geometry.cells((2, 3), 0.4)
    assert np.allclose(centres[1, 2], [1.0, 0.6]) and np.allclose(centres[0, 0], 0.2)
