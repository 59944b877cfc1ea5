"""The evaluate step: what its numbers say of plans whose faults are known."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from tasks.open_loop_driving import champion, evaluate
from tasks.open_loop_driving.formats import plans
from tasks.open_loop_driving.formats.plans import Planned, Plans, betas
from tasks.open_loop_driving.judging import moments
from tasks.open_loop_driving.learning import suited
from tasks.yard.files import write_json
from tasks.yard.step import BadInput
from tests.tasks.open_loop_driving.roads import REPORTING, box, write_manifest, write_route

SPLITS = {
    "town01_r000": "train", "town01_r001": "train", "town02_r000": "val", "town02_r001": "val",
    "town05_r000": "test", "town05_r001": "test", "town05_r002": "test",
}  # fmt: skip


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """Cars that brake to a stop, each at its own time, behind one that stands 40 m ahead."""
    folder = tmp_path_factory.mktemp("pack")
    for number, name in enumerate(SPLITS):
        speed = np.clip(8 - 1.5 * np.maximum(np.arange(24) - 6 - number, 0), 0, None)
        x = np.concatenate([[0], np.cumsum(speed[:-1] * 0.5)])
        control = np.column_stack([np.zeros(24), np.zeros(24), np.gradient(speed) < -0.2])
        boxes = [[box(x[-1] + 6 - at, 0)] for at in x]
        pose = np.column_stack([x, np.zeros(24), np.zeros(24)])
        write_route(folder, name, pose, boxes, control=control, command=np.full(24, 4), should_brake=control[:, 2] > 0)
    return write_manifest(folder, SPLITS)


def planned(pack, folder, network, off, layers=("coarse", "1"), extra=None):
    """Plans that are off[layer][split] m too far at every step, with the driver's own controls."""
    found = {}
    for split in ("val", "test"):
        there = moments.read(pack, split)
        alpha, beta = betas(there.control[:, 0] - there.control[:, 2], there.control[:, 1])
        both = [np.repeat(of[None, :, None], 4, 2).repeat(len(layers), 0) for of in (alpha, beta)]
        wrong = np.stack([there.waypoints + np.array([of[split], 0]) for of in off])
        found[split] = Plans(there.route, there.t, wrong, *both, np.full(len(there), 5.0))
    if extra:
        test = found["test"]
        found |= {
            name: Plans(test.route, test.t, test.waypoints + np.array([more, 0]), test.alpha, test.beta, test.speed)
            for name, more in extra.items()
        }
    (folder / network).mkdir(parents=True, exist_ok=True)
    plans.write(folder / network / plans.FILE, Planned(network, layers, 4, 2.0, found))
    return folder / network


