"""Sources that lack what networks need: the line goes on to its page with those that need less, and says what it did
not do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tasks.open_loop_driving import drive, evaluate, export, plan, report, train, visualize
from tasks.open_loop_driving.formats.plans import Observation
from tasks.open_loop_driving.learning.planner import Planner
from tasks.open_loop_driving.params import Drive
from tasks.yard.files import read_json, write_json
from tests.tasks.open_loop_driving.roads import REPORTING, straight, write_manifest, write_route
from tests.tasks.open_loop_driving.shared import section
from tests.tasks.yard.shared import machine, reporting

pytestmark = pytest.mark.slow

SEES, BLIND = "thinktwice_small", "blind"
SPLITS = {"a_0": "train", "a_1": "train", "b_0": "val", "c_0": "test"}
DRIVE = Drive.model_validate(
    {
        "routes": {"val": 1, "test": 1},
        "traffic": 1,
        "begin_s": 0.0,
        "plan_every_s": 0.5,
        "follow": "both",
        "creep_s": None,
    }
)


def logs(folder, splits):
    """Poses and speeds alone, as logs of Argoverse 2 have them; the tested car stands at its end."""
    counts = {}
    for number, name in enumerate(splits):
        pose = straight(24, 3.0 + number)
        if splits[name] == "test":
            pose[12:] = pose[12]
        counts[name] = write_route(folder, name, pose)
    return write_manifest(folder, splits, counts)


def line(root, splits):
    """All steps from train to report, in the order in which the flow has them."""
    pack, few = logs(root / "pack", splits), section("train").engine.model_copy(update={"batch": 4, "threads": 1})
    params = section("train").model_copy(update={"engine": few, "blind_epochs": 2})
    folders = {step: {name: root / step / name for name in (SEES, BLIND)} for step in ("train", "plan", "drive")}
    for name in (SEES, BLIND):
        train.run(
            params, folders["train"][name], network=name, pack=pack, teacher=root / "teacher", machine_params=machine()
        )
        plan.run(section("plan"), folders["plan"][name], network=name, pack=pack, train=folders["train"])
        folders["drive"][name].mkdir(parents=True)
        given = {"pack": pack, "train": folders["train"], "reporting_params": REPORTING}
        drive.run(DRIVE, folders["drive"][name], network=name, **given)
    evaluate.run(None, root / "evaluate", pack=pack, plan=folders["plan"], reporting_params=REPORTING)
    (root / "visualize").mkdir()
    params = section("visualize", height_px=480, seconds=0.5)
    visualize.run(params, root / "visualize", pack=pack, plan=folders["plan"], evaluate=root / "evaluate")
    write_json(root / "check_data/check.json", {"verdict": "4 routes.", "routes": {}})
    (root / "report").mkdir()
    given = {step: root / step for step in ("check_data", "pack", "evaluate", "visualize", "drive_rules")}
    of = {"train": folders["train"], "drive": folders["drive"]}
    report.run(None, root / "report", **of, **given, reporting_params=REPORTING)
    return read_json(root / "evaluate/details.json"), (root / "report/report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def poses(tmp_path_factory):
    root = tmp_path_factory.mktemp("poses")
    return root, *line(root, SPLITS)


def test_a_network_without_its_sensor_is_said_by_every_step_and_the_blind_one_goes_on(poses):
    root, details, text = poses
    why = "no route of the source has a camera, which it needs"
    for step in ("train", "plan"):
        assert [path.name for path in (root / step / SEES).iterdir() if path.name[0] != "."] == ["untrained.json"]
        assert read_json(root / step / SEES / "untrained.json") == {"network": SEES, "why": why}
    assert why in read_json(root / "drive" / SEES / "drives.json")["why_not"]
    assert "no simulator" in read_json(root / "drive" / BLIND / "drives.json")["why_not"]
    assert details["untrained"] == {SEES: why} and details["leader"] is None
    assert {BLIND, "constant_velocity", "mean_path"} == set(details["runs"])
    assert f"{SEES} is not trained: {why}." in text and "Nothing was driven" in text
    held = {"pack": root / "pack", "train": {SEES: root / "train" / SEES}, "reporting_params": reporting()}
    assert export.run(section("export"), root / "export", **held) == {}
    page = (root / "export/report.html").read_text()
    assert why in page and f"{SEES} is not exported" in page and "as ONNX" not in page
    assert read_json(root / "export/untrained.json")["why"] == why


def test_what_the_source_does_not_tell_the_network_is_not_told(poses):
    """Neither in training nor later, where somebody knows it."""
    root, details, _ = poses
    planner = Planner.load(root / "train" / BLIND / "best.pt")
    assert planner.config["told"] == []
    before, plain = (Observation((x, 0.0, 0.0), 4.0, 0, (0.0, 0.0)) for x in (-2.0, 0.0))
    said = Observation((0.0, 0.0, 0.0), 4.0, 1, (9.0, 9.0))
    assert np.array_equal(planner.plan(before, plain).waypoints, planner.plan(before, said).waypoints)
    assert details["runs"][BLIND]["l2_mean_to_2s"] > 0 and details["runs"][BLIND]["brake_f1"] is None


def test_who_does_not_hold_where_the_driver_stands_is_shown(poses):
    _, details, text = poses
    holds = {name: of["holds"] for name, of in details["runs"].items()}
    assert holds["constant_velocity"]["creeps"] == 0 and holds["constant_velocity"]["mean_m"] == 0
    assert holds["mean_path"]["share"] == 1 and holds["mean_path"]["mean_m"] == pytest.approx(6.0 + 1.0, abs=0.1)
    part = text[text.index('id="holds"') :]
    rows = [row for row in part.split("<tr>") if "constant velocity" in row or "mean path" in row]
    assert "0 of 7" in rows[0] and "7 of 7" in rows[1]


def test_a_source_of_one_short_route_is_judged_by_constant_velocity_alone(tmp_path):
    """As ten moments of nuPlan, in which the car stands: nothing can be trained."""
    details, text = line(tmp_path, {"c_0": "test"})
    assert set(details["runs"]) == {"constant_velocity"} and set(details["untrained"]) == {SEES, BLIND}
    assert "no route of the source trains" in details["untrained"][BLIND]
    assert "No network leads: none that sees anything could be trained" in text


def test_what_an_earlier_source_has_trained_does_not_stay(poses, tmp_path):
    root, *_ = poses
    out = tmp_path / BLIND
    out.mkdir()
    (out / "best.pt").write_bytes((root / "train" / BLIND / "best.pt").read_bytes())
    pack = logs(tmp_path / "pack", {"c_0": "test"})
    given = {"pack": pack, "teacher": tmp_path, "machine_params": machine()}
    assert train.run(section("train"), out, network=BLIND, **given) == {}
    assert [path.name for path in out.iterdir()] == ["untrained.json"] and train.served_model(
        out, BLIND, tmp_path
    ) is None


def test_pedals_that_some_routes_lack_are_learnt_from_the_others(tmp_path):
    done = np.tile([0.0, 0.0, 1.0], (24, 1))
    counts = {
        "a_0": write_route(tmp_path / "pack", "a_0", straight(24, 4.0), control=done),
        "a_1": write_route(tmp_path / "pack", "a_1", straight(24, 4.0)),
    }
    pack = write_manifest(tmp_path / "pack", dict.fromkeys(counts, "train"), counts)
    engine = section("train").engine.model_copy(update={"batch": 8, "threads": 1})
    params = section("train").model_copy(update={"engine": engine, "blind_epochs": 30, "evaluate_every": 30})
    given = {"pack": pack, "teacher": tmp_path, "machine_params": machine()}
    train.run(params, tmp_path / "out", network=BLIND, **given)
    still = Observation((0.0, 0.0, 0.0), 4.0, 4, (0.0, 0.0))
    found = Planner.load(tmp_path / "out/best.pt").plan(still, still)
    assert np.isfinite(found.alpha).all() and (found.beta[0, :, 0] > 2 * found.alpha[0, :, 0]).all(), "it brakes"
    assert all(of.isfinite().all() for of in torch.load(tmp_path / "out/best.pt", weights_only=True)["model"].values())
