"""ThinkTwice, TCP and LBC: the town in ThinkTwice's layout is the town itself; what is broken is named, and the rest
goes on."""

from __future__ import annotations

import pickle
import shutil
from collections import defaultdict

import numpy as np
import pytest

from tasks.open_loop_driving import check_data
from tasks.open_loop_driving.formats import frames, routes
from tasks.open_loop_driving.importers import recorded
from tasks.open_loop_driving.importers import town as thinktwice_files
from tasks.yard.files import read_json
from tasks.yard.step import BadInput
from tasks.yard.worlds import town
from tests.tasks.open_loop_driving.sources import REAL, SPEED_MS, brought, fetched, lbc, write
from tests.tasks.open_loop_driving.tiny_routes import section

WORLD = town.parse("synth://town?seconds=8&cameras=2&height=32&width=48&seed=0")
NAME, SHORT = "town04_r000", 16
KEYS = (
    "frame",
    "time_s",
    "x",
    "y",
    "speed_ms",
    "throttle",
    "steer",
    "brake",
    "command",
    "target_x",
    "target_y",
    "should_brake",
)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """One drive of the town, in ThinkTwice's layout and in the line's own."""
    root = tmp_path_factory.mktemp("drives")
    thinktwice_files.write_route(WORLD, NAME, root / "source" / "town04_00" / NAME)
    recorded.bring(WORLD, NAME, root / "own" / NAME)
    return root


@pytest.fixture
def source(written, tmp_path):
    """A copy of its first frames that may be broken."""
    shutil.copytree(written / "source", tmp_path / "source")
    for path in (tmp_path / "source").rglob("*.*"):
        if path.stem.isdecimal() and int(path.stem) >= SHORT:
            path.unlink()
    return tmp_path / "source"


def route_of(tmp_path, source, **changes):
    report = fetched(tmp_path, source, **changes)
    (name,) = report["routes"]
    return brought(tmp_path, name), report["routes"][name]


@pytest.mark.slow
def test_the_town_in_thinktwices_layout_is_the_town_itself(written, tmp_path):
    found, report = route_of(tmp_path, written / "source")
    own = routes.read(written / "own" / NAME)
    assert (report["layout"], report["town"], report["remarks"]) == ("thinktwice", "town04", [])
    assert found.sensors == own.sensors and list(found.cameras) == list(own.cameras) == ["front", "back"]
    for key in KEYS:
        assert found.columns[key] == pytest.approx(own.columns[key], abs=2e-6), key
    assert frames.wrapped(found.columns["yaw"] - own.columns["yaw"]) == pytest.approx(0, abs=2e-6)
    for name, camera in own.cameras.items():
        assert found.cameras[name].camera_from_ego == pytest.approx(camera.camera_from_ego)
    for key, values in own.supervision.items():
        assert found.supervision[key] == pytest.approx(values), key
    assert found.about["usable"] == own.about["usable"]
    frame = int(own.frames[-1])
    assert (routes.masks(found.files("bev")[frame]) == routes.masks(own.files("bev")[frame])).all()
    assert (routes.lidar(found.files("lidar")[frame]) == routes.lidar(own.files("lidar")[frame])).all()
    for kind in ("rgb_front", "seg_back"):
        assert found.files(kind)[frame].read_bytes() == own.files(kind)[frame].read_bytes()
    ours, theirs = (routes.plain_png(one.files("depth_front")[frame], np.uint16) for one in (own, found))
    assert np.abs(ours.astype(int) - theirs).max() <= 1
    boxes, ids = own.boxes[frame]
    order = [found.boxes[frame][1].index(one) for one in ids]
    assert found.boxes[frame][0][order][:, :8] == pytest.approx(boxes[:, :8], abs=1e-3) and len(order) > 3


