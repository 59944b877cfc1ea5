"""What a step is handed beside its params and its paths, and the one error it raises at a person.

A step is `run(params, out, ctx, *, <upstream step>=Path, ...) -> dict of metrics`. It writes under `out` and nowhere
else. What it may not know (which door called it, how many processes there are, who watches) comes in the context.
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
    """Input that a person has to mend. The message names the file, the row or key, and the fix."""


def suggestion(wrong: str, known: Iterable[str]) -> str:
    """How a complaint about an unknown name ends: with the one that was meant, or with all there are."""
    names = [str(name) for name in known]
    near = difflib.get_close_matches(wrong, names, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names) or 'none'}"


class Map(Protocol):
    """Runs `fn` over `items` and yields `(index, result or exception)` as each one ends, in any order.

    `parallel=False` keeps the work in this process, one item after the other: for work that owns the device.
    """

    def __call__(
        self, fn: Callable[[Any], Any], items: Sequence[Any], *, names: Sequence[str], parallel: bool = True
    ) -> Iterator[tuple[int, Any]]: ...


def attempt(fn: Callable[[Any], Any], item: Any) -> Any:
    """The result of `fn(item)`, or the exception it ended with: one bad item must not stop the others."""
    try:
        return fn(item)
    except Exception as error:
        return error


def serial(fn, items, *, names, parallel=True):
    for index, item in enumerate(items):
        yield index, attempt(fn, item)


def end_with_parent() -> None:
    """End this worker process when its parent is gone, however that died: a pool's workers outlive a `kill -9`."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def process_pool(workers: int | None = None) -> ProcessPoolExecutor:
    """Worker processes from a clean fork server: forking a process that has threads (torch, Prefect) can deadlock."""
    context = multiprocessing.get_context("forkserver")
    return ProcessPoolExecutor(workers or os.cpu_count(), mp_context=context, initializer=end_with_parent)


def processes(fn, items, *, names, parallel=True):
    """A map over worker processes, one a core; what cannot gain from them stays in this process."""
    if not parallel or len(items) < 2 or (os.cpu_count() or 1) < 2:
        yield from serial(fn, items, names=names)
        return
    with process_pool(min(len(items), os.cpu_count() or 1)) as pool:
        futures = {pool.submit(attempt, fn, item): index for index, item in enumerate(items)}
        for future in as_completed(futures):
            yield futures[future], future.exception() or future.result()


@dataclass(frozen=True)
class Context:
    """How a step reaches the world around it. The defaults suit a test or a notebook: serial, no bar, no salt."""

    map: Map = serial
    # A tqdm factory: progress(iterable, desc=..., unit=...) or `with progress(total=n) as bar: bar.update()`.
    progress: Callable[..., tqdm] = field(default=lambda *args, **kwargs: tqdm(*args, **{**kwargs, "disable": True}))
    # Hash of the code that the stage depends on: part of every fingerprint, so that kept work never outlives its code.
    code: str = ""
