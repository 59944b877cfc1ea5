import copy
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from tasks.yard.step import BadInput
from tasks.yard.worlds import bikes
from tasks.yard.worlds.bikes import Ridden, life
from tasks.yard.worlds.bikes.anatomy import CARRIED, PARTS
from tasks.yard.worlds.bikes.life import Condition

WORLD = bikes.parse("synth://bikes?bikes=48&rides=2&seed=1")
WHOLE = Condition(frozenset(), {})
STREAM = [5, 0, 0]
NEVER_HIDDEN = ("front_pedal", "front_handle", "saddle", "back_light", "back_reflector")  # by the rest of the bike


@pytest.fixture(scope="module")
def photos():
    """{(bike, moment): photograph} of the first ride of 48 bikes."""
    return {(number, moment): Ridden(WORLD, number).photo(0, moment) for number in range(48) for moment in (0, 1)}


@pytest.fixture
def nothing_in_front(monkeypatch):
    monkeypatch.setattr(bikes, "THINGS", (1, 0, 0))


def without(part):
    return Condition(frozenset({part}), {})


def changed(one, other):
    """(H, W): which pixels differ. Blur and noise are the same in both."""
    return np.any(one.picture != other.picture, axis=2)


def inside(box, shape, margin_px=0.0):
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    x, y, width, height = box
    across = (columns > x - margin_px) & (columns < x + width + margin_px)
    return across & (rows > y - margin_px) & (rows < y + height + margin_px)


def overlaps(boxes, others):
    """Intersection over union of each with each of the same row; (n, 4) x, y, width, height."""
    low = np.maximum(boxes[:, :2], others[:, :2])
    high = np.minimum(boxes[:, :2] + boxes[:, 2:], others[:, :2] + others[:, 2:])
    both = np.prod(np.clip(high - low, 0, None), 1)
    return both / (np.prod(boxes[:, 2:], 1) + np.prod(others[:, 2:], 1) - both)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("bike=4", "'bike'; did you mean 'bikes'"),
        ("rides=few", "rides = 'few'"),
        ("bikes=0", "bikes = 0 must be from 1"),
        ("width=64", "width = 64 must be from 96"),
    ],
)
def test_a_wrong_query_is_named(query, says):
    with pytest.raises(BadInput, match=says):
        bikes.parse(f"synth://bikes?{query}")


def test_the_parts_are_those_of_delftbikes():
    assert len(PARTS) == 22
    assert list(PARTS) == sorted(PARTS)
    assert {"back_hand_break", "front_handbreak", "gear_case", "dress_guard", "steer"} <= set(PARTS)


@pytest.mark.slow
def test_a_photograph_is_the_same_however_many_bikes_and_rides_there_are(photos):
    more = Ridden(bikes.parse("synth://bikes?bikes=900&rides=5&seed=1"), 3).photo(0, 1)
    assert np.array_equal(more.picture, photos[3, 1].picture)
    assert more.parts == photos[3, 1].parts
    other = Ridden(replace(WORLD, seed=2), 3).photo(0, 1)
    assert not np.array_equal(other.picture, photos[3, 1].picture)


def test_photographs_have_the_size_that_is_asked_for_and_boxes_follow():
    small = Ridden(WORLD, 1).photo(0, 0)
    large = Ridden(replace(WORLD, width=384, height=320), 1).photo(0, 0)
    assert (small.picture.shape, large.picture.shape) == ((160, 192, 3), (320, 384, 3))
    wheels = [photo.parts["back_wheel"].box for photo in (small, large)]
    assert wheels[1] == pytest.approx([2 * value for value in wheels[0]], abs=2)


@pytest.mark.slow
def test_a_box_holds_all_that_is_drawn_of_its_part(nothing_in_front):
    for number in range(3):
        ridden = Ridden(WORLD, number)
        whole = bikes.taken(ridden, WHOLE, STREAM)
        for part in PARTS:
            drawn = changed(whole, bikes.taken(ridden, without(part), STREAM))
            box = whole.parts[part].box
            # A pixel at the edge is drawn in part, and blur carries it one further.
            assert not drawn[~inside(box, drawn.shape, 1.6)].any(), (number, part)


