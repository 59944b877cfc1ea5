"""What MLflow cannot be told is told by the next run: once, and whole, whenever somebody is killed."""

from __future__ import annotations

import logging
import os
import shutil
import signal
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tasks.yard.files import write_json, write_text
from tasks.yard.stage import Stage
from tasks.yard.tracking import described, lineage, owed, runs, store
from tasks.yard.tracking.described import Run
from tests.tasks.yard.tracking import adder, others

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_store")]

ROOT = Path(__file__).parents[4]
DEAD = "http://127.0.0.1:1"  # a port that nobody listens at


class Adding(Stage):
    def module(self) -> ModuleType:
        return adder


def stage(item: str = "a") -> Stage:
    return Adding(f"toy-train@{item}", "toy", "train", item, {"deps": [], "matrix": {"variant": ["a", "b"]}})


def train(number: int = 2) -> None:
    """What a step leaves: weights, curves, a page, and a run that it made itself."""
    out = stage().out
    shutil.rmtree(out, ignore_errors=True)
    write_text(out / "best.pt", str(number))
    write_text(out / "history.jsonl", '{"epoch": 0, "loss": 4.0}\n{"epoch": 1, "loss": 2.0}\n')
    write_text(out / "pages" / "page.html", f"page {number}")
    write_json(out / "runs" / "trial-0" / "params.json", {"rate": 0.1})
    write_json(out / "runs" / "trial-0" / "metrics.json", {"score": 0.5})


def provide_code() -> None:
    if not Path("tasks").exists():
        for name in ("tasks", "models"):
            Path(name).symlink_to(ROOT / name)
        write_text(Path("requirements.lock"), "numpy\n")


def track(monkeypatch: pytest.MonkeyPatch, uri: str, number: int = 2) -> None:
    provide_code()
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        with runs.stage_run(stage(), {"epochs": 2}, None, {}) as log:
            train(number)
            log({"score": 0.9, "unknown": None, "loss": float("nan")})


def told() -> dict[str, list]:
    """{name: the runs in MLflow of that name}"""
    found: dict[str, list] = {}
    for run in store.client().search_runs([store.experiment_id("toy")]):
        found.setdefault(run.info.run_name, []).append(run)
    return found


def assert_whole(number: int = 2) -> None:
    import mlflow

    client = store.client()
    (run,), (child,) = told().pop("train@a"), told().pop("trial-0")
    assert run.info.status == child.info.status == "FINISHED"
    assert run.data.params == {"epochs": "2", "item": "a"} and child.data.params == {"rate": "0.1"}
    assert run.data.metrics["score"] == 0.9 and np.isnan(run.data.metrics["loss"])
    assert child.data.metrics == {"score": 0.5}
    assert [point.value for point in client.get_metric_history(run.info.run_id, "curve/loss")] == [4.0, 2.0]
    assert child.data.tags["mlflow.parentRunId"] == run.info.run_id
    assert mlflow.artifacts.load_text(f"{run.info.artifact_uri}/pages/page.html") == f"page {number}"
    assert not client.search_model_versions("name = 'toy'")  # nobody has judged it
    (logged,) = client.search_logged_models([run.info.experiment_id])
    assert logged.source_run_id == run.info.run_id
    model = mlflow.pyfunc.load_model(f"models:/{logged.model_id}")
    assert model.predict(np.zeros((1, 2))).tolist() == [[number, number]]


def test_a_finished_step_whose_mlflow_is_dead_is_sent_by_the_next_run(monkeypatch, caplog):
    track(monkeypatch, DEAD)
    assert f"MLFLOW_TRACKING_URI={DEAD} does not answer" in caplog.text and "the next run sends it" in caplog.text
    assert owed.said() == "owed to MLflow: 1 run (train@a), sent by the next run"
    train(number=7)  # the stage ran again before it was sent
    owed.pay()
    assert_whole(number=2)
    assert owed.said() is None and not list(Path(".trainyard/owed").iterdir())
    began, ended = told()["train@a"][0].info.start_time, told()["train@a"][0].info.end_time
    assert 0 < ended - began < 600_000  # of the step, not of the sending
    owed.pay()
    assert_whole(number=2)


