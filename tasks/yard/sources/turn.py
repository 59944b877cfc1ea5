"""Who fetches or unpacks the same thing at the same time does so in turn: the second one finds what the first has made.

Two stages on one source run at once, and so may two checkouts. The kernel frees the lock of a process that was killed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)


@contextmanager
def turn(place: Path, shown: str) -> Iterator[None]:
    """Only one block at a time runs for a place; its lock is `<place>.lock`. `shown` names what is fetched."""
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place.with_name(f"{place.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.warning("%s: another process is fetching it; waiting for that", shown)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
