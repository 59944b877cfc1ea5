"""The first run of a clone, and what it says. A secret in the address of its source is used, and stands nowhere in what
both doors write and say."""

from __future__ import annotations

import io
import sqlite3
import threading
import zipfile
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRETS = ("hunter2", "s3cr3tSh4reT0ken", "s1gn4ture")


def a_site(content: bytes, asked: list[str]) -> ThreadingHTTPServer:
    """Hands out `content`, to whoever asks with all that the address says; after `site.broken` is set only errors."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(with_content=False)

        def do_GET(self) -> None:
            self.answer(with_content=True)

        def answer(self, with_content: bool) -> None:
            asked.append(f"{self.path} {self.headers.get('Authorization')}")
            self.send_response(500 if self.server.broken else 200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", '"1"')
            self.end_headers()
            if with_content:
                self.wfile.write(content)

        def log_message(self, *_) -> None:
            pass

    site = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.broken = False
    threading.Thread(target=site.serve_forever, args=(0.01,), daemon=True).start()
    return site


def packed(numbers: dict[str, str]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, text in numbers.items():
            file.writestr(f"{name}.txt", text)
    return archive.getvalue()


def files_with_a_secret(root) -> list[str]:
    files = [path for path in root.rglob("*") if path.is_file()]
    assert {"dvc.lock", "mlflow.db", "prefect.db", "server.log"} <= {path.name for path in files}
    return [str(path) for path in files if any(secret.encode() in path.read_bytes() for secret in SECRETS)]


def test_a_first_run_says_what_it_left_out_and_a_share_link_from_the_environment_stands_nowhere(bare_yard):
    asked: list[str] = []
    site = a_site(packed({"one": "1", "two": "2", "bad": "four"}), asked)
    password, share, signature = SECRETS
    link = f"http://ada:{password}@127.0.0.1:{site.server_port}/s/{share}/numbers.zip?sig={signature}"

    def run(*command: str) -> tuple[int, str]:
        process = bare_yard.start(*command, SHARE=link)
        out, errors = process.communicate(timeout=600)
        return process.returncode, out + errors

    try:
        code, said = run("python", "-m", "flows", "run", "toy", "--set", "toy.collect.source=${SHARE}")
        assert code == 0 and "Traceback" not in said, said
        assert "quarantined bad: bad.txt: 'four' is not a whole number" in said
        with closing(sqlite3.connect(bare_yard.root / ".trainyard/prefect/prefect.db")) as database:
            assert list(database.execute("select state_type from flow_run")) == [("COMPLETED",)]
        assert (bare_yard.root / "data/toy/square/sum.txt").read_text() == "6"
        assert any(share in path and signature in path and "Basic" in path for path in asked)
        assert "source: ${SHARE}" in (bare_yard.root / "params.yaml").read_text()
        site.broken = True
        code, failed = run("dvc", "repro", "-f", "toy-collect")
        assert code == 0 and "${SHARE}" in failed  # what was downloaded before is used, and that is said
        text = said + failed
    finally:
        site.shutdown()
        site.server_close()
    assert not any(secret in text for secret in SECRETS), text
    assert not files_with_a_secret(bare_yard.root)
