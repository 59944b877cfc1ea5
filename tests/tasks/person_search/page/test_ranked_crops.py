"""Who looks most like the query: each walker once, whoever else is near, and crops that stay within their frame."""

from __future__ import annotations

import numpy as np
from PIL import Image

from tasks.person_search.page import ranked_crops
from tasks.person_search.page.ranked_crops import Place, walkers

A, B = np.array([1.0, 0.0]), np.array([0.0, 1.0])


def at(second: float | None, x: float, vector: np.ndarray = A, camera: int = 0) -> Place:
    return Place(camera, second, np.array([x, 0, x + 20, 50]), vector)


def test_a_walker_is_shown_once_and_who_goes_beside_them_too():
    steps = [at(0.5 * n, 30 * n) for n in range(6)]
    assert walkers(steps, 1.5, 0.5) == [[0, 1, 2, 3, 4, 5]]
    assert walkers([steps[0], at(0.0, 25)], 1.5, 0.5) == [[0], [1]], "two in one frame are two"
    assert walkers([steps[0], at(0.5, 30, B)], 1.5, 0.5) == [[0], [1]], "and who is not alike is another"
    assert walkers([steps[0], at(0.5, 300)], 1.5, 0.5) == [[0], [1]], "nobody runs five of their heights so fast"
    assert walkers([steps[0], at(10.0, 0)], 1.5, 0.5) == [[0], [1]]
    assert walkers([steps[0], at(0.5, 0, camera=1)], 1.5, 0.5) == [[0], [1]]
    assert walkers([at(None, 0), at(None, 0)], 1.5, 0.5) == [[0], [1]], "stills have no times"
    assert walkers(steps, 1.5, None, most=1) == [[0, 1, 2, 3, 4, 5]]


def test_the_picture_shows_the_crops_where_they_are(tmp_path):
    frame = np.full((60, 100, 3), 40, np.uint8)
    frame[0:50, 80:100] = (250, 10, 10)
    Image.fromarray(frame).save(tmp_path / "frame.png")
    Image.new("RGB", (20, 40), (10, 10, 250)).save(tmp_path / "query.png")
    hit = {
        "path": tmp_path / "frame.png", "box": [80.0, 0.0, 104.0, 50.0], "similarity": 0.9, "above": True, "times": 2,
        "camera": "door", "spot": "1.0 s of door.mp4", "expected_false": 0.1,
    }  # fmt: skip
    for name, hits in (("one", [hit]), ("none", [])):
        ranked_crops.write(tmp_path / f"{name}.jpg", tmp_path / "query.png", "ann", "found", hits)
    one, none = (
        np.asarray(Image.open(tmp_path / f"{name}.jpg").convert("RGB")).astype(int) for name in ("one", "none")
    )
    red, blue = ((np.abs(one - ink).sum(axis=2) < 60).sum() for ink in ((250, 10, 10), (10, 10, 250)))
    assert red > 5000 and blue > 5000
    assert not (np.abs(none - (250, 10, 10)).sum(axis=2) < 60).any()
