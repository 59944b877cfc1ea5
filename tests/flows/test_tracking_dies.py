"""An MLflow server that is killed while a stage works costs no result, and the next run at either door pays."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from flows.environment import answers, free_port
from tests.flows.waiting import PATIENCE_S, wait_until

WAITING = """
def wait_for_go(scale):
    import time
    from pathlib import Path
    Path(f"began-{scale}").touch()
    while not Path("go").exists():
        time.sleep(0.02)
"""

LEADING = """
from tasks.yard.tracking.champion import Leader
def challenger(data):
    return Leader("a network", "score", {})
"""


class Server:
    """A real one, on a port and with a database that stay when it is killed."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"

    @contextmanager
    def running(self) -> Iterator[None]:
        """Killed at the end of the block."""
        command = [
            "--backend-store-uri",
            "sqlite:///server.db",
            "--artifacts-destination",
            "artifacts",
            "--workers",
            "1",
        ]
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *command, "--port", str(self.port)], cwd=self.folder,
                env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        try:
            wait_until(lambda: answers(f"{self.uri}/health") or process.poll() is not None, "the MLflow server")
            assert process.poll() is None, (self.folder / "log").read_text()
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def runs(self) -> dict[str, list[tuple[str, str, str | None]]]:
        """{name: (status, id, the parent's id) of each run of that name}"""
        query = "select r.name, r.status, r.run_uuid, t.value from runs r left join tags t on t.run_uuid = r.run_uuid "
        found: dict[str, list] = {}
        with closing(sqlite3.connect(self.folder / "server.db")) as database:
            for name, *rest in database.execute(f"{query} and t.key = 'mlflow.parentRunId'"):
                found.setdefault(name, []).append(tuple(rest))
        return found


def run_while_it_dies(yard, server: Server, *command: str, begun: list[str]) -> tuple[str, str]:
    """What a command that ends well says whose MLflow server is killed while the stages of these scales work."""
    (yard.root / "go").unlink(missing_ok=True)
    marks = [yard.root / f"began-{scale}" for scale in begun]
    for mark in marks:
        mark.unlink(missing_ok=True)
    with server.running():
        process = yard.start(*command, MLFLOW_TRACKING_URI=server.uri)
        wait_until(lambda: all(m.exists() for m in marks) or process.poll() is not None, "the stages", PATIENCE_S * 2)
        told = server.runs()
    (yard.root / "go").touch()
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert "Traceback" not in err and f"MLFLOW_TRACKING_URI={server.uri} does not answer" in err, err
    assert "RUNNING" in {status for runs in told.values() for status, *_ in runs}
    return out, err


def test_a_server_that_dies_while_stages_work_costs_nothing_and_the_next_run_pays_at_both_doors(yard_copy, tmp_path):
    server = Server(tmp_path / "server")
    judge = yard_copy.root / "tasks/toy/judge.py"
    judge.write_text(judge.read_text().replace("-> dict:\n", "-> dict:\n    wait_for_go(scale)\n") + WAITING)
    (judge.parent / "champion.py").write_text(LEADING)
    flow = ["python", "-m", "flows", "run", "toy"]
    out, _ = run_while_it_dies(yard_copy, server, *flow, begun=["1", "2"])
    assert "3 of 5 stages ran" in out and "Owed to MLflow: 3 runs (" in out
    assert "Champion: nobody was judged, because MLflow failed" in out
    assert "up to date" in yard_copy.dvc("status").stdout
    assert "owed to MLflow: 3 runs" in yard_copy.flow("status").stdout

    # DVC's door sends them first, and owes its own.
    _, err = run_while_it_dies(yard_copy, server, "dvc", "repro", "-f", "-s", "toy-judge@1", begun=["1"])
    assert "up to date" in yard_copy.dvc("status").stdout
    assert yard_copy.flow("status").stdout.splitlines()[-1].startswith("owed to MLflow: 1 run (judge@1)"), err

    # A flow in which no stage has anything to do sends what is owed, too, and judges whom nobody could judge.
    with server.running():
        last = yard_copy.call(*flow, MLFLOW_TRACKING_URI=server.uri)
    assert last.returncode == 0 and "0 of 5 stages ran" in last.stdout, last.stderr
    assert "wed to MLflow" not in last.stdout
    assert "Champion: a network is not registered in this MLflow store" in last.stdout
    runs = {name.partition(" ")[0]: told for name, told in server.runs().items()}  # a flow's has its day and number
    assert {name: len(told) for name, told in runs.items()} == {"toy": 1, "judge@1": 2, "judge@2": 1}
    assert {status for told in runs.values() for status, *_ in told} == {"FINISHED"}
    ((_, parent, _),) = runs["toy"]
    assert [above for _, _, above in runs["judge@2"]] == [parent]
    assert sorted(above is None for _, _, above in runs["judge@1"]) == [False, True]  # DVC's door has no parent
