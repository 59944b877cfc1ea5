"""Known numbers on real drives, through the importers."""

from pathlib import Path

import numpy as np
import pytest

from tasks.open_loop_driving import check_data, download, evaluate, pack, plan, train
from tasks.open_loop_driving.formats import plans
from tasks.open_loop_driving.formats.plans import Planned, Plans
from tasks.open_loop_driving.judging import baselines, moments, scores
from tasks.yard import params
from tasks.yard.files import read_json, write_json
from tests.tasks.open_loop_driving.roads import REPORTING
from tests.tasks.open_loop_driving.shared import section
from tests.tasks.yard.shared import machine

REAL = Path(__file__).parents[4] / "../shared/real"
LOG_TRAIN, LOG_TEST = "7fab2350-7eaf-3b7e-a39d-6937a4c1bede", "3b3570b4-7b0b-3268-a571-b0889dbf40b6"


def packed(name, folder, **changes):
    if not (REAL / name).exists():
        pytest.skip(f"{REAL / name} is not there")
    line = params.load().open_loop_driving
    for step in ("download", "check_data", "pack"):
        (folder / step).mkdir()
    download.run(line.download.model_copy(update={"source": str(REAL / name)}), folder / "download")
    check_data.run(line.check_data, folder / "check_data", download=folder / "download")
    asked = line.pack.model_copy(update={"horizon": 6, **changes})
    pack.run(asked, folder / "pack", download=folder / "download", check_data=folder / "check_data")
    return folder / "pack"


def test_constant_velocity_on_two_logs_of_argoverse(tmp_path):
    """As measured from the files with the velocity over the last half second, 24 moments a log: its last ones."""
    found = moments.read(packed("av2_logs", tmp_path), "test")
    known = {
        "3b3570b4": {"l2_at": (0.94, 2.88, 5.34), "l2_mean_to": (0.63, 1.49, 2.56)},
        "7fab2350": {"l2_at": (0.87, 2.82, 5.71), "l2_mean_to": (0.58, 1.42, 2.59)},
    }
    for log, numbers in known.items():
        mine = found[np.array([route.startswith(log) for route in found.route])]
        mine = mine[np.arange(len(mine)) >= len(mine) - 24]  # of the other one the first frame has no label
        assert len(mine) == 24
        errors = scores.errors(mine, baselines.constant_velocity(mine).waypoints, None, None)
        value = scores.judged(errors, mine.route, 2.0, REPORTING).value
        for name, at in numbers.items():
            assert [value[f"{name}_{seconds}s"] for seconds in (1, 2, 3)] == pytest.approx(at, abs=0.02)
    with_boxes = found[found.has_agents]
    assert set(with_boxes.route) == {"7fab2350-7eaf-3b7e-a39d-6937a4c1bede"}  # nobody was labelled in the other one
    assert not np.isfinite(found.control).any()


@pytest.mark.slow
def test_of_two_logs_of_argoverse_one_trains_the_blind_network_if_that_is_asked_for(tmp_path):
    """Poses alone: nobody is told of commands, pedals and pictures, and what can be judged is judged to 3 s."""
    write_json(tmp_path / "splits.json", {"train": [LOG_TRAIN], "val": [], "test": [LOG_TEST]})
    folder = packed("av2_logs", tmp_path, splits=str(tmp_path / "splits.json"))
    networks = {name: tmp_path / "train" / name for name in ("blind", "thinktwice_small")}
    planned = {name: tmp_path / "plan" / name for name in networks}
    engine = section("train").engine.model_copy(update={"threads": 1})
    params = section("train", steps=6).model_copy(update={"engine": engine})
    for name, out in networks.items():
        train.run(params, out, network=name, pack=folder, teacher=tmp_path / "none", machine_params=machine())
        plan.run(section("plan"), planned[name], network=name, pack=folder, train=networks)
    given = {"pack": folder, "plan": planned, "reporting_params": REPORTING}
    numbers = evaluate.run(None, tmp_path / "evaluate", **given)
    mean = {run: numbers[f"test/{run}/l2_mean_to_3s"] for run in ("constant_velocity", "blind", "mean_path")}
    assert mean["constant_velocity"] == pytest.approx(2.56, abs=0.02)
    assert mean["blind"] < mean["mean_path"], "it learns from 24 moments at least how fast the car goes"
    said = read_json(tmp_path / "evaluate/details.json")
    assert list(said["untrained"]) == ["thinktwice_small"] and said["not_told"]["pedals and wheel"] == 25
    assert said["runs"]["blind"]["brake_f1"] is None


def test_two_logs_are_all_of_test_and_how_to_train_on_one_is_said(tmp_path):
    (remark,) = read_json(packed("av2_logs", tmp_path) / "manifest.json")["remarks"]
    assert "all of it is test; to train on one of them, name who trains and who tests in a file" in remark


@pytest.mark.slow
def test_at_a_red_light_who_does_not_hold_is_shown_to_fail(tmp_path):
    """nuPlan's car stands: constant velocity is 0, and the plan of a network that starts is not."""
    folder = packed("nuplan_b2d", tmp_path)
    found = moments.read(folder, "test")
    k = len(found)
    creeps = np.stack([[(0.75 * step, 0.0) for step in range(1, 5)]] * k)[None]
    betas = np.full((1, k, 4, 2), 5.0)
    creeping = Plans(found.route, found.t, creeps, betas, betas, np.full(k, np.nan))
    (tmp_path / "plan").mkdir()
    told = Planned("thinktwice_small", ("coarse",), 4, 2.0, {"test": creeping})
    plans.write(tmp_path / "plan" / plans.FILE, told)
    numbers = evaluate.run(
        None,
        tmp_path / "evaluate",
        pack=folder,
        plan={"thinktwice_small": tmp_path / "plan"},
        reporting_params=REPORTING,
    )
    assert numbers["test/constant_velocity/l2_mean_to_2s"] == pytest.approx(0, abs=1e-3)
    assert numbers["test/thinktwice_small/l2_at_2s"] == pytest.approx(3.0, abs=0.01)
    details = read_json(tmp_path / "evaluate" / "details.json")
    assert any("no better than constant velocity" in remark for remark in details["remarks"])
    assert details["runs"]["thinktwice_small"]["by_situation"]["stands"]["moments"] == k
    holds = {run: of["holds"]["creeps"] for run, of in details["runs"].items()}
    assert holds == {"thinktwice_small": k, "constant_velocity": 0}
    said = f"thinktwice_small does not hold: in {k} of {k} moments in which the driver stands and stays, its plan goes"
    assert any(remark.startswith(said) for remark in details["remarks"])