def test_a_box_is_no_larger_than_what_is_drawn(nothing_in_front):
    for number in range(4):
        ridden = Ridden(WORLD, number)
        whole = bikes.taken(ridden, WHOLE, STREAM)
        for part in NEVER_HIDDEN:
            rows, columns = np.nonzero(changed(whole, bikes.taken(ridden, without(part), STREAM)))
            x, y, width, height = whole.parts[part].box
            sides = [columns.min() - x, rows.min() - y, x + width - columns.max() - 1, y + height - rows.max() - 1]
            assert max(sides) < 3, (number, part)


def test_what_is_absent_changes_no_pixel():
    ridden = Ridden(WORLD, 2)
    photo = bikes.taken(ridden, without("saddle"), STREAM)
    other = copy.copy(ridden)
    green = tuple(replace(stroke, colour=(0, 255, 0)) for stroke in ridden.bike.pieces["saddle"])
    other.bike = replace(ridden.bike, pieces={**ridden.bike.pieces, "saddle": green})
    assert not changed(photo, bikes.taken(other, without("saddle"), STREAM)).any()
    assert changed(bikes.taken(ridden, WHOLE, STREAM), bikes.taken(other, WHOLE, STREAM)).any()
    assert photo.parts["saddle"].state == "absent"
    assert photo.parts["saddle"].box == bikes.taken(ridden, WHOLE, STREAM).parts["saddle"].box


@pytest.mark.parametrize("part", PARTS)
def test_damage_is_seen_inside_the_box_and_hardly_moves_it(part, nothing_in_front):
    shares, same, strays = [], [], 0
    for number in range(4):
        ridden = Ridden(WORLD, number)
        whole, broken = (bikes.taken(ridden, of, STREAM) for of in (WHOLE, WHOLE.broken(part, 100 + number)))
        assert (whole.parts[part].state, broken.parts[part].state) == ("intact", "damaged")
        seen, box = changed(whole, broken), broken.parts[part].box
        both = inside(box, seen.shape, 2.5) | inside(whole.parts[part].box, seen.shape, 2.5)
        strays += int(seen[~both].sum())
        shares.append(seen.sum() / inside(box, seen.shape).sum())
        same.append(overlaps(np.array([box]), np.array([whole.parts[part].box]))[0])
    assert strays == 0
    assert np.median(shares) > 0.1
    assert np.median(same) > 0.8


@pytest.mark.slow
def test_more_than_half_of_what_is_occluded_is_hidden(photos, monkeypatch):
    hidden, seen = [], []
    for number in range(6):
        ridden = Ridden(WORLD, number)
        monkeypatch.setattr(bikes, "THINGS", (0, 0, 1))
        whole = bikes.taken(ridden, WHOLE, STREAM)
        occluded = [part for part in PARTS if whole.parts[part].state == "occluded"]
        intact = [part for part in NEVER_HIDDEN if whole.parts[part].state == "intact"]
        for part in [*occluded, *intact[:2]]:
            monkeypatch.setattr(bikes, "THINGS", (0, 0, 1))
            shown = changed(whole, bikes.taken(ridden, without(part), STREAM)).sum()
            monkeypatch.setattr(bikes, "THINGS", (1, 0, 0))
            alone = changed(*(bikes.taken(ridden, of, STREAM) for of in (WHOLE, without(part)))).sum()
            (hidden if part in occluded else seen).append(1 - shown / max(alone, 1))
    assert len(hidden) > 10
    assert np.mean(np.array(hidden) > 0.5) > 0.85  # what is drawn does not fill its box evenly
    assert np.mean(np.array(seen) < 0.3) > 0.85


def test_between_two_photographs_of_a_ride_one_part_changes_at_most():
    kinds = Counter()
    for number in range(200):
        for before, after in Ridden(WORLD, number).conditions:
            lost = after.absent - before.absent
            broken = set(after.damaged) - set(before.damaged)
            assert before.absent <= after.absent
            assert all(after.damaged[part] == seed for part, seed in before.damaged.items() if part not in lost)
            assert len(lost) + len(broken) <= 1
            assert not lost & set(before.damaged)
            kinds["lost" if lost else "broken" if broken else "nothing"] += 1
    shares = {kind: count / 400 for kind, count in kinds.items()}
    assert shares["nothing"] == pytest.approx(1 - life.CHANGED, abs=0.08)
    assert shares["lost"] == pytest.approx(life.CHANGED * life.LOST, abs=0.08)


