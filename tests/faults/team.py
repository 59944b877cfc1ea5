"""One line beside a team's servers and stores, all of which are struck again and again until it is done."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from flows import environment
from tests.faults import trial
from tests.faults.faults import Server, kill_one_below
from tests.faults.yards import LINES
from tests.flows.conftest import Yard
from tests.flows.stores import S3, Bucket, Postgres

LOOK_EVERY_S, LOOK_S = 0.02, 30.0
# What has to be seen in MLflow's database for a stage's training to be under way, and for its end to be told.
TRAINS = "runs.status = 'RUNNING' and tags.key = 'stage'"
ENDS = f"{TRAINS} and exists (select 1 from params where params.run_uuid = runs.run_uuid)"
OPEN = ("SCHEDULED", "PENDING", "RUNNING", "CANCELLING")


class Team:
    """Postgres under Prefect and MLflow, S3 under DVC and MLflow's artifacts."""

    def __init__(self, yard: Yard, postgres: Postgres, bucket: Bucket, refuse_s: float) -> None:
        self.yard, self.postgres, self.bucket, self.refuse_s = yard, postgres, bucket, refuse_s
        ports = environment.free_port(), environment.free_port()
        addresses = [f"http://127.0.0.1:{port}" for port in ports]
        self.settings = {"PREFECT_API_URL": f"{addresses[0]}/api", "MLFLOW_TRACKING_URI": addresses[1], **S3}
        self.prefect = Server(
            yard, [sys.executable, "-m", "flows.environment", "127.0.0.1", str(ports[0])], f"{addresses[0]}/api/health",
            {
                "PREFECT_API_DATABASE_CONNECTION_URL": postgres.url("prefect", "asyncpg"),
                "PREFECT_HOME": str(yard.root / ".trainyard/faults-prefect"), "PREFECT_SERVER_UI_ENABLED": "false",
            },
        )  # fmt: skip
        store = ["--artifacts-destination", "s3://yard/mlflow", "--port", str(ports[1]), "--workers", "1"]
        self.mlflow = Server(
            yard, [sys.executable, "-m", "mlflow", "server", *store], f"{addresses[1]}/health",
            {
                "MLFLOW_BACKEND_STORE_URI": postgres.url("mlflow", "psycopg2"), "MLFLOW_S3_ENDPOINT_URL": bucket.url,
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **S3,
            },
        )  # fmt: skip
        self._takes_again: threading.Timer | None = None

    def ask(self, query: str) -> list[tuple]:
        return self.postgres.ask("mlflow", query)

    def kill_mlflow(self, moment: str, run: subprocess.Popen) -> bool:
        """When a stage's run in MLflow has come so far; False if that is not soon, or never."""
        until = time.monotonic() + LOOK_S
        query = f"select 1 from runs join tags on tags.run_uuid = runs.run_uuid where {moment} limit 1"
        with closing(self.postgres.connect("mlflow")) as connection, connection.cursor() as cursor:
            while run.poll() is None and self.mlflow.process.poll() is None and time.monotonic() < until:
                cursor.execute(query)
                if cursor.fetchone():
                    self.mlflow.kill()
                    return True
                time.sleep(LOOK_EVERY_S)
        return False

    def kill_prefect(self, _run: subprocess.Popen) -> bool:
        self.prefect.kill()
        return True

    def restart_postgres(self, _run: subprocess.Popen) -> bool:
        self.postgres.stop("immediate")
        self.postgres.start()
        return True

    def refuse(self, _run: subprocess.Popen) -> bool:
        self.bucket.refusing = True
        if self._takes_again:
            self._takes_again.cancel()
        self._takes_again = threading.Timer(self.refuse_s, self.take)
        self._takes_again.daemon = True
        self._takes_again.start()
        return True

    def take(self) -> None:
        self.bucket.refusing = False

    def mend(self) -> None:
        """What a person starts again. S3 takes writes again when its time has come, whatever runs meanwhile."""
        for server in (self.prefect, self.mlflow):
            if server.process.poll() is not None:
                server.start()

    def wait_for_s3(self) -> None:
        if self._takes_again:
            self._takes_again.join()


@contextmanager
def team(yard: Yard, refuse_s: float) -> Iterator[Team]:
    with Postgres() as postgres:
        bucket = Bucket(yard.root.with_name(f"{yard.root.name}-s3"))
        with bucket.running():
            assert yard.dvc("remote", "add", "-d", "team", "s3://yard/dvc").returncode == 0
            assert yard.dvc("remote", "modify", "team", "endpointurl", bucket.url).returncode == 0
            assert yard.dvc("remote", "modify", "team", "read_timeout", "20").returncode == 0  # as docs/team.md says
            made = Team(yard, postgres, bucket, refuse_s)
            try:
                made.prefect.start()
                made.mlflow.start()
                yield made
            finally:
                made.prefect.kill()
                made.mlflow.kill()


def kill_run(run: subprocess.Popen) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(run.pid, signal.SIGKILL)
    return True


