"""What stands in MLflow of a flow and of a stage."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.yard.stage import Stage
from tasks.yard.tracking import runs, store

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[4]


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    yield
    sys.modules["mlflow"].set_tracking_uri(None)


def test_a_run_whose_process_was_killed_is_ended_by_the_next_and_others_are_left():
    code = (
        "import os, signal; from tasks.yard.tracking.runs import start_flow_run\n"
        "print(start_flow_run('toy', 'toy', {}), flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as process:
        killed = process.stdout.read().strip()
    assert process.returncode == -signal.SIGKILL and killed
    client = store.client()
    # The same number of a process that is gone here may be one at work there.
    tags = {runs.PROCESS: f"another-machine:{process.pid}"}
    elsewhere = client.create_run(store.experiment_id("toy"), tags=tags).info.run_id
    first, second = (runs.start_flow_run("toy", "toy", {}) for _ in range(2))
    status = {run_id: client.get_run(run_id).info.status for run_id in (killed, elsewhere, first, second)}
    assert status == {killed: "KILLED", elsewhere: "RUNNING", first: "RUNNING", second: "RUNNING"}


@pytest.fixture
def cell() -> Stage:
    """A cell of a matrix and its output."""
    entry = {"deps": [], "matrix": {"analysis": "${brake_coast.analyse.items}"}}
    stage = Stage("brake_coast-analyse@misses", "brake_coast", "analyse", "misses", entry)
    stage.out.mkdir(parents=True)
    (stage.out / "history.jsonl").write_text(
        '{"epoch": 0, "val": {"score": 0.5}}\n{"epoch": 1, "val": {"score": 0.7}}\n'
    )
    return stage


def test_the_run_of_a_matrix_cell_says_its_item_and_not_the_list_of_all(cell):
    params = {"items": ["misses", "cost"], "shown": 2, "misses": {"max_lead_s": 3}}
    with runs.stage_run(cell, params, None, {}) as log:
        log({"score": 0.7, "unknown": None})
    client = store.client()
    (run,) = client.search_runs([store.experiment_id("brake_coast")])
    assert run.data.params == {"item": "misses", "shown": "2", "misses.max_lead_s": "3"}
    assert run.data.metrics["score"] == 0.7 and "unknown" not in run.data.metrics
    assert [point.value for point in client.get_metric_history(run.info.run_id, "curve/val.score")] == [0.5, 0.7]
    assert run.info.status == "FINISHED"


def test_a_step_that_fails_leaves_a_failed_run_with_its_error(cell):
    with pytest.raises(ValueError), runs.stage_run(cell, {}, None, {}):
        raise ValueError("no rows")
    (run,) = store.client().search_runs([store.experiment_id("brake_coast")])
    assert run.info.status == "FAILED" and run.data.tags["error"] == "ValueError: no rows"
