"""A process that ends as by `kill -9` at a known place: no test has to hit the moment from outside."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

from tqdm import tqdm

REPO = Path(__file__).parents[3]
START = """
from tasks.yard.step import Context
from tests.tasks.yard.killed import bar
ctx = Context(progress=bar({done}))
"""


def bar(done: int):
    """What a Context takes for progress: its bars kill the process once so much is done."""

    class Bar(tqdm):
        def update(self, n=1):
            super().update(n)
            if self.n >= done:
                os.kill(os.getpid(), signal.SIGKILL)

    return lambda *args, **kwargs: Bar(*args, **{**kwargs, "file": io.StringIO()})


def run(code: str, done: int) -> None:
    """Runs `code` in a process of its own, with a `ctx` that kills it once so much is done."""
    process = subprocess.run(
        [sys.executable, "-c", START.format(done=done) + code], cwd=REPO, capture_output=True, text=True, check=False
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
