"""Imports of large libraries, without a search for garbage in what they leave, which is theirs for good: measured, a
tenth to a fifth of their time."""

from __future__ import annotations

import gc
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
