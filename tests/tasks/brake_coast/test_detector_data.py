"""The step on Boxy's layout: which boxes and images become examples, and how they are split."""

from __future__ import annotations

import json
import shutil
import zipfile

import cv2
import numpy as np
import pytest
import yaml

from tasks.brake_coast import detector_data
from tasks.yard.files import folder_hash, read_json
from tasks.yard.step import BadInput
from tests.tasks.brake_coast import drives, labelled_images
from tests.tasks.brake_coast.labelled_images import edit, labels, stems

BASE = {
    "roi_px": None,
    "min_box_px": 4.0,
    "min_inside_share": 0.25,
    "max_broken_share": 0.5,
    "shares": {"train": 0.6, "val": 0.2, "test": 0.2},
    "seed": 0,
}


def box(x1, y1, x2, y2):
    return {"x1": x1, "y1": y1, "x2": x2, "y2": y2}


def write_boxy(folder, entries, size=(100, 200)):
    """A Boxy-layout folder; images are half the size that labels are given for."""
    for number, name in enumerate(entries):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((*size, 3), 90 + number, np.uint8))
    (folder / "labels.json").write_text(json.dumps({f"./{name}": entry for name, entry in entries.items()}))


@pytest.fixture
def boxy(tmp_path):
    """Five sequences; the vehicles of s0/a.png cover every rule."""
    vehicles = [
        {"rear": box(40, 40, 80, 80), "AABB": box(40, 40, 120, 80)},  # the rear counts
        {"rear": None, "AABB": box(200, 40, 240, 60)},  # no rear: the whole
        {"rear": box(380, 100, 420, 140), "AABB": None},  # half beyond the right edge: clipped
        {"rear": box(160, 180, 240, 200), "AABB": None},  # own bonnet
        {"rear": box(300, 40, 304, 44), "AABB": None},  # too small
    ]
    entries = {"s0/a.png": {"vehicles": vehicles}}
    entries |= {f"s{n}/{k}.png": {"vehicles": []} for n in range(1, 5) for k in range(3)}
    write_boxy(tmp_path / "boxy", entries)
    return tmp_path / "boxy"


def run(source, out, **changes):
    return detector_data.run(drives.section("detector_data", **{**BASE, "source": str(source), **changes}), out)


def test_rear_else_whole_clipped_and_without_the_own_bonnet(boxy, tmp_path):
    run(boxy, tmp_path / "out")
    rows = labels(tmp_path / "out", "s0__a")
    # class, centre x, centre y, width, height as shares of 200x100
    expected = [[0, 0.15, 0.3, 0.1, 0.2], [0, 0.55, 0.25, 0.1, 0.1], [0, 0.975, 0.6, 0.05, 0.2]]
    np.testing.assert_allclose(rows, expected, atol=1e-6)
    assert read_json(tmp_path / "out/report.json")["boxes_dropped"] == {"bonnet": 1, "outside": 0, "small": 1}


def test_labels_as_a_windows_program_writes_them_are_the_same(boxy, tmp_path):
    """A byte order mark, and backslashes between folders."""
    run(boxy, tmp_path / "one")
    said = json.loads((boxy / "labels.json").read_text())
    text = json.dumps({name.replace("/", "\\"): entry for name, entry in said.items()})
    (boxy / "labels.json").write_text(text, encoding="utf-8-sig")
    run(boxy, tmp_path / "two")
    assert folder_hash(tmp_path / "one") == folder_hash(tmp_path / "two")


def test_the_crop_moves_and_clips_boxes_and_pictures(boxy, tmp_path):
    run(boxy, tmp_path / "out", roi_px=[0, 30, 200, 50])
    rows = labels(tmp_path / "out", "s0__a")
    # 20..40 x 20..40 keeps its lower half; 100..120 x 20..30 lies above the crop; 190..200 x 50..70 moves up by 30.
    np.testing.assert_allclose(rows, [[0, 0.15, 0.1, 0.1, 0.2], [0, 0.975, 0.6, 0.05, 0.4]], atol=1e-6)
    (image,) = (tmp_path / "out").glob("images/*/s0__a.jpg")
    assert cv2.imread(str(image)).shape == (50, 200, 3)


