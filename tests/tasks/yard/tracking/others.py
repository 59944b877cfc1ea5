"""Other processes. They begin as copies of a server that has imported what they need, here MLflow without opening a
store; each file of tests has a server of its own."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from multiprocessing import forkserver
from pathlib import Path

import pytest

from tasks.yard import workers
from tasks.yard.tracking import store

ROOT = Path(__file__).parents[4]
NEEDED = ("mlflow.store.tracking.sqlalchemy_store", "tasks.yard.stage", "tasks.yard.tracking.owed")
SERVER = multiprocessing.get_context("forkserver")


def started(
    code: str, folder: Path, said: Path, needed: Sequence[str] = NEEDED, **environment: str
) -> multiprocessing.Process:
    """A process in `folder` that runs `code` and writes what it says to a file. It ends with this one."""
    SERVER.set_forkserver_preload(list(needed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        for name, value in store.SETTINGS.items():
            patch.setenv(name, value)
        forkserver.ensure_running()
    process = SERVER.Process(target=_run, args=(code, folder, said, {**os.environ, **environment}))
    process.start()
    return process


def run(code: str, folder: Path, said: Path, needed: Sequence[str] = NEEDED, **environment: str) -> int:
    """Its exit code."""
    process = started(code, folder, said, needed, **environment)
    process.join()
    return process.exitcode


def _run(code: str, folder: Path, said: Path, environment: dict[str, str]) -> None:
    workers.end_with_parent()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    with said.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    exec(code, {"__name__": "__main__"})
