"""Photographs to train, validate and test on: bikes go whole, what was assigned stays, COCO can be read."""

from __future__ import annotations

import json
import shutil
from collections import Counter

import numpy as np
import pytest
from pycocotools.coco import COCO

from tasks.bike_parts.formats import photos
from tasks.yard.files import folder_hash, read_json
from tasks.yard.step import BadInput
from tests.tasks.bike_parts.sources import divided

SPLITS = ("train", "val", "test")


def cleaned(root, names, seed=0, parts=("bell", "saddle"), unit="city", **more):
    """cleaned.json of photographs that need not be there: the step opens none. `names`: {photograph: its group}."""
    rng = np.random.default_rng(seed)
    said = [
        {
            "name": f"{unit}/images/{name}", "file": f"city/{name}", "also": [], "width": 64, "height": 48,
            "group": f"city/{group}", "split": None,
            "parts": [
                {"part": part, "state": int(rng.choice(4, p=[0.6, 0.1, 0.2, 0.1])), "trust": 1.0, "box": [1, 2, 3.5, 4]}
                for part in parts
            ],
            "doubted": [],
            **more,
        }
        for name, group in names.items()
    ]  # fmt: skip
    content = {"parts": sorted(parts), "photos": said, "remarks": [], "dropped": {}}
    (root / "check_data").mkdir(parents=True, exist_ok=True)
    (root / "check_data/cleaned.json").write_text(json.dumps(content))
    return content


def rides(bikes, rides=2):
    return {f"b{b:03d}_{r}_{when}.jpg": f"b{b:03d}" for b in range(bikes) for r in range(rides) for when in "ab"}


def changed(root, change):
    path = root / "check_data/cleaned.json"
    said = read_json(path)
    change(said["photos"])
    path.write_text(json.dumps(said))


def remarks(root):
    return " ".join(read_json(root / "split/split.json")["remarks"])


def test_bikes_go_whole_and_every_part_in_every_state_has_its_share(tmp_path):
    cleaned(tmp_path, rides(100), parts=("bell", "chain", "lock", "saddle", "steer"))
    found = divided(tmp_path)
    bikes = {split: {name[:4] for name in names} for split, names in found.items()}
    assert sum(map(len, bikes.values())) == 100 and sum(map(len, found.values())) == 400
    assert [len(found[split]) for split in SPLITS] == pytest.approx([280, 60, 60], abs=4)
    (made,) = read_json(tmp_path / "split/split.json")["made"].values()
    assert made["rms_error"] < made["rms_error_of_chance"] / 3 and made["groups"] == 100


def test_a_second_run_is_held_against_chance_and_not_against_itself(tmp_path):
    cleaned(tmp_path, rides(100), parts=("bell", "chain", "lock", "saddle", "steer"))
    divided(tmp_path)
    (first,) = read_json(tmp_path / "split/split.json")["made"].values()
    divided(tmp_path)
    (second,) = read_json(tmp_path / "split/split.json")["made"].values()
    assert second == first | {"new_groups": 0} and first["new_groups"] == 100 and not remarks(tmp_path)


