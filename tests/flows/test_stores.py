"""A team's stores: Postgres under Prefect and MLflow, S3 under DVC and MLflow's artifacts, all with a password."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import check
from tests.flows.begun import FLOW, Begun
from tests.flows.conftest import Yard, copied, make_yard
from tests.flows.serving import asked
from tests.flows.stores import S3, SECRETS, Bucket, Postgres, call, head


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as made:
        yield made


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    made = Bucket(tmp_path_factory.mktemp("s3") / "buckets")
    with made.running():
        yield made


def with_a_secret(*folders: Path) -> list[str]:
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [str(path) for path in files if any(secret.encode() in path.read_bytes() for secret in SECRETS)]


def dumped(postgres: Postgres) -> str:
    return "".join(
        subprocess.run(
            [postgres.programs / "pg_dump", "--inserts", "-h", postgres.folder, "-p", str(postgres.port), "-U",
             "postgres", database], check=True, capture_output=True, text=True,
        ).stdout
        for database in ("prefect", "mlflow")
    )  # fmt: skip


def test_a_team_loses_nothing_to_its_stores_and_a_second_clone_finds_all(tmp_path, postgres, bucket):
    """Two heads begin at once on empty databases; Postgres is restarted while a stage works; S3 takes no writes at the
    end of the run, and the next one pays. What a clone pulls then is whole, and it has nothing to make."""
    yard = make_yard(tmp_path / "yard")
    yard.dvc("remote", "add", "-d", "team", "s3://yard/dvc")
    yard.dvc("remote", "modify", "team", "endpointurl", bucket.url)
    second = copied(yard, tmp_path / "head")
    with head([yard, second], postgres, bucket) as known:
        assert asked(f"{known['PREFECT_API_URL']}/flow_runs/filter", {})[0] == 401
        assert asked(f"{known['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/experiments/search?max_results=1")[0] == 401

        begun = Begun(yard, *FLOW, **known)
        postgres.stop("immediate")
        postgres.start()
        bucket.refusing = True
        yard.gates("two", "three")
        said = begun.end()
        assert begun.process.returncode == 1
        assert "DVC remote team (s3://yard/dvc): quota" in said and "the next run sends it" in said
        assert not bucket.objects()
        code, out, _ = call(yard, "python", "-m", "flows", "status", **known)
        assert "owed to MLflow: " in out

        bucket.refusing = False
        code, out, err = call(yard, *FLOW, **known)
        assert code == 0 and "0 of 5 stages ran" in out and "wed to MLflow" not in out, err
        runs = dict(postgres.ask("mlflow", "select name, status from runs"))
        assert set(runs.values()) == {"FINISHED"} and {"judge@1", "judge@2"} < runs.keys()
        states = {state for (state,) in postgres.ask("prefect", "select state_type from flow_run")}
        assert states == {"FAILED", "COMPLETED"}
        stored = bucket.objects()
        assert any("yard/dvc/files" in name for name in stored) and any("yard/mlflow" in name for name in stored)

        git = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]
        subprocess.run([*git, "add", "-A"], cwd=yard.root, check=True)
        subprocess.run([*git, "commit", "-qm", "night"], cwd=yard.root, check=True)
        subprocess.run(["git", "clone", "-q", yard.root, tmp_path / "clone"], check=True)
        clone = Yard(tmp_path / "clone")
        code, _, err = call(clone, "dvc", "pull", **known)
        assert code == 0 and clone.outputs() == yard.outputs(), err
        code, out, err = call(clone, *FLOW, **known)
        assert code == 0 and "0 of 5 stages ran" in out, err
    assert not with_a_secret(tmp_path / "yard", tmp_path / "head", tmp_path / "clone", bucket.folder)
    assert not any(secret in dumped(postgres) for secret in SECRETS)


def test_check_names_each_store_that_does_not_answer(yard_copy):
    yard_copy.dvc("remote", "add", "-d", "team", "s3://gone/dvc")
    yard_copy.dvc("remote", "modify", "team", "endpointurl", "http://127.0.0.1:1")
    dead = {
        "PREFECT_API_DATABASE_CONNECTION_URL": "postgresql+asyncpg://a:hunter2@127.0.0.1:1/prefect",
        "MLFLOW_TRACKING_URI": "postgresql+psycopg2://a:hunter2@127.0.0.1:1/mlflow", "PREFECT_API_URL": "", **S3,
    }  # fmt: skip
    code, out, err = call(yard_copy, "python", "-m", "flows", "check", "toy", **dead)
    faults = [line for line in out.splitlines() if not line.startswith("ok: ")]
    assert code == 2 and len(faults) == 3 and "hunter2" not in out + err, out
    for what in (
        "PREFECT_API_DATABASE_CONNECTION_URL=postgresql+asyncpg://127.0.0.1:1",
        "MLFLOW_TRACKING_URI=",
        "gone",
    ):
        assert any(line.startswith("error: ") and what in line for line in faults), out
    bare = {
        **dead,
        "MLFLOW_TRACKING_URI": "postgresql://h/d",
        "PREFECT_API_DATABASE_CONNECTION_URL": "postgresql://h/d",
    }
    _, out, _ = call(yard_copy, "python", "-m", "flows", "check", "toy", **bare)
    assert "write postgresql+psycopg2://" in out and "has to begin with postgresql+asyncpg://" in out


def test_a_bucket_that_is_not_there_and_a_key_that_is_refused_are_named(tmp_path, monkeypatch, bucket):
    for name, value in S3.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)
    (tmp_path / ".dvc").mkdir()

    def said(url: str) -> str | None:
        text = f"[core]\n    remote = team\n['remote \"team\"']\n    url = {url}\n    endpointurl = {bucket.url}\n"
        (tmp_path / ".dvc/config").write_text(text)
        return check.remote_fault("team", {"url": url, "endpointurl": bucket.url})

    assert said("s3://yard/not/yet") is None
    assert "there is no bucket gone" in said("s3://gone/dvc")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    assert "Forbidden" in said("s3://yard/dvc")
