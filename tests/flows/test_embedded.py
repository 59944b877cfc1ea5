"""The Prefect server that a flow run starts for itself: it ends with the run, however that is, and whatever is killed,
the next run goes on. What one says, test_secrets.py reads."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing

import psutil

from tests.flows.begun import FLOW, Begun


def states(yard, table: str) -> list[str]:
    with closing(sqlite3.connect(yard.root / ".trainyard/prefect/prefect.db")) as database:
        return sorted(state for (state,) in database.execute(f"select state_type from {table}"))


def test_whatever_is_killed_the_next_run_goes_on_and_a_second_one_beside_says_who_is_at_work(
    lone_yard, finished_yard, tmp_path
):
    lone_yard.send_to(tmp_path / "store")
    first = Begun(lone_yard, *FLOW)
    (server,) = [child for child in first.family if "flows.environment" in " ".join(child.cmdline())]
    server.kill()
    said = first.end()
    assert first.process.returncode == 1, said
    assert said.splitlines()[-1].startswith("error: the Prefect server that this run started has ended"), said

    killed = Begun(lone_yard, *FLOW)
    beside = lone_yard.flow("run", "toy")
    assert beside.returncode == 3, killed.process.communicate()
    assert f"pid {killed.process.pid}" in beside.stderr
    repro = lone_yard.dvc("repro")
    assert repro.returncode != 0 and str(killed.process.pid) in repro.stderr + repro.stdout
    family = psutil.Process(killed.process.pid).children(recursive=True)
    os.kill(killed.process.pid, signal.SIGKILL)
    killed.process.communicate()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive, f"left behind: {alive}"

    resumed = Begun(lone_yard, *FLOW)
    resumed.below(steps=False)[0].kill()  # over two, or three: that one is tried again
    lone_yard.gates("two", "three")
    said = resumed.end()
    assert resumed.process.returncode == 0, said
    assert first.one.stat().st_mtime_ns == first.stamp
    assert lone_yard.outputs() == finished_yard.outputs()
    assert "up to date" in lone_yard.dvc("status").stdout
    assert any((tmp_path / "store").rglob("*"))  # what the remote then holds, test_remote.py tells
    with closing(sqlite3.connect(lone_yard.root / "mlflow.db")) as database:
        assert ("RUNNING",) not in set(database.execute("select status from runs"))
    assert states(lone_yard, "flow_run") == ["COMPLETED", "CRASHED", "CRASHED"]  # the refused one never began
    assert set(states(lone_yard, "task_run")) == {"COMPLETED", "CRASHED"}  # those of the killed runs too
