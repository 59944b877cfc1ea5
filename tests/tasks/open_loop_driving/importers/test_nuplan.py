"""nuPlan's infos: scenes are routes, copies are one, no class of a pickle is made; boxes lie on their cars."""

from __future__ import annotations

import codecs
import datetime
import pickle

import numpy as np
import pytest

from tasks.open_loop_driving.formats import frames, routes
from tasks.open_loop_driving.importers import nuplan
from tasks.open_loop_driving.judging import fits
from tasks.yard.step import BadInput
from tests.tasks.open_loop_driving.sources import REAL, SIZE, brought, fetched, picture

INFOS = REAL / "nuplan_b2d"
FRONT = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # camera -> car of one that looks ahead


def info(i, scene="night", yaw=0.05, **changes):
    """The car drives 2 m a step in a bend to the left; a car 10 m ahead, and 1 m to the left."""
    place = yaw * i
    return {
        "token": f"{scene}{i}", "scene_token": scene, "timestamp": 1_000_000 + 500_000 * i, "map_location": "us-nv",
        "ego2global_translation": [664860.0 + 2 * i, 3999609.0 + 0.5 * yaw * i * i * 2, 600.0],
        "ego2global_rotation": [np.cos(place / 2), 0.0, 0.0, np.sin(place / 2)],
        "gt_boxes": np.array([[10.0, 1.0, 0.5, 1.9, 4.6, 1.7, 0.0]]), "gt_names": np.array(["vehicle"]),
        "gt_velocity": np.array([[3.0, 4.0]]), "gt_ego_fut_cmd": np.array([0.0, 1.0, 0.0]),
        "cams": {"CAM_F0": {
            "data_path": f"blobs/CAM_F0/{i}.jpg", "cam_intrinsic": np.array([[40.0, 0, 25], [0, 40, 15], [0, 0, 1]]),
            "sensor2lidar_rotation": FRONT, "sensor2lidar_translation": np.array([1.5, 0.0, 1.6])}},
        **changes,
    }  # fmt: skip


def source(tmp_path, infos, protocol=pickle.DEFAULT_PROTOCOL):
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "infos.pkl").write_bytes(pickle.dumps({"infos": infos, "metadata": {}}, protocol))
    for i in range(8):
        picture(folder / "blobs" / "CAM_F0" / f"{i}.jpg", i)
    return folder


def test_a_scene_is_a_route_and_copies_are_one(tmp_path):
    source(tmp_path, [*(info(i) for i in range(6)), *(info(i) for i in range(6)), *(info(i, "dawn") for i in range(4))])
    report = fetched(tmp_path, tmp_path / "source")
    assert {name: one["frames"] for name, one in report["routes"].items()} == {"infos-night": 6, "infos-dawn": 4}
    route = brought(tmp_path, "infos-night")
    assert "6 infos are copies of others" in route.about["remarks"]
    assert set(route.sensors) == {"rgb", "boxes", "command"} and route.columns["command"].tolist() == [1] * 6
    assert route.pose[:, 2] == pytest.approx(0.05 * np.arange(6)) and route.columns["speed_ms"][1] == pytest.approx(
        4, abs=0.1
    )
    box, _ = route.boxes[3]
    assert box[0] == pytest.approx([0, 10, 1, 0.5, 4.6, 1.9, 1.7, 0, 5])  # length before width
    pixels, depth = route.cameras["f0"].project(box[:, 1:4])
    assert depth[0] == pytest.approx(8.5) and pixels[0] == pytest.approx([25 - 40 / 8.5, 15 + 40 * 1.1 / 8.5])
    assert route.cameras["f0"].size == SIZE


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_infos_are_read_whatever_protocol_they_were_written_by(tmp_path, protocol):
    """mmcv.dump takes the second."""
    nobody = {"gt_boxes": np.empty((0, 7)), "gt_names": np.empty(0, "<U7"), "gt_velocity": np.empty((0, 2))}
    source(tmp_path, [info(0, **nobody), *(info(i) for i in range(1, 4))], protocol)
    fetched(tmp_path, tmp_path / "source")
    assert brought(tmp_path, "infos").boxes[3][0][0] == pytest.approx([0, 10, 1, 0.5, 4.6, 1.9, 1.7, 0, 5])


class Encoded:
    def __init__(self, *given):
        self.given = given

    def __reduce__(self):
        return codecs.encode, self.given


@pytest.mark.parametrize("given", [("eval", "rot13"), (b"eval", "latin1")])
def test_what_encodes_anything_else_is_not_run(tmp_path, given):
    source(tmp_path, [info(0, token=Encoded(*given))])
    with pytest.raises(BadInput, match=r"infos.pkl: cannot be taken: it holds _codecs.encode"):
        fetched(tmp_path, tmp_path / "source")


