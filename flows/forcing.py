"""What `--force` asked for and no run has done yet: it outlives a run that is killed, in a file of this checkout."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

from flows.environment import STATE
from tasks.yard.files import read_if_there, write_json

FILE = Path("forced.json")  # {stage: was it begun, so that nothing of before is left of it}
REASON = "forced"
_changing = threading.Lock()  # stages end in threads; other runs are kept out by the lock of the checkout


def owed() -> dict[str, bool]:
    """{stage: has it been begun} of the stages that are still to run from scratch."""
    return read_if_there(STATE / FILE)


def ask(names: Iterable[str]) -> None:
    """From scratch, also those that a killed run had begun."""
    _write(lambda known: {**known, **dict.fromkeys(names, False)})


def begin(name: str) -> None:
    _write(lambda known: {**known, name: True})


def done(name: str) -> None:
    _write(lambda known: {other: begun for other, begun in known.items() if other != name})


def _write(changed) -> None:
    with _changing:
        before = owed()
        if (now := changed(before)) != before:
            write_json(STATE / FILE, now)