def strikes(world: Team, rng: random.Random) -> dict[str, Callable[[subprocess.Popen], bool]]:
    """What can be done to a run; each says whether it was."""
    return {
        "the run killed": kill_run,
        "a process of it killed": lambda run: kill_one_below(rng, run.pid),
        "MLflow killed while a stage trains": lambda run: world.kill_mlflow(TRAINS, run),
        "MLflow killed while a stage's end is told": lambda run: world.kill_mlflow(ENDS, run),
        "Prefect's server killed": world.kill_prefect,
        "S3 refuses writes": world.refuse,
        "Postgres restarted": world.restart_postgres,
    }


@dataclass
class Told:
    usual_s: float  # of a run that ends well
    met: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    well: int = 0
    failures: list[str] = field(default_factory=list)


def struck(
    line: str, count: int, root: Path, undisturbed: trial.Reference, limit_s: float, seed: int, refuse_s: float
) -> Told:
    """The folder goes if all held."""
    shutil.rmtree(root, ignore_errors=True)
    yard, rng, told = LINES[line](root), random.Random(seed), Told(undisturbed.duration_s)
    (root / ".trainyard").mkdir(exist_ok=True)
    with team(yard, refuse_s) as world:
        kinds = strikes(world, rng)
        left = deque(kind for _ in range(-(-count // len(kinds))) for kind in rng.sample(list(kinds), len(kinds)))
        while len(left) > count:
            left.pop()
        done = False
        while left and not told.failures:
            done = _run(yard, line, world, rng, kinds, left, told, undisturbed, limit_s, again=done)
            world.mend()
        if not told.failures:
            world.wait_for_s3()
            _last(yard, line, world, told, undisturbed)
    if not told.failures:
        shutil.rmtree(root)
        shutil.rmtree(world.bucket.folder)
    return told


def _run(yard, line, world: Team, rng, kinds, left, told: Told, undisturbed, limit_s: float, *, again: bool) -> bool:
    """A run that is struck at random moments until it ends. `again`: the line is done, and begins from nothing."""
    if again:
        for made in ("data", ".dvc/cache", ".trainyard/sent"):
            shutil.rmtree(yard.root / made)
        assert yard.dvc("remote", "modify", "team", "url", f"s3://yard/dvc-{told.runs}").returncode == 0
        (yard.root / "dvc.lock").unlink()
    told.runs += 1
    log = yard.root / f".trainyard/faults-{told.runs:02}.log"
    with log.open("wb") as file:
        run = subprocess.Popen(
            ["python", "-m", "flows", "run", line], cwd=yard.root, env={**yard.environment, **world.settings},
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    began, family, struck = time.monotonic(), {}, []
    patience_s = trial.PATIENCE * undisturbed.duration_s + 120
    strike_at = rng.uniform(0, told.usual_s)  # later ones come sooner: some runs meet more than one
    while run.poll() is None and time.monotonic() - began < patience_s:
        with contextlib.suppress(psutil.NoSuchProcess):
            family |= {child.pid: child for child in psutil.Process(run.pid).children(recursive=True)}
        if left and time.monotonic() - began > strike_at:
            if kinds[left[0]](run):
                told.met[left[0]] += 1
                struck.append(f"{left.popleft()} at {time.monotonic() - began:.1f} s")
            strike_at = time.monotonic() - began + rng.uniform(0, told.usual_s / 3)
        time.sleep(0.1)
    if run.poll() is None:
        os.killpg(run.pid, signal.SIGKILL)
        told.failures.append(f"run {told.runs} did not end in {patience_s:.0f} s")
    code = run.wait()
    took = time.monotonic() - began
    print(f"  run {told.runs:2}: {', '.join(struck) or 'nothing'}; status {code} after {took:.0f} s", flush=True)
    if code == 0:
        told.well, told.usual_s = told.well + 1, took
    _, alive = psutil.wait_procs(family.values(), timeout=limit_s)
    found = [f"left behind: {', '.join(' '.join(one.cmdline())[:100] for one in alive)}"] if alive else []
    found += trial.ill_said(log.read_text(), code)
    told.failures += [f"run {told.runs} ({log}): {what}" for what in found]
    return code == 0


def _last(yard: Yard, line: str, world: Team, told: Told, undisturbed: trial.Reference) -> None:
    """Nothing strikes any more."""
    last = trial.Trial(0)
    trial.again(yard, line, world.settings, last, undisturbed, world.ask)
    told.failures += last.failures
    if told.failures:
        return
    states = Counter(state for (state,) in world.postgres.ask("prefect", "select state_type from flow_run"))
    if still := {state: states[state] for state in OPEN if states[state]}:
        told.failures.append(f"flow runs of Prefect stand as {still}")
    clone = yard.root.with_name(f"{yard.root.name}-clone")
    shutil.rmtree(clone, ignore_errors=True)
    shutil.copytree(yard.root, clone, symlinks=True, ignore=shutil.ignore_patterns("data", "cache", ".trainyard"))
    other = Yard(clone)
    pull = other.start("dvc", "pull", **world.settings)
    _, err = pull.communicate(timeout=trial.PATIENCE * 60)
    if pull.returncode or other.outputs() != yard.outputs():
        told.failures.append(f"what another clone pulls from S3 is not whole: {err[-300:]!r}")
    shutil.rmtree(clone)
