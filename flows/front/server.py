"""The process of `make serve` that serves the front page.

python -m flows.front.server HOST PORT PREFECT_PORT MLFLOW_PORT

/               the page               /change   a word that is another when something on the page is
/state.json     what it is made from   /data/... the pages and films of the lines
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from flows import environment, pages
from flows.front import disk, page
from flows.front.gathered import Yard

HOST = re.compile(r"(\[[0-9a-f:.]+\]|[\w.-]+)(:\d+)?", re.IGNORECASE)
# The pages of lines carry pictures, films and scripts in themselves, and nothing on any of them calls another host.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src 'self' data: blob:; "
    "media-src 'self' data: blob:; font-src data:; connect-src 'self'; frame-ancestors 'none'; form-action 'none'; "
    "base-uri 'none'"
)
HEADERS = {
    "content-security-policy": POLICY, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}  # fmt: skip


def places_of(request: Request, ports: Mapping[str, int]) -> dict[str, str]:
    """Where whoever asks finds Prefect and MLflow: on the host that he asked, or, if that is a name of TRAINYARD_NAMES,
    under the one that has `prefect` or `mlflow` in it."""
    asked = HOST.fullmatch(request.headers.get("host", ""))
    name = asked[1] if asked else "127.0.0.1"
    given = pages.given_names()
    return {
        who: next((f"https://{other}" for other in given if name in given and who in other), f"http://{name}:{port}")
        for who, port in ports.items()
    }


def app(yard: Yard, ports: Mapping[str, int]) -> Starlette:
    where = f"{Path.cwd()}"

    def front(request: Request) -> Response:
        return HTMLResponse(page.render(yard.now, yard.change, places_of(request, ports), where), headers=HEADERS)

    def change(_request: Request) -> Response:
        return PlainTextResponse(yard.change, headers=HEADERS)

    def state(_request: Request) -> Response:
        return JSONResponse(yard.now, headers=HEADERS)

    def of_data(request: Request) -> Response:
        path = disk.allowed(PurePosixPath(request.path_params["path"]), yard.data)
        if path is None:
            return PlainTextResponse("no such page; / names those there are\n", 404, headers=HEADERS)
        return FileResponse(path, headers=HEADERS)  # in parts, if a browser asks for a part of a film

    return Starlette(routes=[
        Route("/", front), Route("/change", change), Route("/state.json", state), Route("/data/{path:path}", of_data),
    ])  # fmt: skip


def main(host: str, port: int, prefect_port: int, mlflow_port: int) -> None:
    def end_with_parent() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
    environment.prepare()
    yard = Yard()
    yard.start()
    served = pages.asking(app(yard, {"prefect": prefect_port, "mlflow": mlflow_port}))
    uvicorn.run(served, host=host, port=port, log_level="error", timeout_keep_alive=5)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]))
