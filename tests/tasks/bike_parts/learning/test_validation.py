"""The numbers that choose an epoch, against pycocotools and by hand."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest

from tasks.bike_parts.formats.photos import ABSENT, Photo, Photos
from tasks.bike_parts.learning.network import Found
from tasks.bike_parts.learning.validation import balance, macro_f1, matched, scored


def some(seed: int, photos: int = 6, parts: int = 3) -> tuple[Photos, list[Found]]:
    """Photographs with zero to two of each part, and boxes that are near, far or twice on one."""
    random = np.random.default_rng(seed)
    rows, found = [], []
    for photo in range(1, photos + 1):
        mine = []
        for part in range(1, parts + 1):
            for _ in range(int(random.integers(0, 3))):
                box = [*random.uniform(0, 60, 2), *random.uniform(8, 30, 2)]
                rows.append((photo, part, box, int(random.integers(4))))
                mine.append((part, box))
        told = [(part, np.array(box) + random.normal(0, 3, 4)) for part, box in mine for _ in range(2)]
        told += [(int(random.integers(1, parts + 1)), random.uniform(5, 40, 4)) for _ in range(3)]
        score = np.sort(random.uniform(0.05, 1, len(told)))[::-1]
        states = random.dirichlet(np.ones(4), len(told))
        found.append(
            Found(np.array([part for part, _ in told]), np.array([box for _, box in told]).clip(min=0.1), score, states)
        )
    photo, part, box, state = (np.array(list(of)) for of in zip(*rows, strict=True))
    listed = [Photo(i, f"{i}.jpg", 100, 100, str(i)) for i in range(1, photos + 1)]
    return Photos(list("abc"), listed, np.arange(1, len(rows) + 1), photo, part, box, state, np.ones(len(rows))), found


@pytest.mark.parametrize("seed", range(4))
def test_ap50_of_the_parts_that_are_there_is_pycocotools(seed):
    coco, cocoeval = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    photos, found = some(seed)
    true = coco.COCO()
    true.dataset = {
        "images": [{"id": photo.id} for photo in photos.photos],
        "categories": [{"id": k} for k in (1, 2, 3)],
        "annotations": [
            {"id": int(photos.id[i]), "image_id": int(photos.photo[i]), "category_id": int(photos.part[i]),
             "bbox": photos.box[i].tolist(), "area": float(photos.box[i][2:].prod()), "iscrowd": 0}
            for i in np.flatnonzero(photos.state != ABSENT)
        ],
    }  # fmt: skip
    told = [
        {"image_id": photo.id, "category_id": int(of.part[i]), "bbox": of.box[i].tolist(),
         "score": float(of.score[i] * (1 - of.states[i, ABSENT]))}
        for photo, of in zip(photos.photos, found, strict=True) for i in range(len(of.part))
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        true.createIndex()
        judge = cocoeval.COCOeval(true, true.loadRes(told), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    assert scored(photos, found)["ap50"] == pytest.approx(judge.stats[1], abs=1e-6)


def test_a_true_box_is_taken_once_and_by_its_own_part():
    box = np.array([[0, 0, 10, 10], [1, 0, 10, 10], [0, 0, 10, 10], [50, 50, 10, 10]], float)
    assert matched(np.array([1, 1, 2, 1]), box, np.array([1]), box[:1]).tolist() == [0, -1, -1, -1]
    assert matched(np.array([1]), box[:1], np.empty(0, int), np.empty((0, 4))).tolist() == [-1]
    assert matched(np.empty(0, int), np.empty((0, 4)), np.array([1]), box[:1]).tolist() == []


def test_what_is_found_and_told_perfectly_scores_1_and_nothing_scores_0():
    photos, _ = some(0)
    perfect, nothing = [], []
    for photo in photos.photos:
        mine = photos.photo == photo.id
        count = int(mine.sum())
        perfect.append(Found(photos.part[mine], photos.box[mine], np.ones(count), np.eye(4)[photos.state[mine]]))
        nothing.append(Found(np.empty(0, int), np.empty((0, 4)), np.empty(0), np.empty((0, 4))))
    assert scored(photos, perfect)["score"] == pytest.approx(1.0)
    none = scored(photos, nothing)
    assert none["ap50"] == none["score"] == 0 and none["state_macro_f1"] is None


def test_macro_f1_and_the_weights_of_states_by_hand():
    true, said = np.array([0, 0, 0, 1, 2]), np.array([0, 0, 1, 1, 0])
    assert macro_f1(true, said) == pytest.approx((2 * 2 / 6 + 2 * 1 / 3 + 0) / 3)
    assert macro_f1(np.empty(0, int), np.empty(0, int)) is None
    states = np.array([0] * 80 + [1] * 10 + [2] * 10 + [-1] * 7)
    assert balance(states, 0.0) == (1.0, 1.0, 1.0, 1.0)
    even = np.array(balance(states, 1.0))
    assert even[1] / even[0] == pytest.approx(8) and even[:3] @ [0.8, 0.1, 0.1] == pytest.approx(1)
