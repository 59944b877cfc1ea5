"""YOLO's layout through download: boxes without states."""

from __future__ import annotations

import pytest
import yaml

from tasks.yard.step import BadInput
from tests.tasks.bike_parts.sources import REAL, checked, divided, fetched, labelled, picture


def yolo(root, splits, names, line="0 0.5 0.5 0.25 0.5\n"):
    for split, stems in splits.items():
        for stem in stems:
            picture(root / split / "images" / f"{stem}.jpg", ord(stem))
            label = root / split / "labels" / f"{stem}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(line)
    (root / "data.yaml").write_text(yaml.safe_dump({**{s: f"{s}/images" for s in splits}, "names": names}))
    return root


@pytest.mark.slow
def test_states_are_not_labelled_and_not_intact(tmp_path):
    source = yolo(tmp_path / "shop", {"train": ["a", "b"], "val": ["c"]}, ["saddle", "bell"], "1 0.5 0.5 0.25 0.5\n")
    report = fetched(tmp_path, source)
    (part,) = labelled(tmp_path)["a.jpg"].values()
    assert part["part_name"] == "bell" and part["object_state"] is None and part["object_state_class"] is None
    assert part["absolute_bounding_box"] == {"left": 24, "top": 12, "width": 16, "height": 24}
    assert report["totals"]["states_not_labelled"] == 3
    said = checked(tmp_path)
    assert {part["state"] for photo in said["photos"] for part in photo["parts"]} == {-1}
    assert said["details"]["counts"]["states_labelled"] == said["details"]["counts"]["intact"] == 0


def test_a_class_that_is_no_part_is_refused_by_file_and_name(tmp_path):
    source = yolo(tmp_path / "shop", {"train": ["a", "b"], "val": ["c"]}, ["saddel"])
    with pytest.raises(
        BadInput, match=r"data.yaml: the part 'saddel' is not in bike_parts.download.parts; did you mean"
    ):
        fetched(tmp_path, source)


def test_a_wrong_line_costs_its_image_and_is_named(tmp_path):
    source = yolo(tmp_path / "shop", {"train": ["a", "b"], "val": ["c"]}, ["saddle"])
    (source / "train/labels/b.txt").write_text("0 0.5 0.5 wide 0.5\n")
    left_out = fetched(tmp_path, source)["datasets"]["shop"]["left_out"]
    assert left_out == {"train/labels/b.txt, line 1": "'0 0.5 0.5 wide 0.5' is not all numbers"}


@pytest.mark.slow
@pytest.mark.skipif(not (REAL / "bike_parts_yolo").exists(), reason="needs ../shared/real: photographs of bikes")
def test_real_bikes_with_nine_parts_by_params_alone_in_the_splits_they_came_in(tmp_path):
    report = fetched(tmp_path, REAL / "bike_parts_yolo", parts=None)
    assert len(report["parts"]) == 9 and report["totals"]["photos"] == 66
    checked(tmp_path)
    assert {split: len(names) for split, names in divided(tmp_path).items()} == {"train": 34, "val": 18, "test": 14}