def test_a_sequence_is_in_one_split_and_empty_images_stay(boxy, tmp_path):
    metrics = run(boxy, tmp_path / "out")
    found = {}
    for path in (tmp_path / "out/images").glob("*/*.jpg"):
        found.setdefault(path.name.split("__")[0], set()).add(path.parent.name)
        assert (tmp_path / "out/labels" / path.parent.name / f"{path.stem}.txt").is_file()
    assert all(len(splits) == 1 for splits in found.values())
    assert {split for splits in found.values() for split in splits} == {"train", "val", "test"}
    assert sum(metrics[f"{split}_images"] for split in ("train", "val", "test")) == 13
    assert sum(s["background_images"] for s in read_json(tmp_path / "out/report.json")["splits"].values()) == 12


def test_sequences_keep_their_split_and_a_run_that_fails_takes_nothing_away(boxy, tmp_path):
    run(boxy, tmp_path / "out")
    first = read_json(tmp_path / "out/report.json")["sequences"]
    entries = {f"s{n}/{k}.png": {"vehicles": []} for n in range(9) for k in range(3 + n)}
    write_boxy(boxy, entries, size=(100, 201))
    run(boxy, tmp_path / "out", seed=5, shares={"train": 0.2, "val": 0.4, "test": 0.4})
    then = read_json(tmp_path / "out/report.json")["sequences"]
    assert len(then) == 9 and first.items() <= then.items()
    before = folder_hash(tmp_path / "out")
    with pytest.raises(BadInput, match="reaches beyond"):
        run(boxy, tmp_path / "out", roi_px=[0, 60, 2000, 50])
    assert folder_hash(tmp_path / "out") == before


def test_dataset_yaml_names_folders_beside_it(boxy, tmp_path):
    run(boxy, tmp_path / "out")
    dataset = yaml.safe_load((tmp_path / "out/dataset.yaml").read_text())
    assert dataset["names"] == {0: "vehicle"}
    assert all((tmp_path / "out" / dataset[split]).is_dir() for split in ("train", "val", "test"))
    assert "path" not in dataset


def test_a_second_run_leaves_the_same_bytes_and_nothing_old(boxy, tmp_path):
    run(boxy, tmp_path / "a", min_box_px=30.0)
    run(boxy, tmp_path / "a")
    run(boxy, tmp_path / "b")
    assert folder_hash(tmp_path / "a") == folder_hash(tmp_path / "b")


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"vehicles": [{"rear": box(9, 4, 9, 8)}]}, "vehicle 0: the box .* has no area"),
        ({"vehicles": [{"rear": None, "AABB": None}]}, "vehicle 0 has neither rear nor AABB"),
        ({"vehicles": [{"rear": {"x1": 1, "y1": "top", "x2": 2, "y2": 3}}]}, "vehicle 0: y1 of a box is no number"),
        ({"cars": []}, "no list 'vehicles'"),
    ],
)
def test_a_broken_entry_is_left_out_and_named_and_too_many_stop(boxy, tmp_path, entry, says):
    path = boxy / "labels.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"./s1/0.png": entry}))
    metrics = run(boxy, tmp_path / "out")
    assert metrics["broken_entries"] == 1
    assert list(read_json(tmp_path / "out/report.json")["broken"]) == ["labels.json: ./s1/0.png"]
    with pytest.raises(BadInput, match=rf"1 of 13 .*labels.json: ./s1/0.png: {says}"):
        run(boxy, tmp_path / "strict", max_broken_share=0.0)


def test_images_that_are_missing_or_unreadable_are_left_out(boxy, tmp_path):
    (boxy / "s1/0.png").unlink()
    (boxy / "s1/1.png").write_bytes(b"not a picture")
    run(boxy, tmp_path / "out")
    assert read_json(tmp_path / "out/report.json")["broken"] == {
        "labels.json: ./s1/0.png": "there is no such image",
        "s1/1.png": "cannot be used, it is no image",
    }


def test_what_cannot_be_read_at_all_is_said(boxy, tmp_path):
    with pytest.raises(BadInput, match=r"roi_px = \[0, 60, 200, 50\] reaches beyond s0/a.png, which is 200x100"):
        run(boxy, tmp_path / "out", roi_px=[0, 60, 200, 50])
    with pytest.raises(BadInput, match="nowhere: no such folder"):
        run(tmp_path / "nowhere", tmp_path / "out")
    (boxy / "labels.json").write_text('{"./s0/a.png": ')
    with pytest.raises(BadInput, match=r"labels\.json: not JSON"):
        run(boxy, tmp_path / "out")
    (boxy / "labels.json").unlink()
    with pytest.raises(BadInput, match="holds s0, s1, s2, s3, s4, which is no known layout"):
        run(boxy, tmp_path / "out")
    with pytest.raises(BadInput, match=r"no .*json label file"):
        run(boxy, tmp_path / "out", layout="boxy")


