"""The step: the town as it is configured, what is kept between runs, what a source may hold."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from tasks.open_loop_driving import download
from tasks.open_loop_driving.formats import routes
from tasks.yard.files import folder_hash, read_json
from tasks.yard.step import BadInput, Context
from tests.tasks.open_loop_driving import tiny_routes
from tests.tasks.open_loop_driving.sources import fetched, lbc
from tests.tasks.open_loop_driving.tiny_routes import section
from tests.tasks.yard import killed

TINY = "synth://town?routes={}&seconds=8&cameras=1&height=32&width=48&seed=0"


@pytest.fixture(scope="module")
def town_source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("town")
    return folder, fetched(folder, TINY.format(2))


@pytest.mark.slow
def test_the_town_is_brought_as_it_is_asked_for(town_source):
    folder, report = town_source
    assert list(report["routes"]) == ["town01_r000", "town02_r000"] and report["totals"]["towns"] == 2
    route = routes.read(folder / "download/town01_r000")
    assert set(route.sensors) == set(routes.SENSORS) - {"features"} and list(route.cameras) == ["front"]
    for kind in ("rgb_front", "depth_front", "seg_front", "lidar", "bev"):
        assert list(route.files(kind)) == route.frames.tolist()
    step = np.linalg.norm(np.diff(route.pose[:, :2], axis=0), axis=1)
    speed = route.columns["speed_ms"]
    assert np.abs(step - (speed[1:] + speed[:-1]) / 4).max() < 0.3


@pytest.mark.slow
def test_more_routes_change_none_of_those_that_are_there(town_source, tmp_path):
    folder, _ = town_source
    shutil.copytree(folder / "download", tmp_path / "download")
    before = {
        path: path.stat().st_mtime_ns
        for path in (tmp_path / "download/town01_r000").rglob("*.*")
        if path.name[0] != "."
    }
    fetched(tmp_path, TINY.format(3))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    fetched(tmp_path / "anew", TINY.format(1))
    for path in before:
        assert path.read_bytes() == (tmp_path / "anew" / path.relative_to(tmp_path)).read_bytes()


def test_other_code_makes_them_anew(tmp_path):
    tiny_routes.write(tmp_path / "source" / "one")
    params = section("download", source=str(tmp_path / "source"))
    made = []
    for code in ("a", "a", "b"):
        download.run(params, tmp_path / "download", Context(code=code))
        made.append((tmp_path / "download/one/.done.json").stat().st_mtime_ns)
    assert made[0] == made[1] != made[2]


def test_killed_between_routes_it_ends_with_the_same_bytes_and_makes_none_twice(tmp_path):
    for name in ("a", "b", "c"):
        lbc(tmp_path / "source" / name, n=8)
    lbc(tmp_path / "source" / "bad", n=8, theta=None)
    params = section("download", source=str(tmp_path / "source"))
    download.run(params, tmp_path / "whole", Context())
    out = tmp_path / "killed"
    out.mkdir()
    killed.run(download.run, params, out, done=2)
    made = {path: path.stat().st_mtime_ns for path in out.glob("*/route.json")}
    assert 1 <= len(made) < 3 and not (out / "report.json").exists()
    download.run(params, out, Context())
    assert folder_hash(out) == folder_hash(tmp_path / "whole") and list(read_json(out / "quarantine.json")) == ["bad"]
    assert {path: path.stat().st_mtime_ns for path in made} == made


def test_what_the_step_wrote_is_a_source_too(tmp_path):
    tiny_routes.write(tmp_path / "source" / "a" / "one")
    report = fetched(tmp_path, tmp_path / "source")
    assert report["routes"]["a-one"]["layout"] == "routes"
    before, after = routes.read(tmp_path / "source/a/one"), routes.read(tmp_path / "download/a-one")
    assert before.about == after.about and (before.pose == after.pose).all()


def test_several_layouts_in_one_source_and_what_nobody_knows(tmp_path):
    tiny_routes.write(tmp_path / "source" / "ours")
    lbc(tmp_path / "source" / "theirs")
    (tmp_path / "source" / "notes.txt").write_text("x")
    report = fetched(tmp_path, tmp_path / "source")
    assert {name: one["layout"] for name, one in report["routes"].items()} == {"ours": "routes", "theirs": "lbc"}
    assert report["passed_over"]["first"] == ["notes.txt"]


def test_a_source_without_a_route_says_what_is_there_and_what_could_be(tmp_path):
    (tmp_path / "source" / "pictures").mkdir(parents=True)
    with pytest.raises(BadInput, match=r"holds pictures, and no known layout.*\n.*ThinkTwice") as error:
        fetched(tmp_path, tmp_path / "source")
    assert "city_SE3_egovehicle.feather" in str(error.value)


@pytest.mark.parametrize(
    "change, said",
    [
        ("rate_hz", "route.json: key 'rate_hz' is missing"),
        ("cameras", "camera front: key 'K' is missing"),
        ("frames", "frames.csv: column 'yaw' is missing"),
        ("cell", "frames.csv: column 'x' holds what is no number"),
    ],
)
def test_a_route_that_is_none_is_named(tmp_path, change, said):
    folder = tiny_routes.write(tmp_path / "source" / "one")
    about = read_json(folder / "route.json")
    table = (folder / "frames.csv").read_text()
    if change == "rate_hz":
        del about["rate_hz"]
    elif change == "cameras":
        del about["cameras"]["front"]["K"]
    elif change == "frames":
        table = table.replace("yaw", "jaw", 1)
    else:
        table = table.replace(",0.000000,0.000000", ",0.000000,east", 1)
    routes.write_json(folder / "route.json", about)
    (folder / "frames.csv").write_text(table)
    with pytest.raises(BadInput, match=said):
        fetched(tmp_path, tmp_path / "source")


def test_a_remark_of_many_routes_is_one_line_and_the_rare_one_comes_first():
    found = [{"where": f"source {n}", "remarks": ["the same of each"]} for n in range(4)]
    found[2]["remarks"].append("lidar is left out")
    said = download.remarks_of(found)
    assert said == ["source 2: lidar is left out", "source 0 and 3 more: the same of each"]
