"""How the yard stands, gathered in the background and kept: the page is made from what is there, and never waits.

Stages are looked at by a process of its own (`python -m flows.front.gathered`), niced, with locks of its own
(`flows.graph.Apart`): only after something has been edited or made, or a quarter of an hour, for sources change too,
and never while a run is at work here.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from flows import environment, lock, status
from flows.environment import SERVED, STATE
from flows.front import disk, servers
from tasks.yard import params
from tasks.yard.files import digest, read_if_there, read_json, write_text
from tasks.yard.step import BadInput
from tasks.yard.tracking import store

log = logging.getLogger(__name__)
EVERY_S, STAGES_EVERY_S = 15, 900
LOOK_LIMIT_S = 600  # for data of which DVC has to hash much
KILLED = "its process was killed; the next run goes on where it was, and tells Prefect"
KEPT = STATE / "front.json"  # the last look at the stages: there at once after a restart


def lines_of(data: Path) -> list[str]:
    return [line for line in params.lines() if any(True for _ in disk.steps(line))]


class Yard:
    """`now` is what the page shows; `keep_looking` brings it up to date for as long as the process lives."""

    def __init__(self, data: Path = Path("data")) -> None:
        self.data = data
        self._stages: dict[str, Any] = self._kept()
        self._marks: object = None
        self._looked = -STAGES_EVERY_S
        self.now: dict[str, Any] = {"at": None, "lines": []}
        self.change = ""  # alike twice: nothing new is to be seen

    def _kept(self) -> dict[str, Any]:
        try:
            return read_if_there(KEPT)
        except (OSError, ValueError):
            return {}

    def keep_looking(self) -> None:
        while True:
            try:
                self.look()
                if self._is_due():
                    self._look_at_stages()
                    self.look()
            except Exception:  # the page shows what was seen last, and says when
                log.exception("ERROR while looking at the yard")
            time.sleep(EVERY_S)

    def start(self) -> None:
        threading.Thread(target=self.keep_looking, daemon=True).start()

    def _is_due(self) -> bool:
        if lock.holder(STATE) is not None:
            return False
        return status.marks() != self._marks or time.monotonic() - self._looked > STAGES_EVERY_S

    def _look_at_stages(self) -> None:
        self._marks, self._looked = status.marks(), time.monotonic()
        command = [sys.executable, "-m", "flows.front.gathered"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LOOK_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._stages["fault"] = f"the stages could not be looked at within {LOOK_LIMIT_S} s"
            return
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            self._stages["fault"] = lines[-1].removeprefix("error: ")
            return
        if lock.holder(STATE) is None:  # else a run began meanwhile, and what it makes looked changed
            self._stages = json.loads(done.stdout)
            write_text(KEPT, done.stdout)  # in the order of the graph

    def look(self) -> None:
        """At all but the stages."""
        lines, faults = lines_of(self.data), []
        served = read_json(SERVED) if SERVED.exists() else {}
        runs: dict[str, list] = {}
        nights: dict[str, float] = {}
        if api := os.environ.get("PREFECT_API_URL") or served.get("api_url"):
            try:
                runs, nights = servers.flow_runs(api, lines), servers.nights(api, lines)
            except servers.NoAnswer as error:
                faults.append(f"Prefect: {error}")
        for run in (run for of in runs.values() for run in of if run["type"] in servers.AT_WORK):
            if lock.was_killed(STATE, run["id"]):
                run |= {"type": "CRASHED", "outcome": "Killed", "said": KILLED}
        found = []
        for line in lines:
            tracked: dict[str, Any] = {}
            if base := served.get("mlflow_url") or store.server_url():
                try:
                    tracked = self._tracked(base, line)
                except servers.NoAnswer as error:
                    faults.append(f"MLflow: {error}")
            stages = self._stages.get("lines", {}).get(line)
            found.append({"line": line, "runs": runs.get(line, []), "next_night": nights.get(line), "stages": stages,
                          **disk.of_line(line, self.data), **tracked})  # fmt: skip
        now = {
            "lines": found, "faults": [*dict.fromkeys(faults)], "stages_at": self._stages.get("at"),
            "stages_fault": self._stages.get("fault"), "running": lock.holder(STATE),
            "source_url": self._source_url(),
        }  # fmt: skip
        self.change = digest(json.dumps(now, sort_keys=True, default=str))[:16]
        self.now = {"at": time.time(), **now}

    @staticmethod
    def _source_url() -> str | None:
        with contextlib.suppress(BadInput):  # of params that are not usable the look at the stages tells
            return params.load().yard.reporting.source_url
        return None

    def _tracked(self, base: str, line: str) -> dict[str, Any]:
        experiment = servers.experiment(base, line)
        if experiment is None:
            return {}
        return {
            "experiment": experiment, "tracked": servers.tracked(base, experiment),
            "champion": servers.champion(base, line),
        }  # fmt: skip


if __name__ == "__main__":
    os.nice(10)  # what runs here comes first
    environment.prepare()
    try:
        print(json.dumps(status.told(apart=True)))
    except BadInput as fault:
        sys.exit(f"error: {fault}")
