"""Boxes that are not where their part is on other bikes: found whatever way a bike faces, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.bike_parts.judging.outliers import Boxes, outliers, spread
from tests.tasks.bike_parts.sources import BIKE, PARTS, box_of

SIZE = (640, 480)


def bikes(count: int, seed: int = 0, lacking: float = 0.15) -> Boxes:
    """Bikes of many sizes and places that face either way; each part is missing from some photographs."""
    rng = np.random.default_rng(seed)
    photo, part, box = [], [], []
    for number in range(count):
        length = rng.uniform(200, 500)
        pose = (rng.uniform(250, 390), rng.uniform(180, 300), length, 1 if rng.random() < 0.5 else -1)
        for place, name in enumerate(PARTS):
            if rng.random() >= lacking:
                photo.append(number)
                part.append(place)
                box.append(box_of(name, rng, pose))
    return Boxes(np.array(photo), np.array(part), np.array(box, float), np.tile(SIZE, (count, 1)).astype(float))


def row_of(boxes: Boxes, photo: int, part: str) -> int:
    (row,) = np.flatnonzero((boxes.photo == photo) & (boxes.part == PARTS.index(part)))
    return int(row)


def test_bikes_that_face_either_way_and_stand_anywhere_have_no_outlier():
    assert outliers(bikes(150), PARTS, 6.0) == []


def test_a_steer_box_on_a_pedal_and_a_box_of_another_extent_are_found_and_named():
    boxes = bikes(150, lacking=0.0)
    steer, pedal, saddle = (row_of(boxes, 7, part) for part in ("steer", "back_pedal", "saddle"))
    boxes.box[steer] = boxes.box[pedal]
    wide = row_of(boxes, 20, "chain")
    boxes.box[wide, 2] *= 3
    found = outliers(boxes, PARTS, 6.0)
    assert {of.row for of in found} == {steer, wide}
    by_row = {of.row: of for of in found}
    assert PARTS[by_row[steer].like] == "back_pedal" and by_row[steer].what in ("across", "down")
    assert by_row[wide].what in ("width", "across") and by_row[wide].like is None
    usual = np.array(by_row[steer].usual)
    wanted = np.array(box_of("steer", np.random.default_rng(0), (0, 0, boxes.box[saddle, 2] / 0.16, 1)))[2:]
    np.testing.assert_allclose(usual[2:], wanted, rtol=0.05)
    assert np.linalg.norm(usual[:2] - boxes.box[saddle, :2]) < boxes.box[row_of(boxes, 7, "back_wheel"), 2]


def test_a_place_that_many_bikes_share_is_usual_too():
    """A pedal is up on most bikes and down on a few: of one alone that would be odd."""
    for many, wanted in ((1, 1), (12, 0)):
        boxes = bikes(150, lacking=0.0)
        for photo in range(many):
            row = row_of(boxes, photo, "back_pedal")
            boxes.box[row, 1] += boxes.box[row_of(boxes, photo, "back_wheel"), 3]
        assert len(outliers(boxes, PARTS, 6.0)) == wanted


@pytest.mark.parametrize("seed", range(3))
def test_it_does_not_depend_on_the_order_of_the_photographs_or_boxes(seed):
    boxes = bikes(60, lacking=0.0)
    steer = row_of(boxes, 7, "steer")
    boxes.box[steer] = boxes.box[row_of(boxes, 7, "back_pedal")]
    rng = np.random.default_rng(seed)
    rows, order = rng.permutation(len(boxes.box)), rng.permutation(60)
    mixed = Boxes(np.argsort(order)[boxes.photo[rows]], boxes.part[rows], boxes.box[rows], boxes.size)
    (found,) = outliers(mixed, PARTS, 6.0)
    (before,) = outliers(boxes, PARTS, 6.0)
    assert rows[found.row] == before.row == steer and found.like == before.like
    assert found.deviations == pytest.approx(before.deviations, rel=0.2)


def test_photographs_of_few_parts_are_measured_by_the_picture_itself():
    rng = np.random.default_rng(0)
    box = np.array([[300 + rng.normal(0, 9), 200 + rng.normal(0, 9), 60, 40] for _ in range(30)])
    box[3] = [10, 10, 600, 400]
    boxes = Boxes(np.arange(30), np.zeros(30, int), box, np.tile(SIZE, (30, 1)).astype(float))
    assert [of.row for of in outliers(boxes, ["bell"], 6.0)] == [3]
    assert outliers(Boxes(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 4)), np.zeros((0, 2))), ["bell"], 6.0) == []


def test_the_spread_of_extents_is_a_factor():
    box = np.array([[0, 0, 10.0 * 2 ** (k % 3), 10] for k in range(30)])
    boxes = Boxes(np.arange(30), np.zeros(30, int), box, np.tile([100, 100], (30, 1)).astype(float))
    of = spread(boxes, ["bell", "lock"])
    assert list(of) == ["bell"] and of["bell"]["area"] == pytest.approx(0.02)
    assert of["bell"]["factor"] == pytest.approx(2**1.4826) and of["bell"]["least"] == pytest.approx(0.01)
    assert len(BIKE) == len(PARTS)
