"""Whoever is told how a run ended: a small HTTP server that keeps what it is sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = "do-not-tell-1234"


@contextmanager
def receiver(status: int = 200) -> Iterator[tuple[str, list[dict]]]:
    """(Apprise URL with a secret in it, the messages that came)."""
    bodies: list[dict] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"json://127.0.0.1:{server.server_port}/{SECRET}", bodies
    finally:
        server.shutdown()
        server.server_close()
