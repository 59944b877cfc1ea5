"""A command that is told to end (Ctrl-C; SIGTERM of docker, systemd or kill) does so in seconds, and says one line."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

LIMIT_S = 7.0  # docker kills after 10
LINE = "stopped; what is finished is kept, run again to continue"

_last = (LINE, 128 + signal.SIGINT)  # what is said at the end, and the exit code
_leaving = threading.Lock()
_hurried = threading.Event()


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
    _hurried.set()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    timer = threading.Timer(LIMIT_S, leave)
    timer.daemon = True
    timer.start()


def is_told() -> bool:
    """To end: what comes up then is the interrupt, also where a library has wrapped it in an error of its own, as
    pydantic does while Prefect is imported."""
    return _hurried.is_set()


def leave(said: str | None = None, code: int = 1) -> NoReturn:
    """End the process now, with this line or the one that `hurry` was given. Its children notice and end too: steps,
    their workers and the embedded server."""
    with _leaving:  # and no second line
        said, code = (said, code) if said is not None else _last
        print(f"\n{said}", file=sys.stderr, flush=True)  # a bar of a step's process may stand in the last line
        sys.stdout.flush()
        os._exit(code)


def with_dvc() -> None:
    """End when a `dvc repro` ends that runs this command, even a killed one: DVC hands on no signal."""
    if "DVC_STAGE" not in os.environ:
        return
    below = _below_dvc()
    parent = _parent(below)

    def watch() -> None:
        while _parent(below) == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _below_dvc() -> int:
    """The process that DVC started for the stage: this one, or the shell that waits for it. bash hands its process over
    to a lone command; dash, which is /bin/sh in many containers, stays."""
    process = os.getpid()
    with contextlib.suppress(OSError):  # no /proc, or another user's process
        while (parent := _parent(process)) and b"DVC_STAGE=" in Path(f"/proc/{parent}/environ").read_bytes():
            process = parent
    return process


def _parent(process: int) -> int | None:
    if process == os.getpid():
        return os.getppid()
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None
