"""The search over the real training: killed in the middle, written back, and as MLflow shows it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import sys
from functools import partial
from pathlib import Path

import pytest

from tasks.brake_coast import train, tune
from tasks.brake_coast.params import Train, Tune
from tasks.yard import params as params_file
from tasks.yard.files import folder_hash, read_json
from tasks.yard.stage import Stage
from tasks.yard.step import BadInput
from tasks.yard.tracking import store
from tasks.yard.tracking.runs import stage_run
from tasks.yard.training.engine import Trainer
from tests.tasks.brake_coast import drives
from tests.tasks.brake_coast.test_train import settings
from tests.tasks.brake_coast.tiny_pack import write_pack
from tests.tasks.yard.forked import forked
from tests.tasks.yard.shared import machine

pytestmark = pytest.mark.slow

SPACE = {"optimizer.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "engine.batch": {"choices": [32, 64]}}
TRAIN = settings(engine={"epochs": 3})
MACHINE = machine(checkpoint_every_s=0.0)
TUNE = drives.section("tune", trials=3, pruner={"kind": "asha", "min_epochs": 1, "reduction": 2}, space=SPACE)


search = partial(tune.run, machine_params=MACHINE)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return write_pack(tmp_path_factory.mktemp("pack"), {"train": 3, "val": 2}, frames=200)


@pytest.fixture(scope="module")
def tuned(pack, tmp_path_factory):
    out = tmp_path_factory.mktemp("tuned")
    return out, search(TUNE, out, train_params=TRAIN, pack=pack)


def test_a_search_that_was_killed_ends_as_if_it_had_not_been(tuned, pack, tmp_path):
    out, found = tuned
    killed = tmp_path / "killed"

    def until_the_second_trial() -> None:
        take = Trainer.step

        def last_steps(trainer: Trainer, ids) -> None:  # the first checkpoint of the second trial is its end
            if (killed / "runs/trial-001/last.json").exists():
                os.kill(os.getpid(), signal.SIGKILL)
            take(trainer, ids)

        Trainer.step = last_steps
        search(TUNE, killed, train_params=TRAIN, pack=pack)

    process = forked(until_the_second_trial)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (killed / "trials.csv").exists()
    assert search(TUNE, killed, train_params=TRAIN, pack=pack) == found
    assert folder_hash(killed) == folder_hash(out)


def test_the_best_trial_trained_in_pieces_is_what_training_in_one_go_gives(tuned, pack, tmp_path, monkeypatch):
    out, found = tuned
    best = read_json(out / "best.json")
    monkeypatch.chdir(tmp_path)
    shutil.copy(drives.REPO / "params.yaml", tmp_path)
    command = shlex.split(best["write_back"])
    params_file.set_values([argument for argument in command if "=" in argument])
    written = params_file.load().brake_coast.train
    values = TRAIN.model_dump()
    values["optimizer"]["learning_rate"] = written.optimizer.learning_rate
    values["engine"]["batch"] = written.engine.batch
    scores = train.run(Train(**values), tmp_path / "again", variant=TUNE.variant, pack=pack, machine_params=MACHINE)
    assert scores["val/score"] == found["best_score"] == best["best"]["score"]
    trial = out / "runs" / f"trial-{found['best_trial']:03d}"
    for name in ("history.jsonl", "curves.png"):
        assert (trial / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert max(len(read_json(path)["rungs"]) for path in out.glob("runs/*/trial.json")) > 1


def test_every_trial_is_a_child_run_in_mlflow(tuned, tmp_path, monkeypatch, empty_store):
    out, found = tuned
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    shutil.copy(empty_store, tmp_path)
    shutil.copytree(out, "data/brake_coast/tune")
    stage = Stage("brake_coast-tune", "brake_coast", "tune", None, {"deps": []})
    with stage_run(stage, TUNE.model_dump(mode="json"), None, {}) as log:
        log(found)
    client = store.client()
    runs = {run.info.run_name: run for run in client.search_runs([store.experiment_id("brake_coast")])}
    assert set(runs) == {"tune", *(f"trial-{number:03d}" for number in range(3))}
    parent = runs.pop("tune").info.run_id
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent}
    assert {run.data.tags["network"] for run in runs.values()} == {TUNE.variant}
    assert all("commit" in run.data.tags for run in runs.values())
    best = runs[f"trial-{found['best_trial']:03d}"]
    assert best.data.metrics["score"] == found["best_score"] and set(best.data.params) == set(SPACE)
    assert len(client.get_metric_history(best.info.run_id, "curve/val.score")) == best.data.metrics["epochs"] == 3
    assert [file.path for file in client.list_artifacts(best.info.run_id)] == ["curves.png"]
    assert {file.path for file in client.list_artifacts(parent)} == {"best.json", "history.png", "space.png"}


def test_what_stands_in_params_yaml_searches_nothing_and_could(tmp_path):
    standing = drives.section("tune")
    assert search(standing, tmp_path, train_params=drives.section("train"), pack=Path("none")) == {"trials": 0}
    assert "brake_coast.tune.trials=20" in json.loads((tmp_path / "best.json").read_text())["how"]
    unread = standing.model_copy(update={"trials": 1})
    with pytest.raises(FileNotFoundError):  # not an error of the space: it is usable as it stands
        search(unread, tmp_path, train_params=drives.section("train"), pack=Path("none"))
    with pytest.raises(ValueError, match="simple_concat_lstmm"):
        Tune.model_validate({**standing.model_dump(), "variant": "simple_concat_lstmm"})


def test_a_validation_that_cannot_tell_is_an_error(tmp_path):
    pack = write_pack(tmp_path / "pack", {"train": 1, "val": 1}, frames=120)
    import h5py

    with h5py.File(pack / "val.h5", "r+") as file:
        file["frames/labels"][:] = -1
    with pytest.raises(BadInput, match="no score to compare trials by"):
        search(TUNE, tmp_path / "out", train_params=TRAIN, pack=pack)


@pytest.fixture(autouse=True)
def forget_the_store():
    yield
    if "mlflow" in sys.modules:
        sys.modules["mlflow"].set_tracking_uri(None)
