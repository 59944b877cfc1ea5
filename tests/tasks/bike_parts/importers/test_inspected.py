"""Which photographs are looked at, and which two are of one ride, by what people do to names, folders and tables."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from tasks.bike_parts.importers.inspected import Pair, request
from tasks.yard.layouts.images import write_image
from tasks.yard.step import BadInput


def photos(root: Path, *names: str) -> Path:
    for i, name in enumerate(names):
        write_image(root / name, np.full((6, 8, 3), 10 * i, np.uint8))
    return root


def names(found) -> list[str]:
    return [photo.name for photo in found.photos]


def test_rides_are_known_by_the_ends_of_names_and_folders_keep_equal_names_apart(tmp_path):
    root = photos(
        tmp_path, "bike2_before.jpg", "bike2_after.jpg", "bike10-AFTER.png", "bike10-before.jpg", "mon/before.jpg",
        "mon/after.jpg", "tue/before.jpg", "tue/after.jpg", "alone.jpg",
    )  # fmt: skip
    found = request(str(root), None)
    assert names(found)[:3] == ["alone.jpg", "bike2_after.jpg", "bike2_before.jpg"]  # 2 before 10
    assert len({photo.key for photo in found.photos}) == 9
    assert [pair.name for pair in found.pairs] == ["bike2", "bike10", "mon/ride", "tue/ride"]
    path = {photo.key: photo.name for photo in found.photos}
    assert [(path[pair.before], path[pair.after]) for pair in found.pairs] == [
        ("bike2_before.jpg", "bike2_after.jpg"), ("bike10-before.jpg", "bike10-AFTER.png"),
        ("mon/before.jpg", "mon/after.jpg"), ("tue/before.jpg", "tue/after.jpg"),
    ]  # fmt: skip
    assert found.remarks == []


def test_two_rides_never_have_one_name_and_a_folder_that_links_to_itself_is_one(tmp_path):
    root = photos(tmp_path, "in/before.jpg", "in/after.jpg", "in/ride_before.jpg", "in/ride_after.jpg")
    (root / "in/again").symlink_to(root, target_is_directory=True)
    found = request(str(root), None)
    assert len(found.photos) == 4 and found.remarks == []
    assert [pair.name for pair in found.pairs] == ["in/ride", "in/ride, ride_after.jpg"]


def test_what_stands_in_the_way_of_a_pair_is_said_and_the_photographs_are_kept(tmp_path):
    root = photos(tmp_path, "a_before.jpg", "b_after.jpg", "c_before.jpg", "c_before.png", "c_after.jpg")
    found = request(str(root), None)
    assert len(found.photos) == 5 and found.pairs == []
    assert [said.partition(":")[0] for said in found.remarks] == [
        "a_before.jpg", "b_after.jpg", "c_before.jpg, c_before.png, c_after.jpg",
    ]  # fmt: skip
    assert "no photograph after" in found.remarks[0] and "no photograph before" in found.remarks[1]


def test_a_table_beside_the_photographs_says_what_belongs_together(tmp_path):
    root = photos(tmp_path, "x/1.jpg", "x/2.jpg", "y/3.jpg", "z_before.jpg", "z_after.jpg")
    table = "\ufeffId;Before;AFTER\n7;1.jpg;x/2.jpg\n8;1.jpg;4.jpg\n9;y/3.jpg;3.jpg\n"
    (root / "pairs.csv").write_text(table, encoding="utf-8")
    found = request(str(root), None)
    assert found.pairs == [Pair("x/2", "x-1", "x-2")]  # names say nothing where a table does
    assert [said[:17] for said in found.remarks] == ["pairs.csv, row 3:", "pairs.csv, row 4:"]
    assert "no photograph '4.jpg'" in found.remarks[0] and "both before and after" in found.remarks[1]


@pytest.mark.parametrize(
    ("table", "says"),
    [("vorher,after\na,b\n", "no column 'before'"), ("before,after\n1.jpg,9.jpg\n", "row 2"), ("", "no column")],
)
def test_a_table_that_names_no_pair_is_refused(tmp_path, table, says):
    root = photos(tmp_path / "photos", "1.jpg", "2.jpg")
    (tmp_path / "rides.csv").write_text(table)
    with pytest.raises(BadInput, match=says) as told:
        request(str(root), str(tmp_path / "rides.csv"))
    assert "rides.csv" in str(told.value)


def test_an_archive_or_one_image_will_do(tmp_path):
    root = photos(tmp_path / "photos", "a_before.jpg", "a_after.jpg")
    with zipfile.ZipFile(tmp_path / "tonight.zip", "w") as file:
        for path in root.iterdir():
            file.write(path, path.name)
    assert len(request(str(tmp_path / "tonight.zip"), None).pairs) == 1
    (root / "pairs.csv").write_text("before,after\na_before.jpg,a_after.jpg\n")
    assert names(request(str(root / "a_after.jpg"), None)) == ["a_after.jpg"]


def test_a_folder_without_a_photograph_is_refused_by_what_is_in_it(tmp_path):
    with pytest.raises(BadInput, match=r"holds no photograph .*empty"):
        request(str(tmp_path), None)
    (tmp_path / "IMG_1.HEIC").write_bytes(b"x")
    with pytest.raises(BadInput, match=r"1 \.heic"):
        request(str(tmp_path), None)
    with pytest.raises(BadInput, match="a world is no folder"):
        request("synth://bikes?bikes=2", None)
    photos(tmp_path, "IMG_2.jpg", ".hidden.jpg")
    found = request(str(tmp_path), None)
    assert names(found) == ["IMG_2.jpg"] and "IMG_1.HEIC" in found.remarks[0]
