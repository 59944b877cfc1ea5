"""Where the bicycle is, if it is small: the nearest of several, with something around it, and the way back."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tasks.bike_parts.importers.inspected import keyed
from tasks.bike_parts.judging.verdicts import Seen
from tasks.bike_parts.learning import cropping, looking
from tasks.bike_parts.learning.cropping import window
from tests.tasks.bike_parts.tiny_photos import section

REAL = Path(__file__).parents[4] / ".." / "shared" / "real"
CROP = section("inspect").crop


def boxes(*found: tuple[float, ...]) -> np.ndarray:
    return np.array([[*box, 0.9, 0] for box in found], np.float32).reshape(-1, 6)


def test_the_nearest_bicycle_is_cut_out_with_a_margin_within_the_photograph():
    crop = CROP.model_copy(update={"margin": 0.1, "below": 0.4})
    assert window(boxes((100, 100, 200, 150), (300, 50, 310, 60)), (400, 300), crop) == [90, 95, 120, 60]
    assert window(boxes((0, 0, 100, 100)), (400, 300), crop) == [0, 0, 110, 110]
    assert window(boxes((10, 10, 390, 290)), (400, 300), crop) is None  # fills the picture
    assert window(boxes(), (400, 300), crop) is None


def test_boxes_are_told_in_pixels_of_the_photograph():
    seen = Seen(np.array([1]), np.array([[1.0, 2, 3, 4]]), np.array([0.5]), np.full((1, 4), 0.25))
    assert looking.moved(seen, [90, 95, 120, 60]).box.tolist() == [[91, 97, 3, 4]]
    assert looking.moved(seen, None).box.tolist() == [[1, 2, 3, 4]]
    image = np.arange(400 * 300 * 3, dtype=np.uint32).reshape(300, 400, 3)
    assert looking.cut(image, [90, 95, 120, 60]).shape == (60, 120, 3)
    assert (looking.cut(image, [90, 95, 120, 60])[0, 0] == image[95, 90]).all()


@pytest.mark.slow
def test_a_real_bicycle_that_is_small_in_its_photograph_is_found_by_yolo():
    weights, photo = REAL / "weights/yolov8n.pt", REAL / "delftbikes_photos/g.jpg"
    if not (weights.is_file() and photo.is_file()):
        pytest.skip(f"{REAL} has no delftbikes_photos, or no weights/yolov8n.pt")
    small = cv2.resize(cv2.imread(str(photo)), (240, 180), interpolation=cv2.INTER_AREA)
    scene = np.full((600, 800, 3), 150, np.uint8)
    scene[300:480, 500:740] = small
    model, _ = cropping.bicycles(str(weights), CROP)
    x, y, width, height = cropping.small(scene, model, CROP)
    assert x >= 480 and x + width <= 760 and y >= 280 and y + height <= 500 and width > 120


def test_keys_of_photographs_differ_where_disks_take_them_for_one():
    keys = [photo.key for photo in keyed([("a/B.jpg", Path("x")), ("a-b.png", Path("y")), ("a/B.png", Path("z"))])]
    assert len({key.lower() for key in keys}) == 3
