"""The server that steps are forked from, forked itself from the command once that has imported Prefect and DVC, and
before it has a thread. One with an interpreter of its own, as `multiprocessing` starts it, imports both again.

It uses private parts of `multiprocessing.forkserver`, which are the same in Python 3.11 to 3.13; with another Python,
or where a thread runs, the server is started as `multiprocessing` does it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import traceback
from dataclasses import dataclass
from multiprocessing import connection, forkserver
from pathlib import Path

POSSIBLE = sys.platform == "linux" and sys.version_info < (3, 14)


@dataclass
class Waiting:
    """A forked server that waits to be told what else to load. It ends if whoever could tell it ends before."""

    pid: int
    address: str
    alive: int  # as long as one end of this pipe is held, it serves
    told: int


_waiting: Waiting | None = None


def fork() -> None:
    """Fork it now, if that is safe here."""
    global _waiting
    if not POSSIBLE or threading.active_count() > 1 or _waiting is not None:
        return
    address = connection.arbitrary_address("AF_UNIX")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        Path(address).chmod(0o600)
        listener.listen()
        alive_read, alive = os.pipe()
        told_read, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                _serve(listener.fileno(), alive_read, told_read)
            except Exception:
                traceback.print_exc()
            finally:
                os._exit(1)
    os.close(alive_read)
    os.close(told_read)
    _waiting = Waiting(pid, address, alive, told)


def _serve(listener: int, alive: int, told: int) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # those of the command are about its flow
        signal.signal(number, signal.SIG_DFL)
    # What else the command has open is not held open here: the server that it started ends when its stdin is closed.
    before = 3
    for kept in sorted((listener, alive, told)):
        os.closerange(before, kept)
        before = kept + 1
    os.closerange(before, os.sysconf("SC_OPEN_MAX"))
    with os.fdopen(told, encoding="utf-8") as lines:
        loaded = lines.read()
    if loaded:
        forkserver.main(listener, alive, json.loads(loaded))
    os._exit(0)


def start(loaded: list[str]) -> None:
    """Start the server that steps are forked from, with these modules loaded: the waiting one if there is one."""
    global _waiting
    forkserver.set_forkserver_preload(loaded)
    server, ready, _waiting = forkserver._forkserver, _waiting, None
    if ready and server._forkserver_pid is None:
        server._forkserver_address, server._forkserver_alive_fd = ready.address, ready.alive
        server._forkserver_pid = ready.pid
        # If it was killed meanwhile, the next line notices and starts another.
        with contextlib.suppress(BrokenPipeError), os.fdopen(ready.told, "w", encoding="utf-8") as lines:
            json.dump(loaded, lines)
    forkserver.ensure_running()
