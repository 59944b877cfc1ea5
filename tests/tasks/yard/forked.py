"""Work in processes of their own that begin as copies of this one: to import torch anew takes longer than to train."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable

from torch.distributed.launcher.api import LaunchConfig, elastic_launch

FORK = multiprocessing.get_context("fork")


def forked(work: Callable, *arguments, **options) -> multiprocessing.Process:
    """A process that does `work`; `join` it and look at its `exitcode`. It must want one thread of torch: threads are
    not copied."""
    process = FORK.Process(target=work, args=arguments, kwargs=options)
    process.start()
    return process


def in_two_processes(work: Callable, *arguments, **options) -> None:
    """`work` in two processes that know of each other, started as torchrun starts them: by its agent."""
    assert code_of_two(work, *arguments, **options) == 0, "see what the processes wrote to stderr"


def code_of_two(work: Callable, *arguments, **options) -> int | None:
    alone = {"min_nodes": 1, "max_nodes": 1, "rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0"}  # --standalone
    config = LaunchConfig(**alone, nproc_per_node=2, start_method="fork", max_restarts=0)
    agent = forked(elastic_launch(config, _each), work, arguments, options)
    agent.join()
    return agent.exitcode


def _each(work: Callable, arguments: tuple, options: dict) -> None:
    work(*arguments, **options)
