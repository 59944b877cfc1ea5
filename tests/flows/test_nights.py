"""A night that did not happen is told of, by what a real Prefect server says; errors in a log are said once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows import environment, nights
from tasks.yard.files import write_text
from tests.flows.conftest import ROOT, start_server
from tests.flows.receiving import receiver
from tests.flows.waiting import wait_until

DUE = datetime(2026, 1, 5, 3, tzinfo=UTC)  # over: Prefect plans nothing in the past
SINCE, PATIENCE = DUE - timedelta(hours=5), timedelta(minutes=15)


@pytest.fixture(scope="module")
def nights_api(empty_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server that no other test uses: while a run runs, no night is missed."""
    home, port, (read, write) = tmp_path_factory.mktemp("prefect"), environment.free_port(), os.pipe()
    shutil.copy(empty_db, home / "prefect.db")
    start_server(home, port, read)
    os.close(read)
    yield f"http://127.0.0.1:{port}/api"
    os.close(write)


def a_deployment(api: str, name: str, **more) -> dict:
    flow = nights.ask(api, "flows/", {"name": "line"})["id"]
    schedule = {"schedule": {"cron": "0 4 * * *", "timezone": "Europe/Berlin"}, "active": True}  # 03:00 UTC in winter
    made = nights.ask(api, "deployments/", {"name": name, "flow_id": flow, "schedules": [schedule], **more})
    return {"flow_id": flow, "deployment_id": made["id"]}


def told(api: str, name: str, now: datetime = DUE + timedelta(minutes=20)) -> list[str]:
    return [text for text in nights.missed(api, SINCE, now, PATIENCE).values() if text.startswith(name)]


def test_a_night_without_a_run_and_one_whose_run_did_not_start_are_told(nights_api):
    of = a_deployment(nights_api, "never-nightly")
    a_deployment(nights_api, "paused-nightly", paused=True)
    assert not told(nights_api, "never", DUE + timedelta(minutes=10))  # it may still come
    (text,) = told(nights_api, "never-nightly was due at")
    assert "20 minutes later Prefect has made no run of it" in text and "server.log" in text
    assert not told(nights_api, "paused")
    planned = {"type": "SCHEDULED", "state_details": {"scheduled_time": DUE.isoformat()}}
    run = nights.ask(nights_api, "flow_runs/", {**of, "state": planned})["id"]
    (text,) = told(nights_api, "never")
    assert "it has not started" in text
    nights.ask(nights_api, f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLED"}, "force": True})
    assert not told(nights_api, "never")  # somebody has decided so


def test_a_night_that_waits_for_another_is_not_missed_and_a_dead_server_is_told(nights_api):
    a_deployment(nights_api, "waits-nightly")
    other = a_deployment(nights_api, "runs-nightly", paused=True)
    run = nights.ask(nights_api, "flow_runs/", {**other, "state": {"type": "RUNNING"}})["id"]
    now = datetime.now(UTC)
    since = now - timedelta(days=1)
    assert not nights.missed(nights_api, since, now, PATIENCE)
    nights.ask(nights_api, f"flow_runs/{run}/set_state", {"state": {"type": "COMPLETED"}, "force": True})
    assert any(text.startswith("waits-nightly") for text in nights.missed(nights_api, since, now, PATIENCE).values())
    (text,) = nights.missed("http://127.0.0.1:9/api", since, now, PATIENCE).values()
    assert "http://127.0.0.1:9/api does not answer" in text and "no scheduled run starts" in text


def test_only_a_run_that_is_alive_and_of_the_same_runner_keeps_others_waiting(nights_api, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nights.ask(nights_api, "work_pools/", {"name": "far", "type": "process"})
    of = {kind: a_deployment(nights_api, f"late-{kind}", **more) for kind, more in
          {"served": {}, "pooled": {"work_pool_name": "far"}}.items()}  # fmt: skip
    now = datetime.now(UTC)

    def late() -> set[str]:
        said = nights.missed(nights_api, now - timedelta(days=1), now, PATIENCE).values()
        return {kind for kind in of if any(text.startswith(f"late-{kind}") for text in said)}

    by_hand = {"flow_id": of["served"]["flow_id"]}
    runs = {
        kind: nights.ask(nights_api, "flow_runs/", {**asked, "state": {"type": "RUNNING"}})["id"]
        for kind, asked in {"by hand": by_hand, **of}.items()
    }
    assert late() == set()
    nights.ask(nights_api, f"flow_runs/{runs['pooled']}/set_state", {"state": {"type": "FAILED"}, "force": True})
    assert late() == {"pooled"}
    code = "from tasks.yard.files import owner; print(owner(), end='')"
    gone = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    write_text(tmp_path / ".trainyard/flow_runs" / runs["served"], gone)
    assert late() == {"served", "pooled"}
    for run in runs.values():
        nights.ask(nights_api, f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLED"}, "force": True})


@pytest.mark.parametrize("cron", ["* * * * *", "0 * * * *", "0 3 * * *"])
def test_a_yard_that_has_served_for_a_year_still_sees_what_was_due_last(cron):
    until = DUE + timedelta(seconds=5)
    assert nights.due_times({"cron": cron, "timezone": "UTC"}, until - timedelta(days=365), until)[-1] == DUE


def test_an_error_that_comes_back_every_minute_is_said_once(tmp_path):
    log, read, seen = tmp_path / "server.log", {tmp_path / "server.log": 0}, set()

    def said(text: str) -> list[str]:
        with log.open("a") as file:
            file.write(text)
        return nights.new_errors(log, read, seen)

    assert nights.new_errors(log, read, seen) == []
    minute = (
        "02:{}:13.001 | ERROR   | prefect.server.services.scheduler - Unexpected error in: RuntimeError('run 7{}')\n"
        'Traceback (most recent call last):\n  File "x.py", line 3, in f\n    raise RuntimeError\n'
        "RuntimeError: Can't evaluate bulk DML statement\n"
    )
    first = said("02:30:12.000 | WARNING | prefect - slow\n" + minute.format("30", "1") + "02:31:13 | ERR")
    assert len(first) == 2 and "scheduler" in first[0] and first[1] == "RuntimeError: Can't evaluate bulk DML statement"
    assert said("OR   | another - a fault\n") == ["02:31:13 | ERROR   | another - a fault"]
    assert said(minute.format("31", "2")) == []


def test_somebody_is_told_and_a_process_that_ends_is_named(monkeypatch, capsys):
    with receiver() as (url, bodies):
        monkeypatch.setenv("TRAINYARD_NOTIFY", url)
        monkeypatch.setattr(nights, "ASK_EVERY_S", 0)
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as runner:
            threading.Thread(target=lambda: wait_until(lambda: bodies, "a message") or runner.stdin.close()).start()
            assert nights.watch({"runner": runner}, [], "http://127.0.0.1:9/api") == "runner"
    assert [body["title"] for body in bodies] == ["Trainyard: a night did not happen"]
    assert "does not answer" in bodies[0]["message"] and "does not answer" in capsys.readouterr().err
