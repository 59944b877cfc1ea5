"""The search over the real training: written back, and what it cannot compare by. What any search does is in
tests/tasks/yard/tuning."""

from __future__ import annotations

import json
import shlex
import shutil
from functools import partial
from pathlib import Path

import pytest

from tasks.ground_plane import train, tune
from tasks.ground_plane.params import Tune
from tasks.yard import params as params_file
from tasks.yard.files import read_json, write_json
from tasks.yard.step import BadInput
from tests.tasks.ground_plane.test_train import settings
from tests.tasks.ground_plane.tiny_project import REPO, section, write_pack
from tests.tasks.yard.shared import machine

pytestmark = pytest.mark.slow

SPACE = {"optimizer.learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}, "engine.batch": {"choices": [2, 4]}}
TRAIN = settings(engine={"epochs": 2}, evaluate_every=1)
TUNE = section("tune", trials=2, pruner={"kind": "asha", "min_epochs": 1, "reduction": 2}, space=SPACE)
search = partial(tune.run, machine_params=machine())


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return write_pack(tmp_path_factory.mktemp("project"), one={"frames": 16, "cameras": 2})


def test_the_command_of_the_best_trial_trains_what_the_trial_was(pack, tmp_path, monkeypatch):
    found = search(TUNE, tmp_path / "tune", train_params=TRAIN, pack=pack)
    best = read_json(tmp_path / "tune/best.json")
    assert found["trials"] == 2 and found["complete"] >= 1 and found["standing_score"] <= found["best_score"]
    assert not list((tmp_path / "tune").rglob("*.pt"))
    monkeypatch.chdir(tmp_path)
    shutil.copy(REPO / "params.yaml", tmp_path)
    command = shlex.split(best["write_back"])
    assert command[:5] == ["python", "-m", "flows", "run", "ground_plane"]
    params_file.set_values([argument for argument in command if "=" in argument])
    written = params_file.load().ground_plane.train
    values = TRAIN.model_dump()
    values["optimizer"]["learning_rate"] = written.optimizer.learning_rate
    values["engine"]["batch"] = written.engine.batch
    again = {"network": TUNE.network, "pack": pack, "machine_params": machine()}
    scores = train.run(type(TRAIN).model_validate(values), tmp_path / "again", **again)
    assert scores["val/score"] == found["best_score"] == best["best"]["score"]
    trial = tmp_path / "tune/runs" / f"trial-{found['best_trial']:03d}"
    assert (trial / "history.jsonl").read_bytes() == (tmp_path / "again/history.jsonl").read_bytes()


def test_what_stands_in_params_yaml_searches_nothing_and_could(tmp_path):
    standing = section("tune")
    assert search(standing, tmp_path, train_params=section("train"), pack=Path("none")) == {"trials": 0}
    assert "ground_plane.tune.trials=20" in json.loads((tmp_path / "best.json").read_text())["how"]
    unread = standing.model_copy(update={"trials": 1})
    with pytest.raises(FileNotFoundError):  # not an error of the space: it is usable as it stands
        search(unread, tmp_path, train_params=section("train"), pack=Path("none"))
    with pytest.raises(ValueError, match="did you mean 'small-mean_max'"):
        Tune.model_validate({**standing.model_dump(), "network": "small-mean_maxx"})


def test_trials_that_cannot_be_compared_are_refused(pack, tmp_path):
    with pytest.raises(BadInput, match=r"min_epochs = 1 must be a multiple of ground_plane\.train\.evaluate_every = 2"):
        search(TUNE, tmp_path, train_params=settings(), pack=pack)
    shutil.copytree(pack, tmp_path / "pack")
    about = read_json(pack / "scenes.json")
    for said in about["scenes"].values():
        said["people"] = [[] if part == "val" else who for part, who in zip(said["split"], said["people"], strict=True)]
    (tmp_path / "pack/scenes.json").unlink()
    write_json(tmp_path / "pack/scenes.json", about)
    with pytest.raises(BadInput, match="no score to compare trials by"):
        search(TUNE, tmp_path / "out", train_params=TRAIN, pack=tmp_path / "pack")
