"""Sources through the step: which data sets are found, how they are cut, what is kept from run to run."""

from __future__ import annotations

import json
import re
import shutil
import zipfile

import pytest

from tasks.bike_parts import check_data
from tasks.bike_parts.formats import photos
from tasks.bike_parts.importers import units
from tasks.bike_parts.importers.together import groups
from tasks.bike_parts.judging.pairs import pairs_of
from tasks.yard.files import folder_hash, read_json
from tasks.yard.step import BadInput
from tests import sections
from tests.tasks.bike_parts.sources import changed, checked, delft, divided, fetched, labelled


def stamps(out):
    return {path.parent.name: path.stat().st_mtime_ns for path in (out / "download").glob("*/unit.json")}


def test_an_empty_folder_is_told_the_layouts(tmp_path):
    (tmp_path / "empty").mkdir()
    layouts = "DelftBikes: .*YOLO: .*COCO: "
    with pytest.raises(BadInput, match=rf"(?s)empty: holds nothing, and no known layout:.*{layouts}"):
        fetched(tmp_path, tmp_path / "empty")
    (tmp_path / "empty/annotations.json").write_text("{}")
    with pytest.raises(BadInput, match=r"empty: holds annotations.json, and no known layout"):
        fetched(tmp_path, tmp_path / "empty")


def test_pictures_are_copied_byte_by_byte_and_the_source_is_not_touched(tmp_path):
    source = delft(tmp_path / "city", 3)
    before = folder_hash(source)
    fetched(tmp_path, source)
    assert folder_hash(source) == before
    for name in ("p0.jpg", "p1.jpg", "p2.jpg"):
        copy, original = tmp_path / "download/city/images" / name, source / "images" / name
        assert copy.read_bytes() == original.read_bytes() and not copy.samefile(original)
    about = read_json(tmp_path / "download/city/unit.json")
    assert about["dataset"] == "city" and about["source"] == str(source) and about["rendered"] is False


def test_what_the_step_wrote_is_a_source_too_and_says_the_same(tmp_path):
    fetched(tmp_path / "1", delft(tmp_path / "city", ["b1_before", "b1_after", "b2_before"]))
    fetched(tmp_path / "2", tmp_path / "1/download/city")
    assert labelled(tmp_path / "1") == labelled(tmp_path / "2")
    both = [read_json(tmp_path / run / "download/city/unit.json") for run in "12"]
    assert (
        both[0]["groups"] == both[1]["groups"] == {"b1_before.jpg": "b1", "b1_after.jpg": "b1", "b2_before.jpg": "b2"}
    )


def test_batches_that_the_step_wrote_are_one_data_set_again(tmp_path, monkeypatch):
    """Else a pair that lies in two batches would be two bikes."""
    monkeypatch.setattr(units, "BATCH", 2)
    fetched(
        tmp_path / "1", delft(tmp_path / "city", [f"b{n}_{when}" for n in range(4) for when in ("before", "after")])
    )
    report = fetched(tmp_path / "2", tmp_path / "1/download")
    assert len(report["units"]) > 2 and report["totals"]["photos"] == 8
    found = check_data.photos_of(tmp_path / "2/download")
    assert {f"{dataset}/{photo.group}" for _, dataset, photo in found} == {f"city/b{n}" for n in range(4)}


@pytest.mark.slow
def test_the_photographs_of_a_ride_are_in_one_batch_and_stay_a_pair(tmp_path, monkeypatch):
    monkeypatch.setattr(units, "BATCH", 20)
    names = [f"Bike{n}_{when}" for n in range(40) for when in ("before", "After")]
    report = fetched(tmp_path, delft(tmp_path / "city", names))
    assert len(report["units"]) == 4 and report["totals"]["photos"] == 80
    checked(tmp_path)
    divided(tmp_path)
    rides = [pairs_of(photos.read(tmp_path / "split", split)) for split in photos.SPLITS]
    assert sum(map(len, rides)) == 40


