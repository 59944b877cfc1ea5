"""While `make serve` runs: says what goes wrong in its logs, and tells someone of a night that did not happen.

TRAINYARD_LATE_MIN (15): so many minutes after its time a scheduled run that has not started is told of.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import Popen
from typing import Any

from flows import lock, notify
from flows.environment import STATE
from tasks.yard import login

ERROR = re.compile(r"\b(ERROR|CRITICAL)\b|^\w[\w.]*(Error|Exception): ")
SHOWN = 200  # characters of a line of a log
LOOK_EVERY_S, ASK_EVERY_S = 1, 30
BUSY_S = (1, 3, 9)  # between two tries
LONGEST_RUN = timedelta(days=1)  # what runs longer keeps the other nights from their turn, and is told of
# Prefect gives at most the first 1,000 dates after a start, so look back from the end, a little further each time.
LOOKED_BACK = (timedelta(minutes=10), timedelta(hours=10), 2 * LONGEST_RUN)


def watch(
    processes: Mapping[str, Popen], logs: list[Path], api_url: str | None, spared: Mapping[str, Popen] | None = None
) -> str:
    """Returns the name of the process that ended first. `spared`: those without which the nights go on; it is said that
    they ended."""
    left = dict(spared or {})
    seen: set[str] = set()
    read = {path: path.stat().st_size if path.exists() else 0 for path in logs}
    began, told, asked = datetime.now(UTC), set(), time.monotonic()
    while True:
        for path in logs:
            for error in new_errors(path, read, seen):
                print(f"error in {path}: {error}", file=sys.stderr, flush=True)
        if api_url and time.monotonic() - asked > ASK_EVERY_S:
            asked = time.monotonic()
            late = missed(api_url, began, datetime.now(UTC), late_after())
            for night, text in late.items():
                if night not in told:
                    told.add(night)
                    print(f"error: {text}", file=sys.stderr, flush=True)
                    notify.send("Trainyard: a night did not happen", text)
        if ended := next((name for name, process in processes.items() if process.poll() is not None), None):
            return ended
        for name in [name for name, process in left.items() if process.poll() is not None]:
            del left[name]
            text = f"error: the {name} ended, the nights go on; `make serve` anew brings it back"
            print(text, file=sys.stderr, flush=True)
        time.sleep(LOOK_EVERY_S)


def late_after() -> timedelta:
    return timedelta(minutes=float(os.environ.get("TRAINYARD_LATE_MIN", 15)))


def new_errors(path: Path, read: dict[Path, int], seen: set[str]) -> list[str]:
    """The errors in what a log has grown by, each kind once: a line is of a kind with another if only numbers differ.
    A fault that comes back every minute is said once."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(read[path])
        grown = file.read()
    whole = grown[: grown.rfind(b"\n") + 1]  # the rest of a line that is being written is read next time
    read[path] += len(whole)
    found = []
    for line in whole.decode("utf-8", "replace").splitlines():
        kind = re.sub(r"[0-9a-f]*\d[0-9a-f-]*", "#", line)
        if ERROR.search(line) and kind not in seen:
            seen.add(kind)
            found.append(line[:SHOWN])
    return found


def ask(api_url: str, path: str, body: dict) -> Any:
    """The answer of a Prefect server to a POST. One that is busy, with SQLite behind it, says 503 for a moment."""
    headers = {"Content-Type": "application/json", **login.of_prefect()}
    request = urllib.request.Request(f"{api_url}/{path}", json.dumps(body).encode(), headers)
    for pause_s in (*BUSY_S, None):
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return json.loads(reply.read() or "null")
        except urllib.error.HTTPError as error:
            if error.code != 503 or pause_s is None:
                raise
            time.sleep(pause_s)


def missed(api_url: str, since: datetime, now: datetime, patience: timedelta) -> dict[str, str]:
    """{deployment and time: a sentence} of the last scheduled time of each deployment after `since` that is over by
    `patience` and has no run that began. One that waits for another run of its runner or work pool is not missed."""
    try:
        return _missed(api_url, since, now, patience)
    except OSError as error:
        return {"server": f"the Prefect server at {api_url} does not answer ({error}): no scheduled run starts"}


def _missed(api_url: str, since: datetime, now: datetime, patience: timedelta) -> dict[str, str]:
    deployments = ask(api_url, "deployments/filter", {})
    running = ask(api_url, "flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}})
    pools = {deployment["id"]: deployment["work_pool_name"] for deployment in deployments}  # None: of a runner
    taken = {
        pools[run["deployment_id"]]
        for run in running
        if run["deployment_id"] in pools and run["start_time"] and not lock.was_killed(STATE, run["id"])
        if now - datetime.fromisoformat(run["start_time"]) < LONGEST_RUN
    }
    found = {}
    for deployment in deployments:
        schedules = [s["schedule"] for s in deployment["schedules"] if s["active"] and "cron" in s["schedule"]]
        due = max((d for schedule in schedules for d in due_times(schedule, since, now - patience)), default=None)
        if deployment["paused"] or due is None or deployment["work_pool_name"] in taken:
            continue
        at = {"after_": (due - timedelta(seconds=1)).isoformat(), "before_": (due + timedelta(seconds=1)).isoformat()}
        of = {"deployments": {"id": {"any_": [deployment["id"]]}}, "flow_runs": {"expected_start_time": at}}
        runs = ask(api_url, "flow_runs/filter", of)
        if all(run["state_type"] in ("SCHEDULED", "PENDING") for run in runs):
            why = "it has not started" if runs else "Prefect has made no run of it"
            when = due.strftime("%Y-%m-%d %H:%M")  # on the clock of its schedule
            found[f"{deployment['name']} {due}"] = (
                f"{deployment['name']} was due at {when}, and {(now - due).total_seconds() / 60:.0f} minutes later "
                f"{why}; see .trainyard/server.log and .trainyard/runner.log"
            )
    return found


def due_times(schedule: dict, since: datetime, until: datetime) -> list[datetime]:
    """The last ones, by the function that Prefect's own scheduler uses."""
    from prefect.server.schemas.schedules import CronSchedule

    for back in LOOKED_BACK:
        begin = max(since, until - back)
        dates = asyncio.run(CronSchedule(**schedule).get_dates(start=begin, end=until))
        if found := [date for date in dates if begin < date <= until]:
            return found
    return []
