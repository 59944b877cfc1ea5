"""Bench2Drive: Unreal's left-handed frames become ours; what its numbers say twice must agree."""

from __future__ import annotations

import math

import laspy
import numpy as np
import pytest

from tasks.open_loop_driving.formats import frames, routes
from tasks.open_loop_driving.importers import bench2drive, moments
from tasks.yard.files import read_json
from tasks.yard.step import BadInput
from tests.tasks.open_loop_driving import sources
from tests.tasks.open_loop_driving.sources import REAL, SPEED_MS, brought, fetched, write

EXCERPT = REAL / "bench2drive_anno_excerpt"
NAME = "Accident_Town03_Route1"
needs_excerpt = pytest.mark.skipif(not EXCERPT.exists(), reason="needs ../shared/real: two annotations of Bench2Drive")


def clip(tmp_path, **how):
    return sources.bench2drive(tmp_path / "source" / NAME, **how)


def changed(folder, number, change):
    file = folder / "anno" / f"{number:05d}.json"
    said = read_json(file)
    change(said)
    write(file, said)


@pytest.mark.parametrize("packed", [True, False])
def test_a_clip_of_ten_frames_a_second(tmp_path, packed):
    clip(tmp_path, packed=packed)
    report = fetched(tmp_path, tmp_path / "source")
    (name,) = report["routes"]
    route, said = brought(tmp_path, name), report["routes"][name]
    assert (said["layout"], said["town"], len(route.frames)) == ("bench2drive", "town03", 6)
    assert set(route.sensors) == {"rgb", "boxes", "control", "command", "target", "should_brake"}
    assert np.linalg.norm(np.diff(route.pose[:, :2], axis=0), axis=1) == pytest.approx(SPEED_MS / 2, rel=1e-3)
    assert route.pose[0, :2] == pytest.approx([0, 0])  # where the car's box is, not its GPS
    assert route.pose[-1, 2] > 0.05 and route.pose[-1, 1] > 0  # to the left
    box, ids = route.boxes[0]
    assert ids == ["2"] and box[0] == pytest.approx([0, 12, -5, 0.7, 4, 2, 1.4, -math.pi / 2, 0], abs=1e-3)
    pixels, depth = route.cameras["front"].project(box[:, 1:4])
    assert depth == pytest.approx(11.2, abs=1e-3) and pixels[0, 0] == pytest.approx(25 + 40 * 5 / 11.2, abs=1e-2)


def test_its_weather_is_told_in_a_word(tmp_path):
    sky = {"cloudiness": 90.0, "precipitation": 50.0, "sun_altitude_angle": -30.0, "fog_density": 0.0}
    changed(clip(tmp_path, packed=False), 0, lambda one: one.update(weather=sky))
    (name,) = fetched(tmp_path, tmp_path / "source")["routes"]
    assert brought(tmp_path, name).about["weather"] == "night rain overcast"


def test_folders_that_nobody_reads_are_named(tmp_path):
    folder = clip(tmp_path)
    for name in ("camera/depth_front", "camera/semantic_front", "expert_assets", "radar"):
        (folder / name).mkdir(parents=True)
    (said,) = fetched(tmp_path, tmp_path / "source")["routes"].values()
    named = "camera/depth_front, camera/semantic_front, expert_assets and 1 more"
    assert f"4 folders are not read: {named}" in said["remarks"]


def test_an_annotation_without_the_others_pedals_costs_its_frame(tmp_path):
    folder = clip(tmp_path, packed=False)
    changed(folder, 10, lambda one: [one.pop(key) for key in ("throttle", "steer", "brake")])
    (name,) = fetched(tmp_path, tmp_path / "source")["routes"]
    route = brought(tmp_path, name)
    assert "control" in route.sensors and route.frames.tolist() == [0, 1, 3, 4, 5]
    assert route.about["faults"] == ["anno/00010.json: 'throttle' is missing, which the others have"]


@pytest.mark.parametrize("n, frames", [(30, 6), (9, 2)])
def test_a_clip_in_which_nothing_moves_has_the_published_rate(tmp_path, n, frames):
    clip(tmp_path, n=n, speed=0.0)
    (said,) = fetched(tmp_path, tmp_path / "source")["routes"].values()
    assert said["frames"] == frames
    assert any("nothing in it tells its rate: 10 Hz, as in Bench2Drive" in line for line in said["remarks"])


def test_the_parked_car_stays_where_it_is_in_the_world(tmp_path):
    clip(tmp_path)
    (name,) = fetched(tmp_path, tmp_path / "source")["routes"]
    route = brought(tmp_path, name)
    places = [
        frames.world_from_ego(route.boxes[int(f)][0][0, 1:3], p) for f, p in zip(route.frames, route.pose, strict=True)
    ]
    assert np.array(places) == pytest.approx(np.tile([12.0, -5.0], (len(places), 1)), abs=2e-3)


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda one: one.update(theta=one["theta"] + 1.0), "'theta' is 2.571, the car's yaw 0.0 degrees"),
        (lambda one: one.pop("theta"), "'theta' is missing"),
        (lambda one: one.update(next_command=8), "'next_command' is 8, an unknown command"),
        (lambda one: one["bounding_boxes"].pop(0), "bounding_boxes has no ego_vehicle"),
        (
            lambda one: one["bounding_boxes"][1].update(distance=40.0),
            "box 2 is 10.7 m away by world2ego, 40.0 m by its",
        ),
    ],
)
def test_what_contradicts_itself_is_left_out_by_name(tmp_path, change, said):
    changed(clip(tmp_path, packed=False), 5, change)
    (found,) = fetched(tmp_path, tmp_path / "source")["routes"].values()
    assert "anno/00005.json" in found["remarks"][0] and said in found["remarks"][0]
    assert found["frames"] == 5


def test_a_camera_whose_matrices_disagree_is_refused(tmp_path):
    folder = clip(tmp_path, packed=False)
    changed(folder, 0, lambda one: one["sensors"]["CAM_FRONT"]["cam2ego"][0].__setitem__(3, 2.0))
    with pytest.raises(BadInput, match="CAM_FRONT: 'cam2ego' is not world2ego times the inverse of world2cam"):
        fetched(tmp_path, tmp_path / "source")


def write_laz(file):
    """Two points of the sensor's frame, in CARLA's axes."""
    header = laspy.LasHeader(point_format=0, version="1.2")
    header.scales = [0.001] * 3
    points = laspy.LasData(header)
    points.x, points.y, points.z = np.array([10.0, 4.0]), np.array([2.0, -1.0]), np.array([-1.0, 0.5])
    points.intensity = np.array([65535, 13107], np.uint16)
    points.write(file)


def test_laz_is_brought_into_the_cars_frame_and_a_cut_one_costs_its_frame(tmp_path):
    folder = clip(tmp_path, packed=False)
    place = sources.carla(-0.4, 0.0, 1.8, math.pi / 2)
    (folder / "lidar").mkdir()
    for i in range(0, 30):
        changed(folder, i, lambda one: one["sensors"].update(LIDAR_TOP={"lidar2ego": place.tolist()}))
        write_laz(folder / "lidar" / f"{i:05d}.laz")
    cut = folder / "lidar" / "00010.laz"
    cut.write_bytes(cut.read_bytes()[:-8])
    (folder / "lidar" / "00020.laz").write_text("no points")
    (name,) = (said := fetched(tmp_path, tmp_path / "source"))["routes"]
    route = brought(tmp_path, name)
    points = routes.lidar(route.files("lidar")[0])
    # CARLA's x, y of the sensor turned by a quarter, y to the right: (10, 2) is 2 m behind it and 10 m to its right.
    assert points[0] == pytest.approx([-2.4, -10.0, 0.8, 1.0], abs=1e-5) and points[1, 3] == pytest.approx(0.2)
    assert sorted(route.files("lidar")) == [0, 1, 3, 5]
    lines = " ".join(line for line in said["routes"][name]["remarks"] if "sweep" in line)
    assert "lidar/00010.laz: cannot be read as .laz" in lines and "lidar/00020.laz: cannot be read as .laz" in lines


@needs_excerpt
@pytest.mark.parametrize("name", ["00093.excerpt.json", "00096.excerpt.json"])
def test_the_real_annotations(name):
    """theta = yaw + pi / 2; world2ego takes the car to 0; cam2ego = world2ego inv(world2cam); distances agree."""
    file = EXCERPT / name
    said = moments.read(file)
    own = bench2drive.me(said, file)
    assert said["theta"] - math.radians(own["rotation"][2]) == pytest.approx(math.pi / 2, abs=2e-6)
    ego = np.array(own["world2ego"])
    assert (ego @ [*own["location"], 1])[:3] == pytest.approx([0, 0, 0], abs=1e-4)
    cameras = bench2drive.cameras_of(said, file)
    for sensor, camera in ((said["sensors"][f"CAM_{name.upper()}"], camera) for name, camera in cameras.items()):
        told = np.array(sensor["cam2ego"])
        assert told == pytest.approx(ego @ np.linalg.inv(sensor["world2cam"]), abs=1e-4)
        # Ours has y to the left; Unreal's axes are permuted before K.
        assert camera.centre == pytest.approx(told[:3, 3] * [1, -1, 1], abs=1e-9)
        ahead = (told @ [10, 0, 0, 1])[:3] * [1, -1, 1]
        pixels, depth = camera.project(ahead[None])
        assert depth[0] == pytest.approx(10, abs=1e-6) and pixels[0] == pytest.approx(camera.K[:2, 2], abs=1e-6)
        right = (told @ [10, 2, 0, 1])[:3] * [1, -1, 1]
        assert camera.project(right[None])[0][0, 0] > camera.K[0, 2]
    x, y, _ = bench2drive.pose(said, file)
    assert (x, y) == pytest.approx((own["location"][0], -own["location"][1]))
    for kind, *where in bench2drive.boxes_of(said, file):
        assert kind in ("vehicle", "walker", "traffic_light", "traffic_sign", "object") and np.hypot(*where[:2]) < 100


@needs_excerpt
def test_the_car_behind_follows_it():
    """Frame 93: a Mini 10.8 m away, on the same lane and with nearly the same heading, behind the car."""
    file = EXCERPT / "00093.excerpt.json"
    boxes = {one[-1]: one for one in bench2drive.boxes_of(moments.read(file), file)}
    mini = boxes["154"]
    assert mini[1] == pytest.approx(-10.6, abs=0.2) and abs(mini[7]) < 0.3 and 1.7 < mini[6] < 1.8
