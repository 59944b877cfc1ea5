"""Two hosts: a head with a team's servers and stores, and one that takes its nights, in a clone of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import yaml

from flows.environment import free_port
from tasks.yard.login import header
from tests.flows.conftest import ROOT, Yard, make_yard
from tests.flows.hosts import Far, another_host
from tests.flows.serving import asked
from tests.flows.stores import LOGIN, Bucket, Postgres, call, head, listens
from tests.flows.waiting import PATIENCE_S, wait_until

OUTAGE_S = float(os.environ.get("TRAINYARD_OUTAGE_S", 15))  # how long the cable is out
OPEN = ("SCHEDULED", "PENDING", "RUNNING")


def git(root: Path, *words: str) -> None:
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *words], cwd=root, check=True)


@contextmanager
def repositories(folder: Path, host: str) -> Iterator[str]:
    """The address under which git finds what lies in a folder."""
    port = free_port()
    command = ["git", "daemon", "--export-all", "--enable=receive-pack", f"--listen={host}", f"--port={port}"]
    served = subprocess.Popen([*command, f"--base-path={folder}", str(folder)], start_new_session=True)
    try:
        wait_until(lambda: listens(port, host) or served.poll() is not None, "git's server")
        assert served.poll() is None
        yield f"git://{host}:{port}"
    finally:
        os.killpg(served.pid, signal.SIGTERM)
        served.wait()


def in_a_team(root: Path, bucket: Bucket) -> tuple[Yard, str]:
    """A yard with a DVC remote and a night that belongs to a pool, on a branch."""
    yard = make_yard(root)
    file = yard.root / "prefect.yaml"
    toy = yaml.safe_load(file.read_text())["deployments"][0] | {"work_pool": {"name": "trainyard"}}
    pull = yaml.safe_load((ROOT / "prefect.yaml").read_text())["pull"]
    file.write_text(yaml.safe_dump({"pull": pull, "deployments": [toy]}))
    yard.edit("params.yaml", "gates: null", "gates: gates")
    yard.dvc("remote", "add", "-d", "team", "s3://yard/dvc")
    yard.dvc("remote", "modify", "team", "endpointurl", bucket.url)
    git(yard.root, "add", "-A")
    git(yard.root, "commit", "-qm", "team")
    branch = subprocess.run(["git", "branch", "--show-current"], cwd=yard.root, capture_output=True, text=True).stdout
    return yard, branch.strip()


@pytest.mark.cluster
def test_a_triggered_night_is_made_whole_on_another_host_though_its_network_is_pulled(tmp_path):
    """The two share addresses of git, of servers and of a bucket, and no disk. The work goes on while the cable is out,
    and after it. A third clone finds all in the end, and nothing was made twice."""
    mine = tmp_path / "head"
    mine.mkdir()
    with Postgres() as postgres, another_host(hidden=mine) as cable:
        bucket = Bucket(mine / "buckets", cable.here)
        with bucket.running(), repositories(mine, cable.here) as address:
            people, main = in_a_team(mine / "people", bucket)
            git(mine, "clone", "-q", "--bare", str(people.root), "shared.git")
            with head([people], postgres, bucket, cable.here) as known:
                code, out, err = call(people, "python", "-m", "flows", "deploy", **known)
                assert code == 0 and "made the work pool" in out, err
                clone = [*cable.inside, "git", "clone", "-q", f"{address}/shared.git", str(tmp_path / "elsewhere")]
                subprocess.run(clone, check=True)
                elsewhere = Far(tmp_path / "elsewhere", cable=cable)
                assert call(elsewhere, "ls", str(people.root))[0] != 0  # the head's disk
                elsewhere.gates("bad", "one")
                nights = {"TRAINYARD_NIGHTS": f"origin/{main}"}
                worker = elsewhere.start("python", "-m", "flows", "worker", **nights, **known)
                try:
                    night(known, elsewhere, cable, worker)
                    family = psutil.Process(worker.pid).children(recursive=True)
                finally:
                    worker.terminate()
                    said = "".join(worker.communicate(timeout=PATIENCE_S))
                assert worker.returncode == 0 and "Traceback" not in said, said
                assert not psutil.wait_procs(family, timeout=60)[1]
                runs = dict(postgres.ask("mlflow", "select name, status from runs"))
                assert set(runs.values()) == {"FINISHED"} and {"judge@1", "judge@2"} < runs.keys()

                git(mine, "clone", "-q", "-b", "night/toy", f"{address}/shared.git", "third")
                third = Yard(mine / "third")
                code, _, err = call(third, "dvc", "pull", **known)
                assert code == 0 and third.outputs() == elsewhere.outputs() and len(third.outputs()) > 10, err
                code, out, err = call(third, "python", "-m", "flows", "run", "toy", **known)
                assert code == 0 and "0 of 5 stages ran" in out, err


def night(known: dict[str, str], yard: Far, cable, worker: subprocess.Popen) -> None:
    """Triggers it at the head, and pulls the cable in the middle of its first stage."""
    api, login = known["PREFECT_API_URL"], header(LOGIN)

    def ask(path: str, body: dict | None = None):
        status, _, content = asked(f"{api}/{path}", body, **login)
        assert status < 300, content
        return json.loads(content)

    (deployment,) = ask("deployments/filter", {})
    run = ask(f"deployments/{deployment['id']}/create_flow_run", {})["id"]

    def over() -> bool:
        return ask(f"flow_runs/{run}")["state"]["type"] not in OPEN or worker.poll() is not None

    made = yard.root / "data/toy/collect"
    wait_until(lambda: ((made / "one").exists() and (made / "two.part").exists()) or over(), "its middle", every_s=0.3)
    stamp = (made / "one").stat().st_mtime_ns
    port = int(api.split(":")[2].split("/")[0])
    assert cable.reaches(port)
    cable.pull()
    began = time.monotonic()
    assert not cable.reaches(port)
    yard.gates("two")
    wait_until(lambda: (made / "two").exists() or worker.poll() is not None, "work without a network", every_s=0.3)
    time.sleep(max(0.0, began + OUTAGE_S - time.monotonic()))
    assert not cable.reaches(port)
    cable.plug()
    yard.gates("three")
    wait_until(over, "the night", every_s=1)
    assert ask(f"flow_runs/{run}")["state"]["type"] == "COMPLETED", ask(f"flow_runs/{run}")["state"]
    assert (made / "one").stat().st_mtime_ns == stamp
