"""Drives that nobody has labelled: the plans that `plan` makes, what is brought to the network, what is refused."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest

from tasks.open_loop_driving import apply, check_data, download, pack, plan, visualize
from tasks.open_loop_driving.formats import calibration, plans, routes
from tasks.open_loop_driving.formats.plans import FILE
from tasks.open_loop_driving.importers import moments
from tasks.yard import params
from tasks.yard.applying import Model, made_with
from tasks.yard.files import file_hash, read_json, write_json
from tasks.yard.step import BadInput
from tests.tasks.open_loop_driving import sources, tiny_routes
from tests.tasks.open_loop_driving.networks import write_checkpoint
from tests.tasks.yard.forked import forked

pytestmark = pytest.mark.slow

LINE = params.load(Path(__file__).parents[3] / "params.yaml").open_loop_driving
NAME = "thinktwice_small"
TOWNS = {"a": "town01", "b": "town02", "c": "town05", "d": "town05"}  # the published ones are held out


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> tuple[Path, Path]:
    """(data/open_loop_driving after all that lies before evaluate, the drives that it was made from)."""
    root = tmp_path_factory.mktemp("project")
    data, source = root / "data", root / "source"
    for number, (name, town) in enumerate(TOWNS.items()):
        tiny_routes.write(source / name, 12 + number, town)
    download.run(LINE.download.model_copy(update={"source": str(source)}), data / "download")
    check_data.run(LINE.check_data, data / "check_data", download=data / "download")
    pack.run(LINE.pack, data / "pack", download=data / "download", check_data=data / "check_data")
    rig = calibration.documents({"front": tiny_routes.camera()})
    write_checkpoint(data / "train" / NAME, NAME, None, rig=rig)
    write_checkpoint(data / "train/blind", "blind", None, rig=rig)
    train = {name: data / "train" / name for name in (NAME, "blind")}
    plan.run(LINE.plan, data / "plan" / NAME, network=NAME, pack=data / "pack", train=train)
    return data, source


def model_of(project, folder: Path, name: str) -> Model:
    """As the registry would give it: with what belongs to it, and nothing else."""
    folder.mkdir(parents=True)
    apply.belongings(project[0], name, LINE, folder)
    weights = project[0] / "train" / name / "best.pt"
    return Model(f"models:/open_loop_driving/{name}", weights, folder, name, sha256=file_hash(weights))


@pytest.fixture
def model(project, tmp_path) -> Model:
    return model_of(project, tmp_path / "model", NAME)


@pytest.fixture
def blind(project, tmp_path) -> Model:
    """It sees nothing: of drives without cameras and lidar."""
    return model_of(project, tmp_path / "blind", "blind")


def applied(source: Path, model: Model, out: Path, changes: dict | None = None, film: bool = False):
    """In a checkout whose params are others: those of the model count."""
    here = LINE.model_copy(update={"pack": LINE.pack.model_copy(update={"horizon": 6, "height_px": 8})})
    return apply.run(str(source), model, out, made_with(here, model, changes or {}), no_film=not film)


@pytest.fixture(scope="module")
def alone(project, tmp_path_factory) -> Path:
    """What is made of one of the drives, as it was recorded."""
    folder = tmp_path_factory.mktemp("alone")
    done = applied(project[1] / "c", model_of(project, folder / "model", NAME), folder / "out")
    assert done.results["c"]["moments"] == 13 and not done.quarantined
    return folder / "out"


def planned(out: Path, name: str):
    return plans.read(out / "routes" / name / FILE).splits["test"]


def test_a_test_route_has_the_plans_that_were_judged_to_the_last_digit(project, model, alone, tmp_path):
    data, source = project
    judged = plans.read(data / "plan" / NAME / FILE)
    applied(source, model, tmp_path)
    for out, name in ((tmp_path, "c"), (tmp_path, "d"), (alone, "c")):
        ours, mine = planned(out, name), judged.splits["test"].route == name
        assert len(ours.t) == len(TOWNS) * 3 + 1 + (name == "d"), "of every moment but the first"
        at = np.searchsorted(ours.t, judged.splits["test"].t[mine])
        for key in ("waypoints", "alpha", "beta", "look"):
            assert np.array_equal(getattr(ours, key)[:, at], getattr(judged.splits["test"], key)[:, mine]), key


def test_the_table_says_where_to_go_in_the_world_and_what_to_do(alone):
    table, ours = pd.read_csv(alone / "routes/c/plans.csv"), planned(alone, "c")
    assert len(table) == 13 * 3 * 4 and set(table["layer"]) == {"coarse", "1", "2"}
    row = table[(table["frame"] == 5) & (table["layer"] == "2") & (table["ahead_s"] == 2.0)].iloc[0]
    place = ours.waypoints[2, ours.t == 5, 3][0]
    x, y, yaw = tiny_routes.poses(14)[5]
    world = x + place[0] * np.cos(yaw) - place[1] * np.sin(yaw), y + place[0] * np.sin(yaw) + place[1] * np.cos(yaw)
    np.testing.assert_allclose(row[["x_m", "y_m"]].astype(float), place, atol=1e-5)
    np.testing.assert_allclose(row[["world_x_m", "world_y_m"]].astype(float), world, atol=1e-5)
    assert row["time_s"] == 2.5 and 0 <= row["throttle"] <= 1 and row["throttle"] * row["brake"] == 0


def test_without_any_label_the_plans_are_the_same_and_the_film_goes_to_the_end(project, model, alone, tmp_path):
    bare = shutil.copytree(project[1] / "c", tmp_path / "in/c")
    (bare / routes.BOXES).unlink()
    table = pd.read_csv(bare / routes.FRAMES).drop(columns=["throttle", "steer", "brake"])
    table.to_csv(bare / routes.FRAMES, index=False)
    about = read_json(bare / routes.ABOUT)
    write_json(bare / routes.ABOUT, about | {"sensors": ["rgb", "lidar", "command", "target"]})
    applied(tmp_path / "in", model, tmp_path / "out", {"visualize.height_px": 480}, film=True)
    assert np.array_equal(planned(tmp_path / "out", "c").waypoints, planned(alone, "c").waypoints)
    with av.open(str(tmp_path / "out/films/c/drive.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == 13


def enlarged(folder: Path, to: Path, times: int) -> Path:
    """The same drive as a camera with more pixels would have filmed it."""
    shutil.copytree(folder, to)
    for path in (to / "rgb_front").iterdir():
        whole = cv2.imread(str(path)).repeat(times, 0).repeat(times, 1)
        cv2.imwrite(str(path), whole)
    about = read_json(to / routes.ABOUT)
    camera = tiny_routes.camera()
    cameras = calibration.documents({"front": camera.resized(*(times * side for side in camera.size))})
    write_json(to / routes.ABOUT, about | {"cameras": cameras})
    return to


def test_pictures_of_another_size_are_brought_to_the_networks_aloud_and_their_calibration_too(
    project, model, alone, tmp_path
):
    enlarged(project[1] / "c", tmp_path / "in/c", 2)
    done = applied(tmp_path / "in", model, tmp_path / "out")
    assert "pictures of front are 80 x 48 px, the model was trained on 40 x 24" in " ".join(done.said)
    ours, theirs = planned(tmp_path / "out", "c"), planned(alone, "c")
    np.testing.assert_allclose(ours.waypoints, theirs.waypoints, atol=1e-4)


def test_the_network_is_handed_the_calibration_of_the_drive_and_a_far_one_is_said(project, model, alone, tmp_path):
    other = shutil.copytree(project[1] / "c", tmp_path / "in/c")
    about = read_json(other / routes.ABOUT)
    turned = tiny_routes.pinhole("front", (1.5, 0.0, 1.5, 30.0, 80.0), tiny_routes.SIZE)
    write_json(other / routes.ABOUT, about | {"cameras": calibration.documents({"front": turned})})
    done = applied(tmp_path / "in", model, tmp_path / "out")
    assert "camera front looks 30 degrees elsewhere, stands 1.0 m from there" in " ".join(done.said)
    apart = planned(tmp_path / "out", "c").waypoints - planned(alone, "c").waypoints
    assert np.abs(apart).max() > 1e-4


def test_what_the_network_needs_and_a_drive_lacks_is_named_and_the_others_go_on(project, model, tmp_path):
    for name in ("whole", "no_lidar", "no_command", "no_camera", "torn"):
        shutil.copytree(project[1] / "c", tmp_path / "in" / name)
    shutil.rmtree(tmp_path / "in/no_lidar/lidar")
    shutil.rmtree(tmp_path / "in/no_camera/rgb_front")
    table = pd.read_csv(tmp_path / "in/no_command" / routes.FRAMES)
    table.drop(columns="command").to_csv(tmp_path / "in/no_command" / routes.FRAMES, index=False)
    for name, gone in (("no_lidar", "lidar"), ("no_camera", "rgb"), ("no_command", "command")):
        about = read_json(tmp_path / "in" / name / routes.ABOUT)
        about["sensors"].remove(gone)
        write_json(tmp_path / "in" / name / routes.ABOUT, about | ({"cameras": {}} if gone == "rgb" else {}))
    (tmp_path / "in/torn" / routes.FRAMES).write_text("frame\n")
    done = applied(tmp_path / "in", model, tmp_path / "out")
    assert list(done.results) == ["whole"]
    assert "has no lidar, which thinktwice_small needs" in done.quarantined["no_lidar"]
    assert "has no camera 'front'; thinktwice_small was trained to see" in done.quarantined["no_camera"]
    assert "has no command" in done.quarantined["no_command"]
    assert "torn" in done.quarantined["torn"]
    with pytest.raises(BadInput, match="has no lidar"):
        applied(tmp_path / "in/no_lidar", model, tmp_path / "other")


def test_drives_of_the_world_without_an_expert_are_planned_and_odd_rates_refused(blind, tmp_path):
    sources.bench2drive(tmp_path / "in/b2d")
    for path in (tmp_path / "in/b2d/anno").iterdir():
        said = moments.read(path)
        sources.write(path, {key: value for key, value in said.items() if key not in routes.CONTROL})
    sources.lbc(tmp_path / "in/four", n=20, hz=4.0)
    sources.lbc(tmp_path / "in/thirteen", n=40, hz=13.0)
    tcp = {"x_target": 0.0, "y_target": 40.0}
    sources.lbc(tmp_path / "in/tcp", n=10, **tcp)  # without supervision/, which is the expert's
    done = applied(tmp_path / "in", blind, tmp_path / "out")
    assert set(done.results) == {"b2d", "four", "tcp"}
    assert done.results["four"]["moments"] == 9 and done.results["b2d"]["moments"] == 5
    assert "13 measurements a second, which is no usual rate" in done.quarantined["thirteen"]
    assert read_json(tmp_path / "out/steps/download/tcp" / routes.ABOUT)["layout"] == "tcp"


def test_an_empty_folder_and_weights_of_another_line_are_refused(project, model, tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(BadInput, match="no known layout"):
        applied(tmp_path / "in", model, tmp_path / "out")
    (tmp_path / "foreign.pt").write_bytes(b"no network")
    with pytest.raises(BadInput, match=r"foreign\.pt: not a checkpoint"):
        applied(project[1], Model("x", tmp_path / "foreign.pt", model.belongings), tmp_path / "out")


def test_a_killed_run_goes_on_and_does_nothing_twice(project, model, tmp_path, monkeypatch):
    for name in ("c", "d"):
        shutil.copytree(project[1] / name, tmp_path / "in" / name)
    small = {"visualize.height_px": 480}

    def dies(route, *more):
        if route.name == "d":
            os.kill(os.getpid(), signal.SIGKILL)
        return filmed(route, *more)

    filmed = visualize.filmed
    with monkeypatch.context() as patch:
        patch.setattr(visualize, "filmed", dies)
        process = forked(applied, tmp_path / "in", model, tmp_path / "out", small, True)
        process.join()
    assert process.exitcode == -signal.SIGKILL
    made = [path for name in ("plans.h5", "drive.mp4", "check_data/check.json") for path in tmp_path.rglob(name)]
    before = {path: path.stat().st_mtime_ns for path in made if ".part" not in str(path)}
    assert len(before) == 2 + 1 + 1
    done = applied(tmp_path / "in", model, tmp_path / "out", small, True)
    assert len(done.results) == 2 and len([*tmp_path.glob("out/films/*/drive.mp4")]) == 2
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())
