"""Where Prefect keeps its state and which server it uses. Call `prepare` before prefect is imported.

The server is the one at `PREFECT_API_URL` if that is set; else the one that `make serve` runs for this checkout; else
an embedded one that runs as long as the command. The database is under `.trainyard/prefect`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows import database
from tasks.yard import ending, imports, login
from tasks.yard.step import BadInput
from tasks.yard.tracking import store

STATE = Path(".trainyard")
SERVED = STATE / "server.json"
TOOK = STATE / "took.json"  # {stage: seconds of its step, when a flow of this checkout ran it last}
START_LIMIT_S = 120
GONE_AFTER_S = 4
FLUSH_S = 5
# A server that ends with its run has nothing to plan.
NO_SCHEDULES = {
    f"PREFECT_SERVER_SERVICES_{service}_ENABLED": "false"
    for service in ("SCHEDULER", "LATE_RUNS", "FOREMAN", "PAUSE_EXPIRATIONS", "REPOSSESSOR")
}


def prepare() -> None:
    """Set the environment variables of this project that the caller has not set."""
    STATE.mkdir(exist_ok=True)
    defaults = {
        "PREFECT_HOME": str(STATE.resolve() / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "tasks,flows",
        "PREFECT_LOGGING_LEVEL": "INFO",
        # Blocks are not used here, and registering them costs seconds of every start.
        "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
        "DO_NOT_TRACK": "1",
        "DVC_NO_ANALYTICS": "1",
        # Without it a log record that arrives after the server has stopped prints a traceback on stderr.
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        **store.SETTINGS,  # before whoever imports MLflow first: it calls home while it is imported
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    login.hand_on()
    quiet_logs()


def quiet_logs() -> None:
    """A record that cannot be sent to Prefect, because its server has ended, is nothing to tell: `Watch` tells that."""
    logging.raiseExceptions = False


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return reply.status == 200
    except (urllib.error.URLError, OSError, ValueError):
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def check_port_is_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise BadInput(
                f"{host}:{port} cannot be used ({error.strerror}); free it or set TRAINYARD_*_PORT"
            ) from None


def start_server(port: int, *, host: str = "127.0.0.1", with_ui: bool) -> subprocess.Popen:
    """The Prefect API as a child process. It ends with this process, even a killed one, because its stdin closes."""
    database.refuse_misspelt()
    asked = {"PREFECT_SERVER_API_AUTH_STRING": ":".join(known)} if (known := login.given()) else {}
    environment = {
        **asked,
        **os.environ,
        "PREFECT_SERVER_UI_ENABLED": str(with_ui).lower(),
        "PREFECT_UI_API_URL": "/api",  # of the server that the page came from, by whatever name
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": "",  # no page of another host reads the API
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        **({} if with_ui else NO_SCHEDULES),
    }
    with (STATE / "server.log").open("ab") as server_log:
        return subprocess.Popen(
            [sys.executable, "-m", "flows.environment", host, str(port)],
            stdin=subprocess.PIPE, stdout=server_log, stderr=server_log, env=environment, start_new_session=True,
        )  # fmt: skip


def wait_until_answers(process: subprocess.Popen, url: str) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while not answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise BadInput(f"{' '.join(['python', *process.args[1:]])} did not start; its log in {STATE} says why")
        time.sleep(0.1)


def stop(process: subprocess.Popen) -> None:
    """End a server that we started, with all its children: each server has its own process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(15)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class ServerGone(RuntimeError):
    """The Prefect server has ended while a run needs it. The message names it and the way out."""


