"""The agent for CARLA's leaderboard, against a stand-in of its interface (0.9.10)."""

import math
import sys
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest

from tasks.open_loop_driving.formats import calibration
from tasks.open_loop_driving.formats.calibration import Camera
from tasks.open_loop_driving.importers import drives, lens
from tasks.open_loop_driving.judging.navigator import METRES
from tasks.yard.step import BadInput
from tasks.yard.worlds import town
from tests.tasks.open_loop_driving.networks import write_checkpoint

WORLD = town.parse("synth://town?cameras=3&height=32&width=56")


class VehicleControl(SimpleNamespace):
    pass


class AutonomousAgent:
    """As leaderboard/autoagents/autonomous_agent.py has it, as far as an evaluator uses it."""

    def __init__(self, path_to_conf_file):
        self.track = None
        self._global_plan = self._global_plan_world_coord = None
        self.setup(path_to_conf_file)

    def set_global_plan(self, global_plan_gps, global_plan_world_coord):
        self._global_plan, self._global_plan_world_coord = global_plan_gps, global_plan_world_coord


@pytest.fixture
def carla_agent(monkeypatch):
    names = ("carla", "leaderboard", "leaderboard.autoagents", "leaderboard.autoagents.autonomous_agent")
    modules = {name: ModuleType(name) for name in names}
    modules["carla"].VehicleControl = VehicleControl
    last = modules["leaderboard.autoagents.autonomous_agent"]
    last.AutonomousAgent, last.Track = AutonomousAgent, SimpleNamespace(SENSORS="SENSORS")
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "tasks.open_loop_driving.judging.carla_agent", raising=False)
    import tasks.open_loop_driving.judging.carla_agent as found

    yield found
    sys.modules.pop("tasks.open_loop_driving.judging.carla_agent", None)


def agent_of(carla_agent, folder, network="thinktwice_small", cameras=("front", "left")):
    path = write_checkpoint(folder, network, WORLD, cameras)
    return getattr(carla_agent, carla_agent.get_entry_point())(str(path))


def gps(x, y):
    """CARLA's world is left-handed: its y is south, and latitude grows to the north."""
    return np.array([-y / METRES[0], x / METRES[1], 0.0])


def data_of(agent, x, y, yaw, speed, compass=None, points=None):
    """What CARLA's sensors say of a car at x, y, yaw of CARLA's world."""
    found = {
        "gps": (0, gps(x, y)), "speed": (0, {"speed": speed}),
        "imu": (0, np.array([0, 0, 9.8, 0, 0, 0, yaw + math.pi / 2 if compass is None else compass])),
    }  # fmt: skip
    for spec in agent.sensors():
        if spec["type"].startswith("sensor.camera"):
            found[spec["id"]] = (0, np.full((spec["height"], spec["width"], 4), (10, 20, 30, 255), np.uint8))
        elif spec["type"].startswith("sensor.lidar"):
            found["lidar"] = (0, np.zeros((0, 4), np.float32) if points is None else points)
    return found


def test_sensors_are_asked_for_as_the_network_was_trained(carla_agent, tmp_path):
    agent = agent_of(carla_agent, tmp_path)
    sensors = {spec["id"]: spec for spec in agent.sensors()}
    assert set(sensors) == {"rgb_front", "rgb_left", "gps", "imu", "speed", "lidar"} and agent.track == "SENSORS"
    front, left = sensors["rgb_front"], sensors["rgb_left"]
    assert (front["width"], front["height"]) == (56, 32) and front["fov"] == pytest.approx(80)
    assert (front["x"], front["y"], front["z"], front["yaw"]) == pytest.approx((1.5, 0, 2.5, 0), abs=1e-9)
    # left is below 0 in CARLA: of the place and of the angle
    assert (left["x"], left["y"], left["yaw"]) == pytest.approx((0, -0.3, -65), abs=1e-9)
    assert sensors["lidar"]["z"] == 2.5


def test_a_camera_that_carla_does_not_have_is_refused_by_name(carla_agent):
    K = np.array([[40.0, 0, 30], [0, 80, 16], [0, 0, 1]])
    pose = np.array([[0.0, -1, 0, 0], [0, 0, -1, 2], [1, 0, 0, 0], [0, 0, 0, 1]])
    with pytest.raises(BadInput, match="camera wide: CARLA has no camera of 60 x 32 px with fx 40"):
        carla_agent.camera_spec(Camera("wide", (32, 60), K, pose))