def test_two_sequences_are_too_few(tmp_path):
    write_boxy(tmp_path / "boxy", {f"s{n}/a.png": {"vehicles": []} for n in range(2)})
    with pytest.raises(BadInput, match="2 sequences; three splits need three"):
        run(tmp_path / "boxy", tmp_path / "out")


@pytest.mark.slow
def test_the_highway_world_is_a_source(tmp_path):
    metrics = run("synth://highway?detector_images=66", tmp_path / "out", roi_px=[0, 104, 640, 192])
    assert sum(metrics[f"{split}_images"] for split in ("train", "val", "test")) == 66
    assert metrics["train_boxes"] > 30
    for path in (tmp_path / "out").glob("labels/*/*.txt"):
        rows = np.loadtxt(path, ndmin=2) if path.read_text() else np.empty((0, 5))
        assert (rows[:, 1:3] - rows[:, 3:] / 2 > -1e-5).all()
        assert (rows[:, 1:3] + rows[:, 3:] / 2 < 1 + 1e-5).all()


def test_sides_of_vehicles(tmp_path):
    outlines = {  # of label pixels; the image is 400 of them wide
        "front": {"rear": box(100, 40, 150, 80), "AABB": box(92, 40, 158, 88)},  # they agree within 10
        "right": {"rear": box(100, 40, 150, 80), "AABB": box(60, 40, 150, 80)},  # its left side is seen
        "left": {"rear": box(100, 40, 150, 80), "AABB": box(100, 40, 190, 80)},
        "front, as far both ways": {"rear": box(100, 40, 150, 80), "AABB": box(80, 40, 170, 80)},
        "left, by its place": {"rear": None, "AABB": box(100, 40, 150, 80)},
        "front, by its place": {"rear": None, "AABB": box(180, 40, 220, 80)},
        "right, by its place": {"rear": box(300, 40, 350, 80), "AABB": None},
    }
    entries = {"s0/a.png": {"vehicles": list(outlines.values())}}
    write_boxy(tmp_path / "boxy", entries | {f"s{n}/a.png": {"vehicles": []} for n in (1, 2)})
    run(tmp_path / "boxy", tmp_path / "out", boxy={"label_scale": 2.0, "side_px": 10.0})
    names = yaml.safe_load((tmp_path / "out/dataset.yaml").read_text())["names"]
    found = [names[int(number)] for number in labels(tmp_path / "out", "s0__a")[:, 0]]
    assert found == [name.partition(",")[0] for name in outlines]


def test_a_box_may_be_too_small_a_share_of_the_image(boxy, tmp_path):
    run(boxy, tmp_path / "out", min_area_share=0.015)  # of 200x100: 300 px
    np.testing.assert_allclose(labels(tmp_path / "out", "s0__a")[:, 1], [0.15, 0.975], atol=1e-6)  # 20x10 is gone
    assert read_json(tmp_path / "out/report.json")["boxes_dropped"] == {"bonnet": 1, "outside": 0, "small": 2}


@pytest.fixture
def traffic(tmp_path):
    """Eight sequences of six images: a vehicle on the even ones, at another place each time."""
    entries = {}
    for n in range(8):
        for k in range(6):
            x, y = 40 * n + 20, 20 * k + 10
            vehicles = [] if k % 2 else [{"rear": box(x, y, x + 60, y + 40), "AABB": None}]
            entries[f"s{n}/{k}.png"] = {"vehicles": vehicles}
    write_boxy(tmp_path / "traffic", entries)
    return tmp_path / "traffic"


def test_background_is_kept_up_to_its_share_of_the_training_images(traffic, tmp_path):
    everything = run(traffic, tmp_path / "all")
    metrics = run(traffic, tmp_path / "out", background_share=0.25)
    train = [labels(tmp_path / "out", stem) for stem in stems(tmp_path / "out", "train")]
    with_vehicle = sum(len(rows) > 0 for rows in train)
    assert with_vehicle == everything["train_images"] / 2  # none of these is lost
    assert len(train) - with_vehicle == with_vehicle // 3  # a quarter of all
    assert metrics["train_images"] == len(train)
    for split in ("val", "test"):  # what is judged stays as it was seen
        assert stems(tmp_path / "out", split) == stems(tmp_path / "all", split)
    run(traffic, tmp_path / "none", background_share=0.0)
    assert all(len(labels(tmp_path / "none", stem)) for stem in stems(tmp_path / "none", "train"))


