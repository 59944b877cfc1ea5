"""What several steps do to one MLflow store at once."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from mlflow.entities import Dataset, DatasetInput

from tasks.yard.tracking import store as tracking

ROUNDS, TOGETHER = 6, 8


@pytest.mark.slow
def test_runs_that_end_at_once_all_name_the_data_they_read(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    store = tracking.client()
    experiment = tracking.experiment_id("toy")
    runs = [store.create_run(experiment).info.run_id for _ in range(TOGETHER)]
    gate = Barrier(TOGETHER, timeout=240)  # s: one that fails must not hang the others

    def end(run_id: str) -> None:
        for number in range(ROUNDS):
            dataset = Dataset(name=f"data/toy/{number}", digest="1", source_type="dvc", source="{}")
            gate.wait()
            tracking.log_inputs(store, run_id, [DatasetInput(dataset, [])])

    with ThreadPoolExecutor(TOGETHER) as pool:
        list(pool.map(end, runs))
    for run_id in runs:
        names = {given.dataset.name for given in store.get_run(run_id).inputs.dataset_inputs}
        assert names == {f"data/toy/{number}" for number in range(ROUNDS)}


@pytest.mark.slow
def test_a_run_whose_process_was_killed_is_ended_by_the_next_and_others_are_left(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    code = (
        "import os, signal; from tasks.yard.tracking import store as tracking\n"
        "print(tracking.start_flow_run('toy', 'toy', {}), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout.strip()
    store = tracking.client()
    elsewhere = store.create_run(tracking.experiment_id("toy"), tags={tracking.PROCESS: "another-machine:1"})
    mine = tracking.start_flow_run("toy", "toy", {})
    again = tracking.start_flow_run("toy", "toy", {})
    status = {run: store.get_run(run).info.status for run in (killed, elsewhere.info.run_id, mine, again)}
    assert status == {killed: "KILLED", elsewhere.info.run_id: "RUNNING", mine: "RUNNING", again: "RUNNING"}
