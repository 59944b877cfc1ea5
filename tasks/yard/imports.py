"""Imports of large libraries, without a search for garbage in what they leave, which is theirs for good: measured, a
tenth to a fifth of their time."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept() -> Iterator[None]:
    """What is made in this block is not looked through for garbage, then or later."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was:
            gc.enable()


def kept_to_the_end() -> None:
    """An interpreter that ends looks through all that it has loaded, but for this one: a tracked stage at DVC's door
    took 5.0 s of CPU with that and 3.9 s without."""
    atexit.register(_end)  # the first to be registered is the last to be done


def _end() -> None:
    gc.freeze()
    if "triton" in sys.modules:  # its nanobind would list on stderr, in 33 lines, what is left then: all is
        sys.stderr.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
