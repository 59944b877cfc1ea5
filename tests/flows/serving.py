"""`make serve` of a yard, on free ports, for the time of a block; and how any page is asked."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from flows import nights
from flows.environment import free_port
from tests.flows.waiting import PATIENCE_S


def asked(url: str, body: dict | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and content of an answer; a POST if there is a body."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as reply:
            return reply.status, {name.lower(): value for name, value in reply.headers.items()}, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, {name.lower(): value for name, value in error.headers.items()}, error.read()


@dataclass(frozen=True)
class Served:
    process: subprocess.Popen
    api: str
    mlflow: str
    runner_port: int
    front: str
    said: list[str] = field(default_factory=list)  # on stderr; there when the block is over

    def ask(self, path: str, body: dict | None = None) -> dict | list:
        """The answer of the Prefect server: to a POST if there is a body."""
        if body is not None:
            return nights.ask(self.api, path, body)  # again, as all clients of Prefect do, if it is busy
        with urllib.request.urlopen(f"{self.api}/{path}", timeout=PATIENCE_S) as reply:
            return json.loads(reply.read() or "null")


@contextmanager
def serving(yard, **environment: str) -> Iterator[Served]:
    """Ends it as Ctrl-C does."""
    ports = {name: free_port() for name in ("FRONT", "PREFECT", "MLFLOW", "RUNNER")}
    environment |= {f"TRAINYARD_{name}_PORT": str(port) for name, port in ports.items()}
    serve = yard.start("python", "-m", "flows", "serve", **environment)
    try:
        addresses = [serve.stdout.readline() for _ in ports]
        assert all(f":{port}" in line for port, line in zip(ports.values(), addresses, strict=True)), addresses
        api, mlflow = f"http://127.0.0.1:{ports['PREFECT']}/api", f"http://127.0.0.1:{ports['MLFLOW']}"
        served = Served(serve, api, mlflow, ports["RUNNER"], f"http://127.0.0.1:{ports['FRONT']}")
        yield served
    finally:
        serve.send_signal(signal.SIGINT)
        try:
            _, errors = serve.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            serve.kill()
            raise
    served.said.append(errors)
    assert serve.returncode == 0 and "Traceback" not in errors, errors
