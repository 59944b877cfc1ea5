"""A camera that looks aside: what stands up is not where the calibration has it."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.open_loop_driving.judging import turned
from tasks.open_loop_driving.judging.turned import Seen
from tests.tasks.open_loop_driving.tiny_drives import camera

CAMERA = camera()  # 80 x 48 px, focal length 40 px, 2 m above the ground
POSTS = [(8.0, -4.0), (10.0, 2.0), (14.0, 7.0), (18.0, -3.0), (25.0, 4.0)]  # x, y of columns 1.6 m wide, 2.5 m high


def seen() -> Seen:
    """The depth of flat ground with five columns on it, and the lidar's points on both."""
    depth = np.full((48, 80), 0, np.uint16)
    ground = np.mgrid[4:38:0.1, -20:20:0.1].reshape(2, -1).T
    points = [np.column_stack([ground, np.zeros(len(ground))])]
    for x, y in POSTS:
        side, up = (part.ravel() for part in np.meshgrid(np.arange(y - 0.8, y + 0.8, 0.04), np.arange(0, 2.5, 0.04)))
        points.append(np.column_stack([np.full(len(side), x), side, up]))
    every = np.concatenate(points)
    pixels, away = CAMERA.project(every)
    order = np.argsort(-away)
    shown = order[CAMERA.sees(pixels, away)[order]]
    u, v = pixels[shown].astype(int).T
    depth[v, u] = np.round(away[shown] * 100)  # the nearest is written last
    sparse = np.concatenate([every[: len(ground) : 40], every[len(ground) :: 20]])
    boxes = np.array([[0, x, y, 1.25, 1.0, 1.6, 2.5, 0, 0] for x, y in POSTS] * 2)
    return Seen(depth, turned.places_of(sparse, boxes))


SEEN = seen()
BOXES = Seen(SEEN.depth_cm, {"boxes": SEEN.places["boxes"]})


@pytest.mark.parametrize("of", [SEEN, BOXES], ids=["lidar", "boxes"])
@pytest.mark.parametrize(("left", "up"), [(8, 0), (-8, 0), (0, 8)])
def test_a_turned_camera_is_found_and_which_way_it_looks_instead(of, left, up):
    """The calibration has it turned by so much to the left and up: it looks as much to the right and down of that."""
    found = turned.found(turned.rotated(CAMERA, left, up), [of])
    assert found is not None and abs(found.left + left) <= 2 and abs(found.up + up) <= 2
    assert ("degrees right" in found.words or "degrees left" in found.words) is (left != 0)


@pytest.mark.parametrize("of", [SEEN, BOXES], ids=["lidar", "boxes"])
def test_one_that_looks_where_it_should_is_not(of):
    assert turned.found(CAMERA, [of]) is None
    assert turned.found(turned.rotated(CAMERA, 1, 0), [of]) is None


def test_to_the_left_is_to_the_left():
    (pixels,), _ = turned.rotated(CAMERA, 8, 0).project(np.array([[10.0, 0.0, 2.0]]))
    assert pixels[0] == pytest.approx(40 + 40 * np.tan(np.radians(8))), "what lies ahead is on the right of its picture"
    (pixels,), _ = turned.rotated(CAMERA, 0, 8).project(np.array([[10.0, 0.0, 2.0]]))
    assert pixels[1] == pytest.approx(24 + 40 * np.tan(np.radians(8))), "looking up, it is further down"


def test_too_few_places_tell_nothing():
    flat = Seen(SEEN.depth_cm, turned.places_of(np.array([[9.0, 1.0, 0.0]]), None))
    assert turned.found(turned.rotated(CAMERA, 8, 0), [flat]) is None and turned.found(CAMERA, []) is None
