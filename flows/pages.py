"""What the pages of Prefect and MLflow may do in a browser, and by which names they may be reached.

TRAINYARD_NAMES   names by which others reach this yard besides the machine's own, such as yard.example.com: a proxy
                  with a password stands before it then, for neither Prefect nor MLflow asks for one
"""

from __future__ import annotations

import hmac
import os
import socket
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from tasks.yard import login

# Prefect's pages measure their users with Amplitude whatever its settings say; MLflow's heed DO_NOT_TRACK.
# unsafe-eval: the drawing of a flow run compiles its shaders' settings.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; connect-src 'self'; "
    "frame-ancestors 'self'; form-action 'self'; base-uri 'self'"
)
SAFE = ("GET", "HEAD", "OPTIONS")
App = Callable[[dict, Callable, Callable], Awaitable[None]]


def given_names() -> list[str]:
    return os.environ.get("TRAINYARD_NAMES", "").replace(",", " ").split()


def mlflow_settings(host: str, port: int) -> dict[str, str]:
    """MLflow answers to localhost and private addresses alone unless it is told more; what the user set stays."""
    names = {"localhost", "127.0.0.1", socket.gethostname(), socket.getfqdn(), host, *given_names()}
    private = ["10.*", "192.168.*", *(f"172.{second}.*" for second in range(16, 32))]
    hosts = [*sorted(names), *(f"{name}:*" for name in sorted(names)), "[::1]", "[[]::1]:*", *private]
    origins = [f"http://{name}:{port}" for name in sorted(names)]
    origins += [f"{scheme}://{name}" for name in given_names() for scheme in ("http", "https")]
    settings = {"MLFLOW_SERVER_ALLOWED_HOSTS": hosts, "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": origins}
    return {key: ",".join(value) for key, value in settings.items() if key not in os.environ}


def guarded(app: App) -> App:
    """Prefect's pages and API: no page of theirs calls another host, and a page of another host changes nothing."""

    async def guard(scope: dict, receive: Callable, send: Callable) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await app(scope, receive, send)
        headers = dict(scope["headers"])
        origin = urlsplit(headers.get(b"origin", b"").decode("latin-1")).netloc
        own = {headers.get(b"host", b"").decode("latin-1"), *given_names()}
        if origin and origin not in own and scope.get("method") not in SAFE:
            return await refuse(scope, send)

        async def send_with_policy(message: dict) -> None:
            if message["type"] == "http.response.start":
                policy = [(b"content-security-policy", POLICY.encode()), (b"x-content-type-options", b"nosniff")]
                message = {**message, "headers": [*message.get("headers", []), *policy]}
            await send(message)

        return await app(scope, receive, send_with_policy)

    return guard


def asking(app: App) -> App:
    """A page that asks whoever comes for TRAINYARD_LOGIN, if there is one."""
    wanted = login.header(":".join(login.given() or ())).get("Authorization", "").encode()

    async def ask(scope: dict, receive: Callable, send: Callable) -> None:
        said = dict(scope.get("headers", [])).get(b"authorization", b"")
        if scope["type"] != "http" or not wanted or hmac.compare_digest(said, wanted):
            return await app(scope, receive, send)
        headers = [(b"content-type", b"text/plain"), (b"www-authenticate", b'Basic realm="Trainyard", charset="UTF-8"')]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        return await send({"type": "http.response.body", "body": b"the name and password of TRAINYARD_LOGIN\n"})

    return ask


async def refuse(scope: dict, send: Callable) -> None:
    if scope["type"] == "websocket":
        return await send({"type": "websocket.close", "code": 1008})
    text = b"this page is of another host; name it in TRAINYARD_NAMES if it is yours\n"
    await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
    return await send({"type": "http.response.body", "body": text})
