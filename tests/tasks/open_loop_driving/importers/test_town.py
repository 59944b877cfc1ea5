import os
import subprocess
import sys
from itertools import pairwise

import cv2
import numpy as np
import pytest

from tasks.open_loop_driving.importers import town as importer
from tasks.yard.files import folder_hash, read_json
from tasks.yard.step import BadInput
from tasks.yard.worlds import town
from tasks.yard.worlds.town import routes
from tasks.yard.worlds.town.simulation import place

QUERY = "synth://town?seconds=8&cameras=2&seed=0"
KEYS = {
    "x", "y", "theta", "speed", "x_command_far", "y_command_far", "command_far", "x_command_near", "y_command_near",
    "command_near", "should_brake", "x_target", "y_target", "target_command", "weather", "acceleration",
    "angular_velocity",
}  # fmt: skip
SUPERVISED = {
    "action", "value", "action_mu", "action_sigma", "speed", "target_gps", "target_command", "should_brake",
    "only_ap_brake",
}  # fmt: skip


@pytest.fixture(scope="module")
def world():
    return town.parse(QUERY)


@pytest.fixture(scope="module")
def route(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("town") / "town04_r000"
    importer.write_route(world, "town04_r000", folder)
    return folder


def measurements(folder):
    return [read_json(path) for path in sorted((folder / "measurements").iterdir())]


def supervised(folder):
    return [np.load(path, allow_pickle=True).item() for path in sorted((folder / "supervision").iterdir())]


@pytest.mark.slow
def test_a_route_has_every_file_of_the_layout(route):
    frames = [path.stem for path in sorted((route / "measurements").iterdir())]
    assert frames == [f"{frame:04d}" for frame in range(len(frames))] and len(frames) >= 10
    kinds = {"lidar": "npy", "supervision": "npy", "3d_bbs": "json", "bev": "png", "bev_seg_label": "npy"}
    kinds |= {f"{kind}_{camera}": "png" for kind in ("rgb", "seg", "depth") for camera in ("front", "back")}
    for kind, suffix in kinds.items():
        assert [path.name for path in sorted((route / kind).iterdir())] == [f"{frame}.{suffix}" for frame in frames]
    assert {path.name for path in route.iterdir()} == {*kinds, "measurements", "results.json", "calibration.json"}


def test_what_the_files_hold(route):
    for told in measurements(route):
        assert set(told) == KEYS and len(told["weather"]) == 10
        assert len(told["acceleration"]) == len(told["angular_velocity"]) == 3
        assert 0 <= told["theta"] < 2 * np.pi and {told["target_command"], told["command_near"]} <= {1, 2, 3, 4, 5, 6}
    masks = np.load(route / "bev_seg_label" / "0000.npy")
    assert masks.shape == (15, 192, 192) and masks.min() >= 0 and masks.max() == 1
    lidar = np.load(route / "lidar" / "0000.npy")
    assert lidar.dtype == np.float32 and lidar.shape[1] == 4
    for camera in ("front", "back"):
        seg = cv2.imread(str(route / f"seg_{camera}" / "0000.png"), cv2.IMREAD_UNCHANGED)
        assert seg.shape == (64, 112) and {7, 13} <= set(np.unique(seg)) <= {1, 4, 5, 6, 7, 8, 9, 10, 13, 14, 18, 22}
        assert cv2.imread(str(route / f"rgb_{camera}" / "0000.png")).shape == (64, 112, 3)


def test_the_experts_beta_has_its_action_as_mode(route):
    found, told = supervised(route), measurements(route)
    for one, measured in zip(found, told, strict=True):
        assert set(one) == SUPERVISED
        alpha, beta = one["action_mu"].astype(float), one["action_sigma"].astype(float)
        mode = 2 * (alpha - 1) / (alpha + beta - 2) - 1
        throttle, steer, brake = one["action"]
        assert np.allclose(mode, [throttle - brake, steer], atol=1e-5) and (alpha >= 1).all() and (beta >= 1).all()
        assert throttle * brake == 0
        assert one["should_brake"] == measured["should_brake"] and (brake > 0 or not one["should_brake"])
        assert one["speed"] == pytest.approx(measured["speed"])
    value = np.array([one["value"] for one in found])
    reward = np.clip(np.array([one["speed"] for one in found]) / importer.FULL_MPS, 0, 1)
    assert np.allclose(value[:-1], reward[:-1] + importer.DISCOUNT * value[1:], atol=1e-4)
    assert value.min() >= 0 and value.max() <= 10


def test_a_left_turn_is_a_left_turn_in_the_frame_of_a_measurement(world):
    """ThinkTwice's own way from measurements to the car's frame, y to the right, on a turn that is known."""
    here = place(world.seed, 4)
    turns = {}
    for number in range(30):
        way = routes.draw(here.streets, here.tracks, np.random.default_rng(number), 100)
        for command, side in ((1, "left"), (2, "right")):
            if command in way.command and side not in turns:
                turns[side] = way, command
    assert set(turns) == {"left", "right"}
    for side, (way, command) in turns.items():
        rows = np.flatnonzero(way.command == command)
        first, last = rows[0], rows[0] + np.flatnonzero(np.append(np.diff(rows), 2) > 1)[0]
        places = []
        for row in (first, last):
            x, y = importer.measured(*way.points[row])
            yaw = importer.theta(way.yaw[row]) - np.pi / 2
            places.append((np.array([y, -x]), yaw))
        (start, yaw), (end, then) = places
        c, s = np.cos(yaw), np.sin(yaw)
        ahead, right = np.array([[c, s], [-s, c]]) @ (end - start)
        turned = (then - yaw + np.pi) % (2 * np.pi) - np.pi
        assert ahead > 4 and abs(right) > 3 and abs(abs(turned) - np.pi / 2) < 0.3
        assert (right < 0) == (turned < 0) == (side == "left")


def test_measured_places_headings_and_speeds_belong_together(route):
    """In ThinkTwice's frames: the way goes where theta says, as far as the speed says; the target lies ahead."""
    told = measurements(route)
    for one, later in pairwise(told):
        yaw = one["theta"] - np.pi / 2
        ahead, right = np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]]) @ [
            later["y"] - one["y"], -later["x"] + one["x"]
        ]  # fmt: skip
        mean = (one["speed"] + later["speed"]) / 2 * 0.5
        assert abs(ahead - mean) < 0.35 and abs(right) < 0.4 * mean + 0.05
    x, y = told[0]["y_target"] - told[0]["y"], -told[0]["x_target"] + told[0]["x"]
    yaw = told[0]["theta"] - np.pi / 2
    assert 3 < np.cos(yaw) * x + np.sin(yaw) * y < 60


