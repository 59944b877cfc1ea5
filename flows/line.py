"""One line as a Prefect flow: the stages of dvc.yaml as task runs, in parallel where the graph allows it.

    python -m flows run <line> [--set line.step.key=value] [--force STEP] [--until STEP] [--wait]

The flow adds what a build system cannot do: pull and push if a DVC remote is configured, one MLflow parent run, a
result artifact, and a notification when the run fails.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.futures import PrefectConcurrentFuture
from prefect.runtime import flow_run, task_run
from prefect.states import Cancelled, Completed, Failed, State
from prefect.task_runners import ThreadPoolTaskRunner

from flows import check, clone, environment, forcing, lock, naming, notify, parameters, results, slots, worker
from flows.environment import STATE
from flows.graph import Graph, NotCached
from flows.standing import end_task_runs, note_process, standing
from flows.tracker import Tracker, judged, unjudged
from tasks.yard import ending
from tasks.yard import params as params_file
from tasks.yard import stage as stages
from tasks.yard.files import write_text
from tasks.yard.sources import watch
from tasks.yard.step import BadInput, plain
from tasks.yard.tracking.described import Run
from tasks.yard.tracking.runs import end_flow_run, link, settle_earlier, start_flow_run

RETRY_DELAYS_S = [10, 60]  # before each further try of a stage that needs the network
# Names of the states of a stage that a person has to look at: its input, or its code, has to be mended.
BAD_INPUT, BROKEN = "Bad input", "Broken"
STOPPED = "Stopped"  # somebody wanted the run to end: no failure to tell anybody of
IN_VAIN = "In vain"
NOT_NEEDED = "Not needed"  # nobody reads what it would make
PUT_BACK_S = 2.0  # for stages that were stopped to put back what they had set aside


class Plain(logging.Filter):
    """Drops what is useless of Prefect's records: an empty traceback for a stage that failed without an exception; a
    line for each later stage that could not start, which the final message of the run names; and the traceback of a
    server that fails, which the command says in a sentence."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and (record.exc_info[0] is None or issubclass(record.exc_info[0], PrefectHTTPStatusError)):
            record.exc_info = None
        return "Finished in state NotReady(" not in record.getMessage()


for name in ("prefect.task_runs", "prefect.flow_runs"):
    logging.getLogger(name).addFilter(Plain())


