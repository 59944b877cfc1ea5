"""The challenge, on real networks, a real registry and held-out drives."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from tasks.brake_coast import evaluate, train
from tasks.brake_coast.champion import challenger, compare
from tasks.yard import params
from tasks.yard.files import read_json, write_json
from tasks.yard.step import BadInput
from tasks.yard.tracking import by_hand, champion, registry, store
from tasks.yard.tracking.lineage import dvc_hash
from tests.tasks.brake_coast import drives
from tests.tasks.brake_coast.test_evaluate import cells, train_tiny
from tests.tasks.brake_coast.tiny_pack import NAMES, write_pack
from tests.tasks.yard.shared import machine, reporting

pytestmark = pytest.mark.slow

ITEM = "simple_concat_lstm"
FOLDER = Path("data/brake_coast/train") / ITEM


def train_and_judge(epochs: int) -> None:
    section = drives.section("train")
    values = section.model_dump()
    values["model"] |= {"embedding": 16, "hidden": 32, "heads": 2, "layers": 1}
    values["engine"] |= {"epochs": epochs, "batch": 32}
    shutil.rmtree(FOLDER, ignore_errors=True)
    data = Path("data/brake_coast")
    params = type(section).model_validate(values)
    train.run(params, FOLDER, variant=ITEM, pack=data / "pack", machine_params=machine())
    few = reporting(bootstrap_replicates=100)
    inputs = {"pack": data / "pack", "train": cells(data / "train"), "reporting_params": few}
    evaluate.run(drives.section("evaluate"), data / "evaluate", **inputs)


def register(tmp_path: Path) -> None:
    """As a flow run leaves it: a run with the stage and the hash of its output, and a version with the checkpoint."""
    client = store.client()
    tags = {"stage": f"brake_coast-train@{ITEM}", f"dvc.out.{FOLDER}": dvc_hash(FOLDER)}
    run = client.create_run(store.experiment_id("brake_coast"), tags=tags).info.run_id
    client.log_artifact(run, str(FOLDER / "best.pt"), "model")
    source = client.get_run(run).info.artifact_uri + "/model"
    try:
        client.create_registered_model("brake_coast")
    except Exception as error:
        assert "exists" in str(error)
    client.create_model_version("brake_coast", source, run)


def test_the_alias_moves_only_to_a_model_that_is_surely_no_worse(tmp_path, monkeypatch, empty_store):
    root = Path(params.__file__).parents[2]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    shutil.copy(empty_store, tmp_path)
    shutil.copy(root / "params.yaml", tmp_path)
    write_pack(Path("data/brake_coast/pack"), {"train": 6, "val": 2, "test": 5}, frames=200)

    def version() -> str:
        return registry.champion("brake_coast")[0]

    train_and_judge(epochs=1)
    assert "not registered" in champion.settle("brake_coast")
    register(tmp_path)
    details = Path("data/brake_coast/evaluate/details.json")
    known = read_json(details)
    doubtful = {
        **known,
        ITEM: {t: {**of, "all": {**of["all"], "not_meaningful": True}} for t, of in known[ITEM].items()},
    }
    write_json(details, doubtful)
    said = champion.settle("brake_coast")
    assert "none yet" in said and "on test is not there, or not meaningful" in said
    assert registry.champion("brake_coast") is None
    worth = registry.tags("brake_coast")["1"]  # who is not served has a number with its interval all the same
    assert float(worth["test.low"]) <= float(worth["test.value"]) <= float(worth["test.high"])
    write_json(details, known)
    assert "first of its line" in champion.settle("brake_coast") and version() == "1"
    register(tmp_path)  # the same weights once more
    assert "stays champion" in champion.settle("brake_coast") and version() == "1"

    train_and_judge(epochs=15)
    register(tmp_path)

    def while_somebody_promotes(*arguments):
        if version() == "1":
            by_hand.promote("brake_coast", "2", "the same weights, and nobody has looked")
        return compare(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("tasks.brake_coast.champion.compare", while_somebody_promotes)
        said = champion.settle("brake_coast")
    assert "after version 2" in said, "who is champion now is whom it has to beat"
    assert "new champion" in said and "lead +" in said and version() == "3", said
    assert "on 5 test drives: " in said and "challenge 1 on this test set, so 98.75 % sure" in said, said

    train_and_judge(epochs=1)
    register(tmp_path)
    said = champion.settle("brake_coast")
    assert "version 3 stays champion" in said and "lead -" in said and version() == "3", said
    assert "challenge 2 on this test set" in said, said
    assert "challenge 2 on this test set" in champion.settle("brake_coast"), "asked again it is no further one"

    state = torch.load(FOLDER / "best.pt", weights_only=True)
    state["config"]["network"]["telemetry_dim"] = 11
    state["model"] = {}
    torch.save(state, FOLDER / "best.pt")
    register(tmp_path)
    assert "cannot be compared" in champion.settle("brake_coast") and version() == "3"
    assert registry.tags("brake_coast")["5"]["test.value"]


@pytest.mark.parametrize("told", [False, True])
def test_persistence_is_a_bar_for_a_network_that_is_told_the_brake_of_now(tmp_path, told):
    def of(pr_auc: float) -> dict:
        return {"brake_1s": {split: {"pr_auc": pr_auc, "not_meaningful": False} for split in ("validation", "all")}}

    write_json(tmp_path / "evaluate/details.json", {ITEM: of(0.5), "prevalence": of(0.1), "persistence": of(0.7)})
    write_json(tmp_path / "pack/dataset_config.json", {"telemetry_features": ["SPEED", *["BRAKE_SIGNAL"] * told]})
    unfit = challenger(tmp_path).unfit
    assert (unfit == "its mean PR-AUC on validation is 0.500, no better than 0.700 of persistence") == told
    assert told or unfit is None


def test_drives_that_were_learnt_from_and_labels_that_are_mostly_unknown_decide_nothing(tmp_path):
    pack = write_pack(tmp_path / "data/pack", {"train": 3, "val": 2, "test": 3}, frames=200)
    best = train_tiny(pack, tmp_path / "data/train", (ITEM,)) / ITEM / "best.pt"
    line = params.load(drives.REPO / "params.yaml").brake_coast

    def lose(name: str) -> None:
        with h5py.File(pack / "test.h5", "r+") as file:
            labels = file["frames/labels"][:]
            labels[np.arange(len(labels)) % 2 == 0, NAMES.index(name)] = -1
            file["frames/labels"][:] = labels

    whole = compare(best, best, tmp_path / "data", line, reporting())
    assert list(whole.groups) == ["test-0", "test-1", "test-2"] and "on 3 test drives:" in whole.metric
    with h5py.File(pack / "test.h5", "r+") as file:  # the splits were drawn anew: one drive came from training
        file.attrs["recordings"] = ["test-0", "train-1", "test-2"]
    new = compare(best, best, tmp_path / "data", line, reporting())
    assert list(new.groups) == ["test-0", "test-2"] and "on 2 of 3 test drives (they" in new.metric
    with h5py.File(pack / "test.h5", "r+") as file:
        file.attrs["recordings"] = ["val-0", "train-1", "test-2"]
    with pytest.raises(BadInput, match="no verdict: of 3 test drives 1 is left"):
        compare(best, best, tmp_path / "data", line, reporting())
    with h5py.File(pack / "test.h5", "r+") as file:
        file.attrs["recordings"] = ["test-0", "test-1", "test-2"]
    lose("coast_1s")
    part = compare(best, best, tmp_path / "data", line, reporting())
    assert "coast_1s" in str(whole) and "coast_1s" not in str(part) and "brake_1s" in str(part)
    for name in ("coast_2s", "brake_1s", "brake_2s"):
        lose(name)
    with pytest.raises(BadInput, match=r"not meaningful .*5\d\.\d % of brake_1s"):
        compare(best, best, tmp_path / "data", line, reporting())


@pytest.fixture(autouse=True)
def forget_the_store():
    yield
    import mlflow

    mlflow.set_tracking_uri(None)
