"""A process that ends as by `kill -9` at a known place: no test has to hit the moment from outside."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable

from tqdm import tqdm

from tasks.yard.step import Context
from tests.tasks.yard.forked import forked

EACH = {"mininterval": 0, "miniters": 1}  # a bar that is iterated over counts what passes within a tenth of a second


def bar(done: int, desc: str | None = None):
    """What a Context takes for progress: its bars, or those of this name, kill the process once so much is done."""

    class Bar(tqdm):
        def update(self, n=1):
            super().update(n)
            if self.n >= done and desc in (None, self.desc):
                os.kill(os.getpid(), signal.SIGKILL)

    return lambda *args, **kwargs: Bar(*args, **{**kwargs, "file": io.StringIO(), **EACH})


def run(work: Callable, *arguments, done: int, desc: str | None = None, **options) -> None:
    """`work` in a process of its own, with a `ctx` that kills it once so much is done."""
    process = forked(work, *arguments, ctx=Context(progress=bar(done, desc)), **options)
    process.join()
    assert process.exitcode == -signal.SIGKILL
