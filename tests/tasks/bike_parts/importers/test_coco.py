"""COCO with parts through download: where states come from, and which categories are parts."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tasks.bike_parts.importers.coco import by_damage
from tasks.yard.layouts.example import rows
from tasks.yard.step import BadInput
from tests.tasks.bike_parts.sources import REAL, coco, fetched, labelled

IMAGES = ["a.jpg", "b.jpg", "c.jpg"]


def mark(image, category, bbox, **more):
    return {"image_id": image, "category_id": category, "bbox": bbox, **more}


def states(out):
    return {name: {key: part["object_state"] for key, part in parts.items()} for name, parts in labelled(out).items()}


def test_states_follow_from_damage_in_a_second_file_of_the_same_images(tmp_path):
    parts = [mark(i, 1, [5, 5, 20, 20]) for i in range(3)] + [mark(0, 2, [40, 5, 10, 10]), mark(0, 1, [40, 30, 10, 10])]
    damage = [mark(0, 1, [20, 10, 10, 10]), mark(1, 1, [22, 10, 10, 10]), mark(2, 1, [23, 10, 10, 10])]
    source = coco(tmp_path / "cars", IMAGES, parts, ["door", "hood"], "parts.json")
    coco(source, IMAGES, damage, ["damage"], "damage.json")
    report = fetched(tmp_path, source, parts=None)
    assert report["parts"] == ["door", "hood"]
    # .5, .3 and .2 of the damage's box lie in the door's
    assert states(tmp_path) == {
        "a.jpg": {"door": "damaged", "door_2": "intact", "hood": "intact"}, "b.jpg": {"door": "damaged"},
        "c.jpg": {"door": "intact"},
    }  # fmt: skip
    assert "a rule of this line, nobody's label" in " ".join(report["datasets"]["cars"]["remarks"])
    fetched(tmp_path / "half", source, parts=None, damage_overlap=0.5)
    assert states(tmp_path / "half")["b.jpg"] == {"door": "intact"}
    none = fetched(tmp_path / "none", source, parts=["door", "hood", "damage"], damage_categories=[])
    assert none["totals"]["states_not_labelled"] == 8, "damage is a part like another then, and states are unknown"


def test_where_nobody_looked_for_damage_no_state_is_known(tmp_path):
    parts = [mark(i, 1, [5, 5, 20, 20]) for i in range(3)]
    source = coco(tmp_path / "cars", IMAGES, parts, ["door"], "parts_train.json")
    coco(source, IMAGES[:2], [mark(0, 1, [6, 6, 10, 10])], ["damage"], "damage_train.json")
    said = fetched(tmp_path, source, parts=None)
    assert {name: of["door"] for name, of in states(tmp_path).items()} == {
        "a.jpg": "damaged", "b.jpg": "intact", "c.jpg": None
    }  # fmt: skip
    remark = "1 images are in no label file that has damage: states of their parts are not labelled"
    assert said["totals"]["states_not_labelled"] == 1 and remark in said["datasets"]["cars"]["remarks"]


def test_half_of_a_damage_is_measured_against_the_damage_and_not_against_the_part():
    door, scratch = rows([[0, 0, 100, 100]]), rows([[90, 90, 110, 110]])
    assert by_damage(door, scratch, 0.25) == [1] and by_damage(door, scratch, 0.26) == [0]
    assert by_damage(door, rows(), 0.3) == [0] and by_damage(rows(), scratch, 0.3) == []


def test_states_of_the_annotations_themselves_are_believed(tmp_path):
    marks = [
        mark(0, 1, [5, 5, 20, 20], state_id=2), mark(1, 1, [5, 5, 20, 20], attributes={"state": "Occluded"}),
        mark(2, 1, [5, 5, 20, 20], state_id=-1),
    ]  # fmt: skip
    many = mark(2, 1, [1, 1, 50, 40], iscrowd=1)
    source = coco(tmp_path / "city", IMAGES, [*marks, many], ["saddle", "damage"])
    report = fetched(tmp_path, source)
    assert "1 boxes are around many (iscrowd) and are no parts: left out" in report["datasets"]["city"]["remarks"]
    assert states(tmp_path) == {
        "a.jpg": {"saddle": "absent"}, "b.jpg": {"saddle": "occluded"}, "c.jpg": {"saddle": None}
    }  # fmt: skip


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"state_id": 7}, r"saddle.state_id is 7; expected 0 intact"),
        ({"state": "rusty"}, r"saddle.state is 'rusty'; expected one of intact"),
        ({"state": "damaged", "state_id": 0}, r"saddle: state 'damaged' is not state_id 0"),
        ({"bbox": "5 5 20 20"}, r"bbox must be x, y, width, height, found '5 5 20 20'"),
        ({"bbox": [5, 5, float("nan"), 20]}, r"the box .* has no area"),
    ],
)
def test_an_image_with_a_bad_annotation_is_named(tmp_path, more, why):
    marks = [mark(i, 1, [5, 5, 20, 20]) for i in range(3)]
    marks[1] |= more
    said = fetched(tmp_path, coco(tmp_path / "city", IMAGES, marks, ["saddle"]))["datasets"]["city"]
    (place,) = said["left_out"]
    assert place == "labels.json: annotations[1]" and said["photos"] == 2
    assert re.search(why, said["left_out"][place])


def test_a_category_that_is_no_part_is_refused_or_dropped_as_params_say(tmp_path):
    marks = [mark(i, i + 1, [5, 5, 20, 20]) for i in range(3)]
    source = coco(tmp_path / "city", IMAGES, marks, ["saddle", "steering", "bell"])
    with pytest.raises(BadInput, match=r"city: the part 'steering' is not in bike_parts.download.parts; did you mean"):
        fetched(tmp_path / "1", source)
    report = fetched(tmp_path / "2", source, other_parts="drop")
    assert report["datasets"]["city"]["dropped"] == {"steering": 1} and report["totals"]["boxes"] == 2
    with pytest.raises(BadInput, match=r"city/labels.json: the part 'saddle' is not in bike_parts.download.parts"):
        fetched(tmp_path / "3", source, parts=["wheel"])


@pytest.mark.slow
@pytest.mark.skipif(not (REAL / "car_parts_damage").exists(), reason="needs ../shared/real: photographs of cars")
def test_real_cars_have_the_same_boxes_and_states_in_both_layouts(tmp_path):
    """The states of delft_style_train.json were made by the stated rule, by somebody else's program."""
    source = REAL / "car_parts_damage"
    fetched(tmp_path / "coco", source / "data/train", parts=None)
    fetched(tmp_path / "delft", source, parts=None)

    def said(out):
        return {
            name: Counter(
                (part["part_name"], part["object_state"], *part["absolute_bounding_box"].values())
                for part in parts.values()
            )
            for name, parts in labelled(out).items()
        }

    assert said(tmp_path / "coco") == said(tmp_path / "delft")
