"""From known plans to what is looked at: films, stills, and what stands where in them."""

from __future__ import annotations

import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tasks.open_loop_driving import visualize
from tasks.open_loop_driving.formats import pack, plans
from tasks.open_loop_driving.page import above, cases, drawing, inks, moments, seen
from tasks.yard.files import folder_hash, read_json, write_json
from tests.tasks.open_loop_driving import tiny_drives as tiny
from tests.tasks.open_loop_driving.shared import section

SIZE = drawing.size_of(480)


def shown(root: Path, **changes) -> dict:
    params = section("visualize", **{"height_px": 480, "fps": 4.0, "seconds": 20.0, **changes})
    (root / "visualize").mkdir(exist_ok=True)
    inputs = {"pack": root / "pack", "plan": {"one": root / "plan/one"}, "evaluate": root / "evaluate"}
    return visualize.run(params, root / "visualize", **inputs)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    for name, turned in (("town05_r000", 0.0), ("town05_r001", 2.0)):
        tiny.write_route(root / "pack", name, yaw=turned)
    tiny.write_manifest(root / "pack", {"town05_r000": "test", "town05_r001": "test"})
    tiny.write_plans(root / "plan/one", root / "pack", {"test": ["town05_r000", "town05_r001"]})
    write_json(root / "evaluate/details.json", {"leader": "one"})
    return root, shown(root)


def frames(path: Path) -> tuple[list[np.ndarray], float]:
    with av.open(str(path)) as container:
        (stream,) = container.streams.video
        return [one.to_ndarray(format="rgb24") for one in container.decode(stream)], float(stream.average_rate)


@pytest.fixture(scope="module")
def moment(project):
    root, _ = project
    planned = plans.read(root / "plan/one" / plans.FILE)
    mine = moments.of_route(planned.splits["test"], "town05_r001")
    route = pack.read(pack.path(root / "pack", "town05_r001"), "town05_r001")
    return next(moments.read(route, planned, mine, np.array([2])))


@pytest.mark.parametrize("origin, ahead_m", [("the middle of the rear axle", 1.4), ("below the middle of the car", 0)])
def test_the_car_is_drawn_where_it_is_from_its_frames_origin(tmp_path, origin, ahead_m):
    route = pack.read(tiny.write_route(tmp_path, "town05_r000", origin=origin), "town05_r000")
    tiny.write_manifest(tmp_path, {"town05_r000": "test"})
    tiny.write_plans(tmp_path / "one", tmp_path, {"test": ["town05_r000"]})
    planned = plans.read(tmp_path / "one" / plans.FILE)
    one = next(moments.read(route, planned, planned.splits["test"], np.array([0])))
    assert one.car == (4.6, 1.9, ahead_m)


@pytest.mark.slow
def test_each_route_has_a_film_of_all_its_moments_at_the_rate_that_was_asked_for(project):
    root, metrics = project
    for name in ("town05_r000", "town05_r001"):
        pictures, rate = frames(root / "visualize" / name / "drive.mp4")
        assert len(pictures) == 9 and rate == 4 and pictures[0].shape == (SIZE[1], SIZE[0], 3)
    assert metrics == {"frames": 18, "routes": 2}
    summary = read_json(root / "visualize/summary.json")
    assert summary["leader"] == "one" and summary["layers"] == ["coarse", "1", "2"]
    assert summary["films"]["town05_r001"] == {"frames": 9, "moments": 9, "until_s": 4.5}


@pytest.mark.slow
def test_a_film_that_is_there_is_kept_and_made_anew_after_a_change_of_its_plans_or_params(project, tmp_path):
    root = tmp_path / "project"
    shutil.copytree(project[0], root)
    films = {path.parent.name: path for path in sorted((root / "visualize").glob("*/drive.mp4"))}
    before = {name: path.stat().st_mtime_ns for name, path in films.items()}
    hashed = folder_hash(root / "visualize")
    films["town05_r001"].unlink()
    (root / "visualize/town05_r001/.done.json").unlink()  # as if killed before its end
    shown(root)
    assert films["town05_r000"].stat().st_mtime_ns == before["town05_r000"]
    assert folder_hash(root / "visualize") == hashed, "the killed run ends with the same bytes"
    tiny.write_plans(root / "plan/one", root / "pack", {"test": ["town05_r000"]}, off_m=(2.0, 1.0, 0.0))
    assert shown(root) == {"frames": 9, "routes": 1}
    assert films["town05_r000"].stat().st_mtime_ns > before["town05_r000"] and not films["town05_r001"].exists()


