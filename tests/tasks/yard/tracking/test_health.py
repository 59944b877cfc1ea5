"""What is said of a server that cannot be used, and how soon."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tasks.yard.tracking import health


@pytest.fixture
def server():
    """A server that answers as its attribute `status` says, and to a stranger with 401 if it has a `login`."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.server.login in (None, self.headers.get("Authorization"))
            self.send_response(self.server.status if known else 401)
            self.end_headers()

        def log_message(self, *_) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as made:
        made.status, made.login = 200, None
        threading.Thread(target=made.serve_forever, args=[0.01], daemon=True).start()
        yield made
        made.shutdown()


@pytest.mark.parametrize(
    ("status", "said"),
    [(200, None), (503, "answers with an error (503"), (404, "not as MLflow does"), (403, "MLFLOW_TRACKING_USERNAME")],
)
def test_what_a_server_answers_is_said(server, status, said):
    server.status = status
    found = health.fault(f"http://127.0.0.1:{server.server_port}")
    assert found is None if said is None else said in found and found.startswith("MLFLOW_TRACKING_URI=http://127.0.0.1")


def test_the_login_of_mlflows_own_settings_is_used(server, monkeypatch):
    server.login = "Bearer secret"
    address = f"http://127.0.0.1:{server.server_port}"
    assert "refuses us (401)" in health.fault(address)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret")
    assert health.fault(address) is None


@pytest.mark.parametrize("uri", ["http://user:secret@127.0.0.1:1", "postgresql+psycopg2://user:secret@127.0.0.1:1/x"])
def test_nobody_there_is_said_without_the_password(uri):
    said = health.fault(uri)
    assert "does not answer" in said and "secret" not in said and "127.0.0.1:1" in said


def test_a_folder_is_no_store_any_more():
    assert "sqlite:///" in health.fault("./mlruns")
