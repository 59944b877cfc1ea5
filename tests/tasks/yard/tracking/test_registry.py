"""What the registry says, and what it only fails to say."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tasks.yard.tracking import registry, store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("own_store"),
]  # MLflow takes seconds to import and to make a store


class Registry(BaseHTTPRequestHandler):
    """Its experiments can be asked for; of models it answers with an error."""

    def do_GET(self) -> None:  # MLflow asks for both by GET or POST, as its version is
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200 if "experiments/search" in self.path else 500)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_GET

    def log_message(self, *_) -> None: ...


def test_a_line_without_a_model_or_without_an_alias_has_no_champion():
    assert registry.champion("toy") is None
    store.client().create_registered_model("toy")
    assert registry.champion("toy") is None


def test_a_registry_that_fails_is_not_one_without_a_champion(monkeypatch):
    """Else the next model would be crowned as the first of its line."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(Exception, match="500") as raised:
            registry.champion("toy")
        assert store.is_fault(raised.value)
        server.shutdown()
