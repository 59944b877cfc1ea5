"""A yard of its own for every test module: the real doors, and a line of three small steps beside them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass
class Yard:
    root: Path

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "TRAINYARD_"))}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
        return {**kept, "PATH": path, "PYTHONPATH": str(self.root), "DVC_NO_ANALYTICS": "1"}

    def start(self, *command: str, **environment: str) -> subprocess.Popen:
        return subprocess.Popen(
            command, cwd=self.root, env={**self.environment, **environment}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def call(self, *command: str) -> subprocess.CompletedProcess:
        process = self.start(*command)
        out, err = process.communicate(timeout=240)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def flow(self, *arguments: str) -> subprocess.CompletedProcess:
        return self.call("python", "-m", "flows", *arguments)

    def status(self) -> dict[str, str]:
        """{stage: why it has to run, or that it is up to date}"""
        return dict(line.split(None, 1) for line in self.flow("status").stdout.splitlines())

    def dvc(self, *arguments: str) -> subprocess.CompletedProcess:
        return self.call("dvc", *arguments)

    def add_number(self, name: str, text: str) -> None:
        (self.root / "numbers" / f"{name}.txt").write_text(text)

    def outputs(self) -> dict[str, bytes]:
        data = self.root / "data"
        return {
            str(p.relative_to(data)): p.read_bytes()
            for p in sorted(data.rglob("*"))
            if p.is_file() and p.name != ".gitignore"
        }


def make_yard(root: Path) -> Yard:
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
    (root / ".gitignore").write_text("/data/\n/.trainyard/\n/mlflow.db\n__pycache__/\n")
    yard = Yard(root)
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


@pytest.fixture
def new_yard(tmp_path: Path) -> Yard:
    return make_yard(tmp_path / "yard")


@pytest.fixture(scope="session")
def finished_yard(tmp_path_factory: pytest.TempPathFactory) -> Yard:
    """A yard whose line ran through Prefect's door once. Tests that change it copy it first."""
    yard = make_yard(tmp_path_factory.mktemp("finished") / "yard")
    result = yard.flow("run", "toy")
    assert result.returncode == 0, result.stderr
    (yard.root / "first_run.log").write_text(result.stderr)
    return yard


@pytest.fixture
def yard_copy(finished_yard: Yard, tmp_path: Path) -> Yard:
    shutil.copytree(finished_yard.root, tmp_path / "yard", symlinks=True)
    return Yard(tmp_path / "yard")
