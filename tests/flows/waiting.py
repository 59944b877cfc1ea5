"""Waiting for another process without a guess at how long it takes."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 240  # for one command, on a machine that is busy with others


def wait_until(true: Callable[[], bool], what: str, seconds: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.05)
