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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Served:
    """What is to be served, and where it is found."""

    parts: frozenset[str]
    host: str
    ports: dict[str, int]  # of each of PARTS
    deployments: list[str]  # names, of prefect.yaml
    api_url: str | None  # Prefect's: of the server that is started here, else of the environment
    mlflow_url: str | None

    def refuse_taken_ports(self) -> None:
        for part in ("prefect", "mlflow", "nights"):
            if part in self.parts:
                environment.check_port_is_free("127.0.0.1" if part == "nights" else self.host, self.ports[part])

    def say(self, front: bool) -> None:
        pages_of = {"front": "Yard", "prefect": "Prefect", "mlflow": "MLflow"}
        for part, title in pages_of.items():
            if part in self.parts and (front or part != "front"):
                print(f"{title:9} http://{self.host}:{self.ports[part]}")
        if "nights" in self.parts:
            print(f"Schedules http://127.0.0.1:{self.ports['nights']}/health   ({', '.join(self.deployments)})")
        print("Ctrl-C stops all of it.", flush=True)


def planned(parts: Sequence[str]) -> Served:
    """Raises `BadInput` for what cannot be served so."""
    host = os.environ.get("TRAINYARD_HOST", "127.0.0.1")
    refuse_open(host)
    wanted = set(parts or PARTS)
    if not parts and store.server_url():  # the team's, which needs no second one before it
        wanted.remove("mlflow")
    if "mlflow" in wanted and store.server_url():
        raise BadInput(f"{store.shown()} is a server already; `flows serve mlflow` wants the database behind it there")
    names = [deployment.name for deployment in deployments.described()]
    here = "127.0.0.1" if host == "0.0.0.0" else host  # where this machine finds what listens on `host`
    ports = {"prefect": port("PREFECT", 4200), "mlflow": port("MLFLOW", 5000), "nights": port("RUNNER", 8080)}
    ports |= {"front": port("FRONT", 4300)}
    api_url = f"http://{here}:{ports['prefect']}/api" if "prefect" in wanted else os.environ.get("PREFECT_API_URL")
    if "nights" in wanted and not api_url:
        raise BadInput("the nights need a Prefect server: set PREFECT_API_URL, or serve `prefect` too")
    mlflow_url = f"http://{here}:{ports['mlflow']}" if "mlflow" in wanted else store.server_url()
    return Served(frozenset(wanted), host, ports, names, api_url, mlflow_url)


def main(parts: Sequence[str] = ()) -> int:
    notify.wanted()
    served = planned(parts)
    served.refuse_taken_ports()
    if served.parts & {"mlflow", "nights"}:
        store.client()  # creates the store once, before two processes look at it
    if "prefect" in served.parts:
        os.environ["PREFECT_API_URL"] = str(served.api_url)
    # SIGTERM (docker stop, systemd) ends it as Ctrl-C does. Set after the imports: one of them replaces Python's own
    # handler.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        with ExitStack() as stack:
            needed, front = start(served, stack)
            served.say(front is not None)
            if front and not needed:
                needed, front = {"front page": front}, None
            return watch(served, needed, front) if needed else 2
    except KeyboardInterrupt:
        print("stopped")
        return 0


def start(served: Served, stack: ExitStack) -> tuple[dict[str, subprocess.Popen], subprocess.Popen | None]:
    """The processes that nothing is served without, all of which answer, and the front page if it could be started.
    They are stopped with `stack`."""
    needed: dict[str, subprocess.Popen] = {}

    def run(name: str, process: subprocess.Popen) -> None:
        needed[name] = stack.enter_context(running(process))

    if "prefect" in served.parts:
        run("server", environment.start_server(served.ports["prefect"], host=served.host, with_ui=True))
    if "mlflow" in served.parts:
        run("mlflow", start_mlflow(served.host, served.ports["mlflow"]))
    if "prefect" in served.parts:
        environment.wait_until_answers(needed["server"], f"{served.api_url}/health")
    if "nights" in served.parts:
        run("runner", start_runner(served.ports["nights"]))
        environment.wait_until_answers(needed["runner"], f"http://127.0.0.1:{served.ports['nights']}/health")
    if "mlflow" in served.parts:
        environment.wait_until_answers(needed["mlflow"], f"{served.mlflow_url}/health")
    if "prefect" in served.parts:
        write_json(SERVED, {"api_url": served.api_url, "mlflow_url": served.mlflow_url})
        stack.callback(lambda: SERVED.unlink(missing_ok=True))
    front = start_front(served.host, served.ports) if "front" in served.parts else None
    if front:
        stack.enter_context(running(front))
    return needed, front


def watch(served: Served, needed: dict[str, subprocess.Popen], front: subprocess.Popen | None) -> int:
    """Until one of `needed` ends, which is told to whoever is to be told. Returns the exit status."""
    logs = [STATE / f"{name}.log" for name in ("server", "mlflow", "runner", "front")]
    asked = served.api_url if served.parts & {"prefect", "nights"} else None
    ended = nights.watch(needed, logs, asked, {"front page": front} if front else {})
    log = STATE / f"{ended.split()[0]}.log"
    lost = ", and no schedule runs now" if "nights" in served.parts else ""
    text = f"the {ended} ended{lost}; see {log}, then start it again (`make serve`)"
    print(f"error: {text}", file=sys.stderr)
    notify.send("Trainyard: the schedules stopped" if lost else f"Trainyard: the {ended} ended", text)
    return 1


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
        **(with_login(*known) if known else {}), **os.environ, **pages.mlflow_settings(host, number),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_BACKEND_STORE_URI": os.environ["MLFLOW_TRACKING_URI"],
    }  # fmt: skip
    with (STATE / "mlflow.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=settings, start_new_session=True)


def with_login(user: str, password: str) -> dict[str, str]:
    """Settings of a server that asks for one. MLflow's users are one, made anew at each start, so that a new password
    takes effect; whoever wants more of them names a file of his own in MLFLOW_AUTH_CONFIG_PATH."""
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


def start_front(host: str, ports: Mapping[str, int]) -> subprocess.Popen | None:
    """Not waited for. It ends with this process, even a killed one, because its stdin closes."""
    try:
        environment.check_port_is_free(host, ports["front"])
        numbers = [str(ports[part]) for part in ("front", "prefect", "mlflow")]
        with (STATE / "front.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "flows.front.server", host, *numbers],
                stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
    except (BadInput, OSError) as error:
        print(f"error: no front page: {error}", file=sys.stderr, flush=True)
        return None


def start_runner(number: int) -> subprocess.Popen:
    """It listens on this machine alone, whatever TRAINYARD_HOST says: its port has /shutdown, and no password."""
    settings = {"PREFECT_RUNNER_SERVER_HOST": "127.0.0.1", "PREFECT_RUNNER_SERVER_PORT": str(number)}
    # Asked before its first poll, it logs a traceback each time.
    settings["PREFECT_RUNNER_SERVER_LOG_LEVEL"] = "CRITICAL"
    with (STATE / "runner.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "flows.deployments"],
            stdout=log,
            stderr=log,
            env={**os.environ, **settings},
            start_new_session=True,
        )