def test_a_measurement_without_theta_costs_its_frame_and_no_heading_is_invented(source, tmp_path):
    folder = next(source.rglob("measurements"))
    for number, value in ((3, None), (5, float("nan"))):
        said = read_json(folder / f"{number:04d}.json")
        said = {key: one for key, one in said.items() if key != "theta"} | ({} if value is None else {"theta": value})
        write(folder / f"{number:04d}.json", said)
    (folder / "0007.json").write_text("{")
    found, report = route_of(tmp_path, source)
    assert set(range(8)) - set(found.frames.tolist()) == {3, 5, 7}
    (line,) = report["remarks"]
    assert line.startswith("3 measurements are left out: measurements/0003.json: 'theta' is missing; expected a number")
    assert "measurements/0005.json: 'theta' is nan" in line and "measurements/0007.json: cannot be read" in line


def test_an_unknown_command_is_named_and_void_is_to_follow_the_lane(source, tmp_path):
    folder = next(source.rglob("measurements"))
    for number, command in ((2, 9), (4, -1)):
        said = read_json(folder / f"{number:04d}.json")
        write(folder / f"{number:04d}.json", said | {"target_command": command})
    found, report = route_of(tmp_path, source)
    assert 2 not in found.frames and found.columns["command"][list(found.frames).index(4)] == 4
    assert "measurements/0002.json: 'target_command' is 9, an unknown command" in report["remarks"][0]


class Harmful:
    def __reduce__(self):
        return print, ("run",)


def test_a_pickle_with_a_class_in_it_is_not_run(source, tmp_path, capsys):
    folder = next(source.rglob("supervision"))
    np.save(folder / "0004.npy", np.array({"action": Harmful()}, dtype=object), allow_pickle=True)
    found, report = route_of(tmp_path, source)
    assert "run" not in capsys.readouterr().out
    assert 4 not in found.frames and 4 not in found.supervision["frame"]
    assert "supervision/0004.npy: cannot be taken: it holds builtins.print" in report["remarks"][0]


def test_a_sensor_that_is_not_there_is_missing_and_not_zero(source, tmp_path):
    for kind in ("lidar", "depth_front", "depth_back", "supervision"):
        shutil.rmtree(next(source.rglob(kind)))
    found, _ = route_of(tmp_path, source)
    assert set(found.sensors) == {"rgb", "seg", "bev", "boxes", "command", "target", "should_brake"}
    assert "throttle" not in found.columns and not found.files("lidar")


@pytest.mark.slow
def test_files_that_cannot_be_read_are_named_and_not_written(source, tmp_path):
    lidar, depth = next(source.rglob("lidar")), next(source.rglob("depth_front"))
    (lidar / "0001.npy").write_bytes((lidar / "0001.npy").read_bytes()[:300])
    (depth / "0002.png").write_bytes(b"")
    found, report = route_of(tmp_path, source)
    assert 1 not in found.files("lidar") and 2 not in found.files("depth_front")
    (line,) = report["remarks"]
    assert line.startswith("2 files cannot be read: depth_front/0002.png: ") and "lidar/0001.npy" in line
    bad = read_json(found.folder / "route.json")["unread"]
    assert list(bad) == ["depth_front/0002", "lidar/0001"]
    check_data.run(section("check_data", pictures=0), tmp_path / "check_data", download=tmp_path / "download")
    (said,) = read_json(tmp_path / "check_data/check.json")["routes"].values()
    assert said["unusable"] == {"1": [bad["lidar/0001"]], "2": [bad["depth_front/0002"]]}


@pytest.mark.slow
@pytest.mark.parametrize("above", ["..", ".", "town04_00"])
def test_the_data_sets_own_index_and_the_leaderboards_record_cut_a_route(source, tmp_path, above):
    (source / above / "dataset_metadata.pkl").write_bytes(pickle.dumps({4: {f"dataset/town04_00/{NAME}": 7}}))
    found, _ = route_of(tmp_path, source)
    assert found.about["usable"] == 7 and "dataset_metadata.pkl" in found.about["cut"]
    file = next(source.rglob("results.json"))
    said = read_json(file)
    said["_checkpoint"]["records"][0]["infractions"]["red_light"] = ["at 7.60 s, (1.00, 2.00)"]
    write(file, said)
    found, _ = route_of(tmp_path / "again", source)
    assert found.about["usable"] == 6 and found.about["cut"] == "red_light at 7.6 s: used up to 10 frames before"


