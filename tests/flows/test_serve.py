"""`make serve`: a real server, a triggered deployment, and an end without leftovers."""

from __future__ import annotations

import json
import signal
import time
import urllib.request

import psutil

from flows.environment import free_port


def request(url: str, body: dict | None = None) -> dict | list:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(
        urllib.request.Request(url, data, {"Content-Type": "application/json"}), timeout=30
    ) as reply:
        return json.loads(reply.read() or "null")


def test_serve_runs_a_triggered_deployment_and_stops_on_ctrl_c(yard_copy):
    prefect, mlflow, runner = free_port(), free_port(), free_port()
    serve = yard_copy.start(
        "python", "-m", "flows", "serve",
        TRAINYARD_PREFECT_PORT=str(prefect), TRAINYARD_MLFLOW_PORT=str(mlflow), TRAINYARD_RUNNER_PORT=str(runner),
    )  # fmt: skip
    try:
        addresses = [serve.stdout.readline() for _ in range(3)]
        assert [f":{port}" in line for port, line in zip((prefect, mlflow, runner), addresses, strict=True)] == [
            True
        ] * 3, addresses
        api = f"http://127.0.0.1:{prefect}/api"
        (deployment,) = request(f"{api}/deployments/filter", {})
        assert deployment["schedules"][0]["schedule"]["cron"] == "30 2 * * *"
        run = request(f"{api}/deployments/{deployment['id']}/create_flow_run", {"parameters": {"force": ["square"]}})
        deadline = time.monotonic() + 150
        while (state := request(f"{api}/flow_runs/{run['id']}")["state"])["type"] not in (
            "COMPLETED",
            "FAILED",
            "CRASHED",
        ):
            assert time.monotonic() < deadline, state
            time.sleep(0.5)
        assert state["type"] == "COMPLETED", state
        mine = {"flow_runs": {"id": {"any_": [run["id"]]}}}
        states = {task["name"]: task["state"]["name"] for task in request(f"{api}/task_runs/filter", mine)}
        assert states["toy-square"] == "Completed" and states["toy-collect"] == "Up to date"
        artifacts = request(f"{api}/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}})
        assert "toy-result" in {artifact["key"] for artifact in artifacts}
        with urllib.request.urlopen(f"http://127.0.0.1:{mlflow}", timeout=30) as page:
            assert b"MLflow" in page.read()
        family = psutil.Process(serve.pid).children(recursive=True)
    finally:
        serve.send_signal(signal.SIGINT)
        out, err = serve.communicate(timeout=60)
    assert serve.returncode == 0 and "Traceback" not in err, err
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
