"""How many stages that use the device run beside each other."""

from __future__ import annotations

import socket
import threading

import pytest

from flows import worker
from flows.slots import Slots, wanted
from tasks.yard.stage import Stage
from tasks.yard.step import BadInput
from tests.flows.waiting import PATIENCE_S
from tests.tasks.yard.shared import machine

TRAIN = Stage("l-train@a", "l", "train", "a", {"params": ["l.train", "yard.machine"]})
TUNE = Stage("l-tune", "l", "tune", None, {"params": ["l.tune", "yard.machine"]})
DETECT = Stage("l-detect", "l", "detect", None, {"params": ["l.detect"]})


def test_a_stage_takes_a_slot_for_each_of_its_processes(monkeypatch):
    monkeypatch.delenv("TRAINYARD_RAY", raising=False)
    params = {"train": {}, "tune": {"trials": 9, "at_once": 3}}
    assert [wanted(stage, params, machine()) for stage in (TRAIN, TUNE, DETECT)] == [1, 3, 1]
    assert [wanted(stage, params, machine(devices=2)) for stage in (TRAIN, TUNE, DETECT)] == [2, 6, 1]
    assert wanted(TUNE, {"tune": {"trials": 0, "at_once": 3}}, machine()) == 1


def test_a_cluster_that_never_answers_is_not_waited_for_once_the_run_is_to_end(monkeypatch, caplog):
    with socket.create_server(("", 0)) as hangs:  # takes a connection, and says nothing
        hangs.settimeout(PATIENCE_S)
        monkeypatch.setenv("TRAINYARD_RAY", f"127.0.0.1:{hangs.getsockname()[1]}")
        asked = threading.Thread(target=wanted, args=[TUNE, {"tune": {"trials": 9, "at_once": 3}}, machine()])
        asked.start()
        hangs.accept()[0].close()  # whether somebody listens; then Ray asks
        with hangs.accept()[0]:
            monkeypatch.setattr(worker, "stopping", threading.Event())
            worker.stopping.set()
            asked.join(timeout=30)
    assert not asked.is_alive() and not caplog.records


def test_trials_that_cannot_go_away_are_counted_and_the_reason_is_said(monkeypatch, caplog):
    monkeypatch.setenv("TRAINYARD_RAY", "127.0.0.1:1")
    assert wanted(TUNE, {"tune": {"trials": 9, "at_once": 3}}, machine()) == 3
    assert "TRAINYARD_RAY=127.0.0.1:1: it is not known whether trials go there" in caplog.text
    assert "does not answer" in caplog.text


def test_many_that_want_several_get_them_one_after_the_other(monkeypatch):
    monkeypatch.setenv("TRAINYARD_DEVICE_SLOTS", "3")
    slots, held, most, lock = Slots(), [0], [0], threading.Lock()

    def work(count: int) -> None:
        with slots.taken(count):
            with lock:
                held[0] += min(count, 3)
                most[0] = max(most[0], held[0])
            threading.Event().wait(0.01)
            with lock:
                held[0] -= min(count, 3)

    threads = [threading.Thread(target=work, args=[count]) for count in (2, 2, 1, 9, 3, 2, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert most[0] == 3 and held[0] == 0 and not any(thread.is_alive() for thread in threads)


def test_slots_that_are_no_number_are_said(monkeypatch):
    for word in ("two", "0", "-1"):
        monkeypatch.setenv("TRAINYARD_DEVICE_SLOTS", word)
        with pytest.raises(BadInput, match=r"TRAINYARD_DEVICE_SLOTS=.*whole number"):
            Slots()
