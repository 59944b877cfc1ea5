"""The context that a step gets besides its params and paths, and the error for input that a person has to fix.

A step is `run(params, out, ctx, *, <upstream step>=Path, ...) -> dict of metrics`. It writes under `out` and nowhere
else. What it must not depend on (which door called it, the number of processes, progress bars) comes in the context.
"""

from __future__ import annotations

import difflib
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any, Protocol

from tqdm import tqdm


class BadInput(ValueError):
    """Input that a person has to fix. The message names the file, the row or key, and the fix."""


def suggestion(wrong: str, known: Iterable[str], label: str = "there are") -> str:
    """The end of a message about an unknown name: the nearest known name, or all of them after `label`."""
    names = [str(name) for name in known]
    near = difflib.get_close_matches(wrong, names, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"{label}: {', '.join(names) or 'none'}"


class Map(Protocol):
    """Runs `fn` over `items` and yields `(index, result or exception)` as each one ends, in any order.

    `parallel=False` keeps the work in this process, one item after the other: for work that owns the device.
    """

    def __call__(
        self, fn: Callable[[Any], Any], items: Sequence[Any], *, names: Sequence[str], parallel: bool = True
    ) -> Iterator[tuple[int, Any]]: ...


def attempt(fn: Callable[[Any], Any], item: Any) -> Any:
    """The result of `fn(item)`, or the exception it raised: one bad item must not stop the others."""
    try:
        return fn(item)
    except Exception as error:
        return error


def serial(fn, items, *, names, parallel=True):
    for index, item in enumerate(items):
        yield index, attempt(fn, item)


def end_with_parent() -> None:
    """End this worker process when its parent ends: without it the workers of a pool outlive a `kill -9`."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def process_pool(workers: int | None = None) -> ProcessPoolExecutor:
    """Worker processes from a clean fork server: forking a process that has threads (torch, Prefect) can deadlock."""
    context = multiprocessing.get_context("forkserver")
    return ProcessPoolExecutor(workers or os.cpu_count(), mp_context=context, initializer=end_with_parent)


def processes(fn, items, *, names, parallel=True):
    """A map over worker processes, one per core. A single item, or one core, stays in this process."""
    if not parallel or len(items) < 2 or (os.cpu_count() or 1) < 2:
        yield from serial(fn, items, names=names)
        return
    with process_pool(min(len(items), os.cpu_count() or 1)) as pool:
        futures = {pool.submit(attempt, fn, item): index for index, item in enumerate(items)}
        for future in as_completed(futures):
            yield futures[future], future.exception() or future.result()


@dataclass(frozen=True)
class Context:
    """What a step may use from its surroundings. The defaults suit a test or a notebook: serial, no bar, no salt."""

    map: Map = serial
    # A tqdm factory: progress(iterable, desc=..., unit=...) or `with progress(total=n) as bar: bar.update()`.
    progress: Callable[..., tqdm] = field(default=lambda *args, **kwargs: tqdm(*args, **{**kwargs, "disable": True}))
    # Hash of the code that the stage depends on: part of every fingerprint, so that kept work never outlives its code.
    code: str = ""
