"""`make serve`: the front page, the Prefect server with its UI, the MLflow UI, and a process that runs the deployments
of prefect.yaml.

    python -m flows serve [prefect] [mlflow] [nights] [front]     all four by default; those named, for a team's hosts

Ports: TRAINYARD_FRONT_PORT (4300), TRAINYARD_PREFECT_PORT (4200), TRAINYARD_MLFLOW_PORT (5000), TRAINYARD_RUNNER_PORT
(8080). TRAINYARD_HOST (127.0.0.1) is the address that the pages listen on; the runner's is this machine's alone.

Who can reach the pages can run code here. So beyond this machine they want a password, TRAINYARD_LOGIN=user:password,
or TRAINYARD_OPEN=yes, which says that something else keeps strangers out: a proxy, or a container whose ports are
published on this machine alone.

The front page is the one that the others do without: if it cannot start, or ends, that is said and the nights go on.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from flows import deployments, environment, nights, notify, pages
from flows.environment import SERVED, STATE
from tasks.yard import login
from tasks.yard.files import write_json, write_text
from tasks.yard.step import BadInput
from tasks.yard.tracking import store

PARTS = ("prefect", "mlflow", "nights", "front")


def port(name: str, default: int) -> int:
    return int(os.environ.get(f"TRAINYARD_{name}_PORT", default))


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refuse_open(host: str) -> None:
    """Raises `BadInput` if strangers could use what listens there."""
    if is_loopback(host) or login.given() or os.environ.get("TRAINYARD_OPEN", "").lower() in ("yes", "true", "1"):
        return
    raise BadInput(
        f"TRAINYARD_HOST={host} is open to other machines, and no page would ask for a password; set {login.NAME}="
        "user:password, or TRAINYARD_OPEN=yes where a proxy or a container's published ports keep strangers out"
    )


def main(parts: Sequence[str] = ()) -> int:
    notify.wanted()
    host = os.environ.get("TRAINYARD_HOST", "127.0.0.1")
    refuse_open(host)
    wanted = set(parts or PARTS)
    if not parts and store.server_url():  # the team's, which needs no second one before it
        wanted.remove("mlflow")
    names = [deployment.name for deployment in deployments.described()]
    prefect_port, mlflow_port, runner_port = port("PREFECT", 4200), port("MLFLOW", 5000), port("RUNNER", 8080)
    here = "127.0.0.1" if host == "0.0.0.0" else host  # where this machine finds what listens on `host`
    ports = {"prefect": (host, prefect_port), "mlflow": (host, mlflow_port), "nights": ("127.0.0.1", runner_port)}
    for part in ports.keys() & wanted:
        environment.check_port_is_free(*ports[part])
    if "mlflow" in wanted and store.server_url():
        raise BadInput(f"{store.shown()} is a server already; `flows serve mlflow` wants the database behind it there")
    if wanted & {"mlflow", "nights"}:
        store.client()  # creates the store once, before two processes look at it
    if "prefect" in wanted:
        os.environ["PREFECT_API_URL"] = f"http://{here}:{prefect_port}/api"
    elif "nights" in wanted and not os.environ.get("PREFECT_API_URL"):
        raise BadInput("the nights need a Prefect server: set PREFECT_API_URL, or serve `prefect` too")
    api_url = os.environ.get("PREFECT_API_URL")
    mlflow_url = f"http://{here}:{mlflow_port}" if "mlflow" in wanted else store.server_url()
    # SIGTERM (docker stop, systemd) ends it as Ctrl-C does. Set after the imports: one of them replaces Python's own
    # handler.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        with ExitStack() as stack:
            needed: dict[str, subprocess.Popen] = {}
            if "prefect" in wanted:
                needed["server"] = stack.enter_context(
                    running(environment.start_server(prefect_port, host=host, with_ui=True))
                )
            if "mlflow" in wanted:
                needed["mlflow"] = stack.enter_context(running(start_mlflow(host, mlflow_port)))
            if "prefect" in wanted:
                environment.wait_until_answers(needed["server"], f"{api_url}/health")
            if "nights" in wanted:
                needed["runner"] = stack.enter_context(running(start_runner(runner_port)))
                environment.wait_until_answers(needed["runner"], f"http://127.0.0.1:{runner_port}/health")
            if "mlflow" in wanted:
                environment.wait_until_answers(needed["mlflow"], f"{mlflow_url}/health")
            if "prefect" in wanted:
                write_json(SERVED, {"api_url": api_url, "mlflow_url": mlflow_url})
                stack.callback(lambda: SERVED.unlink(missing_ok=True))
            front = start_front(host, port("FRONT", 4300), prefect_port, mlflow_port) if "front" in wanted else None
            if front:
                stack.enter_context(running(front))
                print(f"Yard      http://{host}:{port('FRONT', 4300)}")
            if "prefect" in wanted:
                print(f"Prefect   http://{host}:{prefect_port}")
            if "mlflow" in wanted:
                print(f"MLflow    http://{host}:{mlflow_port}")
            if "nights" in wanted:
                print(f"Schedules http://127.0.0.1:{runner_port}/health   ({', '.join(names)})")
            print("Ctrl-C stops all of it.", flush=True)
            if front and not needed:
                needed, front = {"front page": front}, None
            if not needed:
                return 2
            logs = [STATE / f"{name}.log" for name in ("server", "mlflow", "runner", "front")]
            asked = api_url if wanted & {"prefect", "nights"} else None
            ended = nights.watch(needed, logs, asked, {"front page": front} if front else {})
            log = STATE / f"{ended.split()[0]}.log"
            lost = ", and no schedule runs now" if "nights" in wanted else ""
            text = f"the {ended} ended{lost}; see {log}, then start it again (`make serve`)"
            print(f"error: {text}", file=sys.stderr)
            notify.send("Trainyard: the schedules stopped" if lost else f"Trainyard: the {ended} ended", text)
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
    """The address of the store goes by the environment: a command line is no secret, and it may hold a password."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(number), "--workers", "1"]
    known = login.given()
    if known:
        command += ["--app-name", "basic-auth"]
    # Its job executor is for evaluating language models: seven processes of 270 MB that this yard has no use for.
    settings = {
        **(_asking(*known) if known else {}), **os.environ, **pages.mlflow_settings(host, number),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_BACKEND_STORE_URI": os.environ["MLFLOW_TRACKING_URI"],
    }  # fmt: skip
    with (STATE / "mlflow.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=settings, start_new_session=True)


def _asking(user: str, password: str) -> dict[str, str]:
    """MLflow's users are one, made anew at each start, so that a new password takes effect; whoever wants more of them
    names a file of his own in MLFLOW_AUTH_CONFIG_PATH."""
    users, file = STATE.resolve() / "mlflow_users.db", STATE.resolve() / "mlflow_auth.ini"
    if "MLFLOW_AUTH_CONFIG_PATH" not in os.environ:
        users.unlink(missing_ok=True)
    how = "authorization_function = mlflow.server.auth:authenticate_request_basic_auth"
    write_text(
        file, f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = sqlite:///{users}\n{how}\n"
        "grant_default_workspace_access = false\nauth_cache_ttl_seconds = 60\nadmin_username = admin\n",
    )  # fmt: skip
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(file), "MLFLOW_AUTH_ADMIN_USERNAME": user,
        "MLFLOW_AUTH_ADMIN_PASSWORD": password, "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
    }  # fmt: skip


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
