"""Sources through the step: which layouts are found, what is kept of them, and what is said of what is wrong."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from tasks.person_search import detector_data
from tasks.person_search.formats.cameras import camera_of, truth_of
from tasks.yard.files import folder_hash, read_json
from tasks.yard.step import BadInput
from tests.tasks.person_search import real_layouts
from tests.tasks.person_search.real_layouts import REAL, coco, detector, fetched, market, packed, picture, section, yolo

WORLD = "synth://street?sessions=1&cameras=2&identities=2&val_identities=2&test_identities=3&images=2&frames=2"


def labels(out, unit):
    return {path.stem: path.read_text() for path in (out / "download" / unit / "labels").rglob("*.txt")}


@pytest.mark.parametrize("inside", ["", "market1501/Market-1501-v15.09.15"])
def test_market_is_found_flat_and_nested_and_its_bytes_are_kept(tmp_path, inside):
    source = market(tmp_path / "crops" / inside)
    picture(source / "bounding_box_test/-1_c1s1_000001_00.jpg")
    picture(source / "bounding_box_test/0000_c2s1_000001_00.jpg", 1)
    picture(source / "bounding_box_train/0000_c2s1_000002_00.jpg", 2)
    (source / "query/Thumbs.db").write_text("as Market-1501 has")
    report = fetched(tmp_path, tmp_path / "crops")
    ((dataset, found),) = report["datasets"].items()
    assert dataset == ("market1501" if inside else "crops") and report["parts"] == ["reid"]
    images = {"bounding_box_train": 24, "query": 4, "bounding_box_test": 8 + 1}
    assert found["images"] == images and found["cameras"] == {"1": 18, "2": 19}
    assert (found["junk"], found["distractors"], found["dropped_distractors"]) == (1, 1, 1)
    assert (tmp_path / "download/people.png").exists()
    name = "query/0005_c1s1_000000_01.jpg"
    copy = tmp_path / "download" / f"{dataset}-reid" / name
    assert copy.read_bytes() == (source / name).read_bytes() and not copy.samefile(source / name)


def spoil_both(root):
    picture(root / "bounding_box_train/0006_c1s1_000009_01.jpg", 9)


def spoil_camera(root):
    picture(root / "bounding_box_test/0006_c0s1_000009_01.jpg", 9)


def spoil_name(root):
    picture(root / "query/anna.jpg", 9)


def spoil_query(root):
    shutil.rmtree(root / "query")
    (root / "query").mkdir()


SPOILT = [
    (spoil_both, r"bad: person 0006 in both train and test \(.*bad/bounding_box_train/0006_c1s1_000009_01.jpg, "),
    (spoil_camera, r"bad/bounding_box_test/0006_c0s1_000009_01.jpg: camera 0; cameras are numbered from 1"),
    (spoil_name, r"bad/query/anna.jpg: not a name like 0002_c1s1_000451_03.jpg"),
    (spoil_query, r"bad: query/ holds no query, but bounding_box_test/ holds 8 crops"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("spoil", "message"), SPOILT)
def test_a_bad_data_set_is_an_error_that_names_the_place_and_the_others_go_on(tmp_path, spoil, message):
    spoil(market(tmp_path / "bad"))
    with pytest.raises(BadInput, match=message):
        fetched(tmp_path / "alone", tmp_path / "bad")
    report = fetched(tmp_path / "two", tmp_path / "bad", market(tmp_path / "good"))
    assert list(report["quarantined"]) == ["bad-reid"] and list(report["datasets"]) == ["good"]
    assert "download/" not in report["quarantined"]["bad-reid"].replace(str(tmp_path), "")


@pytest.mark.slow
def test_the_world_is_one_data_set_of_which_each_camera_of_a_session_is_a_unit(tmp_path):
    report = fetched(tmp_path, WORLD)
    units, found = report["units"], report["datasets"]["street"]
    assert set(units) == {f"{session}1-c{camera}" for session in ("train", "val", "test") for camera in (1, 2)}
    assert found["identities"]["bounding_box_train"] == 4 and found["identities"]["query"] == 3
    assert report["parts"] == ["reid", "detect", "frames", "validation"]
    on_disk = {split: len(list((tmp_path / "download").glob(f"*/images/{split}/*.jpg"))) for split in ("train", "val")}
    assert on_disk == {"train": 4, "val": 4}


def test_the_same_image_in_two_splits_and_a_cut_off_one_are_listed(tmp_path):
    source = market(tmp_path / "crops")
    learnt, judged = "bounding_box_train/0001_c1s1_000000_01.jpg", "bounding_box_test/0005_c2s1_000077_01.jpg"
    shutil.copy(source / learnt, source / judged)
    whole = source / "bounding_box_train/0002_c1s1_000000_01.jpg"
    whole.write_bytes(whole.read_bytes()[:-200])
    shutil.copy(
        whole, source / "query/0006_c1s1_000099_01.jpg"
    )  # of two that cannot be read nobody knows what they show
    report = fetched(tmp_path, source)
    (entry,) = report["same_images"]
    assert entry["splits"] == ["gallery", "train"]
    assert entry["images"] == [f"crops-reid/{judged}", f"crops-reid/{learnt}"]
    assert report["units"]["crops-reid"]["reid"]["unreadable"] == [
        "bounding_box_train/0002_c1s1_000000_01.jpg",
        "query/0006_c1s1_000099_01.jpg",
    ]


def test_a_frame_that_is_searched_and_validates_too_is_listed(tmp_path):
    for folder in ("cameras", "validation_cameras"):
        for n in range(3):
            picture(tmp_path / "src" / folder / "door" / f"{n:06d}.jpg", (folder if n != 1 else "both", n), (64, 48))
    (tmp_path / "src/validation_cameras/door/truth.csv").write_text("frame,pid,x1,y1,x2,y2\n0,1,2,3,20,40\n")
    (entry,) = fetched(tmp_path, tmp_path / "src")["same_images"]
    assert entry["splits"] == ["frames", "validation frames"]
    assert entry["images"] == ["src-camera-door/frames/000001.jpg", "src-validation-door/frames/000001.jpg"]


WRONG = {
    "0 0.5 0.5 0.4": "4 values",
    "0 1.5 0.5 0.4 0.4": "out of range",
    "0 0.5 x 0.4 0.4": "not all numbers",
    "7 0.5 0.5 0.4 0.4": "class 7 is not",
    "0 nan 0.5 0.4 0.4": "out of range",
}


def test_images_with_wrong_label_lines_are_left_out_with_file_and_line(tmp_path):
    source = yolo(tmp_path / "images", {"train": [*"abcdefg"], "val": ["v"]})
    good = "0 0.5 0.5 0.4 0.4\n"
    for stem, line in zip("abcde", WRONG, strict=True):
        (source / f"labels/train/{stem}.txt").write_text(f"{good}{line}\n")
    (source / "labels/train/f.txt").unlink()
    report = fetched(tmp_path, source, max_broken_share=0.7)
    broken = report["units"]["images-detect"]["said"]["broken_entries"]
    assert list(broken) == [f"labels/train/{stem}.txt, line 2" for stem in "abcde"]
    assert all(text in why for text, why in zip(WRONG.values(), broken.values(), strict=True))
    found = report["units"]["images-detect"]["detect"]
    assert found["images_without_labels"] == ["images/train/f.jpg"] and found["boxes"] == {"person": 2}
    assert (tmp_path / "download/boxes.png").exists()
    with pytest.raises(
        BadInput,
        match=r"5 of 8 label entries .*\(2 x .*out of range.*; 1 x 4 values; .*\)\. Mend them, or raise person_search",
    ):
        fetched(tmp_path, source)


BOXES = [
    {"bbox": [10, 10, 40, 20]},
    {"bbox": [80, 30, 60, 40]},  # beyond two edges
    {"bbox": [0, 0, 50, 50], "iscrowd": 1},
    {"bbox": [0, 0, 50, 50], "category_id": 2},
]


def test_coco_persons_become_yolo_labels_without_crowds_and_twice_the_same(tmp_path):
    source = coco(tmp_path / "photos", BOXES, images=2)
    report = fetched(tmp_path, source)
    # 10..50 x 10..30 and, clipped, 80..100 x 30..50 of 100 x 50
    expected = "0 0.300000 0.400000 0.400000 0.400000\n0 0.900000 0.800000 0.200000 0.400000\n"
    assert labels(tmp_path, "photos-detect") == {"0": expected, "1": ""}
    assert report["units"]["photos-detect"]["said"] == {"crowd_boxes": 1, "boxes_of_other_categories": 1}
    before = folder_hash(tmp_path / "download")
    shutil.rmtree(tmp_path / "download/photos-detect/labels")
    (tmp_path / "download/photos-detect/.done.json").unlink()
    fetched(tmp_path, source)
    assert folder_hash(tmp_path / "download") == before


def test_coco_and_yolo_as_windows_programs_write_them(tmp_path):
    """A byte order mark first, and backslashes between folders."""
    source = coco(tmp_path / "photos", BOXES)
    file = source / "annotations/instances_train.json"
    file.write_text(file.read_text().replace('"0.jpg"', '"images\\\\0.jpg"'), encoding="utf-8-sig")
    other = yolo(tmp_path / "set", {"train": ["a", "b"], "val": ["c"]})
    (other / "train.txt").write_text("images\\train\\a.jpg\nimages\\train\\b.jpg\n", encoding="utf-8-sig")
    (other / "data.yaml").write_text("train: train.txt\nval: images\\val\nnames: [person]\n", encoding="utf-8-sig")
    for label in other.glob("labels/*/*.txt"):
        label.write_text(label.read_text(), encoding="utf-8-sig")
    report = fetched(tmp_path, source, other)
    assert report["units"]["photos-detect"]["detect"]["boxes"] == {"person": 2}
    assert report["units"]["set-detect"]["detect"]["boxes"] == {"person": 3}


def test_images_with_crowds_can_be_left_out_and_persons_may_be_called_otherwise(tmp_path):
    source = coco(tmp_path / "photos", BOXES, images=2)
    fetched(tmp_path / "a", source, coco={"categories": ["person"], "drop_crowd_images": True})
    assert list(labels(tmp_path / "a", "photos-detect")) == ["1"]
    report = fetched(tmp_path / "b", source, coco={"categories": ["dog"], "drop_crowd_images": False})
    assert report["units"]["photos-detect"]["detect"]["boxes"] == {"person": 1}
    with pytest.raises(BadInput, match=r"classes \(person, dog\) is in person_search.download.coco.categories"):
        fetched(tmp_path / "c", source, coco={"categories": ["human"], "drop_crowd_images": False})


def test_cameras_of_frames_and_of_video_come_with_the_queries(tmp_path):
    source = tmp_path / "yard"
    for n in (3, 7):
        picture(source / f"cameras/cam2/{n}.jpg", n, (64, 48))
    (source / "cameras/cam2/truth.csv").write_text("frame,pid,x1,y1,x2,y2\n7,12,1,2,30,40\n")
    writer = cv2.VideoWriter(str(source / "cameras/cam5.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (64, 48))
    for n in range(20):
        writer.write(np.full((48, 64, 3), 12 * n, np.uint8))
    writer.release()
    picture(source / "queries/0012_c1s1_000000_00.jpg")
    report = fetched(tmp_path, source, frames_fps=2.0)
    folders = {name: tmp_path / "download" / f"yard-camera-{name}" for name in ("cam2", "cam5")}
    assert report["parts"] == ["frames"] and set(report["units"]) == {folder.name for folder in folders.values()}
    names = {"000003.jpg": "3.jpg", "000007.jpg": "7.jpg"}
    about = read_json(folders["cam2"] / "camera.json")
    assert about == {"camera": 2, "fps": None, "name": "cam2", "original_names": names}  # nobody says when they were
    assert read_json(folders["cam5"] / "camera.json") == {
        "camera": 5, "fps": 2.0, "name": "cam5", "film": "cam5.mp4"
    }  # fmt: skip
    said = {name.rpartition("-")[2]: unit["said"] for name, unit in report["units"].items()}
    assert said["cam2"]["original_names"] == names and "fps" in said["cam2"]["without_times"] and not said["cam5"]
    assert [p.name for p in sorted((folders["cam2"] / "frames").iterdir())] == ["000003.jpg", "000007.jpg"]
    # two seconds at 2 Hz: every fifth frame
    means = [np.asarray(Image.open(p)).mean() for p in sorted((folders["cam5"] / "frames").iterdir())]
    np.testing.assert_allclose(means, [0, 60, 120, 180], atol=8)
    assert all((folder / "queries/0012_c1s1_000000_00.jpg").is_file() for folder in folders.values())

    (source / "cameras/cam2/truth.csv").write_text("frame,pid,x1,y1,x2,y2\n7,12,1,2,30,40\n8,12,1,2,30,40\n")
    report = fetched(tmp_path, source)
    reason = report["quarantined"]["yard-camera-cam2"]
    assert "cam2/truth.csv, line 3: there is no frame 8" in reason


HEADER = "frame,pid,x1,y1,x2,y2\n"
GOOD = {
    "as it should be": HEADER + "0,12,1,2,30,40\n2,0,1,2,30,40\n2,0,5,2,35,40\n",
    "of a spreadsheet": "\ufeffframe, pid ,x1,y1,x2,y2\r\n0, 12,1, 2,30,40\r\n2,0,1,2,30,40\r\n2,0,5,2,35,40\r\n\r\n",
    "with more columns": "p,frame,pid,x1,y1,x2,y2,z\n1,0,12,1,2,30,40,\n1,2,0,1,2,30,40,\n,,,,,,,\n1,2,0,5,2,35,40,x\n",
}


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_true_boxes_are_read_alike_by_download_and_by_index(tmp_path, text):
    source = real_layouts.cameras(tmp_path / "yard", "cam1")
    (source / "cameras/cam1/truth.csv").write_text(text, encoding="utf-8", newline="")
    assert fetched(tmp_path, source)["totals"]["true_boxes"] == 3
    truth = truth_of(tmp_path / "download/yard-camera-cam1", range(3))
    assert {frame: mine.identity.tolist() for frame, mine in truth.items()} == {0: [12], 2: [0, 0]}
    assert truth[2].box.tolist() == [[1, 2, 30, 40], [5, 2, 35, 40]]


BAD = [
    ("truth.csv", HEADER + "0,1,2,3\n", r"truth.csv, line 2: '0,1,2,3'; expected 6 values"),
    ("truth.csv", HEADER + "0,1,1,2,3,4\n\n1,1,1,2,inf,4\n", r"truth.csv, line 4: box .* has no area"),
    ("truth.csv", HEADER + "0,1,nan,2,3,4\n", r"truth.csv, line 2: box .* has no area"),
    ("truth.csv", HEADER + "0,3000000000,1,2,3,4\n", r"truth.csv, line 2: person 3000000000"),
    ("truth.csv", HEADER + "0,Ann,1,2,3,4\n", r"truth.csv, line 2: '0,Ann,1,2,3,4'; expected six numbers"),
    ("truth.csv", HEADER.replace(",", ";") + "0;1;1;2;3;4\n", r"truth.csv, line 1: 'frame;pid;.*expected the columns"),
    ("truth.csv", "", r"truth.csv, line 1: ''; expected the columns frame,pid"),
    ("truth.csv", HEADER + "0,7,1,2,3,4\n1,7,1,2,3,4\n0,7,5,2,9,4\n",
     r"truth.csv, line 4: person 7 is in frame 0 in line 2 too; keep one of them"),
    ("camera.json", '{"fps": "fast"}', r"camera.json: expected {\"camera\": 1, .*to float: 'fast'"),
    ("camera.json", '{"fps": 1e999}', r"camera.json: .* fps \(frames a second\) above 0"),
    ("camera.json", '{"camera": 0}', r"camera.json: camera must be a number from 1"),
    ("camera.json", '{"camera": 1.5}', r"camera.json: expected {\"camera\": 1, "),
    ("camera.json", "[25]", r"camera.json: expected {\"camera\": 1, "),
    ("camera.json", "fps = 25", r"camera.json: expected {\"camera\": 1, "),
]  # fmt: skip


@pytest.mark.parametrize(("file", "text", "message"), BAD)
def test_a_camera_with_a_bad_file_is_left_out_alone(tmp_path, file, text, message):
    source = real_layouts.cameras(tmp_path / "yard", "cam1", "cam2", frames=2)
    (source / "cameras/cam2" / file).write_text(text)
    report = fetched(tmp_path, source)
    assert list(report["units"]) == ["yard-camera-cam1"] and list(report["quarantined"]) == ["yard-camera-cam2"]
    with pytest.raises(BadInput, match="yard/cameras/cam2/" + message):
        raise BadInput(report["quarantined"]["yard-camera-cam2"])


def test_a_camera_says_its_number_and_speed_as_numbers_or_as_text(tmp_path):
    source = real_layouts.cameras(tmp_path / "yard", "cam1")
    (source / "cameras/cam1/camera.json").write_text('{"camera": "4", "fps": "25"}')
    fetched(tmp_path, source)
    camera = camera_of(tmp_path / "download/yard-camera-cam1")
    assert (camera.number, camera.fps, camera.name) == (4, 25.0, "cam1")


def test_two_cameras_with_one_number_are_an_error_that_names_both(tmp_path):
    source = real_layouts.cameras(tmp_path / "yard", "cam1", "cam2")
    (source / "cameras/cam2/camera.json").write_text('{"camera": 1}')
    with pytest.raises(BadInput, match=r"yard/cameras/cam1 and .*yard/cameras/cam2 are both camera 1 of yard; "):
        fetched(tmp_path, source)
    (source / "cameras/cam2/camera.json").write_text('{"camera": 3}')
    assert set(fetched(tmp_path, source, real_layouts.cameras(tmp_path / "gate", "cam1"))["units"]) == {
        "yard-camera-cam1", "yard-camera-cam2", "gate-camera-cam1",
    }  # fmt: skip


def test_a_run_that_fails_takes_nothing_away(tmp_path):
    fetched(tmp_path, market(tmp_path / "one"))
    before = folder_hash(tmp_path / "download/one-reid")
    source = real_layouts.cameras(tmp_path / "yard", "cam1", "cam2")
    (source / "cameras/cam2/camera.json").write_text('{"camera": 1}')
    with pytest.raises(BadInput, match="both camera 1"):
        fetched(tmp_path, source)
    assert folder_hash(tmp_path / "download/one-reid") == before
    (source / "cameras/cam2/camera.json").write_text('{"camera": 2}')
    assert set(fetched(tmp_path, source)["units"]) == {"yard-camera-cam1", "yard-camera-cam2"}
    assert not (tmp_path / "download/one-reid").exists()


def double(path: Path) -> None:
    """What macOS leaves beside a file on a foreign disk."""
    path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")


@pytest.mark.slow
def test_what_macos_leaves_beside_files_is_no_file(tmp_path):
    crops = market(tmp_path / "crops")
    yard = real_layouts.cameras(tmp_path / "yard", "cam1")
    picture(yard / "queries/0012_c1s1_000000_00.jpg")
    images = yolo(tmp_path / "images", {"train": ["a", "b"], "val": ["c"]})
    photos = coco(tmp_path / "photos", BOXES)
    clean = fetched(tmp_path / "clean", crops, yard, images, photos)
    writer = cv2.VideoWriter(str(yard / "cameras/.thumbs.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (64, 48))
    writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    for root in (crops, yard, images, photos):
        for path in [path for path in root.rglob("*") if path.is_file()]:
            double(path)
    assert fetched(tmp_path / "doubled", crops, yard, images, photos) == clean
    hidden = [path.name for path in (tmp_path / "doubled").rglob(".*") if path.name != ".done.json"]
    assert hidden == []


def test_a_source_without_crops_or_labels_gives_results_that_say_so(tmp_path):
    picture(tmp_path / "yard/cameras/c1/0.jpg")
    config = packed(tmp_path, tmp_path / "yard")
    assert "no crops" in config["empty"] and config["counts"]["train"]["images"] == 0
    dataset = detector(tmp_path, tmp_path / "yard")
    assert "no labelled images" in dataset["empty"] and not (tmp_path / "detector_data/dataset.yaml").exists()
    assert dataset["splits"]["train"] == {"images": 0, "boxes": 0, "background": 0}


@pytest.mark.slow
def test_what_has_not_changed_is_not_made_again(tmp_path):
    one, two = market(tmp_path / "one"), market(tmp_path / "two")
    fetched(tmp_path, one, two)

    def stamp(name):
        return (tmp_path / "download" / name / "unit.json").stat().st_mtime_ns

    stamps = {name: stamp(name) for name in ("one-reid", "two-reid")}
    picture(two / "bounding_box_train/0001_c3s1_000000_01.jpg", 5)
    fetched(tmp_path, one, two)
    assert stamp("one-reid") == stamps["one-reid"] and stamp("two-reid") > stamps["two-reid"]
    fetched(tmp_path, one)
    assert not (tmp_path / "download/two-reid").exists()


@pytest.mark.slow
def test_an_archive_is_called_as_its_file_and_two_of_a_name_are_told_apart(tmp_path):
    source = market(tmp_path / "a/people")
    with zipfile.ZipFile(tmp_path / "people.zip", "w") as archive:
        for path in sorted(source.rglob("*.jpg")):
            archive.write(path, path.relative_to(source.parent))
    report = fetched(tmp_path, tmp_path / "people.zip", source)
    assert sorted(report["units"]) == ["people-2-reid", "people-reid"]
    config = packed(tmp_path, tmp_path / "people.zip", source)
    assert config["identities"]["test"] == ["people-2:0005", "people-2:0006", "people:0005", "people:0006"]


def test_a_folder_of_nothing_known_says_what_is_known(tmp_path):
    picture(tmp_path / "holiday/beach.jpg")
    with pytest.raises(BadInput, match=r"holds beach.jpg, and no known layout:\n  re-ID: bounding_box_train"):
        fetched(tmp_path, tmp_path / "holiday")


def test_no_secret_is_written_out_in_the_other_sources():
    with pytest.raises(ValidationError, match="extra_sources holds the query 'sig'"):
        section("download", extra_sources=["https://host/data.zip?sig=abc"])


@pytest.mark.slow
@pytest.mark.skipif(not (REAL / "market_style").exists(), reason="needs ../shared/real")
def test_the_real_crops_and_the_real_photos_together(tmp_path):
    config = packed(tmp_path, REAL / "market_style", REAL / "coco8", height_px=32, width_px=16)
    counts = config["counts"]
    assert [counts[s]["identities"] for s in ("train", "val", "test")] == [10, 3, 13]
    assert counts["train"]["images"] + counts["val"]["images"] == 613
    assert (counts["test"]["queries"], counts["test"]["gallery"]) == (61, 374)
    assert config["cameras"] == {"market_style": [1, 2, 3, 4, 5, 6]} and not config["left_out"]
    detector_data.run(section("detector_data"), tmp_path / "detector_data", download=tmp_path / "download")
    dataset = read_json(tmp_path / "detector_data/dataset.json")
    # of 30 boxes of 80 classes
    assert sum(s["boxes"] for s in dataset["splits"].values()) == 10 and dataset["boxes_of_other_classes"] == 20
    assert {s: c["images"] for s, c in dataset["splits"].items()} == {"train": 3, "val": 4, "test": 1}
