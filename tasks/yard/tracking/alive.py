"""Which runs are at work. Each holds a lock on a file of its own, which the kernel frees when its process ends, however
it ends: in a container too, whose name and process numbers are others every time.

Writes .trainyard/alive/<run>   as long as the run's process has not said that it ended
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from tasks.yard.tracking import store

_ours: dict[str, FileLock] = {}


def _folder() -> Path:
    folder = store.state() / "alive"
    folder.mkdir(exist_ok=True)
    return folder


def begin(run_id: str) -> None:
    _ours[run_id] = FileLock(_folder() / run_id, thread_local=False)  # a flow begins in one thread and ends in another
    _ours[run_id].acquire()


def end(run_id: str) -> None:
    if lock := _ours.pop(run_id, None):
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def at_work(run_id: str) -> bool:
    """Has the run's process, here or elsewhere, neither ended nor said that the run has?"""
    if run_id in _ours:
        return True
    if not (path := _folder() / run_id).exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


def killed() -> Iterator[str]:
    """The runs whose process ended without a word. One that the caller is done with is forgotten; an error in between
    leaves it to the next."""
    for path in sorted(_folder().iterdir()):
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue  # at work
        try:
            yield path.name
            path.unlink(missing_ok=True)
        finally:
            lock.release()
