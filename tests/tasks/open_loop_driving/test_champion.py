"""Who is served: who drives best where the town can be driven, else whose plans are nearest."""

import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from tasks.open_loop_driving import champion, evaluate
from tasks.open_loop_driving.formats import plans
from tasks.open_loop_driving.formats.plans import Planned, Plans
from tasks.open_loop_driving.judging import moments
from tasks.yard import params
from tasks.yard.files import write_json
from tasks.yard.stage import Stage
from tasks.yard.step import BadInput
from tasks.yard.tracking import champion as serving
from tasks.yard.tracking import fetched, judged, registry, runs, store
from tasks.yard.tracking.lineage import dvc_hash
from tasks.yard.worlds import town
from tasks.yard.worlds.town import judge
from tests.tasks.open_loop_driving.networks import write_checkpoint
from tests.tasks.open_loop_driving.roads import REPORTING, straight, write_manifest, write_route
from tests.tasks.open_loop_driving.sources import REPO

WORLD = town.parse("synth://town?routes=12&seconds=8&cameras=1&height=32&width=56")
SPLITS = {"town01_r000": "train", "town02_r000": "val", "town05_r000": "test", "town05_r001": "test"}
OFF = {"thinktwice_small": 0.2, "tcp_small": 0.4, "blind": 0.6}


def write_data(data, source):
    for name in SPLITS:
        pose = straight(14, 5.0)
        pose[7:] = pose[7]  # it stops, so that to go on as it went is no way to win
        write_route(data / "pack", name, pose, source=source, command=np.full(14, 4), target=np.full((14, 2), 9.0),
                    control=np.zeros((14, 3)))  # fmt: skip
    write_manifest(data / "pack", SPLITS)
    for network, off in OFF.items():
        found = {}
        for split in ("val", "test"):
            there = moments.read(data / "pack", split)
            betas = np.full((1, len(there), 4, 2), 5.0)
            nearer = there.waypoints[None] + np.array([off, 0])
            found[split] = Plans(there.route, there.t, nearer, betas, betas, np.full(len(there), np.nan))
        (data / "plan" / network).mkdir(parents=True)
        plans.write(data / "plan" / network / plans.FILE, Planned(network, ("coarse",), 4, 2.0, found))
    plan = {network: data / "plan" / network for network in OFF}
    evaluate.run(None, data / "evaluate", pack=data / "pack", plan=plan, reporting_params=REPORTING)
    return data


def write_drives(data, scores):
    for agent, (val, test) in scores.items():
        place = data / ("drive_rules" if agent in ("expert", "constant_velocity") else "drive") / agent
        splits = {"val": {"driving_score": val}, "test": {"driving_score": test}}
        write_json(place / "drives.json", {"simulator": True, "splits": splits})


def test_who_drives_best_on_validation_challenges_however_near_its_plans_are(tmp_path):
    data = write_data(tmp_path, town.uri(WORLD))
    rest = {"blind": (0.0, 0.0), "constant_velocity": (0.0, 0.0), "expert": (100.0, 100.0)}
    write_drives(data, {"thinktwice_small": (20.0, 60.0), "tcp_small": (30.0, 25.0), **rest})
    leader = champion.challenger(data)
    assert leader.item == "tcp_small" and leader.metric == "driving score" and leader.unfit is None
    assert leader.scores["test"] == {"tcp_small": 25.0, "blind": 0.0, "constant_velocity": 0.0}  # not the expert
    write_drives(data, {"thinktwice_small": (30.0, 0.0)})  # as good: then the nearer plans count
    leader = champion.challenger(data)
    assert leader.item == "thinktwice_small" and "no better than" in leader.unfit  # stands on test, as blind does


def test_who_could_not_drive_a_route_of_validation_is_not_spared_it(tmp_path):
    """On the one that both drove it is the worse; on its own it would be the better."""
    data = write_data(tmp_path, town.uri(WORLD))
    drove = {
        "tcp_small": {"easy": 60.0},
        "thinktwice_small": {"easy": 70.0, "hard": 30.0},
    }
    for name, scores in drove.items():
        routes = {route: {"split": "val", "score_composed": score} for route, score in scores.items()}
        splits = {"val": {"driving_score": sum(scores.values()) / len(scores)}, "test": {"driving_score": 50.0}}
        write_json(data / "drive" / name / "drives.json", {"simulator": True, "routes": routes, "splits": splits})
    assert champion.challenger(data).item == "thinktwice_small"


def test_without_a_simulator_the_nearest_plans_challenge(tmp_path):
    leader = champion.challenger(write_data(tmp_path, "/data/recorded"))
    assert leader.item == "thinktwice_small" and leader.metric == "minus l2_mean_to_2s in metres"
    assert leader.scores["test"]["thinktwice_small"] == pytest.approx(-0.2, abs=1e-5)
    assert leader.unfit is None and leader.scores["validation"]["blind"] == pytest.approx(-0.6, abs=1e-5)


def test_nothing_judged_is_no_challenge(tmp_path):
    assert champion.challenger(tmp_path) is None


def trained(line, network):
    """As a training leaves it: weights, and a run of MLflow with a model."""
    out = Path("data", line, "train", network)
    out.mkdir(parents=True)
    (out / "best.pt").write_bytes(network.encode())
    client, stage = store.client(), f"{line}-train@{network}"
    experiment = store.experiment_id(line)
    run = client.create_run(experiment, tags={"stage": stage, f"dvc.out.{out}": dvc_hash(out)}).info.run_id
    logged = client.create_logged_model(experiment, source_run_id=run)
    client.finalize_logged_model(logged.model_id, "READY")


