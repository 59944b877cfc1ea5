"""Baselines know what training shows and no more, and rides are judged as somebody would count."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from tasks.bike_parts.formats.photos import ABSENT, DAMAGED, Photo
from tasks.bike_parts.judging import baselines, matching, pairs, runs
from tasks.bike_parts.judging.runs import Run
from tests.tasks.bike_parts.judged_photos import PARTS, labelled, seen, unlabelled
from tests.tasks.yard.shared import reporting

REPORTING = reporting(bootstrap_replicates=100)


def test_the_mean_box_is_the_mean_of_shares_in_the_size_of_each_photograph():
    train, test = labelled("train", 20), labelled("test", 3)
    found = baselines.mean_box(train, test)
    assert len(found.score) == len(PARTS) * len(test.photos)
    edges = np.array([baselines.sizes(train)[one] for one in train.photo])
    for row in range(len(found.score)):
        of = train.part == found.part[row]
        width, height = baselines.sizes(test)[int(found.image[row])]
        share = (train.box[of] / np.tile(edges[of], 2)).mean(0)
        np.testing.assert_allclose(found.box[row], share * [width, height, width, height], rtol=1e-5)
        assert found.presence[row] == pytest.approx((train.state[of] != ABSENT).mean(), abs=1e-6)


def test_where_parts_always_lie_in_one_place_the_mean_box_is_perfect():
    train, test = labelled("train", 10), labelled("test", 6)
    for of in (train, test):
        size = np.array([baselines.sizes(of)[one] for one in of.photo])
        of.box[:] = np.column_stack([0.2 * of.part, 0.1 * of.part, 0 * of.part + 0.15, 0 * of.part + 0.2])
        of.box[:] *= np.tile(size, 2)
        of.state[:] = 0
    told = runs.judged(Run(runs.held(test, REPORTING), baselines.mean_box(train, test)), 0.5)
    assert told["ap50"] == pytest.approx(1) and told["recall"] == 1 and told["state_accuracy"] == 1
    assert told["oracle"] is None and told["hallucination"] is None


def test_the_majority_is_that_of_training_on_the_same_boxes():
    train, test = labelled("train", 20), labelled("test", 4)
    for k, state in enumerate((DAMAGED, ABSENT, 0, 0), 1):
        train.state[train.part == k] = state
    found, _ = seen(test)
    other = baselines.with_majority(train, found)
    assert other.states[other.part == 1].argmax(1).tolist() == [DAMAGED] * int((found.part == 1).sum())
    np.testing.assert_array_equal(other.box, found.box)
    assert baselines.majority(unlabelled(train)).tolist() == [0] * 4


@pytest.mark.parametrize("groups", ["aabbccdd", "aaaab", "abcabcab", "aaaaaabc"])
def test_the_blind_network_never_looks_at_the_bike_itself(groups):
    other = baselines.others(list(groups), seed=3)
    assert all(groups[a] != groups[b] for a, b in enumerate(other.tolist()))
    if Counter(groups).most_common(1)[0][1] * 2 <= len(groups):
        assert sorted(other.tolist()) == list(range(len(groups))), "each photograph once"
    np.testing.assert_array_equal(other, baselines.others(list(groups), seed=3))


def test_blind_has_all_boxes_of_another_photograph_scaled_to_this_one():
    of = labelled("test", 6)
    found, _ = seen(of)
    blind = baselines.blind(of, found, seed=0)
    size, group = baselines.sizes(of), {photo.id: photo.group for photo in of.photos}
    boxes = {
        one: sorted(map(tuple, np.round(found.box[found.image == one] / np.tile(size[one], 2), 4))) for one in size
    }
    for one in size:
        mine = sorted(map(tuple, np.round(blind.box[blind.image == one] / np.tile(size[one], 2), 4)))
        assert any(mine == boxes[other] and group[other] != group[one] for other in size)
    alone = replace(of, photos=[replace(photo, group="one") for photo in of.photos])
    assert baselines.blind(alone, found, seed=0) is None


def test_a_pair_is_one_ride_of_one_bike():
    names = [
        ("u/images/b1_0_before.jpg", "b1"), ("u/images/b1_0_after.jpg", "b1"), ("u/images/b1_1_after.jpg", "b1"),
        ("v/images/b1_0_before.jpg", "b1"), ("u/images/b2_0_before.jpg", "b2"), ("u/images/b2_0_after.jpg", "b3"),
        ("u/images/IMG_17.jpg", "x"),
    ]  # fmt: skip
    photos = replace(labelled("test", 1), photos=[Photo(i, *of, group=g) for i, (*of, g) in enumerate(
        [(name, 10, 10, group) for name, group in names])])  # fmt: skip
    assert pairs.pairs_of(photos) == [(0, 1)]


def test_claims_are_counted_a_pair_and_what_is_covered_cannot_be_claimed():
    #                worse  whole  covered after  not labelled
    states = np.array([[0, 1], [0, 0], [0, 3], [-1, 1]])
    of = labelled("test", 1)
    of.state[:] = states.T.reshape(-1)
    there = pairs.pairs_of(of)
    true = pairs.truth(of, there)
    assert true.tolist() == [[1, 0, 0, -1]]
    p = np.array([[0.9, 0.2, 0.6, 0.99]])
    told = pairs.judged(p, true, 0.5, ["bike"], REPORTING)
    assert (told["pairs"], told["changes"], told["found"], told["false_claims"]) == (1, 1, 1, 1)
    assert told["intervals"] == {"recall": None, "false_a_pair": None}, "one bike"
    without = pairs.judged(p, true, None, ["bike"], REPORTING)
    assert without["recall"] is None and without["pairs"] == 1
    more, known = np.concatenate([p, p]), np.concatenate([true, 0 * true - 1])
    for claim in (0.5, None):
        assert pairs.judged(more, known, claim, ["bike", "other"], REPORTING) == pairs.judged(
            p, true, claim, ["bike"], REPORTING
        ), "a ride of which nothing is labelled is no ride to be judged on"
    assert pairs.judged(p, 0 * true - 1, 0.5, ["bike"], REPORTING)["null_because"].startswith("no pair whose states")


def test_states_as_told_claim_what_they_say_and_nothing_of_what_is_not_found():
    of = labelled("test", 8)
    found, _ = seen(of, lost=0, wrong=0, shift=0, false=0)
    there = pairs.pairs_of(of)
    np.testing.assert_array_equal(pairs.as_told(found, there, 4), pairs.truth(of, there) == 1)
    few = found.part != 1
    lacking = type(found)(*(getattr(found, name)[few] for name in ("image", "part", "box", "score", "states")))
    assert not pairs.as_told(lacking, there, 4)[:, 0].any()


def test_matching_needs_no_box_and_no_detection():
    of = labelled("test", 2)
    found, _ = seen(of, lost=1, false=0)
    near = matching.near(of, found)
    assert len(near.found) == 0 and len(matching.one_to_one(near, found.score)) == 0
    assert (matching.best_of_each(near, found.score, len(of.id)) == -1).all()
