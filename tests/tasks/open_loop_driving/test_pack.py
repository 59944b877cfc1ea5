"""The step: what is packed, how it is made small, who trains and who is judged, and that this stays so."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest

from tasks.open_loop_driving import check_data, pack
from tasks.open_loop_driving.formats import pack as packed
from tasks.open_loop_driving.formats import routes
from tasks.yard.files import file_hash, read_json, write_json
from tasks.yard.step import BadInput
from tests.tasks.open_loop_driving import tiny_routes
from tests.tasks.open_loop_driving.tiny_routes import section

TOWNS = ("town01", "town02", "town03", "town05")


def run(tmp_path, **changes):
    check_data.run(section("check_data", pictures=0), tmp_path / "check_data", download=tmp_path / "download")
    pack.run(
        section("pack", bev_px=None, **changes), tmp_path / "pack", download=tmp_path / "download",
        check_data=tmp_path / "check_data",
    )  # fmt: skip
    return packed.manifest(tmp_path / "pack")


def several(tmp_path, each=2, n=9):
    for town in TOWNS:
        for number in range(each):
            tiny_routes.write(tmp_path / "download" / f"{town}_r{number}", n, town)


def splits_of(manifest):
    return {name: one["split"] for name, one in manifest["routes"].items()}


def test_whole_towns_are_held_out_and_counted(tmp_path):
    several(tmp_path)
    said = run(tmp_path)
    assert said["splits"]["train"] == {"routes": 4, "frames": 36, "windows": 16, "towns": ["town01", "town03"]}
    assert said["splits"]["val"]["towns"] == ["town02"] and said["splits"]["test"]["towns"] == ["town05"]
    one = said["routes"]["town05_r1"]
    assert (one["frames"], one["windows"], one["cameras"]) == (9, 4, ["front"]) and said["horizon"] == 4
    assert one["sha256"] == file_hash(packed.path(tmp_path / "pack", "town05_r1"))
    assert [route.name for route in packed.load(tmp_path / "pack", "val")] == ["town02_r0", "town02_r1"]


def test_a_sensor_that_some_routes_lack_is_said_before_anything_is_trained(tmp_path):
    several(tmp_path)
    shutil.rmtree(tmp_path / "download/town03_r1/lidar")
    about = read_json(tmp_path / "download/town03_r1/route.json")
    write_json(tmp_path / "download/town03_r1/route.json", about | {"sensors": ["rgb"]})
    manifest = run(tmp_path)
    few, then = "1 of 8 routes have no lidar, the first is town03_r1", "a network that sees through it does without"
    assert manifest["uneven"] == [f"{few}; {then} them, and train says which"] and not manifest["remarks"]


def test_what_is_packed_is_what_was_recorded(tmp_path):
    folder = tiny_routes.write(tmp_path / "download" / "one")
    (folder / "rgb_front/0009.png").unlink()
    run(tmp_path)
    (route,) = packed.load(tmp_path / "pack")
    assert route.frame.tolist() == [*range(9), 10, 11] and route.windows.tolist() == [1, 2, 3, 4]
    assert (route.images("front", [3])[0] == routes.picture(folder / "rgb_front/0003.png")).all()
    assert (route.lidar(4) == routes.lidar(folder / "lidar/0004.npy")).all()
    boxes, ids = route.agents(10)
    assert ids == ["7"] and boxes[0] == pytest.approx([0, 9, 1, 0.8, 4, 2, 1.6, 0.1, 3])
    assert route.control[0] == pytest.approx([0.3, -0.2, 0]) and route.command[0] == 4
    assert route.should_brake is None and "supervision" not in route.sensors
    assert route.pose == pytest.approx(tiny_routes.poses(12)[route.frame], abs=1e-6)


def test_pictures_become_smaller_with_their_camera_and_classes_stay_classes(tmp_path):
    folder = tiny_routes.write(tmp_path / "download" / "one")
    stripes = np.tile(np.array([[4, 10] * 20], np.uint8), (24, 1))
    deep = np.where(stripes == 4, 500, 9000).astype(np.uint16)
    for frame in range(12):
        routes.write_png(folder / "seg_front" / f"{frame:04d}.png", stripes)
        routes.write_png(folder / "depth_front" / f"{frame:04d}.png", deep)
    about = read_json(folder / "route.json")
    routes.write_json(folder / "route.json", about | {"sensors": [*about["sensors"], "seg", "depth"]})
    run(tmp_path, height_px=12, width_px=20)
    (route,) = packed.load(tmp_path / "pack")
    assert route.images("front").shape == (12, 12, 20, 3) and route.cameras["front"].size == (12, 20)
    point = np.array([[15.0, 2.0, 1.0]])
    whole, small = (camera.project(point)[0][0] for camera in (tiny_routes.camera(), route.cameras["front"]))
    assert small == pytest.approx(whole / 2)
    assert set(np.unique(route.seg("front"))) <= {4, 10} and set(np.unique(route.depth("front"))) <= {500, 9000}
    mean = cv2.resize(routes.picture(folder / "rgb_front/0000.png"), (20, 12), interpolation=cv2.INTER_AREA)
    assert (route.images("front", [0])[0] == mean).all()


def test_masks_keep_thin_lines_and_the_colour_of_lights():
    masks = np.zeros((15, 192, 192), np.uint8)
    masks[14, 50, 10:80], masks[13, 50, 10:80] = 255, 80  # a pixel wide: red now, green before
    small = pack.brightest(masks, 64)
    assert small.shape == (15, 64, 64) and (small[14, 16, 4:26] == 255).all() and (small[13, 16, 4:26] == 80).all()
    assert (small > 0).sum() == 2 * 24
    with pytest.raises(BadInput, match="bev_px = 50: masks of 192 x 192 px are not divided"):
        pack.brightest(masks, 50)


def test_splits_stay_and_unchanged_routes_are_kept(tmp_path):
    several(tmp_path, each=1)
    first = run(tmp_path)
    file = packed.path(tmp_path / "pack", "town03_r0")
    before = file.stat().st_mtime_ns
    tiny_routes.write(tmp_path / "download" / "town05_r7", 9, "town05")
    held = {"val": ["town03"], "test": ["town01"]}
    second = run(tmp_path, held_out=held)
    assert splits_of(second) == {**splits_of(first), "town05_r7": "train"}
    assert file.stat().st_mtime_ns == before
    (tmp_path / "pack/splits.json").unlink()
    assert splits_of(run(tmp_path, held_out=held))["town03_r0"] == "val"


@pytest.mark.slow
def test_without_the_towns_that_are_held_out_whole_routes_are(tmp_path):
    for number in range(12):
        tiny_routes.write(tmp_path / "download" / f"route{number:02d}", 9, "unknown")
    said = run(tmp_path)
    assert {split: one["routes"] for split, one in said["splits"].items()} == {"train": 8, "val": 2, "test": 2}
    assert said["remarks"] and "no town of test (town05) is there: 2 routes" in said["remarks"][0]


def test_a_source_of_towns_that_are_held_out_trains_on_some_of_its_routes(tmp_path):
    for number in range(8):
        tiny_routes.write(tmp_path / "download" / f"route{number}", 9, ("town02", "town05")[number % 2])
    said = run(tmp_path)
    assert {split: one["routes"] for split, one in said["splits"].items()} == {"train": 6, "val": 1, "test": 1}
    (line,) = said["remarks"]
    assert "all routes are of towns that are held out (town02, town05): drawn by shares" in line


@pytest.mark.slow
def test_an_only_route_is_cut_into_three_with_a_guard_between(tmp_path):
    tiny_routes.write(tmp_path / "download" / "long", 220)
    said = run(tmp_path, guard_frames=10)
    parts = {one.split: one for one in packed.load(tmp_path / "pack")}
    assert splits_of(said) == {"long-train": "train", "long-val": "val", "long-test": "test"}
    assert parts["train"].frame.tolist() == list(range(140)) and parts["val"].frame[0] == 150
    assert parts["test"].frame[0] - parts["val"].frame[-1] == 11 and parts["test"].frame[-1] == 219


def test_an_only_route_that_is_short_is_test(tmp_path):
    tiny_routes.write(tmp_path / "download" / "short", 12)
    said = run(tmp_path)
    assert splits_of(said) == {"short": "test"} and "too few and too short to be cut" in said["remarks"][0]


@pytest.mark.slow
def test_a_route_that_was_cut_once_does_not_come_to_be_judged_on(tmp_path):
    tiny_routes.write(tmp_path / "download" / "a", 220, "town05")
    run(tmp_path)
    several(tmp_path, each=1)
    assert splits_of(run(tmp_path))["a"] == "train"


@pytest.mark.slow
def test_a_subset_is_a_draw_and_not_the_first_routes(tmp_path):
    several(tmp_path, each=6)
    dev = run(tmp_path, subset="dev", dev_routes=2)
    assert {split: one["routes"] for split, one in dev["splits"].items()} == {"train": 2, "val": 2, "test": 2}
    capped = run(tmp_path, subset="capped", cap_frames=20)
    assert {split: one["routes"] for split, one in capped["splits"].items()} == {"train": 6, "val": 3, "test": 3}
    drawn = [set(run(tmp_path, subset="capped", cap_frames=20, seed=seed)["routes"]) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(capped["left_out"]) == 12 and "not drawn" in next(iter(capped["left_out"].values()))
    first = {f"{town}_r{number}" for town in TOWNS for number in range(3)}
    assert set(capped["routes"]) != first
    assert len(run(tmp_path)["routes"]) == 24


def test_routes_too_short_for_a_plan_are_refused(tmp_path):
    several(tmp_path, each=1, n=5)
    with pytest.raises(BadInput, match="no route has 6 frames in a row"):
        run(tmp_path)
