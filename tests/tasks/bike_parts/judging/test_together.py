"""Both looks at a ride are weighed by what validation says of each; without a second look nothing changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tasks.bike_parts.formats.detections import Detections, Second
from tasks.bike_parts.judging import changes, decided, pairs, together
from tasks.bike_parts.judging.runs import Run, held, run_of
from tasks.bike_parts.judging.together import Together, fitted, signs, together_of
from tasks.bike_parts.judging.verdicts import Again, Seen
from tests.tasks.bike_parts.tiny_layouts import PARTS, photos_of, rides
from tests.tasks.yard.shared import reporting

SHARE = np.array([0.7, 0.12, 0.12, 0.06])


def run(count: int, seed: int, wrong: float, second: bool = True) -> Run:
    """A first look that is in a wrong place, and says intact, in a share `wrong` of parts that are not; a second one in
    the right place that says states less surely."""
    random, photos = np.random.default_rng(seed), photos_of(rides(count, seed), 1000 * seed)
    lost = (photos.state != 0) & (random.random(len(photos.id)) < wrong)
    told = np.where(lost, 0, photos.state)
    first = 0.02 + 0.92 * np.eye(4)[told]
    again = (0.1 + 0.6 * np.eye(4)[photos.state]).astype(np.float32)
    box = photos.box + np.where(lost[:, None], [150, 0, 0, 0], 0)
    score = np.where(lost, 0.5, 0.8) + random.uniform(-0.2, 0.15, len(lost))
    off = np.where(lost, 6.0, 1.0) + random.uniform(0, 1, len(lost))
    found = Detections(photos.photo, photos.part, box, score, first)
    more = Second(photos.photo, photos.part, photos.box, np.full(len(lost), 0.7), again, off)
    return run_of(held(photos, reporting(bootstrap_replicates=100)), found, None, more if second else None)


def told(second: bool) -> dict:
    train = photos_of(rides(60, 3), 3000)

    class Params:
        false_claims = 0.1

    on = {"val": run(40, 1, 0.5, second), "test": run(40, 2, 0.5, second)}
    return decided.on_validation("network", on, train, Params(), reporting(bootstrap_replicates=100))


@pytest.mark.slow
def test_a_change_that_the_first_look_missed_is_found_by_the_second():
    once, twice = told(False), told(True)
    assert once["together"] is None and twice["together"] is not None
    first, both = once["changes"]["test"], twice["changes"]["test"]
    assert first["changes"] == both["changes"] >= 10
    assert both["found"] > 1.4 * first["found"] and both["recall"] > 0.8 and both["false_a_pair"] <= 0.15


def test_a_claim_about_validation_comes_from_weights_that_have_not_seen_the_bike(monkeypatch):
    val, asked = run(20, 1, 0.5), []
    fit = together.fitted
    monkeypatch.setattr(together, "fitted", lambda rows, *of: asked.append(len(rows)) or fit(rows, *of))
    there = pairs.pairs_of(val.of.photos)
    judge, p = decided.of_both_looks(val, there, decided.judge_of("network", val, photos_of(rides(60, 3), 3000)))
    rows = 2 * 20 * len(PARTS)
    assert asked == [rows * (together.FOLDS - 1) // together.FOLDS] * together.FOLDS + [rows]
    assert p.shape == (20, len(PARTS)) and judge.together is not None
    whole = pairs.probabilities(val.found, val.again, there, judge)
    assert np.abs(whole - p).max() > 1e-6 and np.corrcoef(whole.ravel(), p.ravel())[0, 1] > 0.9


def test_of_a_part_that_was_not_found_the_second_look_alone_speaks():
    states = np.array([[0.1, 0.1, 0.7, 0.1]])
    again = Again(Seen(np.array([2]), np.array([[1.0, 1, 9, 9]]), np.array([0.9]), states), np.array([np.nan]))
    nothing = Seen(np.zeros(0, int), np.zeros((0, 4)), np.zeros(0), np.zeros((0, 4)))
    row = signs(nothing, again, 3, SHARE)
    assert row.shape[0] == 1 and np.isfinite(row).all()
    np.testing.assert_allclose(row[0, :4], np.log(SHARE))
    np.testing.assert_allclose(row[0, 8:12], np.log(states[0]))
    width = row.shape[1]
    judge = Together(np.zeros(width), np.ones(width), np.zeros((width, 4)), SHARE)
    weighed = replace(judge, weight=np.concatenate([np.zeros((8, 4)), np.eye(4), np.zeros((width - 12, 4))]))
    found = weighed.states(nothing, again, 3)
    np.testing.assert_allclose(found, [SHARE, states[0], SHARE], atol=1e-9)  # of the others what is usual
    np.testing.assert_allclose(together_of(weighed.told()).states(nothing, again, 3), found, atol=1e-5)
    assert together_of(None) is None


def test_few_labels_fit_nothing_and_unlabelled_ones_do_not_count():
    rows = np.random.default_rng(0).normal(size=(together.FEW, 5))
    true = np.arange(together.FEW) % 4
    assert fitted(rows, true, SHARE) is not None
    true[0] = -1
    assert fitted(rows, true, SHARE) is None


@pytest.mark.parametrize("second", [True, False])
def test_a_photograph_without_a_second_look_is_judged_by_the_first(second):
    val = run(20, 1, 0.3)
    there = pairs.pairs_of(val.of.photos)
    judge, _ = decided.of_both_looks(val, there, decided.judge_of("network", val, photos_of(rides(60, 3), 3000)))
    sides, again = pairs.looks(val.found, val.again, there[0])
    dense = [changes.dense(judge.calibrated(of), len(PARTS), judge.rides) for of in sides]
    alone = changes.worse(*dense, judge.rides)
    assert np.allclose(judge.worse(sides, again if second else None), alone) is not second
