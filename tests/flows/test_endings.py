"""However a run ends: in seconds, with one line, nothing of it alive, and the next run goes on to the same bytes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import pytest

from flows import environment
from tests.flows import ready
from tests.flows.begun import FLOW, LIMIT_S, Begun
from tests.flows.conftest import with_prefect_db
from tests.flows.waiting import PATIENCE_S, wait_until

STOPPED = "stopped; what is finished is kept, run again to continue"
# The signal meets the step while it takes up what the flow hands on, before its work.
TOLD_AT_ONCE = """
import signal
from flows import worker

class Told:
    def __reduce__(self):
        return signal.raise_signal, (signal.SIGTERM,)

worker.serialize_context = Told
try:
    with worker.in_process("brake_coast-label", None, {}):
        pass
except worker.StepFailed:
    print("the flow knows")
"""


def tracked(yard) -> list[str]:
    """How MLflow says that the yard's runs stand; none while it makes its database."""
    with contextlib.suppress(sqlite3.OperationalError):
        database = sqlite3.connect(f"file:{yard.root}/mlflow.db?mode=ro", uri=True)
        return [status for (status,) in database.execute("select status from runs")]
    return []


def state_of(yard, said: str) -> bytes:
    """Of the flow run that said this, as its server tells."""
    (link,) = (line for line in said.splitlines() if "/flow-run/" in line)
    with urllib.request.urlopen(f"{yard.api}/flow_runs/{link.rpartition('/')[2]}", timeout=PATIENCE_S) as reply:
        return reply.read()


def test_a_flow_ends_as_it_is_told_and_one_whose_step_dies_says_so(new_yard):
    """What a server of its own and a worker that die cost, test_embedded.py tells."""
    # On a machine that is busy with others a run may leave before it has told Prefect and MLflow: here it has the time.
    new_yard.edit("tasks/yard/ending.py", "LIMIT_S = 7.0", f"LIMIT_S = {LIMIT_S - 10}.0")
    for number in (signal.SIGTERM, signal.SIGINT):
        run = Begun(new_yard, *FLOW)
        wait_until(lambda: "RUNNING" in tracked(new_yard), "its run in MLflow", every_s=0.3)
        # docker and systemd tell one process; Ctrl-C reaches all of the group
        run.process.send_signal(number) if number == signal.SIGTERM else os.killpg(run.process.pid, number)
        said = run.end()
        assert run.process.returncode == 128 + number and said.splitlines()[-1] == STOPPED, said
        assert "tell_someone" not in said and "Crash" not in said and said.count("stopped") == 1, said
        assert b'"name":"Stopped"' in state_of(new_yard, said)
    assert set(tracked(new_yard)) == {"KILLED"}

    run = Begun(new_yard, *FLOW)
    (step,) = run.below(steps=True)
    step.kill()
    said = run.end()
    wanted = "error: toy-collect: its process was killed, most likely because memory ran out"
    assert run.process.returncode == 1 and wanted in said, said


@pytest.mark.parametrize(
    ("door", "number"), [("tasks", signal.SIGTERM), ("tasks", signal.SIGINT), ("dvc", signal.SIGTERM)]
)
def test_a_step_at_dvcs_door_that_is_told_to_end_does(new_yard, finished_yard, door, number):
    command = ("dvc", "repro") if door == "dvc" else ("python", "-m", "tasks", "toy-collect")
    if door == "tasks":
        assert new_yard.call("python", "-m", "tasks", "code").returncode == 0
    run = Begun(new_yard, *command, SHELL="/bin/sh")  # in many containers one that stays between DVC and its command
    run.process.send_signal(number) if number == signal.SIGTERM else os.killpg(run.process.pid, number)
    said = run.end()
    assert said.splitlines()[-1] == STOPPED, said  # of the step, whatever DVC says
    assert run.process.returncode == (-number if door == "dvc" else 128 + number)
    run.goes_on_to(finished_yard, *command)


class Store(BaseHTTPRequestHandler):
    """A DVC remote that is there and empty, and never takes what it is sent."""

    def do_HEAD(self) -> None:  # nothing is there
        self.send_response(200 if self.path == "/store" else 404)
        self.end_headers()

    def do_POST(self) -> None:
        self.server.asked.set()
        self.server.over.wait()

    def log_message(self, *_) -> None: ...


