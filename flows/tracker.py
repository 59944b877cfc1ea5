"""What a flow run asks of MLflow, the challenge too, in a process of its own beside the steps.

The fork server has imported MLflow and torch for the steps already; in the flow's own process the same imports take 4
to 10 s of CPU, and a challenge takes memory that stays. One process for all calls: it holds the lock that tells other
runs that this one is at work (tasks/yard/tracking/alive.py).
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
from prefect.context import hydrated_context, serialize_context

from flows.environment import STATE, quiet_logs
from tasks.yard.step import BadInput, WorkerKilled
from tasks.yard.tracking import champion, owed, store
from tasks.yard.workers import Workers

log = logging.getLogger(__name__)


class Tracker:
    """Made inside a flow run, whose pages then show what the calls log."""

    def __init__(self) -> None:
        self._context = cloudpickle.dumps(serialize_context())
        self._process = Workers(1)

    def __call__(self, fn: Callable[..., Any], *arguments: Any) -> Any:
        """`fn(*arguments)`; both are picklable. None if the process died over it, twice: tracking costs no result."""
        outcome = self._process("MLflow", _called, (self._context, fn, arguments))
        if isinstance(outcome, BadInput | WorkerKilled):
            log.warning("%s: %s", fn.__name__, outcome)
            return None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def end(self) -> None:
        self._process.end()


def _called(job: tuple[bytes, Callable[..., Any], tuple]) -> Any:
    context, fn, arguments = job
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # systemd tells all of a unit; the flow has a word to say here first
    quiet_logs()
    with hydrated_context(cloudpickle.loads(context)):
        return fn(*arguments)


def unjudged(line: str) -> Path:
    """There from the start of a run that makes something until its leader has been judged."""
    return STATE / "unjudged" / line


def judged(line: str, failed: frozenset[str] = frozenset()) -> str | None:
    """What became of the champion. An MLflow that fails costs the run nothing, and the challenge only until the next
    one; so do failed steps that the challenge reads: what they made lies there as the run before has left it."""
    if lacking := failed & champion.judged_after(line):
        return f"nobody was judged, because this is not up to date: {', '.join(sorted(lacking))}"
    try:
        verdict = champion.settle(line)
    except Exception as error:
        if not store.is_fault(error):
            raise
        return f"nobody was judged, because MLflow failed: {error}"
    if not owed.entries():  # else the leader may be among what MLflow has not been told yet
        unjudged(line).unlink()
    return verdict
