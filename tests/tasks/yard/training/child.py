"""Trains one network of a line in a process of its own, which is killed before a step."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from tasks.yard.training import engine
from tests.tasks.yard.forked import forked


def killed_at(step: int, train: Callable, *arguments, **options) -> int:
    """The exit code of a process that trains and is killed before `step`."""
    process = forked(_until, step, train, arguments, options)
    process.join()
    return process.exitcode


def _until(step: int, train: Callable, arguments: tuple, options: dict) -> None:
    take = engine.Trainer.step

    def last_steps(trainer: engine.Trainer, ids) -> None:
        if trainer.at.step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        take(trainer, ids)

    engine.Trainer.step = last_steps
    train(*arguments, **options)
