"""A command that is told to end (Ctrl-C; SIGTERM of docker, systemd or kill) does so in seconds, and says one line."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import NoReturn

LIMIT_S = 7.0  # docker kills after 10
LINE = "stopped; what is finished is kept, run again to continue"

_told: int = signal.SIGINT  # the signal that told us to end
_leaving = threading.Lock()


def on_signals() -> None:
    """From now on both signals raise `KeyboardInterrupt` in the main thread, once, and the process ends within
    `LIMIT_S`, whatever it waits for: a server that does not answer, a library's thread."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _begin)


def _begin(number: int, _frame: object) -> NoReturn:
    hurry(number)
    raise KeyboardInterrupt


def hurry(number: int) -> None:
    """Leave within `LIMIT_S`. Further signals change nothing."""
    global _told
    _told = number
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    timer = threading.Timer(LIMIT_S, leave)
    timer.daemon = True
    timer.start()


def leave(said: str = LINE, code: int | None = None) -> NoReturn:
    """End the process now. Its children notice and end too: steps, their workers and the embedded server."""
    with _leaving:  # and no second line
        print(f"\n{said}" if sys.stderr.isatty() else said, file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(128 + _told if code is None else code)


def with_dvc() -> None:
    """End when a `dvc repro` ends that runs this command, even a killed one: DVC hands on no signal."""
    if "DVC_STAGE" not in os.environ:
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
