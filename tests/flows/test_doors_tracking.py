"""Whose run stands in MLflow, whoever ran the stage."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing

from tests.flows.conftest import ROOT


def names_of_runs(yard) -> list[str]:
    with closing(sqlite3.connect(yard.root / "mlflow.db")) as database:
        return [name for (name,) in database.execute("select name from runs order by start_time")]


def test_of_the_processes_that_torchrun_starts_for_a_stage_the_first_alone_is_tracked(yard_copy):
    before = names_of_runs(yard_copy)
    for rank in ("1", "0"):
        process = yard_copy.call("python", "-m", "tasks", "toy-judge@1", RANK=rank, WORLD_SIZE="2")
        assert process.returncode == 0 and ("score" in process.stdout) == (rank == "0"), process.stderr
        assert names_of_runs(yard_copy) == [*before, *(["judge@1"] if rank == "0" else [])]


def test_an_experiment_in_a_copy_of_the_checkout_is_tracked_in_the_checkout(yard_copy):
    before = names_of_runs(yard_copy)
    result = yard_copy.dvc("exp", "run", "--temp", "-S", "toy.judge.scale=3", "toy-judge@1")
    assert result.returncode == 0, result.stderr
    assert names_of_runs(yard_copy) == [*before, "judge@1"]
    assert not list((yard_copy.root / ".dvc/tmp/exps").rglob("mlflow.db"))


def test_mlflow_does_not_call_home_whoever_imports_it_first(tmp_path):
    """The server that a flow forks its steps from imports it before any of them has asked for the store."""
    code = "from flows import environment; environment.prepare()\n"
    code += "import mlflow; from mlflow.telemetry.client import get_telemetry_client as c; print(c())"
    tested = ("CI", "PYTEST_CURRENT_TEST", "GITHUB_ACTIONS", "MLFLOW_DISABLE_TELEMETRY")  # MLflow is silent under these
    kept = {name: value for name, value in os.environ.items() if name not in tested}
    environment = {**kept, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout == "None\n", result.stderr