def test_an_archive_is_a_source_and_twice_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where the cache of archives is
    source = delft(tmp_path / "city", 3)
    with zipfile.ZipFile(tmp_path / "bikes.zip", "w") as packed:
        for path in sorted(source.rglob("*")):
            packed.write(path, path.relative_to(tmp_path))
    for run in "12":
        assert fetched(tmp_path / run, tmp_path / "bikes.zip")["totals"]["photos"] == 3
    assert folder_hash(tmp_path / "1/download") == folder_hash(tmp_path / "2/download")


def test_a_batch_is_made_again_only_where_it_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(units, "BATCH", 10)
    source = delft(tmp_path / "city", 30)
    report = fetched(tmp_path, source)
    assert list(report["units"]) == ["city-000", "city-001", "city-002", "city-003"]
    assert sum(unit["photos"] for unit in report["units"].values()) == len(labelled(tmp_path)) == 30
    before = stamps(tmp_path)
    label = next(
        file for file in sorted((tmp_path / "download").glob("*/annotations.json")) if "p7.jpg" in read_json(file)
    )
    changed(source / "annotations.json", lambda said: said["p7.jpg"]["parts"]["bell"].update(trust=0.11))
    fetched(tmp_path, source)
    after = stamps(tmp_path)
    assert {name for name in after if after[name] != before[name]} == {label.parent.name}

    delft(tmp_path / "more", ["new"], seed=99)
    shutil.copy(tmp_path / "more/images/new.jpg", source / "images/new.jpg")
    new = read_json(tmp_path / "more/annotations.json")
    changed(source / "annotations.json", lambda said: said.update(new))
    assert fetched(tmp_path, source)["totals"]["photos"] == 31
    assert len({name for name, stamp in stamps(tmp_path).items() if after[name] != stamp}) == 1
    assert units.batches_for(10_000) == 1024 and units.batches_for(10) == 1


def test_a_batch_of_which_nothing_can_be_used_costs_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(units, "BATCH", 4)
    source = delft(tmp_path / "city", 8)
    fetched(tmp_path / "1", source)
    first = sorted((tmp_path / "1/download").glob("*/annotations.json"))[0]
    for name in read_json(first):
        (source / "images" / name).write_bytes(b"no image")
    report = fetched(tmp_path / "2", source, max_broken_share=0.9)
    with pytest.raises(BadInput, match=r"\d of 8 label entries cannot be used, first images/p"):
        fetched(tmp_path / "3", source, max_broken_share=0.1)
    assert list(report["quarantined"]) == [first.parent.name]
    assert re.search(r"no photograph can be used, first images/p\d.jpg: the image", *report["quarantined"].values())
    assert report["totals"]["photos"] == 8 - len(read_json(first))


def test_a_run_that_fails_takes_nothing_away(tmp_path):
    source = delft(tmp_path / "city", 3)
    fetched(tmp_path, source)
    before = folder_hash(tmp_path / "download/city")
    (source / "images/p0.jpg").write_bytes(b"no image")
    with pytest.raises(
        BadInput, match=r"1 of 3 label entries cannot be used, first images/p0.jpg: the image is no image"
    ):
        fetched(tmp_path, source, max_broken_share=0.1)
    with pytest.raises(BadInput, match=r"2 photographs are usable; add some, or lower bike_parts.download.min_photos"):
        fetched(tmp_path, source, min_photos=3)
    assert folder_hash(tmp_path / "download/city") == before


def test_two_data_sets_of_one_source_and_two_images_of_one_name(tmp_path):
    for name, seed in (("north", 0), ("south", 50)):
        delft(tmp_path / "in" / name, 2, seed)
    (tmp_path / "in/here").symlink_to(tmp_path / "in", target_is_directory=True)
    report = fetched(tmp_path, tmp_path / "in")
    assert list(report["units"]) == ["north", "south"] and report["totals"]["photos"] == 4
    one = delft(tmp_path / "one", ["day1/p", "day2/p"])
    fetched(tmp_path / "2", one)
    assert sorted(labelled(tmp_path / "2")) == ["images__day1__p.jpg", "images__day2__p.jpg"]


