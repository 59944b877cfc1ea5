"""What can fail around a run. Each is a context: it sets the run's world up and hands out what strikes and what mends.

with FAULTS[name](yard) as (settings, strike, mend):
    settings    environment variables of the run
    strike(pid) of the run
    mend()      before the next run
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import psutil

from flows import environment
from tests.flows.conftest import Yard

Fault = tuple[dict[str, str], Callable[[int], object], Callable[[], None]]
QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
}
DISK_S = 1.0  # for so long also processes that are new meet the full disk


class Server:
    """A server beside the run, on one port and one store however often it is killed."""

    def __init__(self, yard: Yard, command: list[str], address: str, settings: dict[str, str]) -> None:
        self.yard, self.command, self.address, self.settings = yard, command, address, settings
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        log = (self.yard.root / ".trainyard" / "faults-server.log").open("ab")
        self.process = subprocess.Popen(
            self.command, cwd=self.yard.root, env={**self.yard.environment, **QUIET, **self.settings},
            stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        environment.wait_until_answers(self.process, self.address)

    def kill(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def _beside(server: Server, settings: dict[str, str]) -> Iterator[Fault]:
    server.start()
    try:
        yield settings, lambda _: server.kill(), server.start
    finally:
        server.kill()


@contextmanager
def mlflow(yard: Yard) -> Iterator[Fault]:
    """The MLflow server dies."""
    port = environment.free_port()
    store = ["--backend-store-uri", "sqlite:///mlflow.db", "--artifacts-destination", "mlartifacts"]
    command = [sys.executable, "-m", "mlflow", "server", *store, "--port", str(port), "--workers", "1"]
    off = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    address = f"http://127.0.0.1:{port}"
    yield from _beside(Server(yard, command, f"{address}/health", off), {"MLFLOW_TRACKING_URI": address})


@contextmanager
def prefect(yard: Yard) -> Iterator[Fault]:
    """The Prefect server dies."""
    port = environment.free_port()
    command = [sys.executable, "-m", "flows.environment", "127.0.0.1", str(port)]
    settings = {"PREFECT_HOME": str(yard.root / ".trainyard/faults-prefect"), "PREFECT_SERVER_UI_ENABLED": "false"}
    address = f"http://127.0.0.1:{port}/api"
    yield from _beside(Server(yard, command, f"{address}/health", settings), {"PREFECT_API_URL": address})


@contextmanager
def remote(yard: Yard) -> Iterator[Fault]:
    """The DVC remote is gone: a file stands where its folder was."""
    folder, away = yard.root.with_name(f"{yard.root.name}-remote"), yard.root.with_name(f"{yard.root.name}-away")
    folder.mkdir()
    assert yard.dvc("remote", "add", "-d", "store", str(folder)).returncode == 0

    def strike(_pid: int) -> None:
        folder.rename(away)
        folder.touch()

    def mend() -> None:
        if away.exists():
            folder.unlink()
            away.rename(folder)

    yield {}, strike, mend


def _fill_disk(pid: int) -> None:
    """No process of the run can write to a file any more (setrlimit: EFBIG), which needs neither root nor a disk."""
    until = time.monotonic() + DISK_S
    while time.monotonic() < until:
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
                with contextlib.suppress(ProcessLookupError):
                    hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)[1]
                    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, hard))
        time.sleep(0.05)


@contextmanager
def disk(_yard: Yard) -> Iterator[Fault]:
    """The disk is full."""
    yield {}, _fill_disk, lambda: None


@contextmanager
def signalled(_yard: Yard, number: int) -> Iterator[Fault]:
    """Somebody ends the run."""

    def strike(pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    yield {}, strike, lambda: None


def kill_one_below(rng: random.Random, pid: int) -> bool:
    """Any process that the run has started: a step, one of its workers, its server, what talks to MLflow."""
    with contextlib.suppress(psutil.NoSuchProcess, IndexError):
        rng.choice(psutil.Process(pid).children(recursive=True)).kill()
        return True
    return False


@contextmanager
def child(yard: Yard) -> Iterator[Fault]:
    """One of the run's own processes is killed."""
    rng = random.Random(yard.root.name)
    yield {}, lambda pid: kill_one_below(rng, pid), lambda: None


SIGNALS = {"SIGINT": signal.SIGINT, "SIGTERM": signal.SIGTERM, "SIGKILL": signal.SIGKILL}
FAULTS = {
    "mlflow": mlflow, "prefect": prefect, "remote": remote, "disk": disk, "child": child,
    **{name: partial(signalled, number=number) for name, number in SIGNALS.items()},
}  # fmt: skip
