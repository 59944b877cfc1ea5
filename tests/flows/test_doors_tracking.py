"""Whose run stands in MLflow, whoever ran the stage."""

from __future__ import annotations

import sqlite3
from contextlib import closing


def names_of_runs(yard) -> list[str]:
    with closing(sqlite3.connect(yard.root / "mlflow.db")) as database:
        return [name for (name,) in database.execute("select name from runs order by start_time")]


def test_of_the_processes_that_torchrun_starts_for_a_stage_the_first_alone_is_tracked(yard_copy):
    before = names_of_runs(yard_copy)
    for rank in ("1", "0"):
        process = yard_copy.start("python", "-m", "tasks", "toy-judge@1", RANK=rank, WORLD_SIZE="2")
        out, err = process.communicate()
        assert process.returncode == 0 and "score" in out, err
        assert names_of_runs(yard_copy) == [*before, *(["judge@1"] if rank == "0" else [])]


def test_an_experiment_in_a_copy_of_the_checkout_is_tracked_in_the_checkout(yard_copy):
    before = names_of_runs(yard_copy)
    result = yard_copy.dvc("exp", "run", "--temp", "-S", "toy.judge.scale=3", "toy-judge@1")
    assert result.returncode == 0, result.stderr
    assert names_of_runs(yard_copy) == [*before, "judge@1"]
    assert not list((yard_copy.root / ".dvc/tmp/exps").rglob("mlflow.db"))
