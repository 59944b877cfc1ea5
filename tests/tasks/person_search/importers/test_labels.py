"""Sources whose labels contradict themselves: what is settled, what is left out by name, what is refused."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml

from tasks.yard.files import read_json
from tasks.yard.step import BadInput
from tests.tasks.person_search.real_layouts import coco, detector, fetched, market, packed, picture, yolo

LEFT, RIGHT = [10, 10, 20, 30], [70, 5, 20, 40]  # of 100 x 50
LEFT_LINE, RIGHT_LINE = "0 0.200000 0.500000 0.200000 0.600000\n", "0 0.800000 0.500000 0.200000 0.800000\n"


def labels(out, split="*"):
    return {path.stem: path.read_text() for path in (out / "download").glob(f"*-detect/labels/{split}/**/*.txt")}


def edited(root, change, file="instances_train.json"):
    path = root / "annotations" / file
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return root


@pytest.mark.parametrize("said", [True, False])
def test_pose_labels_are_boxes_from_download_to_the_trainer(tmp_path, said):
    points = "".join(f" {0.61 + 0.011 * (j * 7 % 17):.3f} {0.36 + 0.028 * (j * 5 % 17):.3f} 2" for j in range(14))
    source = yolo(tmp_path / "pose", {s: [f"{s}{n}" for n in range(3)] for s in ("train", "val", "test")},
                  line=f"0 0.7 0.6 0.2 0.5{points}\n")  # fmt: skip
    if said:
        path = source / "data.yaml"
        path.write_text(path.read_text() + "kpt_shape: [14, 3]\n")
    dataset = detector(tmp_path, source)
    written = {path.read_text() for path in (tmp_path / "detector_data/labels").rglob("*.txt")}
    assert written == {"0 0.700000 0.600000 0.200000 0.500000\n"} and dataset["splits"]["train"]["boxes"] == 3


def test_one_id_for_two_images_is_refused_and_the_count_is_that_of_the_images(tmp_path):
    source = coco(tmp_path / "photos", [{"bbox": LEFT}, {"bbox": RIGHT}], images=4)
    edited(source, lambda content: content["images"][1].update(id=0))
    with pytest.raises(BadInput, match=r"2 of 4 label .*the id 0 stands for 2 images \(0.jpg, 1.jpg\)"):
        fetched(tmp_path, source, max_broken_share=0.4)
    report = fetched(tmp_path, source, max_broken_share=0.5)
    assert set(labels(tmp_path)) == {"2", "3"}
    assert report["totals"]["broken_entries"] == 2 and report["totals"]["detector_images"] == 2


def test_one_image_in_two_entries_and_in_two_files_has_all_of_its_boxes_once(tmp_path):
    source = coco(tmp_path / "photos", [{"bbox": LEFT}, {"bbox": RIGHT, "image_id": 7}], images=2)
    edited(source, lambda c: c["images"].append({"id": 7, "file_name": "0.jpg", "width": 200, "height": 100}))
    edited(source, lambda c: c["annotations"][1].update(bbox=[2 * v for v in RIGHT]))
    shutil.copy(source / "annotations/instances_train.json", source / "annotations/instances_train_again.json")
    edited(source, lambda c: c["annotations"][0].update(bbox=[11, 10, 20, 30]), "instances_train_again.json")
    report = fetched(tmp_path, source)
    assert labels(tmp_path) == {"0": LEFT_LINE + RIGHT_LINE, "1": ""}
    assert report["totals"]["detector_images"] == 2 and report["totals"]["detector_boxes"] == 2
    several, twice = report["units"]["photos-detect"]["said"]["labels"]
    assert several.startswith("2 images are in several entries") and twice.startswith("2 boxes are drawn twice")


def test_an_image_in_train_and_in_val_is_refused(tmp_path):
    source = coco(tmp_path / "photos", [{"bbox": LEFT}], images=2)
    shutil.copy(source / "annotations/instances_train.json", source / "annotations/instances_val.json")
    with pytest.raises(BadInput, match=r"images/0.jpg is in train and in val .*give each split images of its own"):
        fetched(tmp_path, source)


@pytest.mark.parametrize("size", [(None, None), ("100", "50"), (0, 0), ("", "wide"), (100, None), None])
def test_a_size_that_is_none_is_taken_from_the_picture(tmp_path, size):
    source = coco(tmp_path / "photos", [{"bbox": LEFT}])
    path = source / "annotations/instances_train.json"
    content = json.loads(path.read_text())
    entry = content["images"][0]
    if size is None:
        del entry["width"], entry["height"]
    else:
        entry["width"], entry["height"] = size
    path.write_text(json.dumps(content))
    said = fetched(tmp_path, source)["units"]["photos-detect"]["said"]
    assert labels(tmp_path) == {"0": LEFT_LINE}
    assert ("labels" in said) == (size != ("100", "50"))


def test_boxes_that_only_fit_the_picture_contradict_the_stated_size(tmp_path):
    source = coco(tmp_path / "photos", [{"bbox": RIGHT}])
    edited(source, lambda content: content["images"][0].update(width=50, height=25))
    with pytest.raises(BadInput, match="beyond the stated size 50x25 and lies in the picture's own, 100x50"):
        fetched(tmp_path, source)


def test_an_id_as_text_is_the_number_and_one_of_no_image_counts_as_broken(tmp_path):
    source = coco(tmp_path / "photos", [{"bbox": LEFT, "image_id": "0", "category_id": "1"}], images=2)
    fetched(tmp_path, source)
    assert labels(tmp_path) == {"0": LEFT_LINE, "1": ""}
    edited(source, lambda content: content["annotations"].append({"image_id": 9, "category_id": 1, "bbox": LEFT}))
    says = r"1 of 3 label entries cannot be used, first .*annotations\[1\]: image_id 9 is in no entry of images"
    with pytest.raises(BadInput, match=says):
        fetched(tmp_path, source)
    assert fetched(tmp_path, source, max_broken_share=0.5)["totals"]["broken_entries"] == 1


def test_of_a_set_without_a_usable_image_the_first_reason_is_said_and_how_often_there_is_which(tmp_path):
    source = coco(tmp_path / "photos", [{"bbox": LEFT}, {"bbox": "wide", "image_id": 2}], images=3)
    shutil.rmtree(source / "images")
    picture(source / "images/2.jpg", 2, (100, 50))
    with pytest.raises(BadInput, match=r"3 of 3 label .*there is no image 0.jpg|annotations\[1\]") as error:
        fetched(tmp_path, source, max_broken_share=1.0)
    assert "2 x there is no image" in str(error.value) and "1 x bbox must be" in str(error.value)
    edited(source, lambda content: content["images"].clear() or content["annotations"].clear())
    with pytest.raises(BadInput, match="its list of images is empty"):
        fetched(tmp_path, source)
    crowd = coco(tmp_path / "crowd", [{"bbox": LEFT, "iscrowd": 1}])
    with pytest.raises(BadInput, match=r"each of the 1 images has a box of a crowd, .*drop_crowd_images"):
        fetched(tmp_path, crowd, coco={"categories": ["person"], "drop_crowd_images": True})


def described(root, **changes):
    path = root / "data.yaml"
    content = {**yaml.safe_load(path.read_text()), **changes}
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    return root


@pytest.mark.slow
def test_splits_are_as_strict_as_the_other_line_is(tmp_path):
    stems = {"train": [f"c{c}_{n}" for c in range(5) for n in range(2)], "val": ["v_1", "v_2"]}
    source = yolo(tmp_path / "town", stems)
    described(source, test="../test/images", names={"0": "person"})
    (said,) = fetched(tmp_path, source)["units"]["town-detect"]["said"]["labels"]
    assert "test: there is no ../test/images" in said and "passed over" in said
    (source / "test/images").mkdir(parents=True)
    (said,) = fetched(tmp_path / "empty", source)["units"]["town-detect"]["said"]["labels"]
    assert "test: ../test/images holds no images; passed over" in said
    described(source, test=None, val=None)
    counts = detector(tmp_path, source)["splits"]
    assert counts["val"]["images"] == counts["test"]["images"] == 2 and counts["train"]["images"] == 6
    (said,) = read_json(tmp_path / "download/report.json")["units"]["town-detect"]["said"]["labels"]
    assert "no key 'val'" in said and "drawn from train" in said
    for changes, says in (
        ({"val": "images/train"}, r"is in train and in val; .*take the key val out"),
        ({"val": "images/gone"}, r"val: there is no images/gone"),
        ({"nc": 2}, r"nc is 2, but names holds 1 classes"),
        ({"names": {"0": "person", 0: "car"}}, "gives one number to two classes"),
    ):
        described(source, **{"val": None, "nc": None, "names": ["person"], **changes})
        with pytest.raises(BadInput, match=says):
            fetched(tmp_path, source)


def test_copies_of_one_picture_and_films_of_one_day_stay_in_one_split(tmp_path):
    copies = [f"{n}_jpg.rf.{(7 * n + k) % 16:x}{k}ab" for n in range(12) for k in range(3)]
    films = [f"202405{day:02}_08{minute:02}00_NF_{frame}"
             for day in range(1, 7) for minute in range(3) for frame in range(2)]  # fmt: skip
    for name, stems, key in (("copies", copies, lambda stem: stem.partition("_jpg")[0]),
                             ("films", films, lambda stem: stem[:8])):  # fmt: skip
        detector(tmp_path / name, yolo(tmp_path / name / "town", {"train": stems}))
        splits = {}
        for path in (tmp_path / name / "detector_data/images").glob("*/*"):
            splits.setdefault(key(path.stem.partition("__")[2]), set()).add(path.parent.name)
        assert all(len(mine) == 1 for mine in splits.values())
        assert set().union(*splits.values()) == {"train", "val", "test"}


def in_folders(source, name=lambda path: path.name):
    for path in list(source.rglob("*.jpg")):
        target = path.parent / path.name[:4] / name(path)
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
    return source


def test_a_folder_a_person_is_read_as_all_in_one(tmp_path):
    source = market(tmp_path / "crops")
    flat = packed(tmp_path / "flat", source)
    nested = packed(tmp_path / "nested", in_folders(source))
    assert nested["counts"] == flat["counts"] and nested["counts"]["train"]["images"] > 0
    (source / "bounding_box_train/0001").rename(source / "bounding_box_train/0009")
    with pytest.raises(BadInput, match="in the folder of person 9, and called person 1; mend one of them"):
        fetched(tmp_path, source)


def test_folders_of_persons_whose_crops_say_no_person_are_refused_and_so_are_empty_ones(tmp_path):
    source = in_folders(market(tmp_path / "crops"), lambda path: path.name[5:])
    with pytest.raises(BadInput, match=r"0001/c1s1_000000_01.jpg: a folder a person is read if the names say"):
        fetched(tmp_path, source)
    for part in ("bounding_box_train", "query", "bounding_box_test"):
        shutil.rmtree(source / part)
        (source / part / "0001").mkdir(parents=True)
    with pytest.raises(BadInput, match="no crop in any of bounding_box_train, query"):
        fetched(tmp_path, source)


def test_people_numbered_from_0_are_said_to_be_nobody(tmp_path, caplog):
    source = market(tmp_path / "crops", train=(0, 1, 2, 3))
    report = fetched(tmp_path, source)
    assert report["totals"]["dropped_distractors"] == 6 and report["totals"]["train_identities"] == 3
    (said,) = report["units"]["crops-reid"]["said"]["people"]
    assert "so 6 crops in bounding_box_train/ are dropped; if 0 is somebody, number people from 1" in said
    assert said in caplog.text
    source = market(tmp_path / "asked", test=(0, 6))
    (said,) = fetched(tmp_path, source)["units"]["asked-reid"]["said"]["people"]
    assert "2 crops in query/ are dropped, 4 in bounding_box_test/ match nobody" in said
