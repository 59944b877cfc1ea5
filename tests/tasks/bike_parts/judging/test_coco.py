"""COCO's numbers are pycocotools', and the protocols take away what they say."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.bike_parts.formats.detections import Detections
from tasks.bike_parts.formats.photos import ABSENT, OCCLUDED, Photo
from tasks.bike_parts.judging import coco, drawn_ap, matching
from tasks.bike_parts.judging.coco import NAMES, PROTOCOLS, SEEN, WITH_ABSENT, WITHOUT_ABSENT, Boxes
from tests.tasks.bike_parts.judged_photos import PARTS, labelled, ordered, seen
from tests.tasks.bike_parts.judging import oracle


def random_case(seed: int, crowd: bool = False, ties: bool = False, several: bool = False):
    random = np.random.default_rng(seed)
    photos = [Photo(i, f"{i}", 640, 480, f"{i}") for i in range(1, 13)]
    count = 40
    image, part = random.integers(1, 12, count), random.integers(1, 4, count)
    if not several:
        _, first = np.unique(image * 10 + part, return_index=True)
        image, part = image[first], part[first]
    edge = random.choice([12, 60, 200], len(image))[:, None] * random.uniform(0.6, 1.4, (len(image), 2))
    box = np.concatenate([random.uniform(0, 200, (len(image), 2)), edge], 1)
    there = Boxes(image, part, box, random.random(len(image)) < 0.2 if crowd else None)
    of = random.integers(0, len(image), 120)
    moved = (box[of] + random.normal(0, 0.15, (120, 4)) * np.tile(edge[of], 2)).clip(0.5).astype(np.float32)
    score = random.uniform(0, 1, 120)
    score = np.round(score, 1) if ties else score
    found = Detections(image[of], part[of], moved, score.astype(np.float32), np.full((120, 4), 0.25, np.float32))
    return photos, PARTS, there, found, score


def chosen(case, rows: slice, boxes: slice):
    photos, parts, there, found, score = case
    crowd = None if there.crowd is None else there.crowd[boxes]
    few = Boxes(there.image[boxes], there.part[boxes], there.box[boxes], crowd)
    return photos, parts, few, ordered(found, np.arange(len(score))[rows]), score[rows]


CASES = {
    "plain": random_case(0),
    "several boxes of one part": random_case(1, several=True),
    "crowds": random_case(2, crowd=True, several=True),
    "ties": random_case(3, ties=True, several=True),
    "ties and crowds": random_case(4, crowd=True, ties=True, several=True),
    "nothing found": chosen(random_case(5), slice(0), slice(None)),
    "nothing there": chosen(random_case(6), slice(None), slice(0)),
    "neither": chosen(random_case(7), slice(0), slice(0)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_twelve_numbers_are_those_of_pycocotools(name):
    whole, by_part = coco.twelve(*CASES[name])
    assert list(whole) == list(NAMES)
    assert list(whole.values()) == pytest.approx(oracle.judged(*oracle.dataset(*CASES[name])), abs=1e-12)
    known = [of["ap50"] for of in by_part.values() if of["ap50"] is not None]
    assert (np.mean(known) if known else None) == pytest.approx(whole["ap50"])


def test_a_box_that_is_the_truth_is_worth_one_by_every_protocol():
    of = labelled("test", 12)
    found, _ = seen(of, lost=0, wrong=0, shift=0, false=0)
    for protocol in PROTOCOLS:
        there = coco.of_protocol(of, protocol)
        whole, by_part = coco.twelve(of.photos, of.parts, there, found, coco.ranked_by(found, protocol))
        assert whole["ap50"] > 0.99 and set(by_part) == set(PARTS), protocol


def test_protocols_take_away_what_they_say_and_rank_by_what_they_ask_for():
    of = labelled("test", 30)
    sizes = {name: int(coco.truth(of, name).sum()) for name in PROTOCOLS}
    assert sizes[WITH_ABSENT] == len(of.id)
    assert sizes[WITHOUT_ABSENT] == int((of.state != ABSENT).sum())
    assert sizes[SEEN] == int(((of.state != ABSENT) & (of.state != OCCLUDED)).sum())
    found, _ = seen(of, lost=0, wrong=0, shift=0, false=0)
    there = coco.of_protocol(of, WITHOUT_ABSENT)
    by_presence = coco.twelve(of.photos, of.parts, there, found, found.presence)[0]["ap50"]
    by_score = coco.twelve(of.photos, of.parts, there, found, found.score)[0]["ap50"]
    assert by_presence > 0.99 > by_score + 0.05, "a box of an absent part, sure to be its box, is a false one here"
    np.testing.assert_allclose(coco.ranked_by(found, WITHOUT_ABSENT), found.presence, rtol=1e-6)
    hidden = found.score * (1 - found.states[:, ABSENT] - found.states[:, OCCLUDED])
    np.testing.assert_allclose(coco.ranked_by(found, SEEN), hidden, rtol=1e-5)


def test_boxes_without_a_labelled_state_stay_in_every_protocol():
    of = labelled("test", 3)
    of.state[:5] = -1
    assert all(coco.truth(of, name)[:5].all() for name in PROTOCOLS)


@pytest.mark.parametrize("iou", [0.5, 0.75])
def test_ap_of_photographs_that_are_drawn_is_that_of_so_many_copies(iou):
    """The known answer: the data set with each photograph as often as it is drawn, judged by COCO."""
    of = labelled("test", 9)
    found, _ = seen(of, shift=0.15)
    random = np.random.default_rng(0)
    draws = random.multinomial(len(of.photos), np.full(len(of.photos), 1 / len(of.photos)), size=6)
    place = {photo.id: i for i, photo in enumerate(of.photos)}
    true = np.zeros((len(of.parts), len(of.photos)))
    np.add.at(true, (of.part - 1, [place[one] for one in of.photo]), 1)
    hit = matching.one_to_one(matching.near(of, found), found.score, None, iou) >= 0
    group = np.array([place[one] for one in found.image])
    drawn = drawn_ap.replicates(found.score, hit, found.part, group, true, draws)
    for draw, value in zip(draws, drawn, strict=True):
        photos, image, part, box, rows, ids = [], [], [], [], [], []
        for photo, times in zip(of.photos, draw.tolist(), strict=True):
            for _ in range(times):
                photos.append(Photo(len(photos) + 1, "", photo.width, photo.height, ""))
                mine, theirs = of.photo == photo.id, np.flatnonzero(found.image == photo.id)
                image += [photos[-1].id] * mine.sum()
                part.append(of.part[mine])
                box.append(of.box[mine])
                rows.append(theirs)
                ids += [photos[-1].id] * len(theirs)
        copied = ordered(found, np.concatenate(rows))
        copied = Detections(np.array(ids), copied.part, copied.box, copied.score, copied.states)
        there = Boxes(np.array(image), np.concatenate(part), np.concatenate(box))
        whole, _ = coco.twelve(photos, of.parts, there, copied, copied.score)
        assert value == pytest.approx(whole["ap50" if iou == 0.5 else "ap75"], abs=1e-9)