@pytest.mark.slow
def test_with_a_known_answer_the_search_finds_it_and_what_is_kept_from_other_labels_is_said(tmp_path):
    """Ten kinds of bikes, each with a part of its own, 20 of each: every share can be exactly 14, 3 and 3."""
    kinds = [f"part{kind}" for kind in range(10)]
    cleaned(tmp_path, rides(200), parts=kinds)

    def one_part_each(kind_of):
        def change(photos):
            for photo in photos:
                name = kinds[kind_of(int(photo["file"].removeprefix("city/b")[:3]))]
                photo["parts"] = [{"part": name, "state": 0, "trust": 1.0, "box": [1, 2, 3.5, 4]}]

        return change

    changed(tmp_path, one_part_each(lambda bike: bike % 10))
    found = divided(tmp_path)
    bikes = {split: Counter(int(name[1:4]) % 10 for name in names) for split, names in found.items()}
    assert [set(bikes[split].values()) for split in SPLITS] == [{56}, {12}, {12}]
    (made,) = read_json(tmp_path / "split/split.json")["made"].values()
    assert made["rms_error"] < 1e-9 < 0.03 < made["rms_error_of_chance"]
    by_split = sorted(range(200), key=lambda bike: (f"b{bike:03d}_0_a.jpg" in found["test"], bike))
    place = {bike: i for i, bike in enumerate(by_split)}
    changed(tmp_path, one_part_each(lambda bike: place[bike] // 20))  # the parts of the last 20 are tested alone
    assert divided(tmp_path) == found
    assert "200 of 200 vehicles or days keep the split that they had, and parts" in remarks(tmp_path)


def test_coco_reads_what_it_writes_with_one_list_of_ids(tmp_path):
    said = cleaned(tmp_path, rides(10), parts=("bell", "saddle", "steer"))
    changed(tmp_path, lambda photos: [photo["parts"].pop() for photo in photos[5:]])  # most know two parts only
    divided(tmp_path)
    coco = {split: COCO(photos.path_of(tmp_path / "split", split)) for split in SPLITS}
    assert all(of.dataset["categories"] == coco["train"].dataset["categories"] for of in coco.values())
    assert [of["name"] for of in coco["val"].loadCats(coco["val"].getCatIds())] == said["parts"]
    assert coco["val"].getCatIds() == [1, 2, 3]
    annotations = [one for of in coco.values() for one in of.loadAnns(of.getAnnIds())]
    assert len(annotations) == 10 * 4 * 3 - 35 and len({one["id"] for one in annotations}) == len(annotations)
    assert {one["state_id"] for one in annotations} <= {0, 1, 2, 3}
    assert all(one["area"] == 14 and one["iscrowd"] == 0 and one["bbox"] == [1, 2, 3.5, 4] for one in annotations)
    images = [one for of in coco.values() for one in of.loadImgs(of.getImgIds())]
    assert sorted(of["file_name"] for of in images) == sorted(of["name"] for of in said["photos"])
    assert len({of["id"] for of in images}) == len(images)
    table = photos.read(tmp_path / "split", "train")
    assert table.parts == said["parts"] and set(table.photo) == {of.id for of in table.photos}


def test_a_part_whose_box_was_left_out_is_doubted_in_its_photograph(tmp_path):
    cleaned(tmp_path, rides(10), parts=("bell", "saddle"), doubted=["steer"])
    path = tmp_path / "check_data/cleaned.json"
    path.write_text(json.dumps(read_json(path) | {"parts": ["bell", "saddle", "steer"]}))
    divided(tmp_path)
    assert {of.doubted for split in SPLITS for of in photos.read(tmp_path / "split", split).photos} == {(3,)}


def test_states_that_nobody_labelled_are_kept_apart(tmp_path):
    cleaned(tmp_path, rides(20))
    changed(tmp_path, lambda photos: [part.update(state=-1) for photo in photos for part in photo["parts"]])
    divided(tmp_path)
    assert set(photos.read(tmp_path / "split", "val").state) == {photos.NOT_LABELLED}
    assert list(read_json(tmp_path / "split/split.json")["shares"]["bell"]) == ["not labelled"]


def test_neither_the_order_of_the_photographs_nor_a_second_run_changes_a_byte(tmp_path):
    cleaned(tmp_path / "a", rides(30))
    cleaned(tmp_path / "b", rides(30))
    changed(tmp_path / "b", lambda photos: np.random.default_rng(1).shuffle(photos))
    assert divided(tmp_path / "a") == divided(tmp_path / "b")
    assert folder_hash(tmp_path / "a/split") == folder_hash(tmp_path / "b/split")
    shutil.rmtree(tmp_path / "b/split")
    assert divided(tmp_path / "b", seed=7) != divided(tmp_path / "a")


def test_what_was_assigned_keeps_its_split_and_only_new_bikes_are_dealt_out(tmp_path):
    cleaned(tmp_path, rides(30))
    before = divided(tmp_path)
    cleaned(tmp_path, rides(60), seed=5, unit="city-001")  # more bikes, other states, cut into other batches
    after = divided(tmp_path, seed=3)
    assert all(set(before[split]) < set(after[split]) for split in SPLITS)
    assert [len(after[split]) for split in SPLITS] == pytest.approx([168, 36, 36], abs=6)
    fewer = {name: bike for name, bike in rides(60).items() if name in {*after["train"], *after["val"]}}
    cleaned(tmp_path, fewer)
    with pytest.raises(BadInput, match=r"nothing is left for test: all that is known keeps its split"):
        divided(tmp_path)


def test_a_pinned_split_is_believed_before_the_steps_own(tmp_path):
    cleaned(tmp_path, rides(30))
    before = divided(tmp_path)
    mine = sorted({f"city/{name[:4]}" for name in before["test"]})[:2]
    pin = tmp_path / "pinned.json"
    pin.write_text(json.dumps({"train": mine, "val": [], "test": []}))
    after = divided(tmp_path, splits=str(pin))
    moved = {name for name in before["test"] if f"city/{name[:4]}" in mine}
    assert moved and moved <= set(after["train"]) and set(before["val"]) == set(after["val"])


def test_photographs_that_turn_out_to_be_of_one_bike_are_all_learnt_from(tmp_path):
    alone = {name: name for name in rides(30)}
    cleaned(tmp_path, alone)
    before = divided(tmp_path)
    test, train = before["test"][0], before["train"][0]
    cleaned(tmp_path, alone | {test: "one", train: "one"})
    after = divided(tmp_path)
    assert {test, train} <= set(after["train"]) and "belongs together and was divided" in remarks(tmp_path)


def test_a_bike_that_joins_all_that_is_tested_on_with_training_leaves_a_test(tmp_path):
    alone = {name: name for name in rides(30)}
    cleaned(tmp_path, alone)
    before = divided(tmp_path)
    one = dict.fromkeys([*before["test"], before["train"][0]], "one")
    cleaned(tmp_path, alone | one | {"b999_0_a.jpg": "one"})
    after = divided(tmp_path)
    assert set(after["test"]) == set(before["test"]) and "b999_0_a.jpg" in after["train"]
    assert "their photographs stay there, first city/one" in remarks(tmp_path)


def test_a_copy_of_a_known_photograph_is_known_too(tmp_path):
    cleaned(tmp_path, {name: name for name in rides(30)})
    before = divided(tmp_path)
    gone = before["test"][0]

    def rename(photos):
        (photo,) = (of for of in photos if of["file"] == f"city/{gone}")
        photo |= {"name": "city/images/0.jpg", "file": "city/0.jpg", "group": "city/0.jpg", "also": [photo["file"]]}

    changed(tmp_path, rename)
    assert "0.jpg" in divided(tmp_path)["test"]


def test_a_split_that_the_source_publishes_is_kept_and_what_lacks_is_made_from_train(tmp_path):
    names = rides(40)
    cleaned(tmp_path / "all", names)
    order = dict(zip(names, (SPLITS[i % 3] for i in range(len(names))), strict=True))

    def publish(photos):
        for photo in photos:
            photo["split"] = order[photo["file"].removeprefix("city/")]

    changed(tmp_path / "all", publish)
    found = divided(tmp_path / "all")
    assert {name: split for split, mine in found.items() for name in mine} == order
    assert "40 vehicles or days lie in several splits, as their source divides them" in remarks(tmp_path / "all")

    cleaned(tmp_path / "some", names)
    order = {name: "val" if int(name[1:4]) < 5 else "train" for name in names}
    changed(tmp_path / "some", publish)
    found = divided(tmp_path / "some")
    assert {name[:4] for name in found["val"]} == {f"b{n:03d}" for n in range(5)}
    bikes = Counter(name[:4] for name in found["test"])
    assert 4 <= len(bikes) <= 6 and set(bikes.values()) == {4}

    cleaned(tmp_path / "odd", names)
    order = dict.fromkeys(names, "test")
    changed(tmp_path / "odd", publish)
    found = divided(tmp_path / "odd")
    assert len(found["train"]) == pytest.approx(112, abs=4) and "divided anew" in remarks(tmp_path / "odd")


def test_a_data_set_with_splits_beside_one_without(tmp_path):
    said = cleaned(tmp_path, rides(20))
    other = [
        photo | {"file": photo["file"].replace("city", "town"), "name": photo["name"].replace("city", "town"),
                 "group": photo["group"].replace("city", "town"), "split": SPLITS[i % 3]}
        for i, photo in enumerate(said["photos"])
    ]  # fmt: skip
    changed(tmp_path, lambda photos: photos.extend(other))
    divided(tmp_path)
    groups = {split: Counter(of.group[:4] for of in photos.read(tmp_path / "split", split).photos) for split in SPLITS}
    assert [groups[split]["town"] for split in SPLITS] == [27, 27, 26]
    assert [groups[split]["city"] for split in SPLITS] == pytest.approx([56, 12, 12], abs=4)


def test_too_few_bikes_are_said_and_too_few_photographs_refused(tmp_path):
    cleaned(tmp_path / "day", dict.fromkeys(rides(5), "2024-05-01"))
    assert all(divided(tmp_path / "day").values())
    assert "20 photographs are of 1 vehicles or days only: they are dealt out one by one" in remarks(tmp_path / "day")
    rides_of_day = {f"bike{n}_{when}.jpg": "2024-05-01" for n in range(6) for when in ("before", "after")}
    cleaned(tmp_path / "rides", rides_of_day)
    bikes = [{name.partition("_")[0] for name in mine} for mine in divided(tmp_path / "rides").values()]
    assert sum(map(len, bikes)) == 6 and "1 vehicles or days only: they are dealt out ride by ride" in remarks(
        tmp_path / "rides"
    )
    cleaned(tmp_path / "days", {name: name[:4] for name in rides(4)})
    divided(tmp_path / "days")
    assert "shares cannot be near those asked for" in remarks(tmp_path / "days")
    cleaned(tmp_path / "two", {"a.jpg": "a", "b.jpg": "b"})
    with pytest.raises(BadInput, match=r"2 photographs are too few for all three"):
        divided(tmp_path / "two")


def test_a_missing_or_foreign_cleaned_json_says_which_step_to_run(tmp_path):
    (tmp_path / "check_data").mkdir()
    (tmp_path / "check_data/cleaned.json").write_text("[]")
    with pytest.raises(BadInput, match=r"cleaned.json: not a file of bike_parts-check_data .*; run it again"):
        divided(tmp_path)
