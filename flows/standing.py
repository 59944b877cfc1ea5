"""Which flow runs of this checkout Prefect may believe at work: a file a run, from its first moment on. A run whose
process was killed, or whose server was, tells nobody that it has ended: the next run does.

Writes .trainyard/flow_runs/<id of the flow run>   HELD while the run has the checkout, else the process that it is of
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Crashed, State

from flows import environment, lock
from flows.environment import STATE
from flows.lock import HELD
from tasks.yard.files import is_at_work, owner, write_text

BEGUN = STATE / lock.BEGUN
OPEN = TaskRunFilter(
    state=TaskRunFilterState(
        type=TaskRunFilterStateType(any_=[StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING])
    )
)


def _note(text: str) -> None:
    with contextlib.suppress(OSError):  # that a disk is full others say
        write_text(BEGUN / str(flow_run.id), text)


def note_process() -> None:
    """Of this flow run, before all else: it may be killed before it has begun, or while it waits for the checkout."""
    _note(owner())


@contextlib.contextmanager
def standing() -> Iterator[environment.Watch]:
    """While this run has the checkout: leave if the server ends. First tell Prefect of those that were killed."""
    server_of_run = environment.guarded()
    end_killed()
    _note(HELD)
    try:
        yield server_of_run
    except environment.ServerGone:  # it cannot be told now how the run ended
        raise
    except BaseException:
        note_process()
        raise
    note_process()  # its last state is told when the flow's function has returned: until then it is at work


def end_killed() -> None:
    """To be called with the checkout in hand: who still has it by his word is gone."""
    for file in BEGUN.glob("*"):
        with contextlib.suppress(FileNotFoundError, ValueError):  # another run's last moment; no id
            said, run = file.read_text(encoding="utf-8"), UUID(file.name)
            if said != HELD and is_at_work(said, file.stat().st_mtime):
                continue
            with contextlib.suppress(ObjectNotFound), get_client(sync_client=True) as server:  # of another server
                state, killed = server.read_flow_run(run).state, Crashed(message="its process was killed")
                if state and not state.is_final():  # a runner of Prefect's may have told it
                    server.set_flow_run_state(run, killed, force=True)
                end_task_runs(server, run, killed)
            file.unlink()


def end_task_runs(server: SyncPrefectClient, run: UUID, state: State) -> None:
    """Of a flow run that has ended: Prefect leaves task runs whose process is gone open for good."""
    mine = FlowRunFilter(id=FlowRunFilterId(any_=[run]))
    for one in server.read_task_runs(flow_run_filter=mine, task_run_filter=OPEN):
        server.set_task_run_state(one.id, state, force=True)
