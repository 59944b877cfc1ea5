"""nuImages, COCO and YOLO data in their true schemas: every known box comes back, every fault is named by its place."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from tasks.yard.detector.trainer import view
from tasks.yard.files import folder_hash, read_json
from tasks.yard.step import BadInput
from tests.tasks.brake_coast import labelled_images as data
from tests.tasks.brake_coast.labelled_images import labels, run, stems

COCO8 = Path(__file__).parents[5] / "shared/real/coco8"


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    return data.render(tmp_path_factory.mktemp("world"))


@pytest.fixture
def nuimages(frames, tmp_path):
    data.write_nuimages(tmp_path / "nuimages", frames)
    return tmp_path / "nuimages"


@pytest.fixture
def coco(frames, tmp_path):
    data.write_coco(tmp_path / "coco", {"train": frames[:6], "val": frames[6:9], "test": frames[9:]})
    return tmp_path / "coco"


@pytest.fixture
def yolo(frames, tmp_path):
    data.write_yolo(tmp_path / "yolo", {"train": frames[:6], "val": frames[6:9], "test": frames[9:]})
    return tmp_path / "yolo"


def is_vehicle(number: int) -> bool:
    return data.category_of(number) not in ("vehicle.bicycle", "human.pedestrian.adult")


@pytest.mark.slow
def test_nuimages_gives_back_every_vehicle_of_the_cameras_asked_for(nuimages, frames, tmp_path):
    out = tmp_path / "out"
    run(nuimages, out)
    used = [i for i in range(len(frames)) if data.CHANNELS[i % 3] != "CAM_FRONT_LEFT"]
    names = {i: f"{data.CHANNELS[i % 3]}__n013__{data.CHANNELS[i % 3]}__{i:04d}" for i in used}
    assert sorted(stems(out)) == sorted(names.values())  # key frames of two cameras, no sweeps
    for i, stem in names.items():
        np.testing.assert_allclose(labels(out, stem), frames[i].rows(keep=is_vehicle), atol=1e-6)
        (image,) = out.glob(f"images/*/{stem}.jpg")
        assert image.read_bytes() == frames[i].image.read_bytes()  # not compressed a second time
    assert any(not is_vehicle(k) for i in used for k in range(len(frames[i].boxes)))
    assert "vehicle.bicycle" in read_json(out / "report.json")["boxes_of_other_classes"]


def test_a_log_of_nuimages_is_in_one_split(nuimages, tmp_path):
    run(nuimages, tmp_path / "out", nuimages={"cameras": data.CHANNELS})
    split_of_log: dict[int, set] = {}
    for path in (tmp_path / "out/images").glob("*/*.jpg"):
        split_of_log.setdefault(int(path.stem[-4:]) % 4, set()).add(path.parent.name)
    assert all(len(splits) == 1 for splits in split_of_log.values())
    assert {split for splits in split_of_log.values() for split in splits} == {"train", "val", "test"}


def test_classes_of_nuimages_can_stay_apart(nuimages, frames, tmp_path):
    run(nuimages, tmp_path / "out", classes={"vehicle.bus": "bus", "vehicle.car": "car", "vehicle.bus.bendy": None})
    number = {"vehicle.bus.rigid": 0, "vehicle.car": 1}
    of = [number.get(data.category_of(k)) for k in range(50)]
    stem = "CAM_FRONT__n013__CAM_FRONT__0003"
    expected = frames[3].rows(of, lambda k: of[k] is not None)
    np.testing.assert_allclose(labels(tmp_path / "out", stem), expected, atol=1e-6)
    assert yaml.safe_load((tmp_path / "out/dataset.yaml").read_text())["names"] == {0: "bus", 1: "car"}


def test_images_whose_boxes_are_withheld_are_no_background(nuimages, frames, tmp_path):
    run(nuimages, tmp_path / "without")
    data.write_nuimages(nuimages, [data.Frame(frame.image, []) for frame in frames], version="v1.0-test")
    run(nuimages, tmp_path / "with")
    assert folder_hash(tmp_path / "without") == folder_hash(tmp_path / "with")


def test_nuimages_comes_as_two_archives(nuimages, tmp_path, monkeypatch):
    run(nuimages, tmp_path / "folder")
    for name, inside in (("samples.tgz", "samples"), ("metadata.tar.gz", "v1.0-mini")):
        with tarfile.open(tmp_path / name, "w:gz") as archive:
            archive.add(nuimages / inside, inside)
    shutil.rmtree(nuimages)
    monkeypatch.chdir(tmp_path)  # where sources keep what they unpack
    (tmp_path / "list.txt").write_text("# the full set comes so\nmetadata.tar.gz\n\nsamples.tgz\n")
    run("list.txt", tmp_path / "archives")
    assert folder_hash(tmp_path / "folder") == folder_hash(tmp_path / "archives")


@pytest.mark.parametrize(
    ("table", "change", "says"),
    [
        ("object_ann", {"category_token": "gone"}, "o-0-0: category_token 'gone' is in no row of category.json"),
        ("object_ann", {"bbox": [9, 9, 9, 20]}, r"object_ann.json: o-0-0: the box \[9, 9, 9, 20\] has no area"),
        ("sample", {"log_token": "gone"}, "sample.json: t-0: log_token 'gone' is in no row of log.json"),
        ("sample_data", {"is_key_frame": False}, "sample.json: t-0: key_camera_token"),
        ("sample_data", {"filename": "samples/../../x.jpg"}, "sample.json: t-0: there is no image"),
        ("sample_data", {"width": 1600}, "0000.jpg: the image is 640x360, its labels are for 1600x360"),
    ],
)
def test_a_broken_row_of_nuimages_costs_its_image_and_is_named(nuimages, tmp_path, table, change, says):
    data.edit(nuimages / f"v1.0-mini/{table}.json", lambda rows: rows[0].update(change))
    assert run(nuimages, tmp_path / "out")["broken_entries"] == 1
    assert not list((tmp_path / "out").rglob("*0000.*"))
    with pytest.raises(BadInput, match=f"1 of 8 label entries .*{says}"):
        run(nuimages, tmp_path / "out", max_broken_share=0.0)


def test_tables_that_cannot_be_used_are_named(nuimages, tmp_path):
    with pytest.raises(BadInput, match=r"sensor\.json: no camera CAM_TOP .*it has CAM_BACK, CAM_FRONT"):
        run(nuimages, tmp_path / "out", nuimages={"cameras": ["CAM_FRONT", "CAM_TOP"]})
    with pytest.raises(BadInput, match=r"category\.json: none of its classes \(vehicle\.car, .*detector_data\.classes"):
        run(nuimages, tmp_path / "out", classes={"Car": "vehicle"})
    data.edit(nuimages / "v1.0-mini/object_ann.json", lambda rows: rows[2].pop("bbox"))
    with pytest.raises(BadInput, match=r"object_ann\.json: row 2 has no bbox"):
        run(nuimages, tmp_path / "out")
    (nuimages / "v1.0-mini/log.json").unlink()
    data.edit(nuimages / "v1.0-mini/object_ann.json", lambda rows: rows.pop(2))
    with pytest.raises(BadInput, match=r"log\.json: no such table"):
        run(nuimages, tmp_path / "out")


def test_coco_gives_back_every_vehicle_in_the_split_its_file_names(coco, frames, tmp_path):
    out = tmp_path / "out"
    metrics = run(coco, out)
    for part, mine in (("train", frames[:6]), ("val", frames[6:9]), ("test", frames[9:])):
        assert stems(out, part) == [f"{part}2017__{i:012d}" for i in range(len(mine))]
        for i, frame in enumerate(mine):
            np.testing.assert_allclose(labels(out, f"{part}2017__{i:012d}"), frame.rows(), atol=1e-6)
    assert metrics["train_boxes"] == sum(len(frame.boxes) for frame in frames[:6])
    report = read_json(out / "report.json")
    assert report["boxes_of_other_classes"] == {"person": 12}
    assert report["crowd_boxes"] == 12


def test_coco_without_splits_is_split_by_folder(coco, tmp_path):
    (coco / "annotations/instances_train2017.json").rename(coco / "labels.json")
    shutil.rmtree(coco / "annotations")

    def into_drives(content):
        for entry in content["images"]:
            drive = f"drive{entry['id'] % 3}"
            (coco / drive).mkdir(exist_ok=True)
            shutil.copyfile(coco / "train2017" / entry["file_name"], coco / drive / entry["file_name"])
            entry["file_name"] = f"{drive}/{entry['file_name']}"

    data.edit(coco / "labels.json", into_drives)
    run(coco, tmp_path / "out")
    splits = read_json(tmp_path / "out/report.json")["sequences"]
    assert sorted(splits) == ["drive0", "drive1", "drive2"]
    assert sorted(splits.values()) == ["test", "train", "val"]


def test_coco_and_yolo_as_windows_programs_write_them(coco, yolo, frames, tmp_path):
    """A byte order mark first, and backslashes between folders."""
    for file in coco.glob("annotations/*.json"):
        folder = file.stem.removeprefix("instances_")
        data.edit(file, lambda said, of=folder: [e.update(file_name=f"{of}\\{e['file_name']}") for e in said["images"]])
        file.write_text(file.read_text(), encoding="utf-8-sig")
    listed = "".join(f"images\\train\\{i:03d}.jpg\r\n" for i in range(6))
    (yolo / "train.txt").write_text(listed, encoding="utf-8-sig")
    said = yaml.safe_load((yolo / "data.yaml").read_text())
    said |= {"train": "train.txt", "val": "images\\val", "test": "..\\images\\test"}
    (yolo / "data.yaml").write_text(yaml.safe_dump(said), encoding="utf-8-sig")
    for file in yolo.glob("labels/*/*.txt"):
        file.write_text(file.read_text(), encoding="utf-8-sig")
    run(coco, tmp_path / "c")
    run(yolo, tmp_path / "y")
    for i, frame in enumerate(frames[:6]):
        np.testing.assert_allclose(labels(tmp_path / "c", f"train2017__{i:012d}"), frame.rows(), atol=1e-6)
        np.testing.assert_allclose(labels(tmp_path / "y", f"images__train__{i:03d}"), frame.rows(), atol=1e-6)
    assert len(stems(tmp_path / "y", "val")) == 3 and len(stems(tmp_path / "y", "test")) == len(frames) - 9


@pytest.mark.parametrize(
    ("key", "change", "says"),
    [
        ("annotations", {"bbox": [700, 10, 20, 20]}, r"annotations\[0\]: bbox .* lies outside of the image of 640x360"),
        ("annotations", {"bbox": [10, 10, 0, 20]}, r"annotations\[0\]: the box .* has no area"),
        ("annotations", {"bbox": "10 10"}, r"annotations\[0\]: bbox must be x, y, width, height"),
        ("annotations", {"category_id": 77}, r"annotations\[0\]: category_id 77 is in no entry of categories"),
        ("images", {"height": 640}, "the image is 640x360, its labels are for 640x640"),
        ("images", {"file_name": "gone.jpg"}, "image 100: there is no image gone.jpg"),
    ],
)
def test_a_broken_entry_of_coco_costs_its_image_and_is_named(coco, tmp_path, key, change, says):
    data.edit(coco / "annotations/instances_train2017.json", lambda content: content[key][0].update(change))
    assert run(coco, tmp_path / "out")["train_images"] == 5
    with pytest.raises(BadInput, match=f"1 of 12 label entries .*{says}"):
        run(coco, tmp_path / "out", max_broken_share=0.0)


def test_yolo_passes_through_with_its_splits(yolo, frames, tmp_path):
    out = tmp_path / "out"
    run(yolo, out)
    for part, mine in (("train", frames[:6]), ("val", frames[6:9]), ("test", frames[9:])):
        for i, frame in enumerate(mine):
            np.testing.assert_allclose(labels(out, f"images__{part}__{i:03d}"), frame.rows(), atol=1e-6)
    assert read_json(out / "report.json")["boxes_of_other_classes"] == {"person": 12}


def test_a_polygon_of_yolo_is_its_box_and_an_image_without_label_is_background(yolo, tmp_path):
    (yolo / "labels/train/000.txt").write_text("1 0.2 0.3 0.4 0.2 0.3 0.5\n")
    (yolo / "labels/train/001.txt").unlink()
    run(yolo, tmp_path / "out")
    np.testing.assert_allclose(labels(tmp_path / "out", "images__train__000"), [[0, 0.3, 0.35, 0.2, 0.3]], atol=1e-6)
    assert len(labels(tmp_path / "out", "images__train__001")) == 0


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("1 0.5 0.5 1.2 0.1", "'1 0.5 0.5 1.2 0.1' is out of range"),
        ("1 -0.5 0.5 0.2 0.1", "is out of range"),
        ("1 nan 0.5 0.2 0.1", "is out of range"),
        ("9 0.5 0.5 0.2 0.1", "class 9 is not among the 3 names"),
        ("1 0.5 0.5 0.2", "4 values; expected class, cx, cy, w, h"),
        ("1 0.5 0.5 0.2 wide", "is not all numbers"),
        ("1 0.5 0.5 0.0 0.1", "has no area"),
    ],
)
def test_a_broken_line_of_yolo_is_named_with_file_and_line(yolo, tmp_path, line, says):
    path = yolo / "labels/train/002.txt"
    path.write_text(f"1 0.5 0.5 0.1 0.1\n{line}\n")
    assert run(yolo, tmp_path / "out")["train_images"] == 5
    with pytest.raises(BadInput, match=f"1 of 12 label entries .*first labels/train/002.txt, line 2: .*{says}"):
        run(yolo, tmp_path / "out", max_broken_share=0.0)


def test_a_yolo_description_that_cannot_be_used_is_named(yolo, tmp_path):
    described = yaml.safe_load((yolo / "data.yaml").read_text())

    def refused(says, **changes):
        (yolo / "data.yaml").write_text(yaml.safe_dump({**described, **changes}))
        with pytest.raises(BadInput, match=says):
            run(yolo, tmp_path / "out")

    refused(r"images/val/000\.jpg is in train and in val", train=["images/train", "images/val"])
    refused(r"data\.yaml: val: there is no images/valid", val="images/valid")
    refused(r"data\.yaml: names must list the classes", names="person")
    shutil.rmtree(yolo / "labels/val")
    refused(r"val: no image has a label file; .*labels/val/000\.txt is the first missing")


@pytest.mark.skipif(not COCO8.is_dir(), reason="shared/real/coco8 is not here")
def test_a_published_dataset_without_test_images_reaches_the_trainer(tmp_path):
    metrics = run(COCO8, tmp_path / "out", classes={"person": "person", "car": "vehicle"})
    assert (metrics["train_images"], metrics["val_images"], metrics["test_images"]) == (3, 4, 1)  # drawn from train
    assert metrics["train_boxes"] + metrics["val_boxes"] > 3
    assert view(tmp_path / "out", tmp_path / "view")[1] == ["train", "val", "test"]


def test_a_layout_can_be_forced_and_an_unknown_one_says_what_is_known(yolo, coco, tmp_path):
    shutil.copytree(coco, yolo, dirs_exist_ok=True)  # both: which one is meant has to be said
    run(yolo, tmp_path / "a", layout="coco")
    run(coco, tmp_path / "b")
    for part in ("images", "labels"):  # the report says that the images of the other layout are passed over
        assert folder_hash(tmp_path / "a" / part) == folder_hash(tmp_path / "b" / part)
    with pytest.raises(BadInput, match=r"no tables of nuImages; expected tables in v1\.0"):
        run(coco, tmp_path / "out", layout="nuimages")
    (tmp_path / "other").mkdir()
    data.blank(tmp_path / "other/a.jpg")
    with pytest.raises(BadInput, match=r"holds a\.jpg, which is no known layout(.|\n)*boxy: .*\*\.json label files"):
        run(tmp_path / "other", tmp_path / "out")


def test_boxes_of_coco_that_are_no_pixels_or_no_sizes_are_seen(coco, tmp_path):
    file = coco / "annotations/instances_train2017.json"
    whole = file.read_text()

    def change(make):
        def all_boxes(content):
            for entry in content["annotations"]:
                x, y, w, h = entry["bbox"]
                entry |= {"area": w * h, "bbox": make(x + 1, y + 1, w, h)}

        file.write_text(whole)
        data.edit(file, all_boxes)

    change(lambda x, y, w, h: [x / 9999, y / 9999, w / 9999, h / 9999])
    with pytest.raises(BadInput, match="no bbox reaches beyond 1, the first is"):
        run(coco, tmp_path / "out")
    change(lambda x, y, w, h: [x, y, x + w, y + h])
    with pytest.raises(BadInput, match="bbox are two corners, as each area says"):
        run(coco, tmp_path / "out")


def test_a_crowd_as_text_is_read_as_a_number(coco, tmp_path):
    boxes = run(coco, tmp_path / "a")["train_boxes"]

    def as_text(content):
        for entry in content["annotations"]:
            entry["iscrowd"] = str(entry["iscrowd"])

    data.edit(coco / "annotations/instances_train2017.json", as_text)
    assert run(coco, tmp_path / "b")["train_boxes"] == boxes > 0


def test_corners_in_a_yolo_set_are_no_boxes_by_centre_and_size(yolo, tmp_path):
    for file in yolo.rglob("labels/**/*.txt"):
        file.write_text("".join(f"{line.split()[0]} .3 .3 .9 .9\n" for line in file.read_text().splitlines()))
    with pytest.raises(BadInput, match=r"boxes reach out of the picture as cx, cy, w, h, and all fit as two corners"):
        run(yolo, tmp_path / "out")


def test_a_set_without_a_box_is_said(yolo, tmp_path, caplog):
    for file in yolo.rglob("labels/**/*.txt"):
        file.write_text("")
    run(yolo, tmp_path / "out")
    assert "training images (its labels hold none)" in caplog.text


def test_images_that_no_label_names_are_counted_and_named(coco, tmp_path, caplog):
    for name in ("train2017/forgotten_2.jpg", "train2017/forgotten_10.jpg", "elsewhere/a.png"):
        data.blank(coco / name)
    (coco / "readme.txt").write_text("no image")
    run(coco, tmp_path / "out")
    assert read_json(tmp_path / "out/report.json")["passed_over"] == [
        {
            "files": 3,
            "kinds": {".jpg": 2, ".png": 1},
            "first": ["elsewhere/a.png", "train2017/forgotten_2.jpg", "train2017/forgotten_10.jpg"],
        }
    ]
    assert "3 (2 .jpg, 1 .png), the first is elsewhere/a.png" in caplog.text


def test_boxes_of_the_pictures_under_the_size_of_others_are_refused(coco, tmp_path):
    """Pictures and boxes were made half as large, and the sizes in the file were not."""

    def doubled(content):
        for image in content["images"]:
            image["width"], image["height"] = 2 * image["width"], 2 * image["height"]

    for part in ("train", "val", "test"):
        data.edit(coco / f"annotations/instances_{part}2017.json", doubled)
    with pytest.raises(BadInput, match=r"is 640x360, its stated size 1280x720, and all \d+ boxes of such images lie"):
        run(coco, tmp_path / "out")


def test_smaller_pictures_of_the_labelled_ones_are_taken_with_their_boxes_scaled(coco, frames, tmp_path):
    def larger(content):
        doubled = [entry["bbox"] for entry in content["annotations"]]
        for box in doubled:
            box[:] = [2 * value for value in box]
        for image in content["images"]:
            image["width"], image["height"] = 2 * image["width"], 2 * image["height"]

    run(coco, tmp_path / "before")
    for part in ("train", "val", "test"):
        data.edit(coco / f"annotations/instances_{part}2017.json", larger)
    run(coco, tmp_path / "after")
    assert folder_hash(tmp_path / "before/labels") == folder_hash(tmp_path / "after/labels")


def test_an_image_of_a_later_split_is_not_learnt_from(yolo, tmp_path, caplog):
    run(yolo, tmp_path / "before")
    shutil.copyfile(yolo / "images/train/001.jpg", yolo / "images/val/000.jpg")
    run(yolo, tmp_path / "out")
    said = "1 images are left out, as a later split holds the same bytes, first images/train/001.jpg (val too)"
    assert said in caplog.text and said in str(read_json(tmp_path / "out/report.json")["remarks"])
    trained = [len(list((tmp_path / name / "images/train").iterdir())) for name in ("before", "out")]
    assert trained[0] - trained[1] == 1
    assert len(read_json(tmp_path / "out/learnt_from.json")["pictures"]) == trained[1] + len(
        list((tmp_path / "out/images/val").iterdir())
    )
