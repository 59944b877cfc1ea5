"""Runs a step for a Prefect flow: in its own process, with the flow run's context, one task run per recording.

The step has its own process for three reasons: torch's random state, thread counts and plots are global; a native crash
must not end the flow; and a step should run under the same conditions in a flow and under `dvc repro`.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from typing import Any

import cloudpickle
import httpx
from prefect import get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import hydrated_context, serialize_context
from prefect.exceptions import PrefectException
from prefect.states import Completed, Failed
from tqdm import tqdm

from flows import step_server
from flows.environment import quiet_logs
from tasks.yard import runner
from tasks.yard import stage as stages
from tasks.yard.step import BadInput, Context, cores, plain
from tasks.yard.workers import Call, cause, crew_for, end_with_parent, fork_server, mapped

LONG_S = 5.0  # a step that takes longer shows its progress in the Prefect UI
REPORT_EVERY_S = 2.0
YIELDS = 10  # as `nice` has it: a tenth of a core that others want
GRACE_S = 3.0  # for a step that is told to end to say so in MLflow

stopping = threading.Event()  # the run is to end: no step begins any more, and none is tried again
_running: set[ForkServerProcess] = set()


class Stopped(RuntimeError):
    """The run is to end before the step has."""


class StepFailed(RuntimeError):
    """A step ended with an error; the text holds its traceback."""


class StepBroken(StepFailed):
    """It would end with the same error again: trying it anew is a waste of minutes."""


# Faults of code or data. What a network or a disk does is an `OSError`; a requests or JSON error of an answer that was
# cut off is both, and worth another try.
LASTING = (ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, TypeError, ValueError)


def lasts(error: BaseException) -> bool:
    """Will the same error come again? Of work over many recordings the first one's error decides."""
    cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
    return isinstance(cause, (*LASTING, RuntimeError, MemoryError)) and not isinstance(cause, OSError)


def warm_up(with_torch: bool) -> None:
    """Start the server that steps are forked from, with the modules loaded that each would import anew: the flow, which
    a step's context names, with Prefect and DVC (4 s of CPU), MLflow with its store in SQLite (4 s), and what trains (6
    s, half of it torch)."""
    loaded = ["flows.preloading", "flows.line", "prefect.task_engine", "anyio._backends._asyncio"]
    loaded += ["mlflow.store.tracking.sqlalchemy_store", "mlflow.tracing.provider", "alembic.command"]
    loaded += ["sqlalchemy.dialects.sqlite"]
    step_server.start([*loaded, *(["tasks.yard.training.engine"] if with_torch else [])])


@dataclass(frozen=True)
class Made:
    """What a step returned, and when it ran: seconds since the epoch, without the start and imports of its process."""

    metrics: dict[str, Any]
    began: float
    ended: float


@contextlib.contextmanager
def in_process(stage: str, parent_run: str | None, tags: dict[str, str], *, yields: bool = False) -> Iterator[Made]:
    """Run a stage's step in a new process. Called inside a Prefect task run. One that yields leaves the cores to the
    stages beside it, as far as they want them.

    Inside the block what it made lies there, to be recorded: MLflow, which may hang, is told of it when the block ends.
    What it is told has been kept by then.
    """
    ours, theirs = fork_server.Pipe()
    job = (stage, parent_run, tags, dict(os.environ), yields)
    process = fork_server.Process(target=_work, args=(theirs, cloudpickle.dumps(serialize_context()), job))
    process.start()
    theirs.close()
    _running.add(process)
    if stopping.is_set():  # since before `stop` could see this one
        process.kill()
    try:
        kind, value = _said(ours)
        if kind == "ok":
            yield value
    finally:
        ours.close()  # which the step waits for
        process.join()
        _running.discard(process)
    if kind == "ok":
        if process.exitcode and stages.stage(stage).tracked and not stopping.is_set():
            said = "%s is made. Then its process %s. The next run tells MLflow the rest"
            get_run_logger().warning(said, stage, cause(process.exitcode))
        return
    if stopping.is_set():
        raise Stopped(stage)
    if kind == "died":
        raise StepBroken(f"its process {cause(process.exitcode)}; what was finished is kept, run again to go on")
    if kind == "bad input":
        raise BadInput(value)
    if kind == "broken":
        raise StepBroken(f"{stage} failed:\n{value}")
    if kind == "error":
        raise StepFailed(f"{stage} failed:\n{value}")


def _said(step: Connection) -> tuple[str, Any]:
    try:
        return step.recv()
    except EOFError:
        return "died", None


def stop() -> None:
    """End the steps of all threads: told to, they say so in MLflow; whoever does not listen is killed."""
    stopping.set()
    here = {process.sentinel: process.pid for process in list(_running)}
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in here.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + GRACE_S
        while here and (left_s := deadline - time.monotonic()) > 0:
            for ended in wait(list(here), left_s):
                del here[ended]


