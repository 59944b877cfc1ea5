"""Whom to find, from a photograph: it is cut to the person, a crop stays, and where nobody is seen that is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.person_search.importers import queries
from tasks.person_search.importers.photographs import cropped
from tasks.yard.step import BadInput


def photograph(path: Path, width: int, height: int):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)).save(path)
    return queries.own(path)[0]


def seeing(*people: list[float]):
    return lambda _image: np.array(people, np.float32).reshape(-1, 5)


def test_a_photograph_is_cut_to_the_largest_person_aloud(tmp_path):
    query = photograph(tmp_path / "street.png", 640, 480)
    near, far = [100.4, 50.2, 220.3, 400.1, 0.9], [500, 100, 540, 200, 0.8]
    one, said = cropped(query, seeing(far, near, [0, 0, 640, 480, 0.2]), tmp_path / "out")
    whole, cut = (np.asarray(Image.open(path)) for path in (query.path, one.path))
    assert np.array_equal(cut, whole[50:400, 100:220]) and one.shown == query.shown and one.key == query.key
    assert "cut to the person at 100, 50 to 220, 400 px; the largest of 2 people" in said


def test_a_crop_is_taken_as_it_is(tmp_path):
    crop = photograph(tmp_path / "crop.png", 64, 128)
    assert cropped(crop, seeing([5, 5, 20, 40, 0.9]), tmp_path) == (crop, None)
    close = photograph(tmp_path / "close.png", 500, 900)
    assert cropped(close, seeing([60, 30, 440, 880, 0.9]), tmp_path) == (close, None)
    tall = photograph(tmp_path / "tall.png", 500, 900)
    assert cropped(tall, seeing(), tmp_path)[0] == tall and "nobody is seen" in cropped(tall, seeing(), tmp_path)[1]


def test_a_photograph_of_nobody_and_a_torn_one_are_refused(tmp_path):
    with pytest.raises(BadInput, match=r"wall\.png: nobody is seen in it \(640 x 480 px\)"):
        cropped(photograph(tmp_path / "wall.png", 640, 480), seeing([0, 0, 99, 99, 0.3]), tmp_path)
    torn = tmp_path / "torn.png"
    torn.write_bytes((tmp_path / "wall.png").read_bytes()[:2000])
    with pytest.raises(BadInput, match=r"torn\.png: .*; give another image"):
        cropped(queries.own(torn)[0], seeing(), tmp_path)
