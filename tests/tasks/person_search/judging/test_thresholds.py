"""Known answers by hand, a search over all thresholds as the second opinion."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.person_search.judging import thresholds
from tasks.person_search.judging.thresholds import Pairs


def drawn(seed: int, same: int = 60, different: int = 2000, digits: int = 7) -> Pairs:
    rng = np.random.default_rng(seed)
    values = rng.normal(0.6, 0.2, same), rng.normal(0.1, 0.2, different)
    return Pairs(*(np.sort(np.round(v, digits).astype(np.float32)) for v in values))


def test_only_pairs_from_two_cameras_count_and_distractors_are_other_people():
    query, gallery = np.eye(2), np.array([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6], [0.0, 1.0]])
    found = thresholds.pairs(
        query, gallery, np.array([4, -1]), np.array([1, 1]), np.array([4, 4, -1, 5]), np.array([1, 2, 3, 1])
    )
    assert found.same == pytest.approx([0.6])  # the other one of person 4 is of the query's camera
    assert found.different == pytest.approx([0.8])  # nobody's query has no pairs


def test_rates_by_hand():
    of = Pairs(np.array([0.2, 0.5, 0.7, 0.9], np.float32), np.array([0.0, 0.1, 0.3, 0.5, 0.6], np.float32))
    assert thresholds.at_threshold(of, 0.5) == {
        "threshold": 0.5, "same_pairs": 4, "different_pairs": 5, "far": 0.4, "frr": 0.25
    }  # fmt: skip
    found = thresholds.equal_error(of)
    # At 0.5 the rates are 2/5 and 1/4, at 0.6 they are 1/5 and 2/4: further apart.
    assert found == {"threshold": 0.5, "far": 0.4, "frr": 0.25, "eer": pytest.approx(0.325)}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 2, 7]), st.sampled_from([0.005, 0.01, 0.1, 0.5]))
def test_thresholds_are_the_best_of_all(seed, digits, target):
    of = drawn(seed, digits=digits)
    found = thresholds.calibrate(of, target)
    every = np.unique(np.concatenate([of.same, of.different]))
    gaps = [abs(of.far(t) - of.frr(t)) for t in every]
    assert abs(found["eer"]["far"] - found["eer"]["frr"]) == pytest.approx(min(gaps))
    assert found["at_far"]["far"] <= target
    lower = np.nextafter(np.float32(found["at_far"]["threshold"]), np.float32(-np.inf))
    assert of.far(lower) > target  # nothing lower would do


def test_too_few_pairs_are_named_and_not_guessed():
    found = thresholds.calibrate(drawn(0, different=500), far_target=1e-4)
    assert found["at_far"] is None and found["different_pairs"] == 500 and found["pairs_needed"] == 100_000
    assert found["null_because"] == "500 pairs of two people: a false-accept rate of 0.0001 takes 100000"
    assert found["eer"]["eer"] < 0.2


@pytest.mark.parametrize(("same", "different", "missing"), [(0, 5, "one person"), (5, 0, "two people")])
def test_no_pair_of_a_kind_gives_none_with_the_reason(same, different, missing):
    of = drawn(0, same, different)
    found = thresholds.calibrate(of, 0.1)
    assert found["eer"] is None and found["null_because"] == f"no cross-camera pair of {missing}"
    assert thresholds.curve(of) == {"threshold": [], "far": [], "frr": []}
    rates = thresholds.at_threshold(of, 0.5)
    assert (rates["far"] is None) == (different == 0) and (rates["frr"] is None) == (same == 0)


def test_the_curve_goes_from_all_accepted_to_hardly_any():
    curve = thresholds.curve(drawn(2), points=50)
    assert curve["far"][0] == 1 and curve["frr"][0] == 0 and curve["far"][-1] < 0.01 and curve["frr"][-1] > 0.9
    assert np.all(np.diff(curve["far"]) <= 0) and np.all(np.diff(curve["frr"]) >= 0)