def test_before_the_next_ride_some_is_mended_and_nothing_else_happens():
    wrong = mended = 0
    for number in range(100):
        (first, after), (again, _) = Ridden(WORLD, number).conditions
        assert again.absent <= after.absent
        assert set(again.damaged) <= set(after.damaged)
        assert first.absent <= again.absent  # what a bike never had
        wrong += len(after.damaged)
        mended += len(after.damaged) - len(again.damaged)
    assert mended / wrong == pytest.approx(life.MENDED, abs=0.12)


def test_where_the_steer_is_gone_nothing_hangs_in_the_air():
    lost = WHOLE.broken("bell", 3).without("steer")
    assert lost.absent == {"steer", *CARRIED}
    assert not lost.damaged


def test_damage_stays_the_same_from_photograph_to_photograph():
    ridden = Ridden(WORLD, 7)
    condition = WHOLE.broken("front_wheel", 11)
    first, again = (ridden.worn(condition)["front_wheel"] for _ in range(2))
    assert all(np.array_equal(a.points, b.points) and a.colour == b.colour for a, b in zip(first, again, strict=True))


def test_the_handle_brake_and_pedal_that_are_called_front_are_further_forward(photos):
    for (number, _), photo in photos.items():
        sign = -1 if Ridden(WORLD, number).faces_left else 1
        middle = {part: sign * (seen.box[0] + seen.box[2] / 2) for part, seen in photo.parts.items()}
        for of in ("wheel", "pedal", "handle", "mudguard"):
            assert middle[f"front_{of}"] > middle[f"back_{of}"], (number, of)


def test_states_come_as_often_as_planned(photos):
    found = Counter(seen.state for photo in photos.values() for seen in photo.parts.values())
    shares = {state: found[state] / sum(found.values()) for state in bikes.STATES}
    assert 0.66 < shares["intact"] < 0.76
    assert 0.10 < shares["absent"] < 0.18
    assert 0.06 < shares["occluded"] < 0.12
    assert 0.045 < shares["damaged"] < 0.09


def test_parts_are_large_enough_to_be_found_and_nearly_all_within_the_picture(photos):
    boxes = np.array([[seen.box for seen in photo.parts.values()] for photo in photos.values()])
    assert np.median(boxes[..., 2:], axis=0).min() > 6.5
    assert np.quantile(boxes[..., 2:].min(-1), 0.02) > 4.5
    ends = boxes[..., :2] + boxes[..., 2:]
    out = (boxes[..., :2] < -0.5).any(-1) | (ends > [192.5, 160.5]).any(-1)
    assert 0 < out.mean() < 0.02


def test_the_mean_box_of_a_part_finds_hardly_any(photos):
    """Not even half of a quarter of them: AP50 cannot exceed recall."""
    boxes = np.array([[seen.box for seen in photo.parts.values()] for photo in photos.values()])
    learnt, held_out = boxes[:60], boxes[60:]
    mean = learnt.mean(0)
    hits = [overlaps(photo, mean) >= 0.5 for photo in held_out]
    assert np.mean(hits) < 0.12


def test_place_and_size_do_not_tell_the_state(photos):
    """Means of place, size and shape by state, in standard deviations of their part."""
    boxes = np.array([[seen.box for seen in photo.parts.values()] for photo in photos.values()])
    states = np.array([[seen.state for seen in photo.parts.values()] for photo in photos.values()])
    middle, size = boxes[..., :2] + boxes[..., 2:] / 2, np.log(boxes[..., 2:])
    told = np.concatenate([middle, size, size[..., :1] - size[..., 1:]], -1)
    told = (told - told.mean(0)) / told.std(0)
    for state in bikes.STATES:
        assert np.abs(told[states == state].mean(0)).max() < 0.25, state


def test_bikes_face_both_ways():
    left = np.mean([Ridden(WORLD, number).faces_left for number in range(60)])
    assert 0.3 < left < 0.7