@pytest.mark.parametrize(
    "length, said",
    [(Harmful(), "cannot be taken: it holds builtins.print"), (None, "the length of 'r0' is None; expected a number")],
)
def test_an_index_that_cannot_be_read_is_passed_over_by_name(tmp_path, caplog, capsys, length, said):
    """Also one that only lies beside the source."""
    lbc(tmp_path / "source" / "r0")
    (tmp_path / "dataset_metadata.pkl").write_bytes(pickle.dumps({4: {"r0": length}}))
    found, _ = route_of(tmp_path, tmp_path / "source")
    assert found.about["usable"] == 20 and "run" not in capsys.readouterr().out
    assert f"{tmp_path}/dataset_metadata.pkl: {said}" in caplog.text and "the index is passed over" in caplog.text


def unlike(folder, numbers, **changes):
    """Measurements changed; None takes a key away."""
    for number in numbers:
        file = folder / "measurements" / f"{number:04d}.json"
        said = read_json(file) | changes
        write(file, {key: value for key, value in said.items() if value is not None})


@pytest.mark.parametrize("numbers, frames", [([7], 19), (range(5), 20)])
def test_a_key_that_few_lack_costs_their_frames_and_one_that_many_lack_is_said(tmp_path, numbers, frames):
    folder = lbc(tmp_path / "source", should_brake=False)
    unlike(folder, numbers, throttle=None)
    found, report = route_of(tmp_path, folder)
    assert len(found.frames) == frames and "should_brake" in found.sensors
    told = " ".join(report["remarks"])
    if frames == 20:
        assert "pedals and wheel: left out, as only 15 of 20 moments tell it" in told and "control" not in found.sensors
    else:
        assert found.about["faults"] == ["measurements/0007.json: 'throttle' is missing, which the others have"]
        assert "1 measurements are left out: measurements/0007.json" in told and "control" in found.sensors


@pytest.mark.parametrize("stamps", [True, False])
def test_nothing_is_learnt_over_a_leap_in_time(tmp_path, stamps):
    """A recorder that paused goes on with the next number, half a minute and 120 m farther on."""
    folder = lbc(tmp_path / "source", n=24)
    for number in range(24):
        file = folder / "measurements" / f"{number:04d}.json"
        said, late = read_json(file), number >= 12
        stamp = {"timestamp": number / 2 + 29.5 * late} if stamps else {}
        write(file, said | {"y": said["y"] + 117.5 * late} | stamp)
    found, report = route_of(tmp_path, folder)
    assert 12 not in found.frames and len(found.frames) == 23
    (line,) = found.about["faults"]
    assert line.startswith("measurements/0012 comes " + ("30.0 s and 12" if stamps else "12"))
    assert any("1 leaps in time" in line for line in report["remarks"])


def tcp(folder, n):
    """A drive of TCP: a turn, with what the expert meant."""
    lbc(folder, n=n)
    random = np.random.default_rng(n)
    (folder / "supervision").mkdir()
    for number in range(n):
        file = folder / "measurements" / f"{number:04d}.json"
        said = read_json(file)
        moved = {
            "x_target": said["x_command"] + number,
            "y_target": said["y_command"],
            "target_command": number % 6 + 1,
        }
        write(file, {key: said[key] for key in ("x", "y", "theta", "speed")} | moved)
        meant = {
            "action": np.array([0.5, -0.1, 0.0]), "action_mu": random.uniform(1, 9, 2),
            "action_sigma": random.uniform(1, 9, 2), "value": np.float32(random.uniform(0, 9)),
            "features": random.normal(size=256).astype(np.float32), "only_ap_brake": number == 3,
        }  # fmt: skip
        np.save(folder / "supervision" / f"{number:04d}.npy", meant, allow_pickle=True)


