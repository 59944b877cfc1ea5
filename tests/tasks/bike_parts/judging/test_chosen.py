"""The numbers that choose an epoch, against pycocotools and by hand."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace

import numpy as np
import pytest

from tasks.bike_parts.formats.detections import Detections, gathered, judgeable
from tasks.bike_parts.formats.photos import ABSENT, Photo, Photos
from tasks.bike_parts.judging.chosen import scored
from tasks.bike_parts.judging.matching import matched
from tasks.bike_parts.judging.runs import Run, held, judged
from tasks.bike_parts.learning.balance import balance
from tasks.bike_parts.learning.network import Found
from tests.tasks.yard.shared import reporting


def some(seed: int, photos: int = 6, parts: int = 3) -> tuple[Photos, Detections]:
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
    held = Photos(list("abc"), listed, np.arange(1, len(rows) + 1), photo, part, box, state, np.ones(len(rows)))
    return held, gathered(np.arange(1, photos + 1), found)


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
        {"image_id": int(found.image[i]), "category_id": int(found.part[i]), "bbox": found.box[i].tolist(),
         "score": float(found.presence[i])}
        for i in range(len(found.part))
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
    told = np.eye(4)[photos.state]
    perfect = scored(photos, Detections(photos.photo, photos.part, photos.box, np.ones(len(told)), told))
    assert perfect["score"] == pytest.approx(1.0)
    nothing = scored(photos, gathered(np.empty(0, int), []))
    assert nothing["ap50"] == nothing["score"] == 0 and nothing["state_macro_f1"] is None


def test_an_epoch_is_scored_as_the_network_is_later():
    """Also where some states are not labelled, and where one that is labelled is never found."""
    photos, found = some(1)
    for state in (photos.state, np.where(photos.id % 3 == 0, -1, photos.state), np.full(len(photos.id), -1)):
        of = replace(photos, state=state)
        later = judged(Run(held(of, reporting()), found), 0.5)
        assert scored(of, found) == pytest.approx({name: later[name] for name in scored(of, found)})


def test_a_part_that_is_doubted_is_judged_only_where_it_has_another_box():
    photos, found = some(2)
    counts = {
        (of.id, k): int(((photos.photo == of.id) & (photos.part == k)).sum()) for of in photos.photos for k in (1, 2)
    }
    without = [
        key for key, count in counts.items() if not count and ((found.image == key[0]) & (found.part == key[1])).any()
    ]
    assert without and any(counts.values())
    sure = [key in without for key in zip(found.image.tolist(), found.part.tolist(), strict=True)]
    found = replace(found, score=np.where(sure, 1.0, found.score))
    doubted = replace(photos, photos=[replace(of, doubted=(1, 2)) for of in photos.photos])
    kept = judgeable(doubted, found)
    assert kept.image.tolist() == found.image[~np.array(sure)].tolist()
    assert scored(doubted, found) == scored(photos, kept)
    assert scored(doubted, found)["ap50"] > scored(photos, found)["ap50"]


def test_the_weights_of_states_by_hand():
    states = np.array([0] * 80 + [1] * 10 + [2] * 10 + [-1] * 7)
    assert balance(states, 0.0) == (1.0, 1.0, 1.0, 1.0)
    even = np.array(balance(states, 1.0))
    assert even[1] / even[0] == pytest.approx(8) and even[:3] @ [0.8, 0.1, 0.1] == pytest.approx(1)
