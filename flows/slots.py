"""How many stages that use the device run at once: TRAINYARD_DEVICE_SLOTS, or one per core."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tasks.yard.params import Machine
from tasks.yard.ray_address import told
from tasks.yard.stage import Stage
from tasks.yard.step import device_slots


def wanted(stage: Stage, params: Mapping[str, Any], machine: Machine) -> int:
    """Of a stage that uses the device: one for each of its processes. Trials that go to a cluster take none here."""
    section = params.get(stage.step) or {}
    at_once = section.get("at_once", 1) if section.get("trials") else 1
    devices = machine.devices if "yard.machine" in stage.entry.get("params", []) else 1
    return (1 if at_once > 1 and _trials_go_away(machine) else at_once) * devices


def _trials_go_away(machine: Machine) -> bool:
    """To the cluster that TRAINYARD_RAY names: not without a disk in common, nor to worse places than this machine's.
    Asked in a process of its own: whoever has reached a cluster stays a part of it."""
    if not told():
        return False
    ask = f"from tasks.yard.tuning.hands import go_away; raise SystemExit(not go_away({machine.accelerator != 'cpu'}))"
    return subprocess.run([sys.executable, "-c", ask], capture_output=True).returncode == 0


class Slots:
    def __init__(self) -> None:
        self._count = device_slots()
        self._free = threading.Semaphore(self._count)
        self._gathering = threading.Lock()

    @contextmanager
    def taken(self, count: int) -> Iterator[None]:
        """Inside the block so many are this stage's, or all there are."""
        count = min(count, self._count)
        with self._gathering:  # one stage at a time, or two would hold half of the slots each and wait for ever
            for _ in range(count):
                self._free.acquire()
        try:
            yield
        finally:
            self._free.release(count)
