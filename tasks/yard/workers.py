"""Worker processes for a step's map. One that dies takes nothing with it but the item in its hands, which is known by
name: that item is tried once more, alone, and a new worker serves the others.

A pool of the standard library is broken as a whole when one of its processes dies, and cannot say by which item.
"""

from __future__ import annotations

import io
import logging
import multiprocessing
import os
import pickle
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from types import FunctionType
from typing import Any, Protocol

from tasks.yard.ray_address import fault, told
from tasks.yard.step import BadInput, WorkerCrashed, WorkerKilled, attempt, cores, memory_gb, serial

log = logging.getLogger(__name__)
# From a clean fork server: forking a process that has threads (torch, Prefect) can deadlock.
fork_server = multiprocessing.get_context("forkserver")


def end_with_parent() -> None:
    """End this worker process when its parent ends: without it workers outlive a `kill -9`."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def cause(code: int | None) -> str:
    """Why a process ended, from its exit code, in words that follow "its process"."""
    if code == -signal.SIGKILL:
        return f"was killed, most likely because memory ran out (there are {memory_gb():.1f} GB)"
    if code is not None and code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _serve(jobs: Connection) -> None:
    """What a worker does: `fn(item)` for each job, until there are no more."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while True:
        try:
            job = jobs.recv()
        except EOFError:
            return
        outcome = attempt(*job)
        try:
            jobs.send(outcome)
        except ConnectionError:  # nobody waits for it any more
            return
        except Exception as error:  # it cannot be pickled
            jobs.send(RuntimeError(f"{outcome!r:.200} cannot be handed over: {error}"))


class _Modules(pickle.Pickler):
    """Notes the modules of the functions and classes that an object is made of."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO())
        self.found: list[str] = []

    def reducer_override(self, thing: Any) -> Any:
        module = thing.__module__ if isinstance(thing, FunctionType | type) else None
        if isinstance(module, str) and module not in ("builtins", "__main__", *self.found):
            self.found.append(module)
        return NotImplemented


def preload(fn: Callable[[Any], Any], more: Sequence[str]) -> None:
    """Let the fork server import, once for all workers, what each would import to understand `fn`, and these. Only
    before it has started: with the first work of this process."""
    modules = _Modules()
    with suppress(Exception):  # it cannot be pickled: whoever asks will say so
        modules.dump(fn)
    fork_server.set_forkserver_preload(["__main__", *modules.found, *more])


class _Worker:
    """A worker process, and the end of a pipe to it."""

    def __init__(self) -> None:
        self.jobs, theirs = fork_server.Pipe()
        self.process = fork_server.Process(target=_serve, args=[theirs])
        self.process.start()
        theirs.close()

    def ask(self, fn: Callable[[Any], Any], item: Any) -> Any:
        """Raises `EOFError` or `OSError` if the worker died."""
        self.jobs.send((fn, item))
        return self.jobs.recv()

    def end(self) -> int | None:
        """Its exit code: it ends once the pipe is closed, if it has not ended before."""
        self.jobs.close()
        self.process.join()
        return self.process.exitcode


def _kill(workers: set[_Worker], closed: threading.Event) -> None:
    closed.set()
    for worker in list(workers):
        worker.process.kill()


class Workers:
    """`count` worker processes, asked from as many threads."""

    def __init__(self, count: int, loads: Sequence[str] = ()) -> None:
        """`loads`: modules that the work imports when it begins."""
        self.count = count
        self._closed = threading.Event()
        self._loads = loads
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._all: set[_Worker] = set()
        # Who fails over an outcome asks for no other, and its process, at its end, would wait for these for ever.
        self._at_exit = Finalize(None, _kill, args=(self._all, self._closed), exitpriority=10)
        self._starting = threading.Lock()
        self._seats = threading.Semaphore(count)
        self._gathering = threading.Lock()

    def __call__(self, name: str, fn: Callable[[Any], Any], item: Any) -> Any:
        """The result of `fn(item)`, or the exception that it raised, or what to say of an item whose worker died."""
        with self._seats:
            outcome, code = self._ask(fn, item)
        if code is not None and not self._closed.is_set():
            with self._alone():  # memory that several need at once may be enough for one
                outcome, code = self._ask(fn, item)
        if code is None:
            return outcome
        if self._closed.is_set():
            return InterruptedError("the run is to end")
        said = f"{name}: its worker process {cause(code)}, twice, the second time while nothing else ran"
        if code == -signal.SIGKILL:
            return WorkerKilled(f"{said}; free memory, or take {name} out of the source")
        return WorkerCrashed(f"{said}: a fault of native code that this input leads to; repair it or leave it out")

    def _ask(self, fn: Callable[[Any], Any], item: Any) -> tuple[Any, int | None]:
        """The outcome, and None; or None, and the exit code of the worker that died over it."""
        try:
            worker = self._take(fn)
        except InterruptedError as to_end:  # nobody waits for it: no traceback
            return to_end, None
        try:
            outcome = worker.ask(fn, item)
        except (EOFError, ConnectionError):
            self._all.discard(worker)
            return None, worker.end()
        self._idle.put(worker)
        return outcome, None

    def _take(self, fn: Callable[[Any], Any]) -> _Worker:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            with self._starting:
                if self._closed.is_set():
                    raise InterruptedError("the run is to end") from None
                if not self._all:
                    preload(fn, self._loads)
                worker = _Worker()
                self._all.add(worker)
                return worker

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._gathering:  # one thread at a time, or two would hold half of the seats each
            for _ in range(self.count):
                self._seats.acquire()
            try:
                yield
            finally:
                self._seats.release(self.count)

    def kill(self) -> None:
        """Whoever waits for an outcome has one at once."""
        with self._starting:
            _kill(self._all, self._closed)

    def end(self) -> None:
        """To be called when no thread asks any more."""
        self._at_exit.cancel()
        for worker in self._all:
            worker.end()


Call = Callable[[str, Callable[[Any], Any], Any], Any]
BLOCKS = 1000  # at most, and as many task runs: 2,000 make a Prefect server unstable


class Crew(Protocol):
    """Who is asked instead of this machine's processes: the nodes of a cluster."""

    count: int  # of the threads that ask
    where: str  # for people

    def __call__(self, name: str, fn: Callable[[Any], Any], item: Any) -> Any: ...
    def kill(self) -> None: ...
    def end(self) -> None: ...


