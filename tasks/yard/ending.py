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

_last = (LINE, 128 + signal.SIGINT)  # what is said at the end, and the exit code
_leaving = threading.Lock()


def on_signals() -> None:
    """From now on both signals raise `KeyboardInterrupt` in the main thread, once, and the process ends within
    `LIMIT_S`, whatever it waits for: a server that does not answer, a library's thread."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _begin)


def _begin(number: int, _frame: object) -> NoReturn:
    hurry(LINE, 128 + number)
    raise KeyboardInterrupt


def hurry(said: str, code: int) -> None:
    """Leave within `LIMIT_S`, with this line and exit code. Further signals change nothing."""
    global _last
    _last = said, code
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    timer = threading.Timer(LIMIT_S, leave)
    timer.daemon = True
    timer.start()


def leave() -> NoReturn:
    """End the process now. Its children notice and end too: steps, their workers and the embedded server."""
    with _leaving:  # and no second line
        said, code = _last
        print(f"\n{said}" if sys.stderr.isatty() else said, file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(code)


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
