"""A yard of its own for every test that changes one: the real doors, and a line of three small steps beside them.

An embedded Prefect server starts in 7 to 16 s, so the flows of most tests talk to one real server, the session's; what
is to be seen of the embedded one stands in test_embedded.py and test_secrets.py.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

from flows import environment
from tasks.yard.tracking import store
from tests.flows import ready
from tests.flows.waiting import PATIENCE_S, wait_until

ROOT = Path(__file__).parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that is beside this file starts programs and waits for them, on a busy machine for minutes."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(900))
            if {"postgres", "bucket", "ray_cluster"} & set(item.fixturenames):
                item.add_marker(pytest.mark.cluster)


@dataclass
class Yard:
    root: Path
    api: str | None = None  # of a Prefect server; without one each flow run starts its own
    shims: Path | None = None  # programs that come ready, for what is waited for (ready.py)
    patience_s: float = PATIENCE_S

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "TRAINYARD_"))}
        kept.pop("PYTHONDONTWRITEBYTECODE", None)  # else each command compiles the yard anew
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
        server = {"PREFECT_API_URL": self.api} if self.api else {}
        return {**kept, **server, "PATH": path, "PYTHONPATH": str(self.root), "DVC_NO_ANALYTICS": "1"}

    @property
    def programs(self) -> dict[str, str]:
        """For a command whose own commands nobody kills: they come ready."""
        return {"PATH": f"{self.shims / 'programs'}{os.pathsep}{self.environment['PATH']}"} if self.shims else {}

    def start(self, *command: str, **environment: str) -> subprocess.Popen:
        return subprocess.Popen(
            command, cwd=self.root, env={**self.environment, **environment}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def begin(self, *command: str, **environment: str) -> subprocess.Popen | ready.Started:
        """As `start`, from a process that comes ready where one does."""
        whole = {**self.environment, **environment}
        if self.shims and ready.comes_ready(command, whole):
            return ready.Started(self.shims, command, self.root, whole)
        return self.start(*command, **environment)

    def call(self, *command: str, **environment: str) -> subprocess.CompletedProcess:
        process = self.start(*command, **{**self.programs, **environment})
        try:
            out, err = process.communicate(timeout=self.patience_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def flow(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        return self.call("python", "-m", "flows", *arguments, **environment)

    def status(self) -> dict[str, str]:
        """{stage: why it has to run, or that it is up to date}"""
        return dict(line.split(None, 1) for line in self.flow("status").stdout.splitlines())

    def dvc(self, *arguments: str) -> subprocess.CompletedProcess:
        return self.call("dvc", *arguments)

    def send_to(self, remote: object) -> None:
        """As `dvc remote add -d` does, which takes 1 s of CPU."""
        config = f"[core]\n    remote = store\n['remote \"store\"']\n    url = {remote}\n"
        (self.root / ".dvc/config.local").write_text(config)

    def add_number(self, name: str, text: str) -> None:
        (self.root / "numbers" / f"{name}.txt").write_text(text)

    def gates(self, *numbers: str) -> Path:
        """The folder that the step waits at if toy.collect.gates says so; these numbers may pass."""
        folder = self.root / "gates"
        folder.mkdir(exist_ok=True)
        for number in numbers:
            (folder / number).touch()
        return folder

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.root / file
        assert path.read_text().count(old) == 1
        path.write_text(path.read_text().replace(old, new))

    def add_beside_square(self, name: str) -> None:
        """A stage toy-<name> that is as toy-square."""
        shutil.copy(self.root / "tasks/toy/square.py", self.root / f"tasks/toy/{name}.py")
        self.edit("tasks/toy/params.py", "    square: Square\n", f"    square: Square\n    {name}: Square\n")
        self.edit("params.yaml", "  square: {offset: 1}\n", f"  square: {{offset: 1}}\n  {name}: {{offset: 1}}\n")
        stages = yaml.safe_load((self.root / "dvc.yaml").read_text())["stages"]
        stage = yaml.safe_dump({"toy-square": stages["toy-square"]})
        for of in ("toy-", "toy.", "data/toy/"):
            stage = stage.replace(f"{of}square", f"{of}{name}")
        self.edit("dvc.yaml", "  toy-judge:\n", f"{textwrap.indent(stage, '  ')}  toy-judge:\n")

    def outputs(self) -> dict[str, bytes]:
        data = self.root / "data"
        return {
            str(p.relative_to(data)): p.read_bytes()
            for p in sorted(data.rglob("*"))
            if p.is_file() and p.name != ".gitignore"
        }


def make_yard(root: Path, api: str | None = None, shims: Path | None = None) -> Yard:
    ignore = shutil.ignore_patterns("__pycache__", "toy")
    shutil.copytree(ROOT / "flows", root / "flows", ignore=ignore)
    shutil.copytree(
        Path(__file__).parent / "toy", root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
    )
    for path in (ROOT / "tasks").glob("*.py"):
        shutil.copy(path, root / "tasks")
    shutil.copytree(ROOT / "tasks/yard", root / "tasks/yard", ignore=ignore)
    (root / "models").mkdir()
    (root / "models" / "__init__.py").touch()
    (root / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", root / ".dvc")
    shutil.copy(ROOT / ".dvcignore", root)
    (root / ".gitignore").write_text("/data/\n/.trainyard/\n/mlflow.db\n__pycache__/\n")
    yard = Yard(root, api, shims)
    (root / "numbers").mkdir()
    for name, text in {"one": "1", "two": "2", "three": "3", "bad": "four"}.items():
        yard.add_number(name, text)
    for command in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "yard"],
    ):
        subprocess.run(["git", *command], cwd=root, check=True)
    return yard


@pytest.fixture(scope="session")
def api(shared: Path) -> Iterator[str]:
    """The address of a Prefect server with a home of its own, one for all processes that run tests: it ends when the
    last of them has let go of its stdin, however that ended."""
    home, port = shared / "prefect", shared / "prefect.port"
    with FileLock(shared / "prefect.lock"):
        if not port.exists():
            home.mkdir()
            os.mkfifo(home / "stdin")
            read = os.open(home / "stdin", os.O_RDONLY | os.O_NONBLOCK)
            holding = os.open(home / "stdin", os.O_WRONLY)
            os.set_blocking(read, True)
            number = environment.free_port()
            start_server(home, number, read, environment.NO_SCHEDULES)
            os.close(read)
            with (
                closing(sqlite3.connect(home / "prefect.db")) as own,
                closing(sqlite3.connect(home / "empty.db")) as to,
            ):
                own.backup(to)
            port.write_text(str(number))
        else:
            holding = os.open(home / "stdin", os.O_WRONLY | os.O_NONBLOCK)  # an error if the server is gone
    yield f"http://127.0.0.1:{port.read_text()}/api"
    os.close(holding)


def start_server(home: Path, port: int, stdin: int, more: Mapping[str, str] = {}) -> None:
    """With the database that is there, or a new one: to create it takes 5 s of CPU."""
    settings = {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
        "PREFECT_SERVER_UI_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        **more,
    }
    with (home / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "flows.environment", "127.0.0.1", str(port)], cwd=ROOT, stdout=log, stderr=log,
            stdin=stdin, env={**Yard(ROOT).environment, **settings}, start_new_session=True,
        )  # fmt: skip
    environment.wait_until_answers(server, f"http://127.0.0.1:{port}/api/health")


@pytest.fixture(scope="session")
def shims(shared: Path, api: str) -> Path | None:
    """A folder of programs for `Yard.call`, one for all processes that run tests, which ends when the server does."""
    if not hasattr(os, "pidfd_open"):  # of Linux: elsewhere every command is started as users start it
        return None
    folder = shared / "shims"
    settings = {"DO_NOT_TRACK": "1", **store.SETTINGS, "PREFECT_HOME": str(shared / "prefect")}
    with FileLock(shared / "shims.lock"):
        if not (folder / "programs").exists():
            folder.mkdir()
            lasting = os.open(shared / "prefect" / "stdin", os.O_RDONLY)
            for module in ready.LOADED:
                with (shared / f"ready.{module}.log").open("wb") as log:
                    subprocess.Popen(
                        [sys.executable, "-P", ready.__file__, str(folder / module)], cwd=shared, stdin=lasting,
                        stdout=log, stderr=log, env={**Yard(shared, api).environment, **settings},
                        start_new_session=True,
                    )  # fmt: skip
            os.close(lasting)
            wait_until(lambda: all((folder / module).exists() for module in ready.LOADED), "what comes ready")
            ready.write_shims(folder)
    return folder


@pytest.fixture(scope="session")
def empty_db(shared: Path, api: str) -> Path:
    """A database of Prefect that has all tables and no runs."""
    return shared / "prefect" / "empty.db"


@pytest.fixture
def new_yard(tmp_path: Path, api: str, shims: Path | None, empty_store: Path) -> Yard:
    """A yard in which nothing has run. MLflow's database has all tables and no runs."""
    yard = make_yard(tmp_path / "yard", api, shims)
    shutil.copy(empty_store, yard.root)
    return yard


