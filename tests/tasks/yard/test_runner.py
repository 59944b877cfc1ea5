"""What the runner hands to a step that has no params of its own, and what MLflow is told of it."""

from __future__ import annotations

import shutil
import sys

import pytest

from tasks.ground_plane import detect
from tasks.yard import runner
from tasks.yard.step import Context
from tasks.yard.tracking import store as tracking
from tests.tasks.ground_plane.tiny_project import NETWORK, REPO, section, write_network, write_pack
from tests.tasks.yard.shared import YARD

pytestmark = pytest.mark.slow


def test_a_step_without_params_of_its_own_is_handed_the_yards_and_tracked_with_them(tmp_path, monkeypatch, empty_store):
    root = tmp_path / "data/ground_plane"
    root.mkdir(parents=True)
    write_pack(root)
    train = {NETWORK: write_network(root, NETWORK, threshold=0.0)}
    detect.run(section("detect"), root / "detect" / NETWORK, network=NETWORK, pack=root / "pack", train=train)
    for name in ("tasks", "models"):
        (tmp_path / name).symlink_to(REPO / name)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(REPO / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    shutil.copy(empty_store, tmp_path)
    metrics = runner.run("ground_plane-evaluate", Context())
    assert f"test/{NETWORK}/moda" in metrics and (root / "evaluate/details.json").exists()
    (run,) = tracking.client().search_runs([tracking.experiment_id("ground_plane")])
    told = {key: str(value) for key, value in YARD.reporting.model_dump(mode="json").items()}
    assert run.data.params == {f"reporting.{key}": value for key, value in told.items()}


@pytest.fixture(autouse=True)
def forget_the_store():
    yield
    if "mlflow" in sys.modules:
        sys.modules["mlflow"].set_tracking_uri(None)
