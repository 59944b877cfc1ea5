"""`make serve`: the front page, the Prefect server with its UI, the MLflow UI, and a process that runs the deployments
of prefect.yaml.

Ports: TRAINYARD_FRONT_PORT (4300), TRAINYARD_PREFECT_PORT (4200), TRAINYARD_MLFLOW_PORT (5000), TRAINYARD_RUNNER_PORT
(8080). TRAINYARD_HOST (127.0.0.1) is the address that the pages listen on; the runner's is this machine's alone.

The front page is the one that the others do without: if it cannot start, or ends, that is said and the nights go on.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from flows import deployments, environment, nights, notify, pages
from flows.environment import SERVED, STATE
from tasks.yard.files import write_json
from tasks.yard.step import BadInput
from tasks.yard.tracking import store


def port(name: str, default: int) -> int:
    return int(os.environ.get(f"TRAINYARD_{name}_PORT", default))


def main() -> int:
    host = os.environ.get("TRAINYARD_HOST", "127.0.0.1")
    names = [deployment.name for deployment in deployments.described()]
    prefect_port, mlflow_port, runner_port = port("PREFECT", 4200), port("MLFLOW", 5000), port("RUNNER", 8080)
    here = "127.0.0.1" if host == "0.0.0.0" else host  # where this machine finds what listens on `host`
    for address, number in ((host, prefect_port), (host, mlflow_port), ("127.0.0.1", runner_port)):
        environment.check_port_is_free(address, number)
    store.client()  # creates the store once, before two processes look at it
    # SIGTERM (docker stop, systemd) ends it as Ctrl-C does. Set after the imports: one of them replaces Python's own
    # handler.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    api_url = f"http://{here}:{prefect_port}/api"
    os.environ["PREFECT_API_URL"] = api_url
    try:
        with ExitStack() as stack:
            server = stack.enter_context(running(environment.start_server(prefect_port, host=host, with_ui=True)))
            mlflow = stack.enter_context(running(start_mlflow(host, mlflow_port)))
            environment.wait_until_answers(server, f"{api_url}/health")
            runner = stack.enter_context(running(start_runner(runner_port)))
            environment.wait_until_answers(runner, f"http://127.0.0.1:{runner_port}/health")
            environment.wait_until_answers(mlflow, f"http://{here}:{mlflow_port}/health")
            write_json(SERVED, {"api_url": api_url, "mlflow_url": f"http://{here}:{mlflow_port}"})
            stack.callback(lambda: SERVED.unlink(missing_ok=True))
            if front := start_front(host, port("FRONT", 4300), prefect_port, mlflow_port):
                stack.enter_context(running(front))
                print(f"Yard      http://{host}:{port('FRONT', 4300)}")
            print(f"Prefect   http://{host}:{prefect_port}", f"MLflow    http://{host}:{mlflow_port}", sep="\n")
            print(f"Schedules http://127.0.0.1:{runner_port}/health   ({', '.join(names)})")
            print("Ctrl-C stops all of it.", flush=True)
            logs = [STATE / f"{name}.log" for name in ("server", "mlflow", "runner", "front")]
            needed = {"server": server, "mlflow": mlflow, "runner": runner}
            ended = nights.watch(needed, logs, api_url, {"front page": front} if front else {})
            text = f"the {ended} ended, and no schedule runs now; see {STATE / f'{ended}.log'}, then `make serve` again"
            print(f"error: {text}", file=sys.stderr)
            notify.send("Trainyard: the schedules stopped", text)
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
        settings = {**os.environ, **pages.mlflow_settings(host, number), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        command += ["--workers", "1"]
        return subprocess.Popen(command, stdout=log, stderr=log, env=settings, start_new_session=True)


def start_front(host: str, number: int, prefect_port: int, mlflow_port: int) -> subprocess.Popen | None:
    """Not waited for. It ends with this process, even a killed one, because its stdin closes."""
    try:
        environment.check_port_is_free(host, number)
        with (STATE / "front.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "flows.front.server", host, *map(str, (number, prefect_port, mlflow_port))],
                stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
    except (BadInput, OSError) as error:
        print(f"error: no front page: {error}", file=sys.stderr, flush=True)
        return None


def start_runner(number: int) -> subprocess.Popen:
    """It listens on this machine alone, whatever TRAINYARD_HOST says: its port has /shutdown, and no password."""
    settings = {"PREFECT_RUNNER_SERVER_HOST": "127.0.0.1", "PREFECT_RUNNER_SERVER_PORT": str(number)}
    settings["PREFECT_RUNNER_SERVER_LOG_LEVEL"] = (
        "CRITICAL"  # asked before its first poll, it logs a traceback each time
    )
    with (STATE / "runner.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "flows.deployments"],
            stdout=log,
            stderr=log,
            env={**os.environ, **settings},
            start_new_session=True,
        )