def test_what_names_show_to_belong_together():
    def of(*stems, group_by=None, said=()):
        return groups(stems, group_by, dict(said))[0]

    assert of("bike7_before", "bike7_after", "bike8-After") == {
        "bike7_before": "bike7", "bike7_after": "bike7", "bike8-After": "bike8",
    }  # fmt: skip
    assert of("10_jpg.rf.b8d7", "10_jpg.rf.ffe8", "10", "11") == {
        "10_jpg.rf.b8d7": "10", "10_jpg.rf.ffe8": "10", "10": "10", "11": "11",
    }  # fmt: skip
    assert of("IMG_20240501_081500", "IMG_20240501_190000") == dict.fromkeys(
        ("IMG_20240501_081500", "IMG_20240501_190000"), "2024-05-01"
    )
    assert of("herebefore", "before") == {"herebefore": "herebefore", "before": "before"}
    assert of("a_1", "a_2", group_by=r"^(\w)_") == {"a_1": "a", "a_2": "a"}
    assert of("a_1", "7", group_by=r"^([a-z])_", said={"a_1": "x", "7": "x"}.items()) == {"a_1": "a", "7": "x"}
    assert of("a_1", "b", said={"b": "a_1"}.items()) == {"a_1": "a_1", "b": "a_1"}
    bikes = of(*(f"bike{n}_2024050{n + later}_081500_before" for n in (1, 4, 7) for later in (0, 1)), "bike4_after")
    assert sorted(bikes.values()) == ["2024-05-01"] * 2 + ["2024-05-04"] * 3 + ["2024-05-07"] * 2
    every = [f"bike{n}_2024050{day}_081500" for n in range(4) for day in range(1, 6)]
    found, (remark,) = groups(every, None, {})
    assert set(found.values()) == {"bike0", "bike1", "bike2", "bike3"} and "photographs of one day may lie in" in remark
    found, (remark,) = groups(every[:10], None, {})  # two bikes
    assert len(set(found.values())) == 5 and "photographs of one bike may lie in several" in remark
    assert "1 photographs are not matched by group_by" in groups(["a_1", "7"], r"^([a-z])_", {})[1][0]


def test_a_photograph_in_a_json_of_another_coding(tmp_path):
    source = delft(tmp_path / "city", ["fiets_é"])
    text = json.dumps(read_json(source / "annotations.json"), ensure_ascii=False)
    (source / "annotations.json").write_bytes(text.encode("utf-16"))
    assert list(labelled(tmp_path)) == [] and fetched(tmp_path, source)["totals"]["photos"] == 1


@pytest.mark.slow
def test_the_embedded_world_goes_the_way_of_any_source(tmp_path):
    """14 bikes: the first photograph of the last one is cut off, as in real data."""
    world, parts = "synth://bikes?bikes=14&width=96&height=80", sections.values("bike_parts", "download")["parts"]
    report = fetched(tmp_path, world, parts=parts)
    assert len(report["parts"]) == 22 and report["totals"]["photos"] == 27
    assert list(report["datasets"]["bikes"]["left_out"]) == ["images/bike-0013_0_before.jpg"]
    (unit,) = (tmp_path / "download").glob("*/unit.json")
    about = read_json(unit)
    assert about["rendered"] is True and about["groups"]["bike-0003_0_after.jpg"] == "bike-0003"
    assert not (unit.parent / "drawn").exists()
    before = stamps(tmp_path)
    fetched(tmp_path, world, parts=parts)
    assert stamps(tmp_path) == before
    checked(tmp_path)
    page = (tmp_path / "check_data/report.html").read_text()
    assert "a computer drew what these pictures show (synth://bikes)" in page
