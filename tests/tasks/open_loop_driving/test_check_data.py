"""The check: all that is missing is named, what cannot be true is refused, and pictures show what fits."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from tasks.open_loop_driving import check_data
from tasks.open_loop_driving.formats import frames, routes
from tasks.open_loop_driving.judging import fits
from tasks.yard.files import read_json
from tasks.yard.step import BadInput
from tests.tasks.open_loop_driving import tiny_routes
from tests.tasks.open_loop_driving.sources import fetched, lbc, picture
from tests.tasks.open_loop_driving.tiny_routes import columns, section

TINY = "synth://town?routes=1&seconds=8&cameras=2&height=32&width=48&seed=0"


def checked(tmp_path, **changes):
    out = tmp_path / "check_data"
    check_data.run(section("check_data", **changes), out, download=tmp_path / "download")
    return read_json(out / "check.json")


@pytest.mark.slow
@pytest.mark.parametrize("astray", ["", "&astray=1"])
def test_the_town_fits_in_numbers_and_is_drawn(tmp_path, astray):
    fetched(tmp_path, TINY + astray)
    said = checked(tmp_path)
    (route,) = said["routes"].values()
    assert said["usable"] == ["town01_r000"] and not route["findings"] and len(route["used"]) == route["frames"]
    assert route["heading_off_rad"] < 0.1 and route["speed_ratio"] == pytest.approx(1, abs=0.05)
    assert max(route["lidar_off_m"].values()) < 0.5 and len(route["lidar_off_m"]) == 2
    assert (
        said["towns"]["town01"]["routes"] == 1 and sum(said["towns"]["town01"]["commands"].values()) == route["frames"]
    )
    page = (tmp_path / "check_data/check.html").read_text()
    assert (tmp_path / "check_data/town01_r000.png").exists() and "Rendered world" in page and said["verdict"] in page


def test_all_that_is_missing_is_named_and_costs_its_frame_alone(tmp_path):
    folder = tiny_routes.write(tmp_path / "download" / "one")
    (folder / "rgb_front/0002.png").write_bytes(b"")
    (folder / "rgb_front/0003.png").unlink()
    (folder / "lidar/0003.npy").unlink()
    picture(folder / "rgb_front/0004.png", size=(8, 8))
    (folder / "lidar/0005.npy").write_bytes((folder / "lidar/0005.npy").read_bytes()[:-4])
    whole = (folder / "rgb_front/0006.png").read_bytes()
    (folder / "rgb_front/0006.png").write_bytes(whole[: len(whole) // 2])
    (route,) = checked(tmp_path, max_missing_share=0.5)["routes"].values()
    assert route["used"] == [0, 1, 7, 8, 9, 10, 11] and route["usable"]
    lost = route["unusable"]
    assert lost["2"] == ["rgb_front/0002.png: is empty"]
    assert lost["3"] == ["lidar/0003: is missing", "rgb_front/0003: is missing"]
    assert lost["4"] == ["rgb_front/0004.png: has 8 x 8 px, its camera 40 x 24"]
    assert "lidar/0005.npy: cannot be read" in lost["5"][0] and "rgb_front/0006.png" in lost["6"][0]
    whys = [why for of in lost.values() for why in of]
    assert route["findings"][:6] == [*whys[:5], "1 more cost frames, all of them in check.json"]


def test_numbers_that_are_none_and_commands_that_nobody_knows(tmp_path):
    yaw, command = columns(12)["yaw"], columns(12)["command"].copy()
    yaw[4], command[7] = np.nan, 11
    tiny_routes.write(tmp_path / "download" / "one", yaw=yaw, command=command)
    (route,) = checked(tmp_path)["routes"].values()
    assert set(route["unusable"]) == {"4", "7"}
    assert route["unusable"]["4"] == ["frames.csv: yaw of frame 4 is no number; none is invented"]
    assert route["unusable"]["7"] == ["frames.csv: command of frame 7 is 11, which is unknown"]


def test_all_that_download_could_not_use_is_named_too(tmp_path):
    folder = lbc(tmp_path / "source", n=40)
    for number in (20, 23, 26, 29, 33):
        (folder / f"measurements/{number:04d}.json").write_text("{}")
    for number in (5, 35, 36, 39):
        (folder / f"measurements/{number:04d}.json").unlink()
    fetched(tmp_path, tmp_path / "source")
    (route,) = checked(tmp_path)["routes"].values()
    bad = [f"measurements/{number:04d}.json: 'x' is missing; expected a number" for number in (20, 23, 26, 29, 33)]
    gaps = ["measurements/0005 is missing", "measurements/0035 to 0036 are missing", "measurements/0039 is missing"]
    assert route["faults"] == bad + gaps
    assert any(line == f"3 gaps among the measurements: {', '.join(gaps)}" for line in route["findings"])


def test_too_much_missing_costs_the_route_and_not_the_others(tmp_path):
    for name in ("good", "bad"):
        tiny_routes.write(tmp_path / "download" / name)
    for path in list((tmp_path / "download/bad/rgb_front").iterdir())[:8]:
        path.unlink()
    said = checked(tmp_path)
    assert said["usable"] == ["good"] and said["routes"]["bad"]["why"].startswith("8 of 12 frames cannot be used")
    assert "bad</b> is not used: 8 of 12" in (tmp_path / "check_data/check.html").read_text()


@pytest.mark.parametrize(
    "wrong, said",
    [
        ("swapped", "degrees off where its yaw points"),
        ("theta", "degrees off where its yaw points"),
        ("kmh", r"its way is 0\.28 times what its speed says"),
    ],
)
def test_numbers_that_contradict_one_another_are_refused(tmp_path, wrong, said):
    """x for y, a compass for a yaw, km/h for m/s."""
    table = columns(12)
    changes = {
        "swapped": {"x": table["y"], "y": table["x"]}, "theta": {"yaw": table["yaw"] + np.pi / 2},
        "kmh": {"speed_ms": 3.6 * table["speed_ms"]},
    }[wrong]  # fmt: skip
    tiny_routes.write(tmp_path / "download" / "one", **changes)
    with pytest.raises(BadInput, match=said):
        checked(tmp_path)


def test_a_steer_of_the_other_sign_is_found(tmp_path):
    tiny_routes.write(tmp_path / "download" / "one", steer=columns(12)["steer"] * -1)
    (route,) = checked(tmp_path)["routes"].values()
    assert route["steer_agrees"] == 0 and any("right should be positive" in line for line in route["findings"])


def test_cut_and_quarantined_routes_are_said(tmp_path):
    folder = tiny_routes.write(tmp_path / "download" / "one")
    routes.write_json(folder / "route.json", read_json(folder / "route.json") | {"usable": 9, "cut": "red_light"})
    routes.write_json(tmp_path / "download" / "quarantine.json", {"two": "two: no good"})
    said = checked(tmp_path)
    assert said["routes"]["one"]["used"] == list(range(9)) and said["routes"]["one"]["cut"] == "red_light"
    assert said["routes"]["two"]["why"] == "two: no good" and "1 route ends early" in said["verdict"]


@pytest.mark.slow
def test_a_camera_that_is_not_where_its_file_says_is_found(tmp_path):
    """By the lidar beside its own depth: the file has it looking 8 degrees down, and 8 degrees aside."""
    fetched(tmp_path, TINY)
    folder = tmp_path / "download/town01_r000"
    about = read_json(folder / "route.json")
    front = about["cameras"]["front"]
    pose = np.array(front["camera_from_ego"])

    def found(*quaternion):
        turned = np.eye(4)
        turned[:3, :3] = frames.quaternion_matrix(*quaternion)
        front["camera_from_ego"] = (turned @ pose).tolist()
        routes.write_json(folder / "route.json", about)
        (route,) = checked(tmp_path, pictures=0)["routes"].values()
        return [line for line in route["findings"] if line.startswith("camera")]

    assert found(1, 0, 0, 0) == []
    assert any(line.startswith("camera front: lidar and depth are") for line in found(np.cos(0.07), np.sin(0.07), 0, 0))
    # In the camera's frame y is down: turned about it, the ground is as far away as ever, and what stands up is not.
    (line,) = (line for line in found(np.cos(0.07), 0, np.sin(0.07), 0) if "it looks about" in line)
    assert line.startswith("camera front: it looks about 8 degrees ")
    shutil.rmtree(folder / "lidar")
    more = found(np.cos(0.07), 0, -np.sin(0.07), 0)
    assert all("middles of boxes" in line for line in more), "without lidar boxes tell, if there are enough of them"


def test_a_box_has_its_corners_where_its_yaw_turns_them():
    corners = fits.corners(np.array([0, 10, 0, 1, 4, 2, 2, np.pi / 2, 0]))
    assert corners[0] == pytest.approx([9, 2, 0]) and corners[6] == pytest.approx([11, -2, 2])
