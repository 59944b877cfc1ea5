"""The Prefect server that a flow run starts for itself: it says nothing, and it ends with the run, however that is."""

from __future__ import annotations

import os
import signal
import sqlite3

import psutil

from tests.flows.waiting import wait_until


def runs_by_state(yard) -> list[str]:
    database = sqlite3.connect(yard.root / ".trainyard/prefect/prefect.db")
    return sorted(state for (state,) in database.execute("select state_type from flow_run"))


def test_a_good_run_prints_no_traceback_and_names_the_quarantined(bare_yard):
    result = bare_yard.flow("run", "toy")
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    assert "quarantined bad: bad.txt: 'four' is not a whole number" in result.stderr
    assert runs_by_state(bare_yard) == ["COMPLETED"]


def test_a_second_run_says_who_holds_the_checkout_and_a_killed_one_is_resumed(lone_yard, tmp_path):
    assert lone_yard.dvc("remote", "add", "-d", "store", str(tmp_path / "store")).returncode == 0
    gates = lone_yard.gates("bad", "one")
    first = lone_yard.start("python", "-m", "flows", "run", "toy", "--set", f"toy.collect.gates={gates.name}")
    one = lone_yard.root / "data/toy/collect/one"
    wait_until(lambda: one.exists() or first.poll() is not None, "the first number")
    second = lone_yard.flow("run", "toy")
    assert second.returncode == 3, first.communicate()
    assert f"pid {first.pid}" in second.stderr
    repro = lone_yard.dvc("repro")
    assert repro.returncode != 0 and str(first.pid) in repro.stderr + repro.stdout
    family = psutil.Process(first.pid).children(recursive=True)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive, f"left behind: {alive}"
    stamp = one.stat().st_mtime_ns
    lone_yard.gates("two", "three")
    resumed = lone_yard.flow("run", "toy")
    assert resumed.returncode == 0, resumed.stderr
    assert one.stat().st_mtime_ns == stamp
    assert "up to date" in lone_yard.dvc("status").stdout
    assert any((tmp_path / "store").rglob("*"))  # what the remote then holds, test_remote.py tells
    runs = sqlite3.connect(lone_yard.root / "mlflow.db").execute("select status from runs").fetchall()
    assert "RUNNING" not in {status for (status,) in runs}
    assert runs_by_state(lone_yard) == ["COMPLETED", "CRASHED"]  # the refused one never began
    tasks = sqlite3.connect(lone_yard.root / ".trainyard/prefect/prefect.db").execute("select state_type from task_run")
    assert {state for (state,) in tasks} == {"COMPLETED", "CRASHED"}  # those of the killed run too