def test_the_moment_is_what_the_pack_and_the_plans_say(moment):
    assert np.allclose(moment.truth, [[2, 0], [4, 0], [6, 0], [8, 0]], atol=1e-6), "whatever the world's yaw is"
    assert np.allclose(moment.errors_m, np.abs(tiny.OFF_M)[:, None], atol=1e-5)
    assert np.allclose(moment.controls, [[0.5, 0.25, 0.0]] * 3, atol=1e-6)
    assert np.allclose(moment.expert, [0.25, -0.5, 0.0]) and moment.command == 4 and moment.should_brake
    assert moment.kinds == ["vehicle"] and np.allclose(moment.boxes[0, 1:3], [12 - 6, -3])


def test_the_ground_shows_each_way_where_it_is_with_x_up_and_left_on_the_left(moment):
    window = above.window_of(400, [moment.truth])
    sheet = above.picture(moment, window)

    def at(x: float, y: float) -> tuple[int, ...]:
        column, row = window.pixels(np.array([x, y])).astype(int)
        return tuple(int(v) for v in sheet[row, column])

    layers = inks.of_layers(moment.layers)
    assert len({*layers, inks.TRUTH}) == 4, "each has a colour of its own"
    assert at(8, 0) == inks.rgb(inks.TRUTH)
    assert [at(8, off) for off in tiny.OFF_M] == [inks.rgb(ink) for ink in layers]
    assert sum(at(8, 6)) > sum(at(8, 5)) + 100, "the lidar's point"
    assert at(20, 0) == (33, 39, 48) != at(20, -12), "the road of the masks, and what is beside it"
    assert at(6 + 2, -3) == inks.rgb(inks.AGENTS["vehicle"]), "the side of the car that stands"


def test_the_ground_grows_with_what_it_has_to_show(moment):
    far = above.window_of(400, [moment.truth, np.array([[60.0, 0.0]])])
    assert 0 <= far.pixels(np.array([60.0, 0.0]))[1] < 400 < above.window_of(800, []).px_per_m * 100
    near, wide = above.window_of(400, [moment.truth]), far
    for window in (near, wide):
        row = int(window.pixels(np.array([20.0, 0.0]))[1])
        assert tuple(above.ground(window, moment.masks)[row, 200]) == (33, 39, 48), "the masks grow with it"


def test_a_camera_shows_ways_and_looks_where_its_calibration_puts_them(moment):
    (tile, _) = seen.tiles(moment.cameras, 0, 0, 480, 400, 0)
    assert (tile.name, tile.height / tile.width) == ("front", 48 / 80)
    sheet, scale = seen.picture(moment, tile), tile.width / 80

    def at(x: float, y: float, z: float = 0.0) -> tuple[int, ...]:
        u, v = 40 - 40 * y / x, 24 - 40 * (z - 2) / x  # by hand: focal length 40, 2 m above the ground
        return tuple(int(value) for value in sheet[int(v * scale), int(u * scale)])

    layers = inks.of_layers(moment.layers)
    assert at(8, 0) == inks.rgb(inks.TRUTH)
    assert [at(8, off) for off in tiny.OFF_M] == [inks.rgb(ink) for ink in layers]
    for off, ink in zip(tiny.OFF_M[:-1], layers[1:], strict=True):
        assert np.abs(np.subtract(at(6, off, 1.99), inks.rgb(ink))).max() < 60, "what looked there has its mark 2 m up"
    back = seen.picture(moment, seen.Tile("back", 0, 0, 80, 48))
    assert (np.abs(back.astype(int) - tiny.SKY) <= 1).all(), "nothing that lies ahead is drawn into what looks back"


