"""Waiting for another process without a guess at how long it takes."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 240  # for one command, on a machine that is busy with others


def wait_until(true: Callable[[], object], what: str, seconds: float = PATIENCE_S, every_s: float = 0.05) -> None:
    """Whoever asks a server, or looks at all processes, does so less often: the look takes time from who is waited
    for."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(every_s)
