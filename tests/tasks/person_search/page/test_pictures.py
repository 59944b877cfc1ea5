"""What a reader sees: whose border has which colour, which queries are shown, and the curves of each run."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageColor

from tasks.person_search.judging import ranking, thresholds
from tasks.person_search.page import pictures
from tasks.yard.reporting import charts


def people(identity: list[int], camera: list[int]) -> pictures.People:
    images = np.full((len(identity), 32, 16, 3), 255, np.uint8)
    names = [f"download/a/{i:04d}_c{c}s1_{k:06d}_00.jpg" for k, (i, c) in enumerate(zip(identity, camera, strict=True))]
    return pictures.People(images, np.array(identity), np.array(camera), names)


def borders(path, nearest: list[list[int]]) -> list[str]:
    """What stands at the top left corner of each gallery crop of the first row."""
    picture = np.asarray(Image.open(path).convert("RGB"))
    inks = {ImageColor.getrgb(getattr(pictures, name)): name for name in ("RIGHT", "WRONG", "FAINT")}
    x = pictures.LEFT_PX + pictures.SLOT_PX + 2 * pictures.GAP_PX + 1
    row = [tuple(picture[29, x + rank * pictures.SLOT_PX].tolist()) for rank in range(len(nearest[0]))]
    return [inks.get(pixel, "none") for pixel in row]


def test_borders_tell_right_from_wrong_and_a_missing_crop_stays_white(tmp_path):
    gallery = people([3, 4, -1, 3], [2, 2, 3, 4])
    nearest = [[1, 0, 2, 3, -1]]
    for identity, expected in ((3, ["WRONG", "RIGHT", "WRONG", "RIGHT", "none"]), (-1, ["FAINT"] * 4 + ["none"])):
        path = tmp_path / f"{identity}.png"
        pictures.ranked_lists(path, {"all": [0]}, people([identity], [1]), gallery, np.array(nearest))
        assert borders(path, nearest) == expected


def test_the_same_input_gives_the_same_bytes_and_any_shape_of_crop_fits(tmp_path):
    names = ["x" * 80, "y_z.png"]
    wide = pictures.People(np.zeros((2, 10, 90, 3), np.uint8), np.array([1, 2]), np.array([1, 2]), names)
    for name in ("a.png", "b.png"):
        pictures.ranked_lists(tmp_path / name, {"q": [0, 1]}, wide, wide, np.array([[1, 0], [0, 1]]))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_shown_are_the_worst_the_best_and_some_between():
    ap = np.array([0.9, 0.1, np.nan, 0.5, 0.3, 0.7, 1.0])
    held = ranking.Ranking(ap, ap, np.where(np.isnan(ap), 0, 1))
    assert pictures.chosen_queries(held, worst=1, spread=1, best=2) == {
        "the worst": [1], "evenly spread": [3], "the best": [6, 0]
    }  # fmt: skip
    few = pictures.chosen_queries(held, worst=4, spread=4, best=4)
    shown = [q for rows in few.values() for q in rows]
    assert sorted(shown) == [0, 1, 3, 4, 5, 6]


@pytest.mark.slow
def test_curves_name_every_run_and_threshold(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(4), np.ones(4, int), np.repeat(np.arange(4), 3), np.full(12, 2)
    runs = {
        name: ranking.rank(rng.standard_normal((4, 8)), rng.standard_normal((12, 8)), *labels)
        for name in ("small", "chance")
    }
    svg = charts.drawn(tmp_path / "cmc.png", lambda: pictures.cmc(runs, {"chance"}))
    assert all(f"{run} (mAP {r.map:.3f})" in svg for run, r in runs.items())

    pairs = thresholds.pairs(rng.standard_normal((4, 8)), rng.standard_normal((12, 8)), *labels)
    marks = {"EER": 0.25, "FAR 0.001": None}
    svg = charts.drawn(tmp_path / "similarities.png", lambda: pictures.similarities(pairs, marks))
    assert all(text in svg for text in ("one person: 12 pairs", "two people: 36 pairs", "EER: 0.250"))
    assert "0.001" not in svg  # a threshold that could not be had
    empty = thresholds.Pairs(np.empty(0, np.float32), np.empty(0, np.float32))
    charts.save(tmp_path / "none.png", lambda: pictures.similarities(empty, {}))
    curves = {"validation": thresholds.curve(pairs), "test": thresholds.curve(empty)}
    svg = charts.drawn(tmp_path / "errors.png", lambda: pictures.errors(curves, {}))
    assert "false accepts, validation" in svg and (tmp_path / "errors.png").stat().st_size > 5000
