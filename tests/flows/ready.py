"""A process that has the large libraries loaded, and forks one for each command of a test: of a flow over three numbers
most of the CPU time is the import of Prefect, DVC and MLflow.

The programs `python` and `dvc` of `write_shims` ask it for one, with its own arguments, environment and open files.

Nothing of the yard is loaded: a forked process runs the yard's own code as `python -m` does, by its `__main__`, in a
session of its own. What starts a server is started as users start it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

TRACKING = ("mlflow", "mlflow.store.tracking.sqlalchemy_store", "mlflow.tracing.provider", "alembic.command",
            "sqlalchemy.dialects.sqlite", "pandas")  # fmt: skip
# What DVC imports when it opens a repository, and Prefect when it is asked for one
DVC = ("dvc.cli.parser", "dvc.repo", "dvc.repo.index", "dvc.repo.reproduce", "dvc.repo.status", "dvc.stage.cache",
       "dvc.scm", "scmrepo.git", "dvc.lock", "dvc.rwlock", "dvc.cachemgr", "dvc.data_cloud", "dvc.dirs", "ruamel.yaml",
       "dvc_data.hashfile.db.local", "dvc.repo.plots", "dvc.repo.trie", "dulwich.ignore", "dulwich.worktree",
       "pyparsing")  # fmt: skip
SHARED = ("ruamel.yaml", "filelock", "httpx", "fsspec", "multiprocessing.forkserver")
LOADED = {
    "flows": (
        "prefect", "prefect.task_engine", "prefect.flow_engine", "prefect.artifacts", "prefect.futures",
        "prefect.runtime", "prefect.task_runners", "anyio._backends._asyncio", "networkx", *DVC, *SHARED, *TRACKING,
    ),
    "tasks": (*SHARED, "psutil", *TRACKING),
    "dvc": DVC,
}  # fmt: skip
# For any program but these, and for a flow that starts its own server, it is the interpreter itself.
SHIM = """#!{python} -IS
import array, json, os, socket, sys
words = {before} + sys.argv[1:]
ready = words[:1] == ["-m"] and words[1] in {modules}
if not ready or (words[1] == "flows" and not os.environ.get("PREFECT_API_URL")):
    os.execv("{python}", ["{python}", *words])
with socket.socket(socket.AF_UNIX) as to:
    to.connect("{folder}/" + words[1])
    asked = json.dumps([words, os.getcwd(), dict(os.environ)]).encode()
    to.sendmsg([len(asked).to_bytes(8, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
    to.sendall(asked)
    to.recv(8, socket.MSG_WAITALL)  # its process id
    ended = to.recv(8)
sys.exit(int(ended or b"70") % 256)
"""


class Started:
    """A command from there, much as a `Popen` of it: it can be told to end, or killed, by its own process id."""

    def __init__(self, shims: Path, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.returncode: int | None = None
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        self._to = socket.socket(socket.AF_UNIX)
        self._to.connect(str(shims / command[2]))
        asked = json.dumps([command[1:], str(folder), dict(environment)]).encode()
        with Path(os.devnull).open() as nothing:
            socket.send_fds(self._to, [len(asked).to_bytes(8, "big")], [f.fileno() for f in (nothing, *self._said)])
        self._to.sendall(asked)
        if not (said := self._to.recv(8, socket.MSG_WAITALL)):
            raise RuntimeError(f"{shims / command[2]} has ended")
        self.pid = int.from_bytes(said, "big")

    @property
    def _said(self) -> tuple[IO[bytes], IO[bytes]]:
        return self._out, self._err

    def poll(self) -> int | None:
        with contextlib.suppress(TimeoutError, BlockingIOError):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Raises `TimeoutError`."""
        if self.returncode is None:
            self._to.settimeout(timeout)
            self.returncode = int(self._to.recv(8) or b"70")
            self._to.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        for file in self._said:
            file.seek(0)
        return self._out.read().decode(), self._err.read().decode()


def comes_ready(command: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Not a flow that starts its own server: it does so early, while it is loaded."""
    module = command[2] if command[:2] == ("python", "-m") else None
    return module == "tasks" or (module == "flows" and bool(environment.get("PREFECT_API_URL")))


def write_shims(folder: Path) -> None:
    for name, before in {"dvc": ["-m", "dvc"], "python": []}.items():
        shim = folder / "programs" / name
        shim.parent.mkdir(exist_ok=True)
        shim.write_text(SHIM.format(python=sys.executable, folder=folder, before=before, modules=tuple(LOADED)))
        shim.chmod(0o755)


def serve(address: str) -> None:
    """Commands of the module that the address is called after, until stdin is closed."""
    for name in LOADED[Path(address).name]:
        importlib.import_module(name)
    gc.freeze()  # a fork neither copies what is loaded nor looks through it when it ends, which took 1 s of CPU
    assert threading.active_count() == 1, threading.enumerate()  # else what they hold is held for ever in a fork
    running: dict[int, tuple[int, socket.socket]] = {}
    with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as ready:
        listener.bind(address)
        listener.listen(64)
        ready.register(listener, selectors.EVENT_READ)
        ready.register(0, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fileobj == 0:
                    return
                if key.fileobj is listener:
                    asking, _ = listener.accept()
                    if (pid := begin(asking)) is None:
                        asking.close()
                        continue
                    if pid == 0:
                        for watch, (_, other) in running.items():
                            os.close(watch)
                            other.close()
                        return asking.close()
                    with contextlib.suppress(OSError):
                        asking.sendall(pid.to_bytes(8, "big"))
                    watch = os.pidfd_open(pid)
                    running[watch] = pid, asking
                    ready.register(watch, selectors.EVENT_READ)
                    ready.register(asking, selectors.EVENT_READ, watch)
                elif key.data is None:  # one has ended
                    pid, asking = running.pop(key.fd)
                    _, status = os.waitpid(pid, 0)
                    with contextlib.suppress(OSError):  # whoever asked may be gone
                        asking.sendall(str(os.waitstatus_to_exitcode(status)).encode())
                    with contextlib.suppress(KeyError):
                        ready.unregister(asking)
                    ready.unregister(key.fd)
                    os.close(key.fd)
                    asking.close()
                elif key.data in running:  # whoever asked is gone
                    ready.unregister(key.fileobj)
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(running[key.data][0], signal.SIGKILL)


def begin(asking: socket.socket) -> int | None:
    """The id of the process that was asked for; in it, 0 once its command is to be run. None: who asked is gone."""
    head, files, _, _ = socket.recv_fds(asking, 8, 3)
    asked, more = b"", head
    while more and len(asked) < int.from_bytes(head, "big"):
        asked += (more := asking.recv(1 << 16))
    if not more:
        return None
    if pid := os.fork():
        for file in files:
            os.close(file)
        return pid
    os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    global command
    command, folder, environment = json.loads(asked)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    return 0


command: list[str] = []


def run() -> None:
    """As `python -m <module> ...` in this folder."""
    module, sys.argv = command[1], command[1:]
    sys.path[:0] = [str(Path.cwd()), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    if module == "flows":  # what Prefect reads while it is imported
        importlib.import_module("flows.environment").prepare()
        importlib.import_module("prefect.context").refresh_global_settings_context()
        importlib.import_module("prefect.logging.configuration").setup_logging()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    serve(sys.argv[1])
    if command:
        run()
