"""A process that ends as by `kill -9` at a known place: no test has to hit the moment from outside."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable

from tqdm import tqdm

from tasks.yard.step import Context
from tests.tasks.yard.forked import forked


def bar(done: int):
    """What a Context takes for progress: its bars kill the process once so much is done."""

    class Bar(tqdm):
        def update(self, n=1):
            super().update(n)
            if self.n >= done:
                os.kill(os.getpid(), signal.SIGKILL)

    return lambda *args, **kwargs: Bar(*args, **{**kwargs, "file": io.StringIO()})


def run(work: Callable, *arguments, done: int, **options) -> None:
    """`work` in a process of its own, with a `ctx` that kills it once so much is done."""
    process = forked(work, *arguments, ctx=Context(progress=bar(done)), **options)
    process.join()
    assert process.exitcode == -signal.SIGKILL
