"""Where a part has to be: from the others, in both photographs, however the camera stands; and who cannot know it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tasks.bike_parts.formats.photos import Photos
from tasks.bike_parts.judging import layout as layouts
from tasks.bike_parts.judging.layout import FEW_PAIRS, expected, layout_of, learnt
from tasks.bike_parts.judging.matching import corners
from tasks.bike_parts.judging.pairs import pairs_of
from tasks.yard.metrics.boxes import ious
from tests.tasks.bike_parts.tiny_layouts import PARTS, Shot, photos_of, rides, seen

LOST = 4


@pytest.fixture(scope="module")
def layout() -> layouts.Layout:
    train = photos_of(rides(60))
    found = learnt(train, pairs_of(train))
    assert found is not None and found.known.all()
    return found


def without(of, part: int):
    return of.chosen(of.part != part + 1)


def elsewhere(of, part: int):
    boxes = of.box.copy()
    boxes[part, :2] += 120
    return replace(of, box=boxes)


def overlaps(layout: layouts.Layout, change=lambda of, part: of, count: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """(n) of the expected box of a part after the ride with its true one, and how far off it was; (n) of all others."""
    random, told, others = np.random.default_rng(5), [], []
    for before, after in rides(count, seed=7):
        found = expected(layout, [seen(before, random), change(seen(after, random), LOST)])
        assert found is not None
        iou = ious(found[1].box, corners(after.boxes))
        told.append((iou[LOST], found[1].off[LOST]))
        others += np.delete(found[1].off, LOST).tolist()
    return np.array(told), np.array(others)


def test_a_part_that_was_not_found_is_expected_where_it_is(layout):
    of_lost, others = overlaps(layout, without)
    assert np.median(of_lost[:, 0]) > 0.5 and np.isnan(of_lost[:, 1]).all() and np.isfinite(others).all()


def test_what_was_found_elsewhere_is_far_off_and_moves_no_other_part(layout):
    of_lost, others = overlaps(layout, elsewhere)
    right, _ = overlaps(layout)
    assert np.median(of_lost[:, 0]) > 0.35  # the part itself says nothing of where it is expected
    assert of_lost[:, 1].min() > 4 > np.quantile(right[:, 1], 0.9) and np.median(others) < 3


def test_parts_that_turn_together_tell_of_each_other(layout):
    def misses(gone: tuple[int, ...]) -> float:
        """By how much, of its edges, the expected middle of part 0 is off after the ride, without these."""
        random, found = np.random.default_rng(5), []
        for before, after in rides(12, seed=8):
            left = seen(after, random)
            for part in gone:
                left = without(left, part)
            box = expected(layout, [seen(before, random), left])[1].box[0]
            x, _, width, _ = after.boxes[0]
            found.append(abs((box[0] + box[2]) / 2 - x - width / 2) / width)
        return float(np.median(found))

    assert misses((0,)) < 0.6 * misses((0, 1))


def test_it_is_the_same_after_a_round_through_a_file(layout):
    again = layout_of(layout.told())
    random = np.random.default_rng(5)
    ((before, after),) = rides(1, seed=7)
    sides = [seen(before, random), seen(after, random)]
    for one, other in zip(expected(layout, sides), expected(again, sides), strict=True):
        np.testing.assert_allclose(one.box, other.box, atol=0.1)


def test_who_cannot_know_it_says_so(layout):
    few = photos_of(rides(FEW_PAIRS - 1))
    assert learnt(few, pairs_of(few)) is None and learnt(few, []) is None
    random = np.random.default_rng(0)
    ((before, after),) = rides(1)
    sides = seen(before, random), seen(after, random)
    assert expected(layout, [sides[0], sides[1].chosen(np.arange(5))]) is None
    line = Shot(np.tile([10.0, 10, 5, 5], (len(PARTS), 1)), after.states)
    assert expected(layout, [sides[0], seen(line, random, off=0)]) is None


def test_a_part_that_is_seldom_labelled_or_labelled_twice_has_no_usual_place():
    train = photos_of(rides(40))
    keep = (train.part != 3) | (train.photo <= 20)
    some = {name: getattr(train, name)[keep] for name in ("id", "photo", "part", "box", "state", "trust")}
    some["part"] = np.where((some["part"] == 6) & (some["photo"] == 1), 5, some["part"])  # part 5 twice in one
    found = learnt(Photos(PARTS, train.photos, **some), pairs_of(train))
    assert np.flatnonzero(~found.known).tolist() == [2, 4]
    random = np.random.default_rng(0)
    ((before, after),) = rides(1, seed=3)
    there = expected(found, [seen(before, random), seen(after, random)])
    assert np.isnan(there[1].box[[2, 4]]).all() and np.isfinite(np.delete(there[1].box, [2, 4], 0)).all()
