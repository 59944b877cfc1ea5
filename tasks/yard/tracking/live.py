"""Curves go out while a training runs, some epochs at a time, from a thread that nobody ever waits for.

What is sent so is noted with its moment. The end of the run tells all of its curves again: a point that MLflow has got
already, with the same moment, it keeps once. MLflow that fails, or hangs, costs the training nothing and the curves no
point.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tasks.yard.tracking import sending
from tasks.yard.tracking.described import Run, now_ms

log = logging.getLogger(__name__)
EVERY_S = 10.0
FILE, UNFINISHED = "history.jsonl", "unfinished"  # where a step keeps it while it works; the detector's in the latter
Point = tuple[str, Any, int]  # name, value, step


def points(path: Path) -> Iterator[Point]:
    """Of each line of a history, a point a number."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    for i, row in enumerate(rows):
        for name, value in flatten(row):
            if name != "epoch":  # the axis
                yield f"curve/{name}", value, int(row.get("epoch", i))


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


class Curves:
    """Of a run that has begun, from what its step writes below `out`."""

    def __init__(self, run: Run, out: Path) -> None:
        self.run, self.out = run, out
        self.began, self.ended = time.time(), threading.Event()
        self.moments: dict[tuple[str, int], tuple[Any, int]] = {}  # (name, step): value, ms
        self.send: Callable[[list[tuple]], None] | None = None
        threading.Thread(target=self._follow, name="curves", daemon=True).start()

    def end(self) -> None:
        self.ended.set()

    def told(self) -> list[tuple]:
        """All points as they stand at the end, each with its moment if it has gone out."""
        found: list[tuple] = []
        for name, value, step in points(self.out / FILE):
            sent, moment = self.moments.get((name, step), (None, None))
            found.append((name, value, step, moment) if moment and sent == value else (name, value, step))
        return found

    def _follow(self) -> None:
        seen = None
        try:
            while not self.ended.wait(EVERY_S):
                if (file := self._file()) and (mark := file.stat().st_mtime_ns) != seen:
                    self._send(file)
                    seen = mark
        except Exception as error:  # the end of the run tells them
            log.debug("the curves of %s go out at its end: %s", self.run.name, error)

    def _file(self) -> Path | None:
        """The history of this run, if it has begun: the one before may lie there still."""
        for path in (self.out / UNFINISHED / FILE, self.out / FILE):
            if path.exists() and path.stat().st_mtime >= self.began:
                return path
        return None

    def _send(self, file: Path) -> None:
        self.send = self.send or sending.sender(self.run)
        if self.send is None:
            return
        fresh = [of for of in points(file) if self.moments.get((of[0], of[2]), (None,))[0] != of[1]]
        moment = now_ms()
        self.moments |= {(name, step): (value, moment) for name, value, step in fresh}
        self.send([(*of, moment) for of in fresh])