def test_pictures_of_thinktwices_wide_camera_are_made_straight_as_in_training(carla_agent, tmp_path):
    """Packed at another shape than 16:9 too."""
    rig = {}
    for name, size in (("front", (90, 160)), ("back", (64, 160))):
        pose = drives.pinhole(name, drives.PUBLISHED["thinktwice"][name], size).camera_from_ego
        rig[name] = Camera(name, size, lens.scaled(lens.STRAIGHT, size), pose)
    path = write_checkpoint(tmp_path, "tcp_small", None, tuple(rig), rig=calibration.documents(rig))
    agent = carla_agent.OpenLoopAgent(str(path))
    asked = {spec["id"]: spec for spec in agent.sensors() if "camera" in spec["type"]}
    assert {(one["height"], one["width"], one["fov"]) for one in asked.values()} == {(90, 160, 150.0)}
    rng = np.random.default_rng(0)
    bent = cv2.resize(rng.integers(0, 255, (9, 16, 4), np.uint8), (160, 90))
    found = agent.picture("front", {"rgb_front": (0, bent)})
    assert (found == lens.straight(np.ascontiguousarray(bent[:, :, 2::-1]), lens.maps((90, 160)))).all()
    other = agent.picture("back", {"rgb_back": (0, bent)})
    assert other.shape == (64, 160, 3) and np.abs(other.astype(int) - cv2.resize(found, (160, 64))).mean() < 3


def test_it_drives_a_route_and_sees_it_in_our_frames(carla_agent, tmp_path):
    agent = agent_of(carla_agent, tmp_path)
    plan = [({"lat": p[0], "lon": p[1], "z": 0}, SimpleNamespace(value=c))
            for p, c in ((gps(0, 0), 4), (gps(0, -40), 1), (gps(-30, -40), 4))]  # fmt: skip
    agent.set_global_plan(plan, [])
    given, plan_of = [], agent.planner.plan
    agent.planner.plan = lambda before, now: given.append((before, now)) or plan_of(before, now)
    yaw = -math.pi / 2  # faces north
    for tick in range(14):
        points = np.array([[10.0, 2.0, -2.0, 0.5]], np.float32)  # to the right, half a metre above the ground
        done = agent.run_step(data_of(agent, 0.0, -0.2 * tick, yaw, 4.0, points=points), tick * 0.05)
        assert isinstance(done, VehicleControl) and 0 <= done.throttle <= 1 and -1 <= done.steer <= 1
        assert 0 <= done.brake <= 1
    assert len(given) == 3  # at 0, .25 and .5 s
    before, now = given[-1]
    assert now.pose == pytest.approx((0, 2.0, math.pi / 2), abs=1e-6)  # north is our y
    assert before.pose == pytest.approx((0, 0, math.pi / 2), abs=1e-6)  # half a second earlier
    assert now.target == pytest.approx((38.0, 0.0), abs=1e-6) and now.command == 1
    assert now.images["front"][0, 0].tolist() == [30, 20, 10]  # RGB of BGRA
    half, last = now.lidar
    assert half == pytest.approx([10, -2, 0.5, 0.5])
    assert last == pytest.approx([9.8, -2, 0.5, 0.5], abs=1e-5)  # seen a tick ago from .2 m behind


def test_a_compass_that_says_nan_has_said_nothing(carla_agent, tmp_path):
    agent = agent_of(carla_agent, tmp_path, "blind")
    assert agent.pose(data_of(agent, 0, 0, 0.3, 1.0))[2] == pytest.approx(-0.3)
    assert agent.pose(data_of(agent, 1, 0, 0.3, 1.0, compass=math.nan))[2] == pytest.approx(-0.3)


def test_it_works_without_the_leaderboard(carla_agent, monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.startswith("leaderboard")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "tasks.open_loop_driving.judging.carla_agent")
    import tasks.open_loop_driving.judging.carla_agent as alone

    agent = alone.OpenLoopAgent()
    agent.setup(str(write_checkpoint(tmp_path, "blind", WORLD)))
    agent.set_global_plan([({"lat": 0.001, "lon": 0.0}, 4)], [])
    assert [spec["id"] for spec in agent.sensors()] == ["gps", "imu", "speed"]
    done = agent.run_step(data_of(agent, 0, 0, -math.pi / 2, 3.0), 0.0)
    assert isinstance(done, VehicleControl)
