"""What is left to learn from, each loss with its reason and its count, and a page to look at."""

from __future__ import annotations

import re
import shutil

import pytest
from PIL import Image

from tasks.bike_parts import check_data
from tasks.yard.step import BadInput
from tests.tasks.bike_parts.sources import PARTS, changed, checked, delft, divided, fetched, part_entry, section


def of_photo(said, name):
    (photo,) = (photo for photo in said["photos"] if photo["name"].endswith(f"/{name}"))
    return {part["part"]: part for part in photo["parts"]}


@pytest.mark.slow
def test_boxes_are_left_out_or_clipped_each_with_its_reason_and_count(tmp_path):
    source = delft(tmp_path / "city", 5)

    def change(said):
        said["p0.jpg"]["parts"] = {
            "bell": part_entry("bell", 0, [10, 10, 10, 10], trust="0.49"),
            "chain": part_entry("chain", 1, [-4, -2, 20, 12], trust="0.5"),
            "saddle": part_entry("saddle", 2, [60.5, 40, 10, 8.25]),
            "steer": part_entry("steer", 3, [70, 10, 10, 10]),
            "front_light": part_entry("front_light", 0, [10, 10, 0, 5]),
            "front_wheel": part_entry("front_wheel", 0, [10, 10, 10, 10]),
        }
        said["p1.jpg"]["parts"] = {"bell": part_entry("bell", 0, [10, 10, 10, 10], trust=0)}
        said["p2.jpg"]["parts"] = {}
        said["p4.jpg"]["parts"] = said["p3.jpg"]["parts"]

    changed(source / "annotations.json", change)
    fetched(tmp_path, source)
    said = checked(tmp_path)
    parts = of_photo(said, "p0.jpg")
    assert {part: of["box"] for part, of in parts.items()} == {
        "chain": [0, 0, 16, 10], "saddle": [60.5, 40, 3.5, 8], "front_wheel": [10, 10, 10, 10],
    }  # fmt: skip
    assert {part: of["state"] for part, of in parts.items()} == {"chain": 1, "saddle": 2, "front_wheel": 0}
    assert {of["file"]: of["doubted"] for of in said["photos"] if of["doubted"]} == {
        "city/p0.jpg": ["bell", "front_light", "steer"]
    }
    assert said["dropped"] == {
        "boxes of trust below 0.5": 2, "boxes outside of their picture": 1, "boxes without an area": 1,
        "photographs without a part left": 1, "photographs without a labelled part": 1,
    }  # fmt: skip
    details = said["details"]
    assert details["counts"]["clipped"] == 2 and details["counts"]["photos"] == 3
    assert details["left_out"]["boxes outside of their picture"] == [
        "city/images/p0.jpg: steer, [70.0, 10.0, 10.0, 10.0]"
    ]
    assert "2 boxes reach out of their picture and are clipped to it" in said["remarks"]
    assert "1 photographs have all boxes of another one, to the last digit, first city/images/p4.jpg" in str(
        said["remarks"]
    )
    assert said["parts"] == PARTS and details["photos_without"]["steer"] == 1
    states = sum(
        details["states"][part][state] for part in PARTS for state in ("intact", "damaged", "absent", "occluded")
    )
    assert states == details["counts"]["boxes"] == 3 + 8 + 8
    with pytest.raises(
        BadInput, match=r"of 5 photographs none is left \(.* boxes of trust below 0.95.*mend the labels"
    ):
        checked(tmp_path / ".", min_trust=0.95)


def test_a_copy_of_a_photograph_counts_once_in_the_split_that_is_judged_on(tmp_path):
    for name, seed in (("train", 0), ("val", 50), ("test", 90)):
        delft(tmp_path / "in" / name, [f"{name}{n}" for n in range(3)], seed, f"{name}.json")
    copies = {"train/images/train1.jpg": "test/images/test0.jpg", "val/images/val2.jpg": "val/images/val0.jpg"}
    for copy, original in copies.items():
        shutil.copy(tmp_path / "in" / original, tmp_path / "in" / copy)
    fetched(tmp_path, tmp_path / "in")
    cleaning = check_data.Cleaning(section("check_data"))
    left = check_data.cleaned_photos(check_data.photos_of(tmp_path / "download"), cleaning)
    assert len(left) == 7 and cleaning.counts == {"copies of a photograph": 2}
    assert cleaning.named["copies of a photograph"] == [
        "train/images/train1.jpg, the same bytes as test/images/test0.jpg",
        "val/images/val2.jpg, the same bytes as val/images/val0.jpg",
    ]
    also = {photo.file: photo.also for photo in left if photo.also}
    assert also == {"test/test0.jpg": ("train/train1.jpg",), "val/val0.jpg": ("val/val2.jpg",)}


@pytest.mark.slow
def test_the_page_shows_what_was_found_and_fetches_nothing(tmp_path):
    source = delft(tmp_path / "city", 40)

    def change(said):
        parts = said["p9.jpg"]["parts"]
        parts["steer"] = parts["back_pedal"] | {"part_name": "steer"}
        said["p8.jpg"]["parts"]["bell"]["object_state_class"] = 7

    changed(source / "annotations.json", change)
    fetched(tmp_path, source)
    said = checked(tmp_path, pictures=4)
    (odd,) = said["details"]["outliers"]
    assert (odd["photo"], odd["part"], odd["like"]) == ("city/images/p9.jpg", "steer", "back_pedal")
    page = (tmp_path / "check_data/report.html").read_text()
    for text in (
        "What is on the photographs?",
        "p8.jpg: parts.bell.object_state_class is 7",
        "back_pedal",
        "data:image",
    ):
        assert text in page, text
    assert page.count("<svg") == 3 and not re.search(r'(?:src|href)="https?:', page)
    assert "computer drew" not in page
    with (
        Image.open(tmp_path / "check_data/overlays.png") as sheet,
        Image.open(tmp_path / "check_data/outliers.png") as of,
    ):
        assert sheet.width > of.width > 400
    assert sum(map(len, divided(tmp_path).values())) == 39


def test_a_unit_that_download_did_not_write_is_named(tmp_path):
    fetched(tmp_path, delft(tmp_path / "city", 3))
    changed(tmp_path / "download/city/annotations.json", lambda said: said["p0.jpg"].pop("image"))
    with pytest.raises(BadInput, match=r"download/city: not a unit of bike_parts-download .*; run it again"):
        checked(tmp_path)
