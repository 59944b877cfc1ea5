"""Where the store is, how it is made, and how it follows its checkout."""

from __future__ import annotations

import os
import shutil
import signal
import sys

import pytest

from tasks.yard.tracking import store
from tests.tasks.yard.tracking import others


@pytest.mark.parametrize("uri", [None, "sqlite:///mlflow.db"])
def test_a_copy_that_dvc_made_for_an_experiment_has_the_store_of_its_checkout(tmp_path, monkeypatch, uri):
    copy = tmp_path / ".dvc/tmp/exps/tmp1234"
    copy.mkdir(parents=True)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for folder in (copy, tmp_path):
        monkeypatch.chdir(folder)
        assert store.uri() == f"sqlite:///{tmp_path}/mlflow.db" and store.state() == tmp_path / ".trainyard"


def test_a_damaged_store_is_named_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    assert store.fault() is None  # it is not there yet
    (tmp_path / "mlflow.db").write_bytes(os.urandom(20_000))
    assert f"{tmp_path}/mlflow.db is damaged" in store.fault() and "move it away" in store.fault()
    with pytest.raises(store.Unavailable, match="is damaged"):
        store.client()


@pytest.mark.slow
def test_whoever_is_killed_while_the_store_is_made_leaves_nothing_that_stops_the_next(tmp_path, monkeypatch):
    """Half a second in: MLflow has made some of the tables."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.DEFAULT_STORE)
    code = (
        "import os, signal, sqlalchemy\n"
        "def end(*event): os.kill(os.getpid(), signal.SIGKILL)\n"
        "from mlflow.store.tracking.dbmodels.models import SqlMetric\n"
        "sqlalchemy.event.listen(SqlMetric.__table__, 'before_create', end)\n"
        "sqlalchemy.event.listen(sqlalchemy.engine.Engine, 'commit', end)\n"
        "from tasks.yard.tracking import store; store.client()"
    )
    assert others.run(code, tmp_path, tmp_path / "said") == -signal.SIGKILL, (tmp_path / "said").read_text()
    assert list(tmp_path.glob("mlflow.db*"))  # it was killed at work
    client = store.client()
    run = client.create_run(store.experiment(client, "toy"))
    assert store.client().get_run(run.info.run_id) and [p.name for p in tmp_path.glob("*.db*")] == ["mlflow.db"]
    sys.modules["mlflow"].set_tracking_uri(None)


@pytest.mark.slow
@pytest.mark.parametrize("bring", [shutil.move, shutil.copytree])
def test_artifacts_follow_a_checkout_that_is_moved_or_copied(tmp_path, monkeypatch, own_store, bring):
    old, new = tmp_path / "old", tmp_path / "new"
    (old / "mlruns").mkdir(parents=True)
    shutil.move("mlflow.db", old)

    def log(client, run_id: str, text: str) -> list[str]:
        client.log_text(run_id, text, f"{text}.txt")
        return [file.path for file in client.list_artifacts(run_id)]

    monkeypatch.chdir(old)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.DEFAULT_STORE)
    client = store.client()
    # As stores before were: in a folder that MLflow named by a number.
    first = client.create_run(client.create_experiment("toy", artifact_location=str(old / "mlruns/1"))).info.run_id
    assert log(client, first, "before") == ["before.txt"]
    bring(old, new)
    before = sorted(old.rglob("*.txt"))
    (tmp_path / "elsewhere").mkdir()
    code = (  # of another process: MLflow remembers where the artifacts of a run lie
        "from tasks.yard.tracking import store; client = store.client()\n"
        "second = client.create_run(store.experiment(client, 'toy')).info.run_id\n"
        f"client.log_text('{first}', '', 'after.txt'); client.log_text(second, '', 'new.txt')\n"
        f"print('files', *(file.path for file in client.list_artifacts('{first}')))"
    )
    for folder, uri in ((new, store.DEFAULT_STORE), (tmp_path / "elsewhere", f"sqlite:///{new}/mlflow.db")):
        said = tmp_path / "said"
        assert others.run(code, folder, said, MLFLOW_TRACKING_URI=uri) == 0, said.read_text()
        assert said.read_text().split("files ")[-1].split() == ["after.txt", "before.txt"]
        said.unlink()
    assert sorted(old.rglob("*.txt")) == before and len(list(new.rglob("*.txt"))) == 4
    assert not (tmp_path / "elsewhere/mlruns").exists()