def test_boxes_lidar_depth_and_calibration_agree(route):
    """Places of boxes, y to the right, projected by calibration.json, whose y is to the left."""
    camera = read_json(route / "calibration.json")["cameras"]["front"]
    K, pose = np.array(camera["K"]), np.array(camera["camera_from_ego"])
    looked = 0
    for frame in range(0, len(measurements(route))):
        seg = cv2.imread(str(route / "seg_front" / f"{frame:04d}.png"), cv2.IMREAD_UNCHANGED)
        blue, green, red = cv2.imread(str(route / "depth_front" / f"{frame:04d}.png")).astype(float).transpose(2, 0, 1)
        depth = (red + 256 * green + 65536 * blue) / (2**24 - 1) * 1000
        assert (depth[seg == 13] == 1000).all() and depth[seg == 7].max() < 200
        boxes = read_json(route / "3d_bbs" / f"{frame:04d}.json")
        assert boxes["ego"]["class"] == "vehicle" and boxes["ego"]["num_points"] == -1
        for one in boxes.values():
            if one["class"] == "vehicle" and one["num_points"] > 25:
                x, y, z = one["relative_position"]
                u, v, w = K @ (pose @ [x, -y, z + one["extent"][2] / 2, 1])[:3]
                if w > 4 and 8 < u / w < 104 and 0 < v / w < 64 and abs(depth[int(v / w), int(u / w)] - w) < 4:
                    looked += 1
                    assert seg[int(v / w), int(u / w)] == 10
    assert looked >= 2
    lidar, counted = np.load(route / "lidar" / f"{frame:04d}.npy"), 0
    for one in boxes.values():
        if one["class"] == "vehicle" and one["num_points"] > 5:
            yaw = one["relative_rotation"][2]
            local = (lidar[:, :2] - one["relative_position"][:2]) @ [
                [np.cos(yaw), -np.sin(yaw)],
                [np.sin(yaw), np.cos(yaw)],
            ]
            inside = (np.abs(local) < np.array(one["extent"][:2]) / 2 + 0.05).all(1)
            inside &= (lidar[:, 2] > -0.05) & (lidar[:, 2] < one["extent"][2] + 0.05)
            assert inside.sum() == one["num_points"]
            counted += 1
    assert counted >= 1
    own = np.array(boxes["ego"]["ego_matrix"])
    for one in boxes.values():
        place = np.linalg.inv(own) @ np.array(one["ego_matrix"])
        assert np.allclose(place[:3, 3], one["relative_position"], atol=1e-6)
        assert np.allclose(np.array(one["ego_matrix"]) @ one["ego_inv_matrix"], np.eye(4), atol=1e-9)


@pytest.mark.slow
def test_the_record_of_a_drive_says_how_it_ended(route, world):
    (record,) = read_json(route / "results.json")["_checkpoint"]["records"]
    assert record["status"] == "Ended by the recorder" and record["scores"]["score_penalty"] == 1
    assert not any(record["infractions"].values()) and "red_light" in record["infractions"]
    assert record["meta"]["frames"] == len(measurements(route))
    sim = town.begin(world, "town04_r000")
    sim.step(0.7, 0.4, 0.0, 12.0)  # into something
    sim.step(0.0, 0.0, 1.0, 70.0)
    (record,) = importer.results(sim, "town04_r000", 1)["_checkpoint"]["records"]
    assert record["status"] == "Failed - vehicle_blocked" and record["scores"]["score_composed"] < 30
    assert record["infractions"]["vehicle_blocked"][0].startswith("at 6") and len(record["infractions"]) == 8


@pytest.mark.slow
def test_a_route_has_the_same_bytes_in_another_process_and_however_many_there_are(route, tmp_path):
    code = (
        "import sys, pathlib, numpy as np; from tasks.yard.worlds import town; np.random.seed(1);"
        "from tasks.open_loop_driving.importers import town as importer;"
        f"world = town.parse('{QUERY}&routes=7');"
        "importer.write_route(world, 'town04_r000', pathlib.Path(sys.argv[1]))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "again")], check=True, env=environment)
    assert folder_hash(tmp_path / "again") == folder_hash(route)


def test_a_route_that_there_is_not_is_named(world, tmp_path):
    with pytest.raises(BadInput, match="town07_r000: no route of this world"):
        importer.write_route(world, "town07_r000", tmp_path)


def test_what_a_moment_is_worth_counts_the_frames_that_are_missing():
    speeds = [8.0, 8.0, 4.0, 4.0, 4.0, 0.0]
    whole = importer.values(speeds, list(range(6)))
    kept = [0, 1, 2, 4, 5]  # at 3 it went on as at 2
    assert importer.values([speeds[frame] for frame in kept], kept) == pytest.approx(whole[kept])