def test_hard_negatives_are_crops_that_no_vehicle_touches(tmp_path):
    """On pictures that are black but for white vehicles."""
    rng = np.random.default_rng(0)
    entries = {}
    for n in range(12):
        corners = [(int(x), int(y)) for x, y in zip(rng.integers(0, 340, 3), rng.integers(20, 150, 3), strict=True)]
        seen = [(box(x, y, x + 30, y + 40), box(x, y, x + 60, y + 40)) for x, y in corners]  # rear and side
        entries[f"s{n}/a.png"] = {"vehicles": [{"rear": rear, "AABB": whole} for rear, whole in seen]}
    write_boxy(tmp_path / "boxy", entries)
    for name, entry in entries.items():
        picture = np.zeros((100, 200, 3), np.uint8)
        for vehicle in entry["vehicles"]:
            x1, y1, x2, y2 = (value // 2 for value in vehicle["AABB"].values())
            picture[y1 : y2 + 1, x1 : x2 + 1] = 255
        cv2.imwrite(str(tmp_path / "boxy" / name), picture)
    run(tmp_path / "boxy", tmp_path / "without")
    metrics = run(tmp_path / "boxy", tmp_path / "out", hard_negative_share=1.0, roi_px=[0, 10, 200, 80])
    negatives = [stem for stem in stems(tmp_path / "out") if stem.endswith("__negative")]
    assert len(negatives) > 2
    assert set(negatives) <= set(stems(tmp_path / "out", "train"))
    assert read_json(tmp_path / "out/report.json")["hard_negatives"] == len(negatives)
    assert metrics["train_images"] == len(stems(tmp_path / "without", "train")) + len(negatives)
    for stem in negatives:
        picture = cv2.imread(str(tmp_path / f"out/images/train/{stem}.jpg"))
        assert picture.shape == (40, 100, 3)
        assert (picture > 128).mean() < 0.02  # no more than the edge of a vehicle that it borders on
        assert len(labels(tmp_path / "out", stem)) == 0
    some = run(tmp_path / "boxy", tmp_path / "some", hard_negative_share=0.5, roi_px=[0, 10, 200, 80])
    assert len(stems(tmp_path / "without", "train")) < some["train_images"] < metrics["train_images"]


def test_sequences_come_one_by_one_and_the_others_are_not_missed(traffic, tmp_path, monkeypatch):
    run(traffic, tmp_path / "whole", max_broken_share=0.0)
    monkeypatch.chdir(tmp_path)  # where sources keep what they unpack
    (tmp_path / "labels").mkdir()
    shutil.move(traffic / "labels.json", tmp_path / "labels")
    for n in range(8):
        with zipfile.ZipFile(tmp_path / f"s{n}.zip", "w") as archive:
            for image in sorted((traffic / f"s{n}").iterdir()):
                archive.write(image, f"s{n}/{image.name}")
    (tmp_path / "all.txt").write_text("\n".join(["labels", *(f"s{n}.zip" for n in range(8))]))
    run("all.txt", tmp_path / "archives", max_broken_share=0.0)
    assert folder_hash(tmp_path / "whole") == folder_hash(tmp_path / "archives")
    (tmp_path / "some.txt").write_text("labels\ns1.zip\ns4.zip\ns6.zip\n")
    metrics = run("some.txt", tmp_path / "some", max_broken_share=0.0)
    assert sum(metrics[f"{split}_images"] for split in ("train", "val", "test")) == 18
    report = read_json(tmp_path / "some/report.json")
    assert sorted(report["sequences"]) == ["s1", "s4", "s6"]
    assert report["sequences_without_images"] == ["s0", "s2", "s3", "s5", "s7"]


def test_images_that_would_overwrite_each_other_are_told(boxy, tmp_path):
    labelled_images.blank(boxy / "s1/0.jpg")
    edit(boxy / "labels.json", lambda entries: entries.update({"./s1/0.jpg": {"vehicles": []}}))
    run(boxy, tmp_path / "out")
    broken = read_json(tmp_path / "out/report.json")["broken"]
    assert broken == {"s1/0.png": "s1/0.jpg has the same name but for its suffix"}