def _directly(call: Call, name: str, fn: Callable[[Any], Any], item: Any) -> Any:
    return call(name, fn, item)


def _each(items: Sequence[Any], *, fn: Callable[[Any], Any]) -> list[Any]:
    return [attempt(fn, item) for item in items]


def mapped(
    fn: Callable[[Any], Any],
    items: Sequence[Any],
    names: Sequence[str],
    count: int,
    around: Callable[[Call, str, Callable[[Any], Any], Any], Any] = _directly,
    crew: Crew | None = None,
) -> Iterator[tuple[int, Any]]:
    """`(index, outcome)` of each item as it ends, by `count` worker processes; by this process if `count` is 1; by the
    crew if there is one.

    `around` is called for each item in a thread, and makes the call itself: for a record of it somewhere. Of more items
    than `BLOCKS` it is called for blocks of them, and the outcome is a list.
    """
    workers = crew or (Workers(count) if count > 1 else None)
    call: Call = workers or (lambda name, fn, item: attempt(fn, item))
    size = -(-len(items) // BLOCKS)
    each = partial(_each, fn=fn)

    def block(_name: str, fn: Callable[[Any], Any], indices: range) -> list[Any]:
        """A worker that dies over a block does not say by which item: each is then asked for alone."""
        found = call(_name, each, [items[i] for i in indices])
        return found if isinstance(found, list) else [call(names[i], fn, items[i]) for i in indices]

    def ask(indices: range) -> list[Any]:
        if size == 1:
            return [around(call, names[i], fn, items[i]) for i in indices]
        found = around(block, f"{names[indices[0]]} to {names[indices[-1]]}", fn, indices)
        return found if isinstance(found, list) else [found] * len(indices)

    threads = ThreadPoolExecutor(crew.count if crew else count)
    try:
        blocks = [range(first, min(first + size, len(items))) for first in range(0, len(items), size or 1)]
        futures = {threads.submit(ask, indices): indices for indices in blocks}
        for future in as_completed(futures):
            indices = futures[future]
            outcomes = [future.exception()] * len(indices) if future.exception() else future.result()
            yield from zip(indices, outcomes, strict=True)
    except BaseException:  # Ctrl-C, or nobody wants the rest
        if workers:
            workers.kill()
        raise
    finally:
        threads.shutdown(wait=workers is not None, cancel_futures=True)
        if workers:
            workers.end()


def crew_for(fn: Callable[[Any], Any], count: int, parallel: bool, device: bool) -> Crew | None:
    """The nodes of the cluster that TRAINYARD_RAY names, for so many items; None if they are to be worked on here."""
    if not told() or count < 2:
        return None
    if (wrong := fault()) is not None:
        raise BadInput(wrong)
    from tasks.yard import cluster

    return cluster.nodes(fn, parallel, device)


def processes(fn, items, *, names, parallel=True, device=False):
    """A map over worker processes, one a core, or over the nodes of a cluster. A single item, or one core, stays in
    this process. `device`: the stage wants a GPU, which nodes may have."""
    count = min(len(items), cores()) if parallel else 1
    if (hands := crew_for(fn, len(items), parallel, device)) is None and count < 2:
        return serial(fn, items, names=names)
    if hands:
        log.info("work goes to %s", hands.where)
    return mapped(fn, items, names, count, crew=hands)