def test_another_scenes_new_picture_leaves_a_route_as_it_is(tmp_path):
    named = [info(i, "dawn") for i in range(4)]
    for i, one in enumerate(named):
        one["cams"]["CAM_F0"]["data_path"] = f"blobs/dawn/{i}.jpg"
    folder = source(tmp_path, [*(info(i) for i in range(4)), *named])
    for i in range(3):
        picture(folder / "blobs/dawn" / f"{i}.jpg", i)
    fetched(tmp_path, folder)
    files = {scene: tmp_path / "download" / f"infos-{scene}" / "route.json" for scene in ("night", "dawn")}
    before = {scene: file.stat().st_ino for scene, file in files.items()}
    picture(folder / "blobs/dawn/3.jpg", 3)
    fetched(tmp_path, folder)
    assert files["night"].stat().st_ino == before["night"] and files["dawn"].stat().st_ino != before["dawn"]
    assert len(brought(tmp_path, "infos-dawn").files("rgb_f0")) == 4


def test_a_moment_that_is_missing_is_missing(tmp_path):
    source(tmp_path, [info(i) for i in (0, 1, 2, 5, 6)])
    (said,) = fetched(tmp_path, tmp_path / "source")["routes"].values()
    assert brought(tmp_path, "infos").frames.tolist() == [0, 1, 2, 5, 6]
    assert said["faults"] == ["no info at 1.5 s to 2.0 s"]
    assert "1 gaps among the infos: 1.5 s to 2.0 s" in said["remarks"]


def test_boxes_and_commands_that_some_moments_lack_are_left_out_aloud(tmp_path):
    some = [{key: value for key, value in info(i).items() if key not in ("gt_boxes", "gt_ego_fut_cmd")} for i in (4, 5)]
    source(tmp_path, [*(info(i) for i in range(4)), *some])
    (said,) = fetched(tmp_path, tmp_path / "source")["routes"].values()
    assert "boxes are left out: 4 of 6 moments have them" in said["remarks"] and "boxes" not in said["sensors"]
    assert "its command is left out: 4 of 6 moments tell it" in said["remarks"] and "command" not in said["sensors"]


@pytest.mark.parametrize(
    "infos, said",
    [
        ([datetime.date(2026, 1, 1)], "it holds datetime.date; only numbers"),
        ([{"token": "x"}], "infos[0]: key 'timestamp' is missing"),
        ([info(0)], "scene night: 1 moments half a second apart"),
        ([info(0), info(1, gt_names=np.array(["vehicle", "vehicle"]))], "1 gt_boxes, 2 gt_names, 1 gt_velocity"),
    ],
)
def test_what_cannot_be_used_says_why(tmp_path, infos, said):
    source(tmp_path, infos)
    with pytest.raises(BadInput) as error:
        fetched(tmp_path, tmp_path / "source")
    assert said in str(error.value) and "infos.pkl" in str(error.value)


def test_a_pickle_that_is_cut_off_is_named(tmp_path):
    folder = source(tmp_path, [info(i) for i in range(4)])
    data = (folder / "infos.pkl").read_bytes()
    (folder / "infos.pkl").write_bytes(data[: len(data) // 2])
    with pytest.raises(BadInput, match=r"infos.pkl: cannot be read as a pickle"):
        fetched(tmp_path, folder)


@pytest.mark.skipif(not INFOS.exists(), reason="needs ../shared/real: ten moments of nuPlan")
def test_the_real_car_stands_at_a_red_light_and_boxes_lie_on_cars(tmp_path):
    report = fetched(tmp_path, INFOS)
    (name,) = report["routes"]
    route = brought(tmp_path, name)
    assert len(route.frames) == 10 and "70 infos are copies of others" in route.about["remarks"]
    steps = frames.ego_from_world(route.pose[1:, :2], route.pose[:-1])
    assert np.abs(steps).max() < 0.01 and route.columns["speed_ms"].max() < 0.05
    infos = nuplan.infos(INFOS / "sample_ann.pkl")
    for cam, said in infos[0]["cams"].items():
        camera = nuplan.camera(cam, said, (1080, 1920), "here")
        points = np.random.default_rng(0).normal(0, 20, (50, 3))
        told = (points - said["sensor2lidar_translation"]) @ said["sensor2lidar_rotation"]
        assert camera.project(points)[1] == pytest.approx(told[:, 2], abs=1e-9)
        assert np.abs(camera.ego_from_camera @ camera.camera_from_ego - np.eye(4)).max() < 1e-9
    # The car straight ahead: its tail lamps are the reddest part of the picture's middle, and lie within its box.
    boxes = route.boxes[6][0]
    ahead = min((box for box in boxes if box[0] == 0 and box[1] > 3 and abs(box[2]) < 1), key=lambda box: box[1])
    pixels, _ = route.cameras["f0"].project(fits.corners(ahead))
    image = routes.picture(route.files("rgb_f0")[6]).astype(int)
    band = image[650:900, 500:1300]
    red = (band[..., 0] > 150) & (band[..., 0] - band[..., 1:].max(2) > 70)
    v, u = np.nonzero(red)
    u, v = u + 500, v + 650
    inside = (u > pixels[:, 0].min()) & (u < pixels[:, 0].max()) & (v > pixels[:, 1].min()) & (v < pixels[:, 1].max())
    assert len(u) > 200 and inside.mean() > 0.9