@pytest.fixture
def own_store(tmp_path, monkeypatch, empty_store):
    shutil.copy(empty_store, tmp_path)
    shutil.copy(REPO / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    yield
    sys.modules["mlflow"].set_tracking_uri(None)


@pytest.mark.slow
@pytest.mark.usefixtures("own_store")
def test_who_leads_is_told_of_the_drives_of_this_run_and_only_who_challenges_becomes_a_version():
    line, data = "open_loop_driving", Path("data/open_loop_driving")
    write_data(data, town.uri(WORLD))
    for network in OFF:
        trained(line, network)
    rest = {"blind": (0.0, 0.0), "constant_velocity": (0.0, 0.0), "expert": (100.0, 100.0)}
    write_drives(data, {"thinktwice_small": (40.0, 40.0), "tcp_small": (30.0, 0.0), **rest})  # of the run before
    with runs.stage_run(Stage(f"{line}-evaluate", line, "evaluate", None, {"deps": []}), {}, None, {}) as log:
        log({"done": 1})
    client = store.client()

    def told() -> dict:
        found = client.search_runs([store.experiment_id(line)], "tags.stage LIKE '%train@%'")
        return {run.data.tags["stage"].partition("@")[2]: run.data for run in found}

    def versions() -> list[str]:
        return [version.network for version in registry.versions(line)]

    assert told()["tcp_small"].metrics["test/l2_mean_to_2s"] == pytest.approx(0.4, abs=1e-5) and not versions()
    assert not any("lead" in data.tags["mlflow.note.content"] for data in told().values()), "that was another run"
    write_drives(data, {"thinktwice_small": (20.0, 60.0)})
    said = serving.settle(line)
    assert said.startswith("none yet, because tcp_small is no challenger: its driving score on test is 0.000")
    assert not versions()
    with pytest.raises(
        BadInput, match=r"tcp_small is no challenger: .*; it lies in data/open_loop_driving/train/tcp_sm"
    ):
        fetched.model(line, f"models:/{line}@champion")
    write_drives(data, {"tcp_small": (30.0, 25.0)})
    assert "tcp_small (version 1) is champion" in serving.settle(line) and versions() == ["tcp_small"]
    of = told()
    assert {name: data.metrics["test/driving_score"] for name, data in of.items()} == {
        "tcp_small": 25.0, "thinktwice_small": 60.0, "blind": 0.0,
    }  # fmt: skip
    leads = [name for name, data in of.items() if "the leader:" in data.tags["mlflow.note.content"]]
    assert leads == ["tcp_small"]


def compared(data, **other):
    line = params.load().open_loop_driving
    drive = line.drive.model_copy(update={"routes": line.drive.routes.model_copy(update={"test": 2})})
    checkpoints = [
        write_checkpoint(data / who, "tcp_small", WORLD, **{"seed": seed, **other})
        for seed, who in enumerate(("challenger", "champion"))
    ]
    return champion.compare(*checkpoints, data, line.model_copy(update={"drive": drive}), REPORTING)


@pytest.mark.slow
def test_two_are_compared_over_the_same_test_routes(tmp_path, monkeypatch):
    monkeypatch.setattr(judge, "BLOCKED_S", 1.5)
    monkeypatch.setattr(judge, "SLOWEST_MPS", 20.0)
    monkeypatch.setattr(judge, "LATE_S", 0.0)
    data = write_data(tmp_path / "town", town.uri(WORLD))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    found = compared(data)
    assert torch.get_num_threads() == 2, "what comes after goes on with as many"
    torch.set_num_threads(threads)
    assert found.metric == "driving score on 2 test routes:" and list(found.groups) == ["town05_r000", "town05_r001"]
    same = compared(data, seed=3)
    assert same.challenger == same.champion and not same.won(0.9)  # the same network drives the same


@pytest.mark.slow
def test_recorded_routes_are_compared_by_distance_and_not_on_what_was_learnt_from(tmp_path):
    data = write_data(tmp_path, "/data/recorded")
    with_pictures(data)
    found = compared(data)
    assert found.metric == "minus l2_mean_to_2s in metres on 2 test routes:" and found.challenger < 0
    with pytest.raises(BadInput, match="no verdict"):
        compared(data, learnt=("town05_r000",))
    with h5py.File(data / "pack/town05_r001/route.h5", "a") as file:
        del file["images"]
    found = compared(data)
    assert found.metric.endswith("on 1 test routes (1 more lack what one of both needs):")
    assert list(found.groups) == ["town05_r000"]


def with_pictures(data):
    """The pack again, now with a camera."""
    from tasks.open_loop_driving.formats import pack
    from tasks.open_loop_driving.importers import town as importer

    said = importer.calibration(WORLD)["cameras"]["front"]
    camera = pack.calibration.parse({key: said[key] for key in pack.calibration.KEYS}, "front", "here")
    for name in SPLITS:
        old = pack.read(pack.path(data / "pack", name))
        columns = {key: getattr(old, key) for key in pack.SMALL if getattr(old, key) is not None}
        head = pack.Head(old.town, old.head.source, 2.0, "", {"front": camera}, ("rgb",))
        rows = [pack.Frame(images={"front": np.full((32, 56, 3), 90, np.uint8)})] * len(old.frame)
        pack.write(old.path, head, columns, rows)


def test_what_an_older_yard_wrote_ends_nobody_who_asks_for_the_champion(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_json(Path("data/open_loop_driving/evaluate/details.json"), {"written by": "an older yard"})
    assert judged.uncrowned("open_loop_driving") == ""