@pytest.fixture(scope="module")
def judged(pack, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plans")
    plan = {
        "thinktwice_small": planned(
            pack, folder, "thinktwice_small", [{"val": 0.5, "test": 0.6}, {"val": 0.2, "test": 0.5}],
            extra={"shuffled_cameras": 2.0, "earlier_speed": 0.1},
        ),
        "tcp_small": planned(pack, folder, "tcp_small", [{"val": 0.3, "test": 0.1}], ("coarse",)),
        "blind": planned(pack, folder, "blind", [{"val": 0.1, "test": 0.4}], ("coarse",)),
    }  # fmt: skip
    out = tmp_path_factory.mktemp("evaluate")
    (out / "metrics").mkdir()
    (out / "metrics" / "gone.json").write_text("{}")
    numbers = evaluate.run(None, out, pack=pack, plan=plan, reporting_params=REPORTING)
    return numbers, json.loads((out / "details.json").read_text()), out


@pytest.mark.slow
def test_the_leader_is_the_nearest_on_validation_of_those_that_see(judged):
    """tcp_small is nearer on test, and blind on validation: neither counts."""
    numbers, details, _ = judged
    assert details["leader"] == "thinktwice_small" and details["headline"] == "l2_mean_to_2s"
    assert numbers["test/tcp_small/l2_mean_to_2s"] == pytest.approx(0.1, abs=1e-5)
    assert details["networks"] == ["tcp_small", "thinktwice_small"]
    assert details["baselines"] == ["blind", "constant_velocity", "mean_path"]


def short_of(folder, routes):
    """The same plans without those of some routes {split: them}, as of a network that lacks a sensor there."""
    found = plans.read(folder / plans.FILE)
    for split, names in routes.items():
        of = found.splits[split]
        keep = ~np.isin(of.route.astype(str), names)
        found.splits[split] = Plans(
            *(one[keep] if one.ndim == 1 else one[:, keep] for one in list(vars(of).values())[:6])
        )
    plans.write(folder / plans.FILE, found)
    suited.write(folder, {split: dict.fromkeys(names, "has no lidar") for split, names in routes.items()})
    return folder


@pytest.mark.slow
def test_who_does_without_routes_is_compared_on_the_others(pack, tmp_path):
    """Who sees nothing is near on the routes that the leader can use and far off on all others; of two networks one
    has the harder route of validation to itself."""
    folder, one = tmp_path / "data/plan", ("coarse",)
    lacks = {"val": ["town02_r001"], "test": ["town05_r001", "town05_r002"]}
    sees = planned(pack, folder, "thinktwice_small", [{"val": 0.4, "test": 0.4}], one)
    plan = {
        "thinktwice_small": short_of(sees, lacks),
        "tcp_small": planned(pack, folder, "tcp_small", [{"val": 0.3, "test": 0.5}], one),
        "blind": planned(pack, folder, "blind", [{"val": 0.1, "test": 0.1}], one),
    }  # fmt: skip
    for name in ("tcp_small", "blind"):
        found = plans.read(plan[name] / plans.FILE)
        for split, routes in lacks.items():
            of = found.splits[split]
            of.waypoints[:, np.isin(of.route.astype(str), routes)] += 3.0
        plans.write(plan[name] / plans.FILE, found)
    evaluate.run(None, tmp_path / "data/evaluate", pack=pack, plan=plan, reporting_params=REPORTING)
    details = json.loads((tmp_path / "data/evaluate/details.json").read_text())
    assert details["leader"] == "tcp_small" and details["leader_from"].endswith("routes that all networks can use")
    assert details["beside_leader"] == {}
    alike = {"simulator": True, "splits": {split: {"driving_score": 50.0} for split in ("val", "test")}}
    for name in ("thinktwice_small", "tcp_small"):
        write_json(tmp_path / "data/drive" / name / "drives.json", alike)
    assert champion.challenger(tmp_path / "data").item == "tcp_small", "the nearer one on the routes that both can use"
    shutil.rmtree(tmp_path / "data/drive")
    del plan["tcp_small"]
    evaluate.run(None, tmp_path / "data/evaluate", pack=pack, plan=plan, reporting_params=REPORTING)
    details = json.loads((tmp_path / "data/evaluate/details.json").read_text())
    runs, beside = details["runs"], details["beside_leader"]
    assert set(beside) == {"blind", "constant_velocity", "mean_path"}
    assert {of["moments"] for of in beside.values()} == {runs["thinktwice_small"]["moments"]}
    assert runs["blind"]["l2_mean_to_2s"] > 1 and beside["blind"]["l2_mean_to_2s"] == pytest.approx(0.1, abs=1e-5)
    assert any(line.startswith("thinktwice_small is no better than blind") for line in details["remarks"])
    leader = champion.challenger(tmp_path / "data")
    assert leader.scores["validation"]["blind"] == pytest.approx(-0.1, abs=1e-5)
    assert "no better than -0.100 of blind" in leader.unfit


def test_where_no_route_of_validation_is_for_all_each_is_judged_on_its_own(pack, tmp_path):
    offs = {"thinktwice_small": (0.4, "town02_r000"), "tcp_small": (0.3, "town02_r001")}
    plan = {
        name: short_of(planned(pack, tmp_path, name, [{"val": off, "test": off}], ("coarse",)), {"val": [lacks]})
        for name, (off, lacks) in offs.items()
    }
    evaluate.run(None, tmp_path / "evaluate", pack=pack, plan=plan, reporting_params=REPORTING)
    details = json.loads((tmp_path / "evaluate/details.json").read_text())
    assert details["leader"] == "tcp_small" and details["leader_null_because"] is None
    assert details["leader_from"].endswith("the validation routes that each can use, as none is for all")


def test_each_layer_is_judged_by_itself_and_against_the_one_before(judged):
    of = judged[1]["runs"]["thinktwice_small"]
    assert [of["layers"][name]["l2_at_1s"] for name in ("coarse", "1")] == pytest.approx([0.6, 0.5], abs=1e-5)
    lead = of["refinement"]["1 - coarse"]["l2_mean_to_2s"]
    assert lead["difference"] == pytest.approx(-0.1, abs=1e-5) and lead["interval"]["high"] < 0
    assert judged[1]["runs"]["tcp_small"]["refinement"] == {}


def test_a_control_that_changes_nothing_is_called_so(judged):
    _, details, _ = judged
    assert details["controls"] == ["shuffled_cameras", "earlier_speed"]
    assert details["runs"]["shuffled_cameras"]["against_own"]["l2_mean_to_2s"]["difference"] == pytest.approx(
        2, abs=1e-4
    )
    assert any("earlier speed" in remark for remark in details["remarks"])
    assert not any("shuffled cameras" in remark for remark in details["remarks"])
    assert any("no better than blind" in remark for remark in details["remarks"])


def test_constant_velocity_runs_into_what_the_driver_brakes_for(judged):
    runs = judged[1]["runs"]
    rates = {name: runs[name]["collisions"]["masked"] for name in ("constant_velocity", "tcp_small")}
    assert rates["constant_velocity"]["up_to"][-1] > 0 and rates["tcp_small"]["up_to"] == [0, 0, 0, 0]
    assert runs["constant_velocity"]["brake_recall"] == 0 and runs["tcp_small"]["brake_f1"] == 1
    assert runs["tcp_small"]["brakes"]["driver"] == runs["tcp_small"]["brakes"]["right"] > 0
    by = runs["constant_velocity"]["by_situation"]
    assert by["brakes"]["l2_mean_to_2s"] > 5 * by["stands"]["l2_mean_to_2s"]  # at first it goes on a little
    assert list(runs["tcp_small"]["by_command"]) == ["follow"]


def test_what_is_written_for_people_and_for_dvc(judged):
    numbers, details, out = judged
    assert {path.stem for path in (out / "metrics").glob("*.json")} == set(details["runs"])
    told = json.loads((out / "metrics" / "tcp_small.json").read_text())
    assert told["l2_at_2s"] == numbers["test/tcp_small/l2_at_2s"] and "collision_rate_masked" in told
    table = pd.read_csv(out / "plots" / "horizon.csv")
    assert set(table.run) == set(details["runs"]) and sorted(set(table.seconds)) == [0.5, 1, 1.5, 2]
    assert details["routes"] == {"train": 2, "val": 2, "test": 3} and details["towns"]["test"] == ["town05"]


def test_plans_of_another_pack_are_refused_by_name(pack, tmp_path):
    plan = planned(pack, tmp_path, "tcp_small", [{"val": 0, "test": 0}], ("coarse",))
    found = plans.read(plan / plans.FILE)
    found.splits["test"] = Plans(*(value if value is None else value[..., 1:] if value.ndim == 1 else value[:, 1:]
                                   for value in vars(found.splits["test"]).values()))  # fmt: skip
    plans.write(plan / plans.FILE, found)
    with pytest.raises(BadInput, match=r"plans\.h5: not of the test moments of pack; run open_loop_driving-plan"):
        evaluate.run(None, tmp_path, pack=pack, plan={"tcp_small": plan}, reporting_params=REPORTING)


@pytest.mark.slow
def test_equal_plans_give_equal_bytes(judged, pack, tmp_path):
    plan = {"tcp_small": planned(pack, tmp_path / "plan", "tcp_small", [{"val": 0.3, "test": 0.1}], ("coarse",))}
    for name in ("one", "two"):
        evaluate.run(None, tmp_path / name, pack=pack, plan=plan, reporting_params=REPORTING)
    one, two = ((tmp_path / name / "details.json").read_bytes() for name in ("one", "two"))
    assert one == two