@pytest.fixture
def bare_yard(tmp_path: Path) -> Yard:
    """A new yard that knows no server."""
    return make_yard(tmp_path / "yard")


@pytest.fixture
def lone_yard(bare_yard: Yard, empty_db: Path, empty_store: Path) -> Yard:
    """A new yard that knows no server. The databases of Prefect and MLflow have all tables and no runs: to create those
    of Prefect takes 5 s."""
    shutil.copy(empty_store, bare_yard.root)
    return with_prefect_db(bare_yard, empty_db)


def with_prefect_db(yard: Yard, empty_db: Path) -> Yard:
    home = yard.root / ".trainyard" / "prefect"
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(empty_db, home / "prefect.db")
    return yard


@pytest.fixture(scope="session")
def finished_yard(shared: Path, api: str, shims: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Yard:
    """A yard whose line ran through Prefect's door once. Tests that change it copy it first."""
    made, root = shared / "yard", tmp_path_factory.mktemp("finished") / "yard"
    with FileLock(shared / "yard.lock"):
        if not (shared / "yard.made").exists():
            first = make_yard(made, api, shims)
            result = first.flow("run", "toy")
            assert result.returncode == 0, result.stderr
            assert set(first.status().values()) == {"up to date"}
            (shared / "yard.made").touch()
    return copied(Yard(made, api, shims), root)  # nobody works in the shared one: others may be copying it


def copied(yard: Yard, root: Path) -> Yard:
    shutil.copytree(yard.root, root, symlinks=True)
    return Yard(root, yard.api, yard.shims)


@pytest.fixture
def yard_copy(finished_yard: Yard, tmp_path: Path) -> Yard:
    return copied(finished_yard, tmp_path / "yard")