def run_here(stage: str) -> Made:
    """Run a step in this process: for one that takes less time than a new process takes to start."""
    began = time.time()
    return Made(runner.run(stage, Context()), began, time.time())


def _work(result: Connection, context: bytes, job: tuple) -> None:
    stage, parent_run, tags, environment, yields = job

    def has_made(metrics: dict[str, Any]) -> None:
        result.send(("ok", Made(metrics, began, time.time())))
        with contextlib.suppress(EOFError):
            result.recv()

    end_with_parent()
    if yields:
        os.nice(YIELDS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the flow ends its steps
    quiet_logs()
    os.environ.update(environment)
    try:
        signal.signal(signal.SIGTERM, interrupt)
        with hydrated_context(cloudpickle.loads(context)):
            ctx = Context(map=task_runs(stage), progress=progress_bars(stage))
            began = time.time()
            runner.run(stage, ctx, parent_run, tags, has_made)
    except BaseException as error:
        with contextlib.suppress(BrokenPipeError):  # nobody waits any more once it has made all
            if (said := plain(error)) is not None:
                result.send(("bad input", said))
            else:
                result.send(("broken" if lasts(error) else "error", traceback.format_exc()))


def interrupt(*_) -> None:
    logging.disable()  # of what ends now nobody needs to read
    raise KeyboardInterrupt


def task_runs(stage: str) -> Callable:
    """A map (see `tasks.yard.step.Map`) whose items are Prefect task runs, named after the recording they work on. The
    task runs are this machine's, also where the work is that of a cluster's nodes."""
    device = stages.stage(stage).uses_device

    def over_task_runs(fn, items, *, names, parallel=True):
        if not items:
            return iter(())
        context = contextvars.copy_context()

        def around(*call: Any) -> Any:
            return context.copy().run(_task_run, stage, *call)

        count = min(len(items), cores()) if parallel else 1
        if hands := crew_for(fn, len(items), parallel, device):
            get_run_logger().info("work goes to %s", hands.where)
        return mapped(fn, items, names, count, around, hands)

    return over_task_runs


def _task_run(stage: str, call: Call, name: str, fn: Callable[[Any], Any], item: Any) -> Any:
    """Run `fn(item)`, or a block of many items, as one task run; its state shows the outcome."""
    outcome: list[Any] = []

    @task(name=stage, task_run_name=f"{stage} {name}", cache_policy=NO_CACHE, persist_result=False)
    def one():
        outcome.append(call(name, fn, item))
        ends = outcome[0] if isinstance(outcome[0], list) else outcome
        bad = [str(end) for end in ends if isinstance(end, BadInput)]
        failed = [repr(end) for end in ends if isinstance(end, Exception) and not isinstance(end, BadInput)]
        if failed:
            return Failed(message="\n".join(failed))
        return Completed(name="Quarantined", message="\n".join(bad)) if bad else Completed()

    try:
        state = one(return_state=True)
    except (RuntimeError, httpx.HTTPError, PrefectException):  # of Prefect's engine: its server cannot be reached
        return outcome[0] if outcome else call(name, fn, item)
    return outcome[0] if outcome else RuntimeError(f"{name}: its task run did not begin: {state.message}")


def progress_bars(stage: str) -> Callable[..., tqdm]:
    """tqdm bars that also report to a Prefect progress artifact if the work takes longer than `LONG_S`."""

    class Bar(tqdm):
        def __init__(self, *args, **kwargs):
            self._artifact, self._began, self._reported = None, time.monotonic(), 0.0
            if not sys.stderr.isatty():
                kwargs.setdefault("mininterval", 5)
            super().__init__(*args, **kwargs)

        def display(self, *args, **kwargs):
            self._report()
            return super().display(*args, **kwargs)

        def close(self):
            if not self.disable and self._artifact:
                self._report(at_end=True)
            super().close()

        def _report(self, at_end: bool = False) -> None:
            now = time.monotonic()
            if not self.total or now - self._began < LONG_S or (now - self._reported < REPORT_EVERY_S and not at_end):
                return
            self._reported = now
            percent = round(100 * min(1.0, self.n / self.total), 1)
            with contextlib.suppress(httpx.HTTPError, PrefectException):  # the work does not hang on who watches it
                if self._artifact is None:
                    key = stage.replace("_", "-").replace("@", "-").lower()
                    self._artifact = create_progress_artifact(
                        percent, key=key, description=f"{stage}: {self.desc or 'progress'}"
                    )
                else:
                    update_progress_artifact(self._artifact, percent)

    return Bar
