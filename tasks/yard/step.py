"""The context that a step gets besides its params and paths, and the error for input that a person has to fix.

A step is `run(params, out, ctx, *, <upstream step>=Path, ...) -> dict of metrics`. It writes under `out` and nowhere
else. What it must not depend on (which door called it, the number of processes, progress bars) comes in the context.
"""

from __future__ import annotations

import contextlib
import difflib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from tasks.yard.files import FULL_DISK

CGROUP = Path("/sys/fs/cgroup")  # a process in a container sees its own group there


class BadInput(ValueError):
    """Input that a person has to fix. The message names the file, the row or key, and the fix."""


class WorkerKilled(MemoryError):
    """A worker process was killed from outside over one item, twice. The message names the item."""


class WorkerCrashed(BadInput):
    """A worker process was ended by native code over one item, twice. The message names the item."""


def plain(error: BaseException) -> str | None:
    """What to say of an error that a person can mend without a traceback; None if it is none of these."""
    if isinstance(error, OSError) and error.errno in FULL_DISK:
        place = f" at {error.filename}" if error.filename else ""
        return f"the disk is full{place} ({error.strerror}); make room and run again, what is finished is kept"
    return str(error) if isinstance(error, (BadInput, WorkerKilled)) else None


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


def cores() -> int:
    """The cores that this process may use. `os.cpu_count` counts those of the machine: a container, `taskset` and a
    batch system give fewer, and threads beyond them only wait for each other."""
    given = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(given, _cgroup_cores())))


def device_slots() -> int:
    """How many trainings may run at once on this machine: TRAINYARD_DEVICE_SLOTS, or one per core.

    Training uses one CPU thread. Two trainings in parallel take two thirds of the time of two in sequence with two
    threads each. A GPU can hold several such networks too.
    """
    told = os.environ.get("TRAINYARD_DEVICE_SLOTS", "").strip()
    if told and not (told.isdecimal() and int(told)):
        raise BadInput(f"TRAINYARD_DEVICE_SLOTS={told}: must be a whole number of trainings at once, 1 or more")
    return int(told or cores())


def _cgroup_cores() -> float:
    """The quota of the control group, in version 2 and 1; infinite if there is none."""
    for files in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = " ".join((CGROUP / name).read_text() for name in files).split()
            return int(quota) / int(period) if int(quota) > 0 else math.inf  # no quota: "max", or -1 in version 1
    return math.inf


def memory_gb() -> float:
    """What this process and its like may use together."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            limits.append(int((CGROUP / name).read_text()))
    return min(limits) / 1e9


@dataclass(frozen=True)
class Context:
    """What a step may use from its surroundings. The defaults suit a test or a notebook: serial, no bar, no salt."""

    map: Map = serial
    # A tqdm factory: progress(iterable, desc=..., unit=...) or `with progress(total=n) as bar: bar.update()`.
    progress: Callable[..., tqdm] = field(default=lambda *args, **kwargs: tqdm(*args, **{**kwargs, "disable": True}))
    # Hash of the code that the stage depends on: part of every fingerprint, so that kept work never outlives its code.
    code: str = ""

    def __reduce__(self) -> tuple[Callable[[], Context], tuple[()]]:
        """Sent to another process, it is that of a step there: serial, and without bars."""
        return partial(Context, code=self.code), ()
