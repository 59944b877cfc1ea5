"""Examples that hypothesis draws are the same in every run, and no test is judged by how fast it was.

`pytest --hypothesis-profile search` draws others each time.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from multiprocessing import forkserver
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

from tasks.yard import imports
from tasks.yard.step import cores
from tasks.yard.tracking import store

# A core a test process, and for what it starts. Each has a core's worth of tests beside it: two threads of torch that
# wait for each other, spinning, took 8 times the CPU time for a small network. Read when torch is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")

STEADY = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}

settings.register_profile("steady", derandomize=True, **STEADY)
settings.register_profile("search", print_blob=True, **STEADY)
settings.load_profile("steady")

imports.kept_to_the_end()  # neither pytest nor the interpreter looks through what was imported when they end
gc.disable()  # until all tests are collected: what 240 files import stays, and is not looked through again and again


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Of `-n auto`: one more than cores, because the tests of flows wait for other programs a third of their time; fast
    tests wait for nothing, and a process takes 20 s of CPU to import them. It takes 1.2 GB, towards the end 2.1 GB."""
    return min(cores() + ("not slow" not in config.option.markexpr), 4)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What was imported is left alone from now on: of 949 fast tests in one process that saved 8 and 20 s of CPU in 88
    and 95."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """A test that has trained with two threads of torch leaves them to the next ones, whose forks then wait for ever:
    threads are not copied."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture(scope="module", autouse=True)
def _a_fork_server_of_its_own() -> None:
    """As the process of a step has: it imports once what its workers need, and not what the first file of tests did."""
    with contextlib.suppress(ChildProcessError):  # it has ended
        forkserver._forkserver._stop()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what the processes that run tests side by side have in common."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def empty_store(shared: Path) -> Path:
    """A database of MLflow that has all tables and no runs: to create them takes 2 s of CPU."""
    folder = shared / "store"
    with FileLock(shared / "store.lock"), pytest.MonkeyPatch.context() as patch:
        if not folder.exists():
            folder.mkdir()
            patch.chdir(folder)
            patch.setenv("MLFLOW_TRACKING_URI", store.DEFAULT_STORE)
            store.client()
            sys.modules["mlflow"].set_tracking_uri(None)
    return folder / "mlflow.db"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files without a slow test last: they are handed out as they are listed, and no core is to end on a long one alone
    while the others have nothing left."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
