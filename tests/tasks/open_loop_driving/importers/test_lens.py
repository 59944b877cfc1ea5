"""The wide cameras of ThinkTwice's recorder: what the lens bent lies, made straight, where the calibration has it."""

from __future__ import annotations

import math
import shutil

import cv2
import numpy as np
import pytest

from tasks.open_loop_driving.formats import routes
from tasks.open_loop_driving.importers import drives, lens, town
from tests.tasks.open_loop_driving.sources import SPEED_MS, brought, fetched, write

SIZE = 90, 160
PLACES = [(12.0, 3.0, 1.0), (6.0, -10.0, 2.0), (6.0, 9.0, 2.5)]  # ahead, left, up of the car
FRONT_M = (1.5, 0.0, 2.5)


def bent(place) -> np.ndarray:
    """The pixel (from its edge) of a place in the picture as the lens bends it, by OpenCV's own model."""
    ahead, left, up = np.array(place) - FRONT_M
    K = lens.opencv(lens.scaled(lens.BENT, SIZE))
    seen = cv2.projectPoints(np.array([[-left, -up, ahead]]), np.zeros(3), np.zeros(3), K, lens.LENS)
    return seen[0].ravel() + 0.5


@pytest.fixture
def source(tmp_path):
    """A drive of thinktwice's recorder without calibration.json, with a white dot on each place."""
    folder = tmp_path / "source" / "Town01_00" / "drive"
    picture = np.zeros((*SIZE, 3), np.uint8)
    for place in PLACES:
        cv2.circle(picture, tuple(np.round(16 * (bent(place) - 0.5)).astype(int).tolist()), 24, (255,) * 3, -1, 16, 4)
    for i in range(8):
        said = {
            "x": 0.0, "y": SPEED_MS * i / 2, "theta": math.pi / 2, "speed": SPEED_MS, "x_target": 0.0, "y_target": 90.0,
            "target_command": 4,
        }  # fmt: skip
        write(folder / "measurements" / f"{i:04d}.json", said)
        (folder / "rgb_front").mkdir(exist_ok=True)
        cv2.imwrite(str(folder / "rgb_front" / f"{i:04d}.png"), picture)
    (folder / "seg_front").mkdir()
    cv2.imwrite(str(folder / "seg_front" / "0000.png"), np.full(SIZE, 7, np.uint8))
    return folder


def test_a_place_lies_where_the_calibration_has_it_once_its_picture_is_straight(source, tmp_path):
    report = fetched(tmp_path, tmp_path / "source")
    (name,) = report["routes"]
    route = brought(tmp_path, name)
    assert "the pictures are undistorted, by the lens that ThinkTwice measured" in route.about["remarks"]
    image = routes.picture(route.files("rgb_front")[0])[..., 0]
    pixels, depth = route.cameras["front"].project(np.array(PLACES))
    assert (depth > 0).all() and image.max() > 200
    for u, v in pixels:
        near = image[int(v) - 3 : int(v) + 4, int(u) - 3 : int(u) + 4].astype(float)
        rows, columns = np.mgrid[int(v) - 3 : int(v) + 4, int(u) - 3 : int(u) + 4] + 0.5
        assert near.sum() > 500
        middle = np.array([(columns * near).sum(), (rows * near).sum()]) / near.sum()
        assert middle == pytest.approx([u, v], abs=0.6)
    kinds = routes.plain_png(route.files("seg_front")[0], np.uint8)
    assert set(np.unique(kinds)) == {0, 7}, "no class is invented, and what the picture did not show is 0"


def test_depths_of_the_front_are_counted_from_where_its_picture_is(source, tmp_path):
    (source / "depth_front").mkdir()
    told = town.coded_depth(np.full(SIZE, 8.0))
    cv2.imwrite(str(source / "depth_front" / "0000.png"), told)
    report = fetched(tmp_path, tmp_path / "source")
    route = brought(tmp_path, *report["routes"])
    depths = routes.plain_png(route.files("depth_front")[0], np.uint16)
    assert set(np.unique(depths)) == {0, 780}
    assert any("depth_front and seg_front lie 0.2 m behind the picture's" in line for line in route.about["remarks"])


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_run_that_was_killed_makes_no_picture_straight_twice(source, tmp_path, suffix):
    for path in source.glob("rgb_front/*.png"):
        cv2.imwrite(str(path.with_suffix(suffix)), cv2.imread(str(path)))
        path.unlink() if suffix != ".png" else None
    whole = brought(tmp_path, *fetched(tmp_path, tmp_path / "source")["routes"])
    files = {path.relative_to(whole.folder): path.read_bytes() for path in whole.folder.glob("*_front/*")}
    cut = tmp_path / "killed before it was done"
    shutil.copytree(whole.folder, cut)
    drives.bring(source, cut, "thinktwice", None)
    assert {path.relative_to(cut): path.read_bytes() for path in cut.glob("*_front/*")} == files


def test_pictures_of_another_shape_stay_as_they_are_and_that_is_said(source, tmp_path):
    for path in source.glob("rgb_front/*.png"):
        cv2.imwrite(str(path), np.full((60, 160, 3), 9, np.uint8))
    report = fetched(tmp_path, tmp_path / "source")
    (said,) = report["routes"].values()
    assert any("its lens is known for 16:9" in line for line in said["remarks"])
    assert (routes.picture(brought(tmp_path, *report["routes"]).files("rgb_front")[0]) == 9).all()