class LineRun:
    """What the stages of one flow run share: the graph, the device budget and, if any stage has to run, the MLflow
    parent run."""

    def __init__(self, graph: Graph, names: list[str], server: environment.Watch) -> None:
        self.graph, self.server = graph, server
        self.names = names  # of the stages that it is about
        params = params_file.load()  # as they are now
        self.params, self._machine = getattr(params, graph.line).model_dump(mode="json"), params.yard.machine
        whys = {name: params_file.not_needed(graph.line, stages.stage(name).step, params) for name in names}
        self.not_needed = {name: why for name, why in whys.items() if why}
        self.made: dict[str, worker.Made] = {}
        self.futures: dict[str, PrefectConcurrentFuture] = {}
        self.tags = {"prefect.flow_run": flow_run.name, "prefect.flow_run_id": str(flow_run.id)}
        self.tracker = Tracker()
        self._slots = slots.Slots()
        self._parent: Future[Run | None] | None = None
        heavy = [name for name in names if not stages.stage(name).needs_no_process and name not in self.not_needed]
        if any(graph.why(name) for name in heavy):
            write_text(unjudged(graph.line), "")
            worker.warm_up(any(stages.stage(name).uses_device for name in names))
            # It imports for seconds; the first stages need not wait for it.
            self._parent = ThreadPoolExecutor(1).submit(
                self.tracker, start_flow_run, graph.line, flow_run.name, self.tags
            )
        else:
            settle_earlier()

    @property
    def whole(self) -> bool:
        """Does it bring the whole line up to date? Else the report, and who leads, are those of an earlier run."""
        return len(self.names) == len(self.graph.stages)

    @property
    def parent(self) -> Run | None:
        """This flow run in MLflow; None if no stage had to run."""
        return self._parent.result() if self._parent else None

    @property
    def settled(self) -> bool:
        """Is it known whether there is such a run? It takes seconds, which a flow that is to end does not wait for."""
        return self._parent is None or self._parent.done()

    def _over(self) -> dict[str, Future[State]]:
        return {name: one.wrapped_future for name, one in list(self.futures.items()) if one.wrapped_future.done()}

    def failed(self) -> set[str]:
        """The stages that have ended and made nothing."""
        return {name for name, one in self._over().items() if one.exception() or not one.result().is_completed()}

    def _unfinished(self) -> set[str]:
        return set(self.names) - self._over().keys()

    def _turn(self, stage: stages.Stage) -> contextlib.AbstractContextManager:
        if not stage.uses_device or stage.name in self.not_needed:
            return contextlib.nullcontext()
        return self._slots.taken(slots.wanted(stage, self.params, self._machine))

    def bring_up_to_date(self, name: str) -> State:
        """Run one stage if it is out of date. The state names the outcome, so that the Prefect UI shows it."""
        stage = stages.stage(name)
        reasons, idle = self.graph.why(name), self.not_needed.get(name)
        if not reasons and idle:
            return Completed(name=NOT_NEEDED, message=idle)
        if not reasons:
            return Completed(name="Up to date", message="nothing it depends on has changed")
        if self.graph.in_vain(name, self.failed()):
            return Cancelled(name=IN_VAIN, message="what it is for cannot be finished, because another stage failed")
        get_run_logger().info("%s: %s", name, "; ".join(reasons))
        with self.graph.claimed(name):  # before anything is changed: a `dvc repro` may be running it
            if (begun := forcing.owed().get(name)) is not None:
                if not begun:
                    self.graph.discard(name)  # first: killed in the middle of it, the next run has to do it again
                    watch.forget(stage)
                    forcing.begin(name)
            elif not watch.is_open(stage) and self.graph.restore(name):
                return Completed(name="Restored", message="made before from the same inputs: back from DVC's run cache")
            self.graph.refuse_if_missing(name)
            with self._turn(stage), contextlib.ExitStack() as telling:
                with self.graph.aside(name):
                    if idle:
                        worker.run_here(name)
                    elif stage.needs_no_process:
                        self.made[name] = worker.run_here(name)
                    else:
                        parent = self.parent if stage.tracked else None
                        # Not one that others may wait for: what has the device is done with it the sooner the better.
                        yields = not stage.uses_device and self.graph.can_wait(name, self._unfinished())
                        step = worker.in_process(name, parent and parent.id, self.tags, yields=yields)
                        self.made[name] = telling.enter_context(step)
                try:
                    self.graph.record(name)  # still claimed: a `dvc repro` between the two would run the stage again
                except NotCached:  # made from scratch it is: the next run records it
                    forcing.done(name)
                    raise
                forcing.done(name)
        return Completed(name=NOT_NEEDED, message=idle) if idle else Completed(message="; ".join(reasons))


@dataclass(frozen=True)
class Outcome:
    """The final state of each stage by name, the results of the steps that ran, and the champion."""

    states: dict[str, str]
    made: dict[str, worker.Made]
    champion: str | None = None  # the outcome of the comparison, with its reason
    whole: bool = True  # False: `until` or `only` left stages out


_current: ContextVar[LineRun] = ContextVar("the flow run that a stage's task belongs to")


def bring_up_to_date(name: str) -> State:
    # Prefect's own delay before a retry is a sleep that nothing ends.
    if task_run.run_count > 1 and worker.stopping.wait(RETRY_DELAYS_S[task_run.run_count - 2]):
        return Cancelled(name=STOPPED)
    try:
        return _current.get().bring_up_to_date(name)
    except (BadInput, OSError) as error:  # a person has to fix the input: no traceback, and a retry would not help
        if (said := plain(error)) is None:
            raise
        return Failed(name=BAD_INPUT, message=said)
    except worker.StepBroken as error:
        return Failed(name=BROKEN, message=str(error))
    except worker.StepFailed as error:
        return Failed(message=str(error))
    except worker.Stopped:
        return Cancelled(name=STOPPED)


def may_be_better_next_time(task, task_run, state: State) -> bool:
    """Prefect calls this before a retry: a network error may pass, but bad input stays bad, and so does broken code."""
    return state.name not in (BAD_INPUT, BROKEN) and not worker.stopping.is_set()


# Not a decorator: Prefect pickles the running task for the worker process. A function is pickled by reference only if
# its module still has it under its own name.
run_stage = task(bring_up_to_date, cache_policy=NO_CACHE, persist_result=False)


def name_and_note() -> str:
    """What a run is called. Prefect asks once, before it believes the run at work: who is killed from there on is ended
    by somebody."""
    note_process()
    return naming.run_name()


@flow(
    name="line",
    flow_run_name=name_and_note,
    task_runner=ThreadPoolTaskRunner(),  # unbounded: a stage that waits for others holds a thread
    on_failure=[notify.tell_someone],
    on_crashed=[notify.tell_someone],
    persist_result=False,
)
def run_line(
    line: str = "brake_coast",
    assignments: list[str] | None = None,
    force: list[str] | None = None,
    wait: bool = False,
    until: str | None = None,
    only: str | None = None,
) -> Outcome:
    """Bring a line up to date.

    Args:
        line: a folder of `tasks`.
        assignments: `line.step.key=value`, written into params.yaml after validation.
        force: steps to run even if nothing has changed, from scratch.
        wait: wait for another run that holds this checkout, instead of failing.
        until: run this step and what it needs, and nothing that comes after it.
        only: run this step alone, on what lies there.

    Returns:
        The outcome of each stage. If a stage fails the run fails, with the reason.
    """
    try:
        ending.on_signals()  # Prefect's own handler gives no limit, to a push or a challenge least of all
        if assignments:  # before anything else refuses this run, and leaves an address in Prefect's database
            params_file.set_values(assignments, write=False)
        params_file.refuse_unknown_line(line)  # a deployment's line may be misspelt: no stage would run, every night
        with lock.checkout(STATE, wait=wait):
            about = stages.chosen_entries(line, until, only)
            check.refuse(line, assignments or [], force or [], about)
            changes = params_file.set_values(assignments) if assignments else {}
            params_file.load()
            graph = Graph(line)
            graph.take_over()
            with standing() as server:
                names = stages.chosen(line, graph.stages, until, only)
                forcing.ask(stages.asked_for(line, force or [], names))
                graph.pull()  # before it is asked what has to be made
                ended = _run(LineRun(graph, names, server))
                if isinstance(ended, Outcome):
                    clone.propose(line)
                    _tell(line, ended)
        if changes and isinstance(ended, State):  # only a step can tell whether a source is any good
            kept = "; ".join(f"{key}: {now}, was {before}" for key, (before, now) in changes.items())
            return Failed(message=f"{ended.message}\nparams.yaml keeps what --set wrote ({kept})")
        return ended
    except lock.Held as error:
        return Failed(name="Held", message=str(error))
    except params_file.ParamsError as error:  # the command looks first: these came from Prefect's pages or its API
        return Failed(message=f"{error}{parameters.forget(assignments or [])}")
    except BadInput as error:
        return Failed(message=str(error))
    except KeyboardInterrupt:
        return Cancelled(name=STOPPED, message=ending.LINE)
    except environment.ServerGone:  # Prefect would try to reach it for minutes
        ending.leave()


def _tell(line: str, ended: Outcome) -> None:
    """A word of a run that ended well, for whoever has asked for it; the table is of another run if this was a part."""
    numbers = results.headline(line) if ended.whole else {}
    shown = ", ".join(f"{key.removeprefix('headline/')} {value:g}" for key, value in numbers.items())
    table = results.table(line) if ended.whole else ""
    notify.tell_of_success(flow_run.name, list(ended.made), len(ended.states), ended.champion, shown, table)


def _run(run: LineRun) -> Outcome | State:
    try:
        return _ended(run)
    finally:
        with contextlib.suppress(OSError):  # a full disk has been said
            results.keep_took(dict(run.made))  # of one that failed too; a thread may still add to it
        if run.settled:  # else its process ends with this one
            run.tracker.end()


