"""`make serve`: a real server, a triggered deployment, and an end without leftovers."""

from __future__ import annotations

import urllib.request

import psutil

from tests.flows.serving import serving
from tests.flows.waiting import PATIENCE_S, wait_until


def test_serve_runs_a_triggered_deployment_and_stops_on_ctrl_c(yard_copy):
    lone = type(yard_copy)(yard_copy.root)  # it has a server of its own
    with serving(lone) as served:
        (deployment,) = served.ask("deployments/filter", {})
        assert deployment["schedules"][0]["schedule"]["cron"] == "30 2 * * *"
        path = f"deployments/{deployment['id']}/create_flow_run"
        run = served.ask(path, {"parameters": {"force": ["square"]}})["id"]
        ended = ("COMPLETED", "FAILED", "CRASHED")
        wait_until(lambda: served.ask(f"flow_runs/{run}")["state"]["type"] in ended, "the flow run")
        state = served.ask(f"flow_runs/{run}")["state"]
        assert state["type"] == "COMPLETED", state
        tasks = served.ask("task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
        states = {task["name"]: task["state"]["name"] for task in tasks}
        assert states["toy-square"] == "Completed" and states["toy-collect"] == "Up to date"
        artifacts = served.ask("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})
        assert "toy-result" in {artifact["key"] for artifact in artifacts}
        with urllib.request.urlopen(served.mlflow, timeout=PATIENCE_S) as page:
            assert b"MLflow" in page.read()
        family = psutil.Process(served.process.pid).children(recursive=True)
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive
