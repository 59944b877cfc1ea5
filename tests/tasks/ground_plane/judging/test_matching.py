"""One person, one detection: against what WILDTRACK's own evaluation says, and against all pairings there are."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ground_plane.formats.scenes import Scene, View
from tasks.ground_plane.judging.matching import Counts, best_threshold, count, counts_at, curve, match, people_of
from tasks.yard.geometry.camera import Camera, Plane
from tests.tasks.ground_plane.sources import REAL

WILDTRACK = REAL / "wildtrack"
MATCH_M = 0.5
places = st.lists(st.tuples(*[st.integers(0, 12).map(lambda n: n * 0.13)] * 2), max_size=5).map(
    lambda rows: np.array(rows, float).reshape(-1, 2)
)


@pytest.mark.skipif(not WILDTRACK.exists(), reason="needs ../shared/real: WILDTRACK's truth and MVDet's detections")
def test_the_numbers_that_mvdet_publishes():
    """MVDet's demo: 966 detections on the last tenth of WILDTRACK's 400 frames, on its grid of 2.5 cm."""
    truth, found = (np.loadtxt(WILDTRACK / f"{name}-demo.txt") for name in ("gt", "test"))
    ids = np.unique(truth[:, 0])[-40:]
    whole = Counts()
    for frame in ids:
        there, seen = (rows[rows[:, 0] == frame, 1:] * 0.025 for rows in (truth, found))
        whole += count(seen, there, MATCH_M)
    told = {name: 100 * value for name, value in whole.metrics(MATCH_M).items()}
    assert told == pytest.approx({"recall": 94.958, "precision": 93.582, "moda": 88.445, "modp": 75.605}, abs=0.01)


def every_pairing(distance: np.ndarray) -> tuple[int, float]:
    """(most pairs within reach, least distance in sum of so many), by trying all of them."""
    if distance.shape[0] > distance.shape[1]:
        distance = distance.T
    rows, columns = map(range, distance.shape)
    tried = ([distance[i, j] for i, j in zip(rows, chosen, strict=True)] for chosen in permutations(columns, len(rows)))
    kept = [[d for d in one if d <= MATCH_M] for one in tried]
    return min(((len(one), sum(one)) for one in kept), key=lambda one: (-one[0], one[1]), default=(0, 0.0))


@settings(max_examples=150, deadline=None)
@given(places, places)
def test_the_most_pairs_and_of_these_the_nearest(found, people):
    pairs, distances = match(found, people, MATCH_M)
    assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == len(pairs)
    np.testing.assert_allclose(np.linalg.norm(found[pairs[:, 0]] - people[pairs[:, 1]], axis=1), distances)
    most, least = every_pairing(np.linalg.norm(found[:, None] - people[None], axis=-1))
    assert (len(pairs), distances.sum()) == (most, pytest.approx(least))


def test_two_pairs_are_worth_more_than_one_near_one():
    found, people = np.array([[0.0, 0.0], [0.4, 0.0]]), np.array([[0.4, 0.0], [0.8, 0.0]])
    assert match(found, people, MATCH_M)[0].tolist() == [[0, 0], [1, 1]]
    assert count(found, people, MATCH_M).tp == 2 and count(found, people, 0.1).tp == 1


def test_a_frame_without_detections_costs_what_it_misses_and_moda_goes_below_nothing():
    nobody, three = np.empty((0, 2)), np.array([[1.0, 1], [3, 3], [5, 5]])
    seen = count(np.add(three, [0.1, 0]), three, MATCH_M)
    assert (seen + count(nobody, three, MATCH_M)).metrics(MATCH_M) == pytest.approx(
        {"moda": 0.5, "modp": 0.8, "precision": 1.0, "recall": 0.5}
    )
    wrong = count(np.tile(three, (3, 1)) + 10, three, MATCH_M)
    assert wrong.metrics(MATCH_M) == {"moda": -3.0, "modp": None, "precision": 0.0, "recall": 0.0}
    assert count(nobody, nobody, MATCH_M).metrics(MATCH_M) == dict.fromkeys(("moda", "modp", "precision", "recall"))
    assert count(three, nobody, MATCH_M).metrics(MATCH_M)["precision"] == 0.0


def test_people_are_judged_where_a_camera_sees_the_cell_they_stand_in():
    """From above, a pixel a cell of half a metre: 8 x 5 m are filmed of a plane of 10 x 6 m, but for a corner."""
    K = np.array([[20.0, 0, -0.5], [0, 20.0, -0.5], [0, 0, 1]])  # at 10 m height; pixel edges are edges of cells
    above = Camera(K, np.eye(3), np.array([0.0, 0, 10]), (10, 16), np.array([[2, 0], [15, 0], [15, 9], [2, 9]]))
    seen = [[1.0, 0.0], [7.99, 4.99], [1.01, 4.9], [5.2, 0.1]]
    unseen = [[0.99, 2.0], [8.01, 1.0], [4.9, 5.01], [3.0, 5.9], [-0.1, 1.0], [5.0, -0.1], [10.1, 2.0], [2.0, 6.1]]
    people = np.array([[n, *xy] for n, xy in enumerate(seen + unseen)])
    scene = Scene(
        "above", (View("cam1", above, Path("nowhere.h5"), {}),), Plane((0.0, 0.0), (10.0, 6.0)), 0.5, (12, 20),
        np.array([0, 5]), np.array(["test", "test"]), (people[:0], people), np.array([True, True]),
    )  # fmt: skip
    assert people_of(scene, 1).tolist() == seen and people_of(scene, 0).shape == (0, 2)


def some_frames(seed: int, frames: int = 6) -> list:
    """Few places, so that many detections compete for a person; few confidences, so that some are equal."""
    rng = np.random.default_rng(seed)

    def surely(n: int) -> np.ndarray:
        return rng.choice([0.2, 0.3, 0.5, 0.7, 0.9, 1.0], n).astype(np.float32)

    sizes = rng.integers(0, 9, (frames, 2))
    return [(rng.uniform(0, 2, (n, 2)), surely(n), rng.uniform(0, 2, (m, 2))) for n, m in sizes]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_the_curve_is_what_matching_anew_at_each_threshold_gives(seed):
    frames = some_frames(seed)
    people = sum(len(there) for *_, there in frames)
    drawn = curve(frames, MATCH_M)
    assert (np.diff(drawn[:, 0]) < 0).all()
    for threshold, *told in drawn if people else []:
        anew = sum(counts_at(frames, threshold, MATCH_M), Counts()).metrics(MATCH_M)
        assert told == pytest.approx([anew["moda"], anew["precision"], anew["recall"]])
    chosen = best_threshold(frames, MATCH_M)
    assert (chosen is None) == (people == 0 or not len(drawn))
    if chosen is not None:
        kept = sum(counts_at(frames, chosen, MATCH_M), Counts()).metrics(MATCH_M)["moda"]
        assert kept == pytest.approx(max(0.0, drawn[:, 1].max()))  # to keep nothing is worth 0


def test_the_threshold_lies_between_what_is_kept_and_what_is_not():
    here, there = np.array([[1.0, 1]]), np.array([[1.0, 1], [5, 5]])
    frames = [(there, np.array([0.9, 0.3], np.float32), here), (here, np.array([0.7], np.float32), here)]
    assert best_threshold(frames, MATCH_M) == pytest.approx(0.5)
    close = np.nextafter(np.float32(0.7), np.float32(0))
    frames[0] = (there, np.array([0.9, close], np.float32), here)
    chosen = best_threshold(frames, MATCH_M)
    assert sum(counts_at(frames, chosen, MATCH_M), Counts()) == Counts(2, 0, 0, 0.0)
    wrong = [(there + 20, np.array([1.0, 0.6], np.float32), here)]
    assert sum(counts_at(wrong, best_threshold(wrong, MATCH_M), MATCH_M), Counts()) == Counts(0, 0, 1, 0.0)
    assert best_threshold([(there, np.ones(2), here[:0])], MATCH_M) is None
    assert best_threshold([], MATCH_M) is None


def test_where_all_is_kept_the_threshold_lies_below_the_lowest():
    here = np.array([[1.0, 1]])
    frames = [(here, np.array([0.3], np.float32), here)]
    assert best_threshold(frames, MATCH_M, 0.1) == pytest.approx(0.2)