def packed_as_tcp_does(town):
    """By what its gen_data.py says: x and y change places, the last four moments are only ahead of others."""
    found = defaultdict(list)
    for route in sorted(path for path in town.iterdir() if path.is_dir()):
        files = sorted((route / "measurements").iterdir())
        for file in files[:-4]:
            said = read_json(file)
            meant = np.load(route / "supervision" / f"{file.stem}.npy", allow_pickle=True).item()
            found["front_img"].append([f"{town.name}/{route.name}/rgb/{file.stem}.png"])
            for ours, theirs in (("input_x", "y"), ("input_y", "x"), ("input_theta", "theta")):
                found[ours].append([said[theirs]])
            for ours, theirs in (("x_target", "y_target"), ("y_target", "x_target")):
                found[ours].append(said[theirs])
            for key in ("speed", "target_command"):
                found[key].append(said[key])
            for key in ("action", "action_mu", "action_sigma", "value", "only_ap_brake"):
                found[key].append(meant[key])
            found["feature"].append(meant["features"])
        for kind in ("measurements", "supervision"):
            shutil.rmtree(route / kind)
    np.save(town / "packed_data.npy", dict(found), allow_pickle=True)


def test_a_town_that_tcp_has_packed_is_what_its_files_say(tmp_path):
    for folder in ("files", "packed"):
        for route, n in (("r0", 16), ("r1", 14)):
            tcp(tmp_path / folder / "town03" / route, n)
    packed_as_tcp_does(tmp_path / "packed/town03")
    (tmp_path / "packed/town03/r2/rgb").mkdir(parents=True)
    whole, report = (fetched(tmp_path / f"to_{name}", tmp_path / name) for name in ("files", "packed"))
    assert list(report["routes"]) == list(whole["routes"]) == ["town03-r0", "town03-r1"]
    assert "packed_data.npy: has no moment of r2; bring its measurements/" in report["quarantined"]["town03-r2"]
    assert "passed_over" not in report
    for name, n in (("town03-r0", 12), ("town03-r1", 10)):
        theirs, found = brought(tmp_path / "to_files", name), brought(tmp_path / "to_packed", name)
        assert (found.about["layout"], found.about["town"], found.about["faults"]) == ("tcp", "town03", [])
        assert "the last 4 moments are left out: packed_data.npy has their poses alone" in found.about["remarks"]
        assert list(found.columns) == list(theirs.columns) and found.sensors == theirs.sensors
        for key, values in theirs.columns.items():
            assert (found.columns[key] == values[:n]).all(), key
        for key, values in theirs.supervision.items():
            assert (found.supervision[key] == values[:n]).all(), key


def test_a_packed_town_that_is_not_whole_is_named(tmp_path):
    tcp(tmp_path / "source/town03/r0", 14)
    packed_as_tcp_does(tmp_path / "source/town03")
    file = tmp_path / "source/town03/packed_data.npy"
    said = np.load(file, allow_pickle=True).item()
    for broken, words in (
        ({key: values for key, values in said.items() if key != "speed"}, "field 'speed' is missing"),
        (said | {"speed": said["speed"][1:]}, "'speed' is of 9 moments, front_img of 10; pack it anew"),
        (said | {"front_img": [["0000.png"]] * 10}, "front_img ends with <route>/rgb/NNNN.png"),
    ):
        np.save(file, broken, allow_pickle=True)
        with pytest.raises(BadInput, match=f"packed_data.npy: .*{words}"):
            fetched(tmp_path, tmp_path / "source")


