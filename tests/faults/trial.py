"""One trial: a run that a fault meets, and the run after it; and the undisturbed run that both are held against."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.faults.faults import FAULTS, SIGNALS
from tests.faults.yards import LINES
from tests.flows.conftest import Yard

PATIENCE = 4  # a run that takes more than so many times an undisturbed one, and two minutes, hangs


@dataclass(frozen=True)
class Reference:
    duration_s: float
    outputs: dict[str, bytes]
    tracked: set[str]  # the stages of which MLflow has a finished run


@dataclass
class Trial:
    at_s: float
    met: bool = False  # did the fault meet the run, or was it over
    ended_s: float = 0.0  # from the fault to the end of the run
    failures: list[str] = field(default_factory=list)


def tracked(yard: Yard) -> tuple[set[str], int]:
    """The stages with a finished run in MLflow, and how many runs stand as running."""
    path = yard.root / "mlflow.db"
    if not path.exists():
        return set(), 0
    with sqlite3.connect(path) as database:
        stages = database.execute(
            "select distinct tags.value from tags join runs on tags.run_uuid = runs.run_uuid "
            "where tags.key = 'stage' and runs.status = 'FINISHED'"
        ).fetchall()
        (running,) = database.execute("select count(*) from runs where status = 'RUNNING'").fetchone()
    return {stage for (stage,) in stages}, running


def reference(line: str, folder: Path) -> Reference:
    """Two undisturbed runs: what they do not agree on, such as a time, is not compared."""
    outputs, duration_s = [], 0.0
    for name in ("undisturbed", "undisturbed-too"):
        root = folder / name
        shutil.rmtree(root, ignore_errors=True)
        yard = LINES[line](root)
        began = time.monotonic()
        result = yard.flow("run", line)
        duration_s = time.monotonic() - began
        assert result.returncode == 0, result.stderr[-5000:]
        outputs.append(yard.outputs())
    one, two = outputs
    assert one.keys() == two.keys()
    return Reference(duration_s, {name: one[name] for name in one if one[name] == two[name]}, tracked(yard)[0])


def run(line: str, fault: str, at_s: float, root: Path, undisturbed: Reference, limit_s: float) -> Trial:
    """The folder goes if all held."""
    shutil.rmtree(root, ignore_errors=True)
    yard, trial = LINES[line](root), Trial(at_s)
    (root / ".trainyard").mkdir(exist_ok=True)
    with FAULTS[fault](yard) as (settings, strike, mend):
        _disturbed(yard, line, fault, settings, strike, trial, undisturbed, limit_s)
        mend()
        _again(yard, line, settings, trial, undisturbed)
    if not trial.failures:
        shutil.rmtree(root)
    return trial


def _disturbed(yard, line, fault, settings, strike, trial: Trial, undisturbed: Reference, limit_s: float) -> None:
    patience_s = PATIENCE * undisturbed.duration_s + 120
    process = subprocess.Popen(  # through a pipe: a full disk must not cost what the run has to say
        ["python", "-m", "flows", "run", line], cwd=yard.root, env={**yard.environment, **settings}, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        text, _ = process.communicate(timeout=trial.at_s)
    except subprocess.TimeoutExpired:
        trial.met = True
    family = psutil.Process(process.pid).children(recursive=True) if trial.met else []
    began = time.monotonic()
    strike(process.pid)
    try:
        text, _ = process.communicate(timeout=patience_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        text, _ = process.communicate()
        trial.failures.append(f"did not end in {patience_s:.0f} s")
    trial.ended_s = time.monotonic() - began
    (yard.root / ".trainyard/faults-first.log").write_text(text)
    if fault in SIGNALS and trial.met and trial.ended_s > limit_s:
        trial.failures.append(f"ended {trial.ended_s:.0f} s after {fault}")
    _, alive = psutil.wait_procs(family, timeout=limit_s)
    if alive:
        trial.failures.append(f"left behind: {', '.join(' '.join(one.cmdline())[:100] for one in alive)}")
    if "Traceback" in text:
        trial.failures.append("a traceback")
    told = any(words.startswith(("error:", "stopped")) for words in text.splitlines())
    if process.returncode not in (0, -signal.SIGKILL) and not told:
        trial.failures.append(f"ended with status {process.returncode} and no `error:` line")


def _again(yard: Yard, line: str, settings: dict[str, str], trial: Trial, undisturbed: Reference) -> None:
    process = yard.start("python", "-m", "flows", "run", line, **settings)
    out, err = process.communicate(timeout=PATIENCE * undisturbed.duration_s + 120)
    (yard.root / ".trainyard/faults-second.log").write_text(out + err)
    if process.returncode != 0:
        trial.failures.append(f"the next run ended with status {process.returncode}: {err[-300:]!r}")
        return
    if "Traceback" in err:
        trial.failures.append("the next run has a traceback")
    outputs = yard.outputs()
    differ = sorted(name for name, content in undisturbed.outputs.items() if outputs.get(name) != content)
    if differ:
        trial.failures.append(f"{len(differ)} files differ: {', '.join(differ[:5])}")
    status = yard.dvc("status")
    if "up to date" not in status.stdout:
        trial.failures.append(f"dvc status: {status.stdout[:300]!r} {status.stderr[-300:]!r}")
    finished, running = tracked(yard)
    if missing := undisturbed.tracked - finished:
        trial.failures.append(f"MLflow has no finished run of {', '.join(sorted(missing))}")
    if running:
        trial.failures.append(f"{running} runs stand as running in MLflow")
    if owed := [path.name for path in (yard.root / ".trainyard/owed").glob("*")]:
        trial.failures.append(f"still owed to MLflow: {', '.join(owed[:5])}")
