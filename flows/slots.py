"""How many stages that use the device run at once: TRAINYARD_DEVICE_SLOTS, or one per core."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flows import worker
from tasks.yard.params import Machine
from tasks.yard.ray_address import VARIABLE, told
from tasks.yard.stage import Stage
from tasks.yard.step import device_slots

log = logging.getLogger(__name__)
ANSWER_S = 60  # of a cluster, and of the imports before it is asked


def wanted(stage: Stage, params: Mapping[str, Any], machine: Machine) -> int:
    """Of a stage that uses the device: one for each of its processes. Trials that go to a cluster take none here."""
    section = params.get(stage.step) or {}
    at_once = section.get("at_once", 1) if section.get("trials") else 1
    devices = machine.devices if "yard.machine" in stage.entry.get("params", []) else 1
    return (1 if at_once > 1 and _trials_go_away(machine) else at_once) * devices


def _trials_go_away(machine: Machine) -> bool:
    """To the cluster that TRAINYARD_RAY names: not without a disk in common, nor to worse places than this machine's.
    Asked in a process of its own, which ends with the run: whoever has reached a cluster stays a part of it."""
    if not told():
        return False
    ask = f"import signal; signal.alarm({ANSWER_S}); from tasks.yard.tuning.hands import go_away; "
    ask += f"print(go_away({machine.accelerator != 'cpu'}))"
    question = subprocess.Popen([sys.executable, "-c", ask], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while True:
        try:
            said, errors = question.communicate(timeout=0.2)
            break
        except subprocess.TimeoutExpired:
            if worker.stopping.is_set():
                question.kill()
    if question.returncode and not worker.stopping.is_set():
        late = question.returncode == -signal.SIGALRM
        why = f"no answer within {ANSWER_S} s" if late else (errors.strip() or "it did not say why").splitlines()[-1]
        log.warning(
            "%s=%s: it is not known whether trials go there, and room is kept for them here: %s", VARIABLE, told(), why
        )
    return not question.returncode and said.split()[-1:] == ["True"]


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
