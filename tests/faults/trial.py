"""One trial: a run that a fault meets, and the run after it; and the undisturbed run that both are held against."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import psutil

from tests.faults.faults import FAULTS, SIGNALS
from tests.faults.yards import LINES
from tests.flows.conftest import Yard

Ask = Callable[[str], list[tuple]]  # of MLflow's database, in SQL
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


def in_file(yard: Yard) -> Ask:
    """Asks the database that MLflow has in a checkout."""

    def ask(query: str) -> list[tuple]:
        with closing(sqlite3.connect(yard.root / "mlflow.db")) as database:
            return database.execute(query).fetchall()

    return ask


def tracked(ask: Ask) -> tuple[set[str], int]:
    """The stages with a finished run in MLflow, and how many runs stand as running."""
    stages = ask(
        "select distinct tags.value from tags join runs on tags.run_uuid = runs.run_uuid "
        "where tags.key = 'stage' and runs.status = 'FINISHED'"
    )
    ((running,),) = ask("select count(*) from runs where status = 'RUNNING'")
    return {stage for (stage,) in stages}, running


def reference(line: str, folder: Path, at_once: int = 1) -> Reference:
    """Two undisturbed runs or more: what they do not agree on, such as a time, is not compared.

    As many at once as there will be trials, which slow each other down: a moment is drawn from a run of that length,
    else the end of a run was never struck.
    """

    def undisturbed(name: str) -> tuple[Yard, float]:
        root = folder / name
        shutil.rmtree(root, ignore_errors=True)
        yard = LINES[line](root)
        began = time.monotonic()
        result = yard.flow("run", line)
        assert result.returncode == 0, result.stderr[-5000:]
        return yard, time.monotonic() - began

    with ThreadPoolExecutor(at_once) as pool:
        made = list(pool.map(undisturbed, [f"undisturbed-{i}" for i in range(max(at_once, 2))]))
    one, *others = [yard.outputs() for yard, _ in made]
    assert all(one.keys() == other.keys() for other in others)
    same = {name: one[name] for name in one if all(one[name] == other[name] for other in others)}
    return Reference(median(duration_s for _, duration_s in made), same, tracked(in_file(made[0][0]))[0])


def run(line: str, fault: str, at_s: float, root: Path, undisturbed: Reference, limit_s: float) -> Trial:
    """The folder goes if all held."""
    shutil.rmtree(root, ignore_errors=True)
    yard, trial = LINES[line](root), Trial(at_s)
    (root / ".trainyard").mkdir(exist_ok=True)
    with FAULTS[fault](yard) as (settings, strike, mend):
        _disturbed(yard, line, fault, settings, strike, trial, undisturbed, limit_s)
        mend()
        again(yard, line, settings, trial, undisturbed, in_file(yard))
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
    trial.failures += ill_said(text, process.returncode)


def ill_said(text: str, status: int) -> list[str]:
    """What is wrong with what a run said, and how it ended."""
    told = any(words.startswith(("error:", "stopped")) for words in text.splitlines())
    silent = status not in (0, -signal.SIGKILL) and not told
    return [
        *tracebacks(text),
        *([f"ended with status {status} and no `error:` line"] if silent else []),
    ]


def tracebacks(text: str) -> list[str]:
    """The last lines of the first one; the trial's folder may be gone when somebody looks."""
    _, found, after = text.partition("Traceback")
    lines = after.splitlines()[1:]
    end = next((n for n, words in enumerate(lines) if words and not words.startswith(" ")), len(lines) - 1)
    return [f"a traceback: ... {' | '.join(of.strip() for of in lines[max(end - 6, 0) : end + 1])}"] if found else []


def again(yard: Yard, line: str, settings: dict[str, str], trial: Trial, undisturbed: Reference, ask: Ask) -> None:
    """The run after it, which has to make good all that is missing, and to leave nothing."""
    process = yard.start("python", "-m", "flows", "run", line, **settings)
    out, err = process.communicate(timeout=PATIENCE * undisturbed.duration_s + 120)
    (yard.root / ".trainyard/faults-second.log").write_text(out + err)
    if process.returncode != 0:
        trial.failures.append(f"the next run ended with status {process.returncode}: {err[-300:]!r}")
        return
    trial.failures += [f"the next run has {of}" for of in tracebacks(err)]
    outputs = yard.outputs()
    differ = sorted(name for name, content in undisturbed.outputs.items() if outputs.get(name) != content)
    if differ:
        trial.failures.append(f"{len(differ)} files differ: {', '.join(differ[:5])}")
    status = yard.dvc("status", "--json")  # of a real yard's other lines nothing is made
    changed = json.loads(status.stdout) if status.returncode == 0 else {"code": status.stderr[-300:]}
    if mine := {stage: why for stage, why in changed.items() if stage == "code" or stage.startswith(f"{line}-")}:
        trial.failures.append(f"dvc status: {str(mine)[:300]}")
    finished, running = tracked(ask)
    if missing := undisturbed.tracked - finished:
        trial.failures.append(f"MLflow has no finished run of {', '.join(sorted(missing))}")
    if running:
        trial.failures.append(f"{running} runs stand as running in MLflow")
    if owed := [path.name for path in (yard.root / ".trainyard/owed").glob("*")]:
        trial.failures.append(f"still owed to MLflow: {', '.join(owed[:5])}")
