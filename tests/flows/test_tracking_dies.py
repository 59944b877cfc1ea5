"""An MLflow server that is killed while a stage works costs no result, and the next run at either door pays."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from flows.environment import answers, free_port
from tasks.yard.workers import end_with_parent
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


processes = get_context("forkserver")


def serve(folder: Path, port: int) -> None:
    """As `mlflow server` does, but that its own process has MLflow from the one that it is forked from."""
    end_with_parent()
    os.chdir(folder)
    log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    import mlflow.server as mlflow_server  # here, because whoever collects tests has no use for it
    import uvicorn

    os.environ |= {
        mlflow_server.BACKEND_STORE_URI_ENV_VAR: "sqlite:///server.db",
        mlflow_server.ARTIFACTS_DESTINATION_ENV_VAR: "artifacts",
        mlflow_server.ARTIFACT_ROOT_ENV_VAR: "mlflow-artifacts:/",
        mlflow_server.SERVE_ARTIFACTS_ENV_VAR: "true",
    }
    uvicorn.run("mlflow.server.fastapi_app:app", host="127.0.0.1", port=port, log_level="warning")


class Server:
    """MLflow's own, on a port and with a database that stay when it is killed."""

    def __init__(self, folder: Path, empty_store: Path) -> None:
        folder.mkdir()
        shutil.copy(empty_store, folder / "server.db")
        self.folder, self.port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        processes.set_forkserver_preload(["uvicorn", "mlflow.server.fastapi_app"])

    @contextmanager
    def running(self) -> Iterator[BaseProcess]:
        """Killed at the end of the block."""
        process = processes.Process(target=serve, args=(self.folder, self.port))
        process.start()
        try:
            wait_until(lambda: answers(f"{self.uri}/health") or not process.is_alive(), "the MLflow server")
            assert process.is_alive(), (self.folder / "log").read_text()
            yield process
        finally:
            process.kill()
            process.join()

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
        process = yard.begin(*command, **yard.programs, MLFLOW_TRACKING_URI=server.uri)
        wait_until(lambda: all(m.exists() for m in marks) or process.poll() is not None, "the stages", PATIENCE_S * 2)
        told = server.runs()
    (yard.root / "go").touch()
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert "Traceback" not in err and f"MLFLOW_TRACKING_URI={server.uri} does not answer" in err, err
    assert "RUNNING" in {status for runs in told.values() for status, *_ in runs}
    return out, err


def test_a_server_that_dies_while_stages_work_costs_nothing_and_the_next_run_pays_at_both_doors(
    yard_copy, empty_store, tmp_path
):
    server = Server(tmp_path / "server", empty_store)
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


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_what_is_made_while_a_server_hangs_is_kept_and_recorded_first_and_sent_after_a_run_that_was_ended(
    yard_copy, empty_store, tmp_path, sent
):
    server = Server(tmp_path / "server", empty_store)
    judge, lock = yard_copy.root / "tasks/toy/judge.py", yard_copy.root / "dvc.lock"
    judge.write_text(judge.read_text().replace("-> dict:\n", "-> dict:\n    wait_for_go(scale)\n") + WAITING)
    with server.running() as process:
        flow = yard_copy.begin("python", "-m", "flows", "run", "toy", MLFLOW_TRACKING_URI=server.uri)
        marks = [yard_copy.root / f"began-{scale}" for scale in ("1", "2")]
        wait_until(lambda: all(m.exists() for m in marks) or flow.poll() is not None, "the stages", PATIENCE_S * 2)
        os.kill(process.pid, signal.SIGSTOP)
        before = lock.read_text()
        (yard_copy.root / "go").touch()
        wait_until(lambda: lock.read_text() != before or flow.poll() is not None, "a stage in dvc.lock")
        assert flow.poll() is None
        flow.send_signal(sent)
        flow.communicate(timeout=PATIENCE_S)
        os.kill(process.pid, signal.SIGCONT)
        told = yard_copy.status()
        made = {scale for scale in ("1", "2") if told[f"toy-judge@{scale}"] == "up to date"}
        assert made and told["owed"].startswith("to MLflow: "), told
        assert yard_copy.flow("run", "toy", MLFLOW_TRACKING_URI=server.uri).returncode == 0
        assert "owed" not in yard_copy.status()
    for scale in ("1", "2"):
        found = {status for status, *_ in server.runs()[f"judge@{scale}"]}
        assert "FINISHED" in found and "RUNNING" not in found, server.runs()