class Watch:
    """Notices that the server has ended. One that is slow to answer has not, and one that a proxy hides is not judged:
    a server counts as ended if its port refused a connection for `GONE_AFTER_S`, or if it was our process."""

    def __init__(self) -> None:
        address = urllib.parse.urlsplit(os.environ["PREFECT_API_URL"])
        self._place = address.hostname or "", address.port or {"https": 443}.get(address.scheme, 80)
        self._visible = self._refuses() is False
        self._refused_since: float | None = None
        self._over, self._looked_at = threading.Event(), threading.Event()

    def guard(self) -> None:
        """From now on leave with a line when the server has ended, until `unguard`. Prefect's client would try to reach
        it for two minutes, twice, and then raise what a reader can do nothing with: for states of stages as for that
        of the run itself, which is told when the flow's function has returned."""
        global _guarded
        unguard()
        _guarded = self

        def look_on() -> None:
            while not self._over.wait(1):
                if self._looked_at.is_set():
                    continue
                try:
                    self.look()
                except ServerGone as error:
                    ending.leave(f"error: {error}", 1)

        threading.Thread(target=look_on, daemon=True).start()

    @contextmanager
    def looked_at(self) -> Iterator[None]:
        """The caller looks itself, because it has more to do than to leave; also after an error in this block."""
        self._looked_at.set()
        yield
        self._looked_at.clear()

    def look(self) -> None:
        """Raises `ServerGone`."""
        if _starting is not None and _starting.poll() is not None:
            raise ServerGone(
                f"the Prefect server that this run started has ended (exit code {_starting.returncode}; "
                f"{STATE / 'server.log'}); what is finished is kept, run again to continue"
            )
        if not self._visible or not self._refuses():
            self._refused_since = None
        elif self._refused_since is None:
            self._refused_since = time.monotonic()
        elif time.monotonic() - self._refused_since > GONE_AFTER_S:
            raise ServerGone(
                f"PREFECT_API_URL = {os.environ['PREFECT_API_URL']}: the server has ended; what is finished is kept; "
                "start it, or unset the variable, and run again to continue"
            )

    def _refuses(self) -> bool | None:
        """None: cannot be told."""
        try:
            socket.create_connection(self._place, timeout=1).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            return None
        return False


_guarded: Watch | None = None


def guarded() -> Watch:
    """The watch that is kept already, which has seen the server; else one from now on."""
    if _guarded is None:
        Watch().guard()
    return _guarded


def unguard() -> None:
    global _guarded
    if _guarded:
        _guarded._over.set()
    _guarded = None


@contextmanager
def server() -> Iterator[None]:
    """Inside the block `PREFECT_API_URL` points to a server. An embedded server may still be starting: call `wait()`
    before the first request."""
    global _starting
    if os.environ.get("PREFECT_API_URL"):
        yield
        return
    if SERVED.exists() and answers((url := json.loads(SERVED.read_text())["api_url"]) + "/health"):
        os.environ["PREFECT_API_URL"] = url
        yield
        return
    port = free_port()
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
    # That events cannot be sent to it tells nothing that `Watch` does not: it has ended.
    os.environ.setdefault("PREFECT_INTERNAL_LOGGING_LEVEL", "CRITICAL")
    _starting = start_server(port, with_ui=False)
    try:
        yield
    finally:
        unguard()
        del os.environ["PREFECT_API_URL"]
        stop(_starting)
        _starting = None


_starting: subprocess.Popen | None = None


def wait() -> None:
    if _starting is not None:
        wait_until_answers(_starting, f"{os.environ['PREFECT_API_URL']}/health")


def flush_logs() -> bool:
    """Send the logs and events that Prefect has buffered, which cause errors after the embedded server has stopped.
    False: some are left after `FLUSH_S`, as a server that has just died takes none; their threads would try it for a
    minute more."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    _, logs = APILogWorker.drain_all(FLUSH_S)
    _, events = EventsWorker.drain_all(0 if logs else FLUSH_S)
    return not (logs or events)


def _serve(host: str, port: int) -> None:
    def end_with_parent() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
    with imports.kept():
        import uvicorn
        from prefect.server.api.server import create_app

        from flows.pages import guarded
    database.migrate()
    uvicorn.run(
        lambda: guarded(create_app()), factory=True, host=host, port=port, log_level="error", timeout_keep_alive=5
    )


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
