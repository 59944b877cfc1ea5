"""Known answers by hand, and a loop over queries and detections as the second opinion."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.person_search.judging.search_metrics import Boxes, search
from tasks.yard.metrics.boxes import ious

BOX = np.array([0, 0, 10, 20.0])


def boxes(*rows, identity=None) -> Boxes:
    """Rows (camera, frame, shift right in px) of 10 x 20 boxes."""
    table = np.array(rows, float).reshape(-1, 3)
    xyxy = BOX + table[:, 2:] * [1, 0, 1, 0]
    camera, frame = table[:, :2].astype(int).T
    return Boxes(camera, frame, xyxy, None if identity is None else np.array(identity))


def test_by_hand():
    truth = boxes((1, 0, 0), (2, 0, 0), (2, 1, 0), (3, 0, 0), (3, 0, 50), identity=[7, 7, 7, 7, 8])
    found = boxes((1, 0, 0), (2, 0, 1), (2, 0, 2), (2, 1, 4), (3, 0, 0), (3, 0, 50))
    # Person 7, asked for from camera 1. Detection 0 is of camera 1: left out. 1 and 2 both lie on the box of (2, 0):
    # the more alike one, 2, takes it. 3 has an IoU of 6/14 with its box: a miss, and a false detection. 4 is a match.
    similarity = np.array([[0.99, 0.5, 0.9, 0.8, 0.4, 0.7]])
    score = search(similarity, np.array([7]), np.array([1]), found, truth)
    # Ranked: 2 (match), 3, 5, 1 (second one on a box), 4 (match): precisions 1/1 and 2/5, of 3 boxes.
    assert score.ap[0] == pytest.approx((1 + 2 / 5) / 3)
    assert (score.boxes[0], score.found[0], score.first[0]) == (3, 2, 1)
    assert score.numbers() == {
        "map": pytest.approx(1.4 / 3), "top1": 1.0, "top5": 1.0, "top10": 1.0,
        "box_recall": pytest.approx(2 / 3), "queries": 1, "skipped": 0, "boxes": 3,
    }  # fmt: skip


def test_the_first_match_need_not_be_the_first_detection():
    truth = boxes((2, 0, 0), (2, 0, 50), identity=[7, 8])
    score = search(np.array([[0.1, 0.2], [0.3, 0.2]]), np.array([7, 8]), np.array([1, 1]), truth, truth)
    assert score.first.tolist() == [2, 2] and score.top == {1: 0.0, 5: 1.0, 10: 1.0} and score.map == 0.5


def test_true_boxes_and_a_perfect_embedding_score_one():
    rows = [(c, f, 30 * p) for c in (1, 2, 3) for f in range(4) for p in range(3)]
    truth = boxes(*rows, identity=list(range(3)) * 12)
    similarity = (np.arange(3)[:, None] == truth.identity).astype(float)
    score = search(similarity, np.arange(3), np.array([1, 2, 3]), truth, truth)
    assert score.map == 1 and score.top[1] == 1 and score.recall == 1 and set(score.boxes) == {8}


def test_who_is_nowhere_else_is_skipped_and_who_was_never_detected_scores_zero():
    truth = boxes((1, 0, 0), (2, 0, 0), (2, 0, 50), identity=[7, 8, -1])
    score = search(np.empty((3, 0)), np.array([7, 8, -1]), np.array([1, 1, 1]), boxes(), truth)
    assert np.isnan(score.ap[[0, 2]]).all() and score.ap[1] == 0
    assert (score.queries, score.skipped, score.top[1], score.recall) == (1, 2, 0.0, 0.0)


def test_two_boxes_of_one_person_in_a_frame_are_an_error():
    truth = boxes((2, 5, 0), (2, 5, 50), identity=[7, 7])
    with pytest.raises(ValueError, match="identity 7 has several true boxes in frame 5 of camera 2"):
        search(np.ones((1, 2)), np.array([7]), np.array([1]), truth, truth)


def by_loop(similarity, query_ids, query_cameras, detections, truth) -> tuple[list[float], list[int]]:
    aps, firsts = [], []
    for row, identity, camera in zip(similarity, query_ids, query_cameras, strict=True):
        left = {i for i in range(len(truth)) if truth.identity[i] == identity >= 0 and truth.camera[i] != camera}
        total, hits, seen, precisions, first = len(left), 0, 0, 0.0, 0
        for d in np.argsort(-row, kind="stable"):
            if detections.camera[d] == camera:
                continue
            seen += 1
            for t in sorted(left):
                place = (truth.camera[t], truth.frame[t]) == (detections.camera[d], detections.frame[d])
                if place and ious(truth.xyxy[t : t + 1], detections.xyxy[d : d + 1])[0] >= 0.5:
                    left.remove(t)
                    hits += 1
                    precisions += hits / seen
                    first = first or seen
                    break
        aps.append(precisions / total if total else np.nan)
        firsts.append(first)
    return aps, firsts


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_equals_the_loop(seed, ties):
    rng = np.random.default_rng(seed)
    cells = [(c, f, p) for c in (1, 2, 3) for f in range(3) for p in range(4) if rng.random() < 0.7]
    truth = boxes(*[(c, f, 8 * p) for c, f, p in cells], identity=[p if p else -1 for *_, p in cells])  # they overlap
    found = boxes(*[(c, f, rng.uniform(-4, 34)) for c in (1, 2, 3) for f in range(3) for _ in range(5)])
    similarity = rng.random((5, len(found))).astype(np.float32)
    similarity = np.round(similarity, 1) if ties else similarity
    ids, cameras = rng.integers(-1, 4, 5), rng.integers(1, 4, 5)
    score = search(similarity, ids, cameras, found, truth)
    aps, firsts = by_loop(similarity, ids, cameras, found, truth)
    assert np.allclose(score.ap, aps, equal_nan=True) and score.first.tolist() == firsts