@contextmanager
def sending(yard, api: str) -> Iterator[subprocess.Popen | ready.Started]:
    """A run that has made all and sends it to such a remote. Without `api` it has a Prefect server of its own."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Store) as store:
        store.asked, store.over = threading.Event(), threading.Event()
        threading.Thread(target=store.serve_forever, args=[0.01], daemon=True).start()
        yard.send_to(f"http://127.0.0.1:{store.server_port}/store")
        run = yard.begin(*FLOW, PREFECT_API_URL=api)
        wait_until(lambda: store.asked.is_set() or run.poll() is not None, "the sending")
        yield run
        store.over.set()
        store.shutdown()


def test_a_step_that_is_told_to_end_before_it_has_begun_tells_the_flow_and_nobody_else(tmp_path):
    told = {**os.environ, "PREFECT_HOME": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", TOLD_AT_ONCE], env=told, capture_output=True, text=True)
    assert run.stdout == "the flow knows\n" and "Traceback" not in run.stderr, run.stderr


def test_a_run_that_is_told_to_end_while_it_sends_to_a_remote_does(yard_copy):
    with sending(yard_copy, yard_copy.api) as run:
        run.terminate()
        _, said = run.communicate(timeout=LIMIT_S)
    assert run.returncode == 128 + signal.SIGTERM, said
    assert said.splitlines()[-1] == STOPPED and "Traceback" not in said and "error" not in said, said


def test_a_server_that_ends_when_all_stages_have_is_a_line_too(yard_copy, empty_db):
    """Else Prefect's client tries to reach it for minutes, and ends in a traceback. How the next run goes on, and
    tells of this one, stands in test_embedded.py."""
    with_prefect_db(yard_copy, empty_db)
    with sending(yard_copy, api="") as run:
        (server,) = (one for one in psutil.Process(run.pid).children() if "flows.environment" in one.cmdline())
        server.kill()
        _, said = run.communicate(timeout=LIMIT_S)
    assert run.returncode == 1 and "Traceback" not in said, said
    assert said.splitlines()[-1].startswith("error: the Prefect server that this run started has ended"), said


def test_a_server_of_others_has_ended_when_its_port_refuses_and_not_when_it_is_slow(monkeypatch):
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{port}/api")
    monkeypatch.setattr(environment, "GONE_AFTER_S", 0)
    watch = environment.Watch()
    watch.look()  # it answers nothing, but it is there
    listening.close()
    with pytest.raises(environment.ServerGone, match=f"PREFECT_API_URL = http://127.0.0.1:{port}/api"):
        wait_until(watch.look, "the end")
    environment.Watch().look()  # never seen, so it may be behind a proxy: not judged


FULL = """
from flows import environment; environment.prepare()
from flows.graph import Graph
from tasks.yard.step import BadInput
graph = Graph("toy"); graph.record("code")
for work in (lambda: graph.record("toy-collect"), graph.pull):
    try:
        work()
    except BadInput as error:
        print(error)
"""
# What a flow does before it asks what has to be made
NEXT = """
from flows import environment; environment.prepare()
from flows.graph import Graph
graph = Graph("toy"); graph.pull()
print(graph.why("code") + graph.why("toy-collect"))
"""


def namespaces() -> bool:
    """May we mount a small disk of our own?"""
    command = ["unshare", "--user", "--map-root-user", "--mount", "true"]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not namespaces(), reason="needs namespaces, to mount a small disk")
def test_a_full_disk_under_dvcs_cache_is_said_and_what_was_made_is_only_handed_over_by_the_next_run(new_yard):
    for stage in ("code", "toy-collect"):
        assert new_yard.call("python", "-m", "tasks", stage).returncode == 0
    cache, large = new_yard.root / "cache", new_yard.root / "data/toy/collect/one/large.bin"
    cache.mkdir()
    large.write_bytes(os.urandom(200_000))
    (new_yard.root / ".dvc/config.local").write_text(f"[cache]\n    dir = {cache}\n")
    (new_yard.root / "full.py").write_text(FULL)
    small = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
    full = new_yard.call(*small, "mount -t tmpfs -o size=128k tmpfs cache && python full.py")
    said = full.stdout.splitlines()
    wanted = f"toy-collect: DVC's cache {cache} did not take what it made"
    assert len(said) == 2 and all(line.startswith(wanted) for line in said) and not full.stderr, full.stdout
    stamp = large.stat().st_mtime_ns
    assert new_yard.call("python", "-c", NEXT).stdout == "[]\n" and large.stat().st_mtime_ns == stamp
    assert "up to date" in new_yard.dvc("status", "toy-collect").stdout