@pytest.mark.parametrize("judged_at", [DEAD, None])
def test_a_training_that_is_owed_gets_its_numbers_on_test(monkeypatch, judged_at):
    """Whether its judge is owed too, and by whatever names they are kept, or MLflow is back when it is told."""
    names = iter(("toy.b", "toy.a"))
    monkeypatch.setattr(described, "new_id", lambda line: next(names))
    track(monkeypatch, DEAD)
    said = {"out": str(stage().out), "hash": lineage.dvc_hash(stage().out), "metrics": {"test/score": 0.5}}
    judges = {stage().name: {**said, "note": "judged"}}
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", judged_at or os.environ["MLFLOW_TRACKING_URI"])
        owed.deliver(Run("toy", "evaluate", described.new_id("toy"), {}, status="FINISHED", judged=judges))
    owed.pay()
    (run,) = told()["train@a"]
    assert run.data.metrics["test/score"] == 0.5 and owed.said() is None


def be_killed(moment: str, code: str) -> None:
    """Somebody runs `code`, and ends where he would call `moment`."""
    killed = f"import os, signal, shutil, mlflow\n{moment} = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
    said = Path("said")
    assert others.run(killed + code, Path.cwd(), said) == -signal.SIGKILL, said.read_text()


def pay_and_be_killed(moment: str) -> None:
    be_killed(moment, "from tasks.yard.tracking import owed; owed.pay()")


def test_whoever_is_killed_while_sending_leaves_no_half_run_that_stands_as_finished_and_no_second_one(monkeypatch):
    track(monkeypatch, DEAD)
    for moment in ("log_artifact", "finalize_logged_model"):
        pay_and_be_killed(f"mlflow.MlflowClient.{moment}")
        assert [run.info.status for run in told()["train@a"]] == ["RUNNING"] and owed.said()
    for moment in ("mlflow.MlflowClient.set_terminated", "shutil.rmtree"):  # the model lies there, the run is finished
        pay_and_be_killed(moment)
    runs.settle_earlier()
    assert_whole()
    assert owed.said() is None and not list(Path(".trainyard/owed").iterdir())


TRACKED = """
from tasks.yard.tracking import owed, runs
from tests.tasks.yard.tracking.test_owed import stage, train
with runs.stage_run(stage(), {"epochs": 2}, None, {}) as log:
    train()
    log({"score": 0.9, "unknown": None, "loss": float("nan")})
    assert not owed.entries()  # nobody else is to send it while it is at work
"""


@pytest.mark.parametrize("moment", ["log_artifact", "finalize_logged_model"])
def test_a_step_that_is_killed_while_mlflow_is_told_of_what_it_has_made_is_told_of_by_the_next_run(moment):
    provide_code()
    be_killed(f"mlflow.MlflowClient.{moment}", TRACKED)
    train(number=7)  # the stage ran again before it was sent
    assert owed.said() == "owed to MLflow: 1 run (train@a), sent by the next run"
    runs.settle_earlier()
    assert_whole(number=2)
    assert owed.said() is None and not list(Path(".trainyard/alive").iterdir())


def test_an_entry_that_is_no_good_is_named_and_does_not_stop_the_others(monkeypatch, caplog):
    write_text(Path(".trainyard/owed/toy.broken/run.json"), "{}")
    track(monkeypatch, DEAD)
    owed.pay()
    assert len(told()["train@a"]) == 1 and "toy.broken stays owed" in caplog.text
    assert "toy.broken (cannot be read; remove it)" in owed.said()


def test_a_run_that_can_be_neither_sent_nor_kept_costs_no_result(monkeypatch, caplog):
    Path(".trainyard").mkdir()
    Path(".trainyard/owed").touch()  # as if the disk were full
    track(monkeypatch, DEAD)
    assert "could not be kept" in caplog.text and (stage().out / "best.pt").read_text() == "2"


def test_what_cannot_be_described_costs_no_result(monkeypatch, caplog):
    monkeypatch.setattr(adder, "served_model", lambda out, item, data: 1 / 0)
    track(monkeypatch, os.environ["MLFLOW_TRACKING_URI"])
    assert "cannot be described" in caplog.text and "ZeroDivisionError" in caplog.text
    (run,) = told()["train@a"]
    assert run.info.status == "FINISHED" and run.data.metrics["score"] == 0.9


def test_a_flow_that_began_while_mlflow_was_away_is_the_parent_of_its_stages_all_the_same(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", DEAD)
        flow = runs.start_flow_run("toy", "toy", {"prefect.flow_run": "toy"})
    train()
    with runs.stage_run(stage(), {"epochs": 2}, flow.id, {}) as log:
        log({"score": 0.9})
    assert "mlflow.parentRunId" not in told()["train@a"][0].data.tags
    runs.end_flow_run(flow, "FINISHED", {"train@a/score": 0.9}, [])
    (parent,), (child,) = told()["toy"], told()["train@a"]
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.info.start_time <= child.info.start_time
    assert f"/runs/{parent.info.run_id}?" in runs.link("http://here", "toy", flow.id)