def test_what_is_not_read_and_what_nobody_cut_is_said(tmp_path):
    folder = lbc(tmp_path / "source", n=12, x_target=0.0, y_target=0.0, target_command=4)
    for number in range(12):  # it stands: nothing tells the rate
        unlike(folder, [number], x=0.0, y=0.0, speed=0.0)
    for kind in ("radar", "topdown"):
        (folder / kind).mkdir()
    found, report = route_of(tmp_path, folder)
    assert report["layout"] == "tcp" and found.about["cut"] is None
    told = report["remarks"]
    assert "2 folders are not read: radar, topdown" in told
    assert any("nothing tells where its driver went wrong, by results.json" in one for one in told)
    assert any("nothing in it tells its rate: 2 Hz, as in TCP, is taken" in one for one in told)


def test_a_calibration_of_other_pictures_is_refused(source, tmp_path):
    file = next(source.rglob("calibration.json"))
    said = read_json(file)
    said["cameras"]["front"]["width"] = 640
    write(file, said)
    with pytest.raises(BadInput, match="camera front is for 640 x 32 px, its pictures have 48 x 32"):
        fetched(tmp_path, source)


def test_a_drive_of_ten_frames_a_second_becomes_one_of_two(tmp_path):
    lbc(tmp_path / "source" / "Town03", n=51, hz=10)
    found, report = route_of(tmp_path, tmp_path / "source")
    assert report["town"] == "town03" and len(found.frames) == 11
    assert any("10 measurements a second" in line for line in report["remarks"])
    step = np.linalg.norm(np.diff(found.pose[:, :2], axis=0), axis=1)
    assert step == pytest.approx(SPEED_MS / 2, rel=0.01)
    assert found.files("rgb_front")[2].read_bytes() == (tmp_path / "source/Town03/rgb/0010.png").read_bytes()


def test_a_rate_that_is_no_multiple_is_refused(tmp_path):
    lbc(tmp_path / "source", n=40, hz=5)
    with pytest.raises(BadInput, match="5 frames a second cannot be brought to 2 by leaving some out"):
        fetched(tmp_path, tmp_path / "source")


def test_a_bad_drive_does_not_stop_the_others(tmp_path):
    lbc(tmp_path / "source" / "good")
    lbc(tmp_path / "source" / "bad", theta=None)
    report = fetched(tmp_path, tmp_path / "source")
    assert list(report["routes"]) == ["good"]
    assert (
        "20 of 20 frames cannot be used, first: measurements/0000.json: 'theta' is None" in report["quarantined"]["bad"]
    )


def test_lbc_turns_left_as_it_did(tmp_path):
    """Its cameras are the published ones; nothing else than what it has is among its sensors."""
    lbc(tmp_path / "source", sides=("rgb", "rgb_left", "rgb_right"))
    found, report = route_of(tmp_path, tmp_path / "source")
    assert set(found.sensors) == {"rgb", "control", "command", "target"} and report["layout"] == "lbc"
    end = frames.ego_from_world(found.pose[-1, :2], found.pose[0])
    assert end[0] > 5 and end[1] > 5 and found.pose[-1, 2] > found.pose[0, 2]
    assert [found.cameras[name].centre[1] for name in ("front", "left", "right")] == pytest.approx([0, 0.25, -0.25])
    pixels, depth = found.cameras["left"].project(np.array([[11.2, 10.25, 1.3]]))
    assert pixels[0] == pytest.approx([25, 15]) and depth[0] > 0


@pytest.mark.skipif(not (REAL / "carla_route").exists(), reason="needs ../shared/real: a drive of LBC")
@pytest.mark.slow
def test_the_real_drive_of_lbc(tmp_path):
    found, report = route_of(tmp_path, REAL / "carla_route")
    assert len(found.frames) == 472 and report["remarks"] == [
        "no calibration.json: its cameras are taken as Learning by Cheating publishes them",
        "1 folders are not read: topdown",
    ]
    assert (found.columns["brake"] > 0).sum() == 197
