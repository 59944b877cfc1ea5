"""A process that has the large libraries loaded, and forks one for each command of a test: of a flow over three numbers
most of the CPU time is the import of Prefect, DVC and MLflow.

The program `python` of `write_shims` asks it for one, with its own arguments, environment and open files.

Nothing of the yard is loaded: a forked process runs the yard's own code as `python -m` does, by its `__main__`. Only
commands that a test waits for go this way. What is killed, interrupted, or starts a server is started as users start
it.
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
import threading
from pathlib import Path

TRACKING = ("mlflow", "mlflow.store.tracking.sqlalchemy_store", "mlflow.tracing.provider", "alembic.command",
            "sqlalchemy.dialects.sqlite", "pandas")  # fmt: skip
LOADED = {
    "flows": (
        "prefect", "prefect.task_engine", "prefect.flow_engine", "prefect.artifacts", "prefect.futures",
        "prefect.runtime", "prefect.task_runners", "anyio._backends._asyncio", "dvc.repo", "dvc.stage.cache", *TRACKING,
    ),
    "tasks": TRACKING,
}  # fmt: skip
# For any program but these, and for a flow that starts its own server, it is the interpreter itself.
SHIM = """#!{python} -IS
import array, json, os, socket, sys
words = sys.argv[1:]
ready = words[:1] == ["-m"] and words[1] in ("flows", "tasks")
if not ready or (words[1] == "flows" and "PREFECT_API_URL" not in os.environ):
    os.execv("{python}", ["{python}", *words])
with socket.socket(socket.AF_UNIX) as to:
    to.connect("{folder}/" + words[1])
    asked = json.dumps([words, os.getcwd(), dict(os.environ)]).encode()
    to.sendmsg([len(asked).to_bytes(8, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
    to.sendall(asked)
    ended = to.recv(8)
sys.exit(int(ended or b"70"))
"""


def write_shims(folder: Path) -> None:
    shim = folder / "python"
    shim.write_text(SHIM.format(python=sys.executable, folder=folder))
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
                    watch = os.pidfd_open(pid)
                    running[watch] = pid, asking
                    ready.register(watch, selectors.EVENT_READ)
                    ready.register(asking, selectors.EVENT_READ, watch)
                elif key.data is None:  # one has ended
                    pid, asking = running.pop(key.fd)
                    _, status = os.waitpid(pid, 0)
                    with contextlib.suppress(OSError):  # whoever asked may be gone
                        asking.sendall(str(os.waitstatus_to_exitcode(status) % 256).encode())
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
