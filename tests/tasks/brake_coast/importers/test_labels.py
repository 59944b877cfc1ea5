"""Labels that contradict themselves or their images: what is settled aloud, left out by name, or refused."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
import yaml

from tasks.brake_coast.importers import drives as plan
from tasks.yard.files import read_json
from tasks.yard.step import BadInput
from tests.tasks.brake_coast import labelled_images as data
from tests.tasks.brake_coast.labelled_images import labels, run, stems

LEFT, RIGHT = [10, 10, 20, 30], [70, 5, 20, 40]  # x, y, width, height of 100 x 50
LEFT_ROW, RIGHT_ROW = [0, 0.2, 0.5, 0.2, 0.6], [0, 0.8, 0.5, 0.2, 0.8]
CAR = {"id": 1, "name": "car"}


def photo(path, seed=0, size=(100, 50)):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    cv2.imwrite(str(path), cv2.resize(noise, size))


def coco(root, boxes, names=("a1", "b1", "c1", "d1"), **entry):
    """Images of 100 x 50; boxes are (image, bbox)."""
    images = []
    for n, name in enumerate(names):
        photo(root / f"images/{name}.jpg", n)
        images.append({"id": n, "file_name": f"{name}.jpg", "width": 100, "height": 50, **entry})
    marks = [{"image_id": n, "category_id": 1, "bbox": box} for n, box in boxes]
    data.dump(root / "labels.json", {"images": images, "annotations": marks, "categories": [CAR]})
    return root


def yolo(root, splits, line="0 0.5 0.5 0.4 0.4\n", **description):
    for place, (split, names) in enumerate(splits.items()):
        for n, name in enumerate(names):
            photo(root / f"images/{split}/{name}.jpg", 10 * place + n)
            label = root / f"labels/{split}/{name}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(line)
    described = {**{split: f"images/{split}" for split in splits}, "names": ["car"], **description}
    (root / "data.yaml").write_text(yaml.safe_dump({key: value for key, value in described.items() if value}))
    return root


THREE = {"train": ["a1", "b1", "c1", "d1"], "val": ["v1"], "test": ["t1"]}


@pytest.mark.parametrize("said", [[4, 2], None])
def test_pose_labels_are_boxes(tmp_path, said):
    line = "0 0.7 0.6 0.2 0.5 0.62 0.4 0.78 0.8 0.75 0.38 0.63 0.82\n"  # read as a polygon it crosses itself
    run(yolo(tmp_path / "yolo", THREE, line, kpt_shape=said), tmp_path / "out")
    for stem in stems(tmp_path / "out"):
        np.testing.assert_allclose(labels(tmp_path / "out", stem), [[0, 0.7, 0.6, 0.2, 0.5]], atol=1e-6)


def test_pose_labels_that_contradict_the_description_are_refused(tmp_path):
    line = "0 0.7 0.6 0.2 0.5 0.62 0.4 2 0.78 0.8 2\n"
    with pytest.raises(BadInput, match=r"6 of 6 label entries .*by kpt_shape \(17, 3\) 56 in all"):
        run(yolo(tmp_path / "yolo", THREE, line, kpt_shape=[17, 3]), tmp_path / "out")


def test_one_id_for_two_images_is_refused_and_one_image_in_two_entries_put_together(tmp_path):
    root = coco(tmp_path / "coco", [(0, LEFT), (1, RIGHT)])
    data.edit(root / "labels.json", lambda content: content["images"][1].update(id=0))
    with pytest.raises(BadInput, match=r"of 5 label entries .*the id 0 stands for 2 images \(a1.jpg, b1.jpg\)"):
        run(root, tmp_path / "out", max_broken_share=0.3)
    data.edit(root / "labels.json", lambda content: content["images"][1].update(id=1, file_name="a1.jpg"))
    shutil.copy(root / "labels.json", root / "more.json")  # and in a second file
    metrics = run(root, tmp_path / "out")
    np.testing.assert_allclose(labels(tmp_path / "out", "images__a1"), [LEFT_ROW, RIGHT_ROW], atol=1e-6)
    assert sum(metrics[f"{split}_images"] for split in ("train", "val", "test")) == len(stems(tmp_path / "out")) == 3
    several, twice = read_json(tmp_path / "out/report.json")["remarks"]
    assert several.startswith("3 images are in several entries") and twice.startswith("2 boxes are drawn twice")


def test_one_image_of_two_shapes_is_left_out_by_name(tmp_path):
    root = coco(tmp_path / "coco", [(0, LEFT)])
    other = {"id": 9, "file_name": "a1.jpg", "width": 50, "height": 50}
    data.edit(root / "labels.json", lambda content: content["images"].append(other))
    run(root, tmp_path / "out")
    assert (
        "say that it has the sizes 100x50 and 50x50"
        in read_json(tmp_path / "out/report.json")["broken"]["images/a1.jpg"]
    )


@pytest.mark.parametrize("size", [(None, None), ("100", "50"), (0, 0), (-1, 50)])
def test_a_size_that_is_none_is_taken_from_the_picture_and_an_id_as_text_is_the_number(tmp_path, size):
    root = coco(tmp_path / "coco", [("0", LEFT)], width=size[0], height=size[1])
    run(root, tmp_path / "out")
    np.testing.assert_allclose(labels(tmp_path / "out", "images__a1"), [LEFT_ROW], atol=1e-6)
    assert ("remarks" in read_json(tmp_path / "out/report.json")) == (size[0] != "100")


def test_categories_with_one_id_are_refused_and_a_file_of_other_classes_is_passed_over(tmp_path):
    root = coco(tmp_path / "coco", [(0, LEFT)])
    data.edit(root / "labels.json", lambda content: content["categories"].append({"id": "1", "name": "bus"}))
    with pytest.raises(BadInput, match="category id 1 is car and bus"):
        run(root, tmp_path / "out")
    data.edit(root / "labels.json", lambda content: content["categories"].pop())
    shutil.copy(root / "labels.json", root / "damage.json")
    data.edit(root / "damage.json", lambda content: content["categories"][0].update(name="dent"))
    run(root, tmp_path / "out")
    remark, *_ = read_json(tmp_path / "out/report.json")["remarks"]
    assert "damage.json: none of its classes (dent)" in remark and "passed over" in remark


def test_splits_are_as_strict_as_the_other_line_is(tmp_path):
    root = yolo(tmp_path / "yolo", THREE, test="../test/images", names={"0": "car"})
    metrics = run(root, tmp_path / "out")
    assert (metrics["train_images"], metrics["val_images"], metrics["test_images"]) == (3, 1, 1)  # drawn from train
    remark, *_ = read_json(tmp_path / "out/report.json")["remarks"]
    assert "test: there is no ../test/images" in remark and "passed over" in remark
    metrics = run(yolo(tmp_path / "yolo", THREE, val=None), tmp_path / "out")
    assert (metrics["train_images"], metrics["val_images"], metrics["test_images"]) == (3, 1, 1)
    assert stems(tmp_path / "out", "test") == ["images__test__t1"]  # the source's own stays
    remark, *_ = read_json(tmp_path / "out/report.json")["remarks"]
    assert "no key 'val'" in remark and "drawn from train" in remark
    for changes, says in (
        ({"val": "images/train"}, r"is in train and in val; .*take the key val out"),
        ({"val": "images/gone"}, r"val: there is no images/gone"),
        ({"nc": 2}, r"nc is 2, but names holds 1 classes"),
        ({"names": {"0": "car", 0: "bus"}}, "gives one number to two classes"),
    ):
        with pytest.raises(BadInput, match=says):
            run(yolo(tmp_path / "yolo", THREE, **changes), tmp_path / "out")


@pytest.mark.parametrize("layout", ["coco", "yolo"])
def test_copies_of_one_picture_and_films_of_one_day_stay_in_one_split(tmp_path, layout):
    copies = [f"{n}_jpg.rf.{(7 * n + k) % 16:x}{k}ab" for n in range(8) for k in range(3)]
    films = [f"202405{day:02}_080{minute}00_NF_{k}" for day in range(1, 6) for minute in range(2) for k in range(2)]
    for name, names, key in (
        ("copies", copies, lambda stem: stem.partition("_jpg")[0]),
        ("films", films, lambda stem: stem.partition("_")[0]),
    ):
        root, out = tmp_path / name, tmp_path / f"{name}_out"
        run(coco(root, [], names) if layout == "coco" else yolo(root, {"train": names}), out)
        splits: dict[str, set] = {}
        for split in ("train", "val", "test"):
            for stem in stems(out, split):
                splits.setdefault(key(stem.rpartition("__")[2]), set()).add(split)
        assert all(len(mine) == 1 for mine in splits.values())
        assert set().union(*splits.values()) == {"train", "val", "test"}


def test_copies_that_the_source_has_in_two_splits_are_said(tmp_path):
    run(yolo(tmp_path / "yolo", {**THREE, "train": ["10_jpg.rf.aa"], "val": ["10_jpg.rf.bb"]}), tmp_path / "out")
    remark, *_ = read_json(tmp_path / "out/report.json")["remarks"]
    assert "copies of 1 pictures lie in several splits of the source, first 10" in remark


NAMES = {
    "video-20240501_081500_NF": "2024-05-01",
    "video-2024_0501_081800_0001F": "2024-05-01",
    "video-20240501235900_000123F": "2024-05-01",
    "video-20240502_000100_NF": "2024-05-01",  # the same night
    "2024-05-03_08-15-00": "2024-05-03",
    "video-GH010042": "film 0042",
    "video-GH020042": "film 0042",
    "carobd-live1": "carobd-live1",
}


def test_films_of_one_trip_are_one_group_of_recordings(tmp_path):
    assert plan.groups_of(NAMES) == NAMES
    for name in ("20240501_081500_NF.mp4", "20240501_081600_NF.mp4", "2024_0502_081500_0001F.MP4"):
        (tmp_path / name).write_bytes(b"a film")
    found = {drive.where: drive.group for drive in plan.find(tmp_path, "video")}
    assert list(found.values()).count("2024-05-01") == 2 and len(set(found.values())) == len(found) - 1


def boxy(root, scale, reach=1.0):
    """Six sequences of 200 x 100 with a vehicle each, whose labels are `scale` times as large."""
    entries = {}
    for n in range(6):
        photo(root / f"s{n}/a.png", n, (200, 100))
        x, y = reach * scale * 30 * n, reach * scale * 10 * n
        corners = {"x1": x, "y1": y, "x2": x + reach * scale * 50, "y2": y + reach * scale * 45}
        entries[f"./s{n}/a.png"] = {"vehicles": [{"rear": corners, "AABB": None}]}
    (root / "labels.json").write_text(json.dumps(entries))
    return root


@pytest.mark.parametrize(("truth", "said", "why"), [
    (2.0, 1.0, "of their boxes lie beyond the images"),
    (1.0, 2.0, r"reach to 50% of the width and 48% of the height at most"),
    (1.0, 4.0, r"reach to 25% of the width"),
])  # fmt: skip
def test_a_scale_that_the_images_contradict_is_refused_with_the_one_that_fits(tmp_path, truth, said, why):
    root = boxy(tmp_path / "boxy", truth)
    with pytest.raises(BadInput, match=rf"boxy.label_scale = {said:g} contradicts .*{why}.*; {truth:g} would fit"):
        run(root, tmp_path / "out", boxy={"label_scale": said, "side_px": None})
    run(root, tmp_path / "out", boxy={"label_scale": truth, "side_px": None})
    np.testing.assert_allclose(labels(tmp_path / "out", "s1__a"), [[0, 0.275, 0.325, 0.25, 0.45]], atol=1e-6)


@pytest.mark.slow
def test_an_image_in_two_versions_of_nuimages_is_taken_once_from_the_largest(tmp_path):
    frames = data.render(tmp_path / "world")
    data.write_nuimages(tmp_path / "nuimages", frames, version="v1.0-train")
    whole = run(tmp_path / "nuimages", tmp_path / "whole")
    small = [data.Frame(frame.image, frame.boxes[:1]) for frame in frames[:6]]
    data.write_nuimages(tmp_path / "nuimages", small, version="v1.0-mini")
    both = run(tmp_path / "nuimages", tmp_path / "both")
    assert both == whole
    images = len(stems(tmp_path / "both"))
    assert sum(both[f"{split}_images"] for split in ("train", "val", "test")) == images == 8
    (remark,) = read_json(tmp_path / "both/report.json")["remarks"]
    assert remark == "4 images of v1.0-mini are in v1.0-train too: each is taken once, from v1.0-train"