def test_bars_are_as_long_as_the_controls_and_the_frame_says_how_far_off_each_layer_is(moment):
    sheet = np.array(drawing.picture(moment, SIZE, above.window_of(drawing.square_px(SIZE, moment.layers), [])))
    side = drawing.square_px(SIZE, moment.layers)
    left, low = drawing.GAP_PX + drawing.LABEL_PX, drawing.HEAD_PX + side + drawing.GAP_PX + drawing.NAME_PX
    each = (SIZE[0] - side - 3 * drawing.GAP_PX - drawing.LABEL_PX) / 3

    def long(row: int, column: int, ink: str) -> float:
        y = low + row * drawing.ROW_PX + drawing.ROW_PX // 2
        part = sheet[y, round(left + column * each) : round(left + (column + 1) * each - 54) + 2]
        return float((part == inks.rgb(ink)).all(-1).sum() / (each - 54))

    last = inks.of_layers(moment.layers)[-1]
    assert long(0, 0, inks.TRUTH) == pytest.approx(0.25, abs=0.03), "the expert's throttle"
    assert long(3, 0, last) == pytest.approx(0.5, abs=0.03)
    assert long(0, 2, inks.TRUTH) == pytest.approx(0.25, abs=0.05), "steer .5 of a side that is half of the bar"
    assert drawing.errors(moment)[0][1] == "coarse plan: 4.00 m mean up to 2 s, 4.00 m at 2 s"
    assert drawing.said(moment) == "town05_r001   1.5 s   4.0 m/s   follow lane   the expert has to brake"


def test_a_source_without_cameras_lidar_and_masks_is_drawn_too(tmp_path):
    tiny.write_route(tmp_path / "pack", "log", bare=True)
    tiny.write_manifest(tmp_path / "pack", {"log": "test"})
    tiny.write_plans(tmp_path / "plan/one", tmp_path / "pack", {"test": ["log"]}, off_m=(0.5,), looks=False)
    write_json(tmp_path / "evaluate/details.json", {"leader": "one"})
    assert shown(tmp_path) == {"frames": 9, "routes": 1}


def test_without_a_leader_or_a_test_moment_it_says_why_there_is_nothing(tmp_path):
    tiny.write_route(tmp_path / "pack", "log", bare=True)
    tiny.write_manifest(tmp_path / "pack", {"log": "test"})
    write_json(tmp_path / "evaluate/details.json", {"leader": None})
    assert shown(tmp_path) == {"frames": 0, "routes": 0}
    assert read_json(tmp_path / "visualize/summary.json")["empty"] == visualize.NOTHING


@pytest.mark.slow
def test_a_route_that_cannot_be_read_costs_its_film_alone(project, tmp_path):
    root = tmp_path / "project"
    shutil.copytree(project[0], root, ignore=shutil.ignore_patterns("visualize"))
    path = pack.path(root / "pack", "town05_r000")
    path.write_bytes(path.read_bytes()[:3000])
    assert shown(root) == {"frames": 9, "routes": 1}
    (reason,) = read_json(root / "visualize/quarantine.json").values()
    assert "town05_r000" in reason and "open_loop_driving-pack" in reason


def judged(last, coarse, gone=None) -> cases.Judged:
    return cases.Judged(*(np.array(v, float) for v in (last, coarse, [9.0] * len(last) if gone is None else gone)))


def test_stills_are_the_best_the_worst_and_where_looking_again_changed_most():
    found = cases.picked({
        "a": judged([0.1, 0.5, 2.0, 1.9], [0.2, 0.4, 9.0, 1.9], [0.0, 9.0, 9.0, 9.0]),
        "b": judged([0.7, 3.0], [0.6, 3.1]),
    })  # fmt: skip
    of = {kind: [(one.route, one.row) for one in found if one.kind == kind] for kind in cases.KINDS}
    assert of["worst"] == [("b", 1), ("a", 2)]
    assert of["best"] == [("a", 1), ("b", 0)], "a car that stands is right for free"
    assert of["helped"] == [("a", 2), ("b", 1)] and of["hurt"] == [("a", 1), ("b", 0)]
    assert len(of["middle"]) == 1
    near = cases.picked({"a": judged([3.0, 2.9, 0.1] + [0.2] * 7 + [2.5], [3.0] * 11)})
    assert [one.row for one in near if one.kind == "worst"] == [0, 10], "not twice the same situation"
    assert cases.picked({}) == []


def test_stills_lie_beside_the_films_and_say_what_they_show(project):
    root, _ = project
    stills = read_json(root / "visualize/summary.json")["stills"]
    assert {one["kind"] for one in stills} == {"worst", "middle", "best", "helped"}
    for one in stills:
        with Image.open(root / "visualize" / one["file"]) as picture:
            assert picture.size == SIZE
        assert one["says"].startswith("1.00 m off on average")
