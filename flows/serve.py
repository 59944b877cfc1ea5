"""`make serve`: the Prefect server with its UI, the MLflow UI, and a process that runs the deployments of prefect.yaml.

Ports: TRAINYARD_PREFECT_PORT (4200), TRAINYARD_MLFLOW_PORT (5000), TRAINYARD_RUNNER_PORT (8080). TRAINYARD_HOST
(127.0.0.1) is the address they listen on.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

from flows import environment
from flows.environment import SERVED, STATE
from tasks.yard.files import write_json
from tasks.yard.step import BadInput
from tasks.yard.tracking import store

PREFECT_YAML = Path("prefect.yaml")


def port(name: str, default: int) -> int:
    return int(os.environ.get(f"TRAINYARD_{name}_PORT", default))


def main() -> int:
    host = os.environ.get("TRAINYARD_HOST", "127.0.0.1")
    prefect_port, mlflow_port, runner_port = port("PREFECT", 4200), port("MLFLOW", 5000), port("RUNNER", 8080)
    for number in (prefect_port, mlflow_port, runner_port):
        environment.check_port_is_free(host, number)
    store.client()  # creates the store once, before two processes look at it
    # SIGTERM (docker stop, systemd) ends it as Ctrl-C does. Set after the imports: one of them replaces Python's own
    # handler.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    api_url = f"http://127.0.0.1:{prefect_port}/api"
    os.environ["PREFECT_API_URL"] = api_url
    try:
        with ExitStack() as stack:
            server = stack.enter_context(running(environment.start_server(prefect_port, host=host, with_ui=True)))
            stack.enter_context(running(start_mlflow(host, mlflow_port)))
            environment.wait_until_answers(server, f"{api_url}/health")
            runner = stack.enter_context(running(start_runner(host, runner_port)))
            environment.wait_until_answers(runner, f"http://127.0.0.1:{runner_port}/health")
            write_json(SERVED, {"api_url": api_url, "mlflow_url": f"http://127.0.0.1:{mlflow_port}"})
            stack.callback(lambda: SERVED.unlink(missing_ok=True))
            print(f"Prefect   http://{host}:{prefect_port}", f"MLflow    http://{host}:{mlflow_port}", sep="\n")
            print(f"Schedules http://{host}:{runner_port}/health   ({', '.join(d['name'] for d in described())})")
            print("Ctrl-C stops all three.", flush=True)
            runner.wait()
            print(f"error: the process that runs the schedules ended; see {STATE / 'runner.log'}", file=sys.stderr)
            return 1
    except KeyboardInterrupt:
        print("stopped")
        return 0


def _interrupt(*_) -> None:
    raise KeyboardInterrupt


@contextmanager
def running(process: subprocess.Popen) -> Iterator[subprocess.Popen]:
    try:
        yield process
    finally:
        environment.stop(process)


def start_mlflow(host: str, number: int) -> subprocess.Popen:
    store_uri = os.environ["MLFLOW_TRACKING_URI"]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "ui",
        "--backend-store-uri",
        store_uri,
        "--host",
        host,
        "--port",
        str(number),
    ]
    with (STATE / "mlflow.log").open("ab") as log:
        # Its job executor is for evaluating language models: seven processes of 270 MB that this yard has no use for.
        settings = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        command += ["--workers", "1"]
        return subprocess.Popen(command, stdout=log, stderr=log, env=settings, start_new_session=True)


def start_runner(host: str, number: int) -> subprocess.Popen:
    settings = {"PREFECT_RUNNER_SERVER_HOST": host, "PREFECT_RUNNER_SERVER_PORT": str(number)}
    with (STATE / "runner.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "flows.serve"],
            stdout=log,
            stderr=log,
            env={**os.environ, **settings},
            start_new_session=True,
        )


def described() -> list[dict]:
    """The deployments of prefect.yaml, the one description of what runs when."""
    try:
        return yaml.safe_load(PREFECT_YAML.read_text(encoding="utf-8"))["deployments"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise BadInput(f"{PREFECT_YAML}: cannot read its deployments ({error})") from None


def run_deployments() -> None:
    """Register the deployments with the server and run what is due or triggered, one flow run at a time."""
    from prefect import serve
    from prefect.client.schemas.schedules import CronSchedule

    from flows.line import run_line

    deployments = [
        run_line.to_deployment(
            name=entry["name"],
            description=entry["description"],
            parameters=entry["parameters"],
            tags=entry.get("tags", []),
            schedules=[CronSchedule(**schedule) for schedule in entry["schedules"]],
        )
        for entry in described()
    ]
    serve(*deployments, limit=1, webserver=True)


if __name__ == "__main__":
    environment.prepare()
    run_deployments()
