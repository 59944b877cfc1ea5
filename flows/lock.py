"""One flow run at a time in a checkout: a second one waits, or names the holder and stops."""

from __future__ import annotations

import getpass
import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from tasks.yard.files import is_at_work, read_json, write_json

log = logging.getLogger(__name__)
BEGUN = "flow_runs"  # folder of the state: of each flow run of this checkout who it is of (flows/standing.py)
HELD = "has the checkout"


class Held(RuntimeError):
    """Another run holds this checkout."""


def refuse_if_held(state: Path) -> None:
    """Raises `Held` at once if another run holds the checkout: no need to start a server to find out."""
    state.mkdir(exist_ok=True)
    lock = FileLock(state / "run.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise _held(state) from None
    lock.release()


def _held(state: Path) -> Held:
    return Held(f"another run holds this checkout ({_holder(state)}); wait for it, or run again with --wait")


def holder(state: Path) -> dict | None:
    """Who holds the checkout now: pid, user, since, command; None if nobody does. The lock is touched only where a
    holder has written itself down: whoever looks must not be in the way of a run that begins."""
    path = state / "run.json"
    try:
        who = read_json(path)
        refuse_if_held(state)
    except (FileNotFoundError, ValueError):
        return None
    except Held:
        return who
    return None  # it was killed


def was_killed(state: Path, run: str) -> bool:
    """Of a flow run that Prefect believes at work: did it begin in this checkout, and is its process gone?"""
    note = state / BEGUN / run
    try:
        said, since_s = note.read_text(encoding="utf-8"), note.stat().st_mtime
    except OSError:
        return False
    return holder(state) is None if said == HELD else not is_at_work(said, since_s)


def _holder(state: Path) -> str:
    path = state / "run.json"
    who = read_json(path) if path.exists() else {}
    return (
        f"pid {who.get('pid', '?')} of {who.get('user', '?')} since {who.get('since', '?')}: {who.get('command', '?')}"
    )


@contextmanager
def checkout(state: Path, *, wait: bool) -> Iterator[None]:
    """Hold the checkout inside the block. The kernel frees the lock when its holder ends, even if it was killed."""
    if not wait:
        refuse_if_held(state)
    lock, holder = FileLock(state / "run.lock"), state / "run.json"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:  # the other run began after the check above
            raise _held(state) from None
        log.warning("waiting for another run (%s)", _holder(state))
        lock.acquire()
    try:
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        user = f"{getpass.getuser()}@{socket.gethostname()}"
        write_json(holder, {"pid": os.getpid(), "user": user, "since": now, "command": " ".join(sys.argv)})
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