def _ended(run: LineRun) -> Outcome | State:
    line = run.graph.line
    try:
        states = _run_stages(run)
    except BaseException as error:  # told to end, or crashed: nothing of it may go on, or stay "running"
        _stop(run, error)
        raise
    failed = {name: state for name, state in states.items() if not state.is_completed()}
    if run.parent:
        told = run.whole and not failed  # else the report would be that of an earlier run
        pages = results.pages(line) if told else []
        status = "FAILED" if failed else "FINISHED"
        numbers = {**(results.headline(line) if told else {}), **results.best(run.made)}
        note = results.note(line) if told else ""
        run.tracker(end_flow_run, run.parent, status, numbers, pages, run.params, note, results.metrics(run.made))
    if failed:
        own = {name: state for name, state in failed.items() if state.name not in ("NotReady", IN_VAIN)}
        lines = [f"{name}: {state.message or state.name}" for name, state in own.items()]
        if waiting := [name for name, state in failed.items() if state.name == "NotReady"]:
            lines.append(f"not started, because they need the outputs of these: {', '.join(waiting)}")
        if spared := [name for name, state in failed.items() if state.name == IN_VAIN]:
            lines.append(f"not started, because all that they are for is among those: {', '.join(spared)}")
        try:
            run.graph.push()  # a stage that fails every night must not keep what the others make from the remote
        except BadInput as error:
            lines.append(str(error))
        evaluated = states.get(f"{line}-evaluate")
        if run.whole and evaluated and evaluated.is_completed() and (verdict := _challenge_of_failed(run, failed)):
            lines.append(f"Champion: {verdict}")
        return Failed(message="\n".join(lines))
    if not run.whole:  # nobody is judged by half a run: evaluate may speak of other networks than train has made
        run.graph.push()
        return Outcome({name: state.name for name, state in states.items()}, run.made, whole=False)
    try:
        verdict = _challenge(run)
    except Exception:  # a fault of the line's own code must not keep what the stages made from the remote
        run.graph.push()
        raise
    key = f"{line.replace('_', '-')}-result"
    if served := results.mlflow_server():  # a night in which nothing was to be made need not import MLflow for a link
        own = run.parent and run.parent.id
        shown = (not own and results.all_runs(line, served)) or run.tracker(link, served, line, own)
    else:
        shown = f"`make serve` shows the runs of {line}"
    text = "\n\n".join([results.markdown(line, shown), *([f"Champion: {verdict}"] if verdict else [])])
    create_markdown_artifact(text, key=key, description=f"{line}: result")
    run.graph.push()  # last: a remote that fails must cost neither the challenge nor the page
    return Outcome({name: state.name for name, state in states.items()}, run.made, verdict)


def _challenge_of_failed(run: LineRun, failed: Iterable[str]) -> str | None:
    """A fault of the challenge, too, must not hide why the run failed."""
    try:
        return _challenge(run, frozenset(stages.stage(name).step for name in failed))
    except Exception as error:
        return f"nobody was judged: {type(error).__name__}: {error}"


def _challenge(run: LineRun, failed: frozenset[str] = frozenset()) -> str | None:
    """What became of the champion; None if nothing of the line is another than when somebody was judged last. `failed`:
    the steps that are not up to date."""
    line, now = run.graph.line, run.graph.recorded()
    last = STATE / "judged" / line
    if not last.exists() or last.read_text(encoding="utf-8") != now:  # `dvc repro` has made it, or another clone
        write_text(unjudged(line), "")
    verdict = run.tracker(judged, line, failed) if unjudged(line).exists() else None
    if not unjudged(line).exists():
        write_text(last, now)
    return verdict


def _stop(run: LineRun, error: BaseException) -> None:
    """End what belongs to the run, in seconds if it was told to: docker waits 10."""
    if gone := isinstance(error, environment.ServerGone):
        ending.hurry(f"error: {error}", 1)
    if told := gone or isinstance(error, KeyboardInterrupt):
        logging.disable()  # that one line says it all
    worker.stop()
    wait([future.wrapped_future for future in run.futures.values()], PUT_BACK_S)
    if run.settled and run.parent:
        run.tracker(end_flow_run, run.parent, "KILLED" if told else "FAILED", {}, [], {}, "", results.metrics(run.made))
    if not gone:
        with get_client(sync_client=True) as server:
            end_task_runs(server, UUID(str(flow_run.id)), Cancelled(name=STOPPED))


def _run_stages(run: LineRun) -> dict[str, State]:
    _current.set(run)
    for name in sorted({before for one in run.names for before in run.graph.before(one)} - set(run.names)):
        if reasons := run.graph.why(name):
            get_run_logger().warning("%s is read as it lies there: %s", name, "; ".join(reasons))
    futures = run.futures
    for name in run.names:
        network = stages.stage(name).entry.get("meta", {}).get("network", False)
        stage_task = run_stage.with_options(
            name=name,
            task_run_name=name,
            retry_condition_fn=may_be_better_next_time,
            retries=len(RETRY_DELAYS_S) if network else 0,
        )
        futures[name] = stage_task.submit(
            name, wait_for=[futures[before] for before in run.graph.before(name) if before in futures]
        )
    open_ones = {future.wrapped_future for future in futures.values()}
    with run.server.looked_at():
        while open_ones:
            _, open_ones = wait(open_ones, timeout=1)
            run.server.look()
    for future in futures.values():
        future.wait()
    return {name: future.state for name, future in futures.items()}
