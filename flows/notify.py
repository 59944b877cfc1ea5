"""Tell someone how a run ended: TRAINYARD_NOTIFY holds one or more Apprise URLs (mail, Slack, ntfy, Teams, ...).

TRAINYARD_NOTIFY_ON (failure): of what, as a list with commas. `failure`: a run failed, a night did not happen, the
schedules stopped. `success`: a run ended well, with the table that it printed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Literal

from tasks.yard.step import BadInput

log = logging.getLogger(__name__)
Kind = Literal["failure", "success"]
KINDS = ("failure", "success")
LONGEST = 3_000  # characters of a message; ntfy and others cut at 4,096 bytes


def wanted() -> set[str]:
    """Raises `BadInput` for a word that is neither."""
    said = os.environ.get("TRAINYARD_NOTIFY_ON", "").replace(",", " ").split() or ["failure"]
    if unknown := [word for word in said if word not in KINDS]:
        raise BadInput(f"TRAINYARD_NOTIFY_ON: unknown {unknown[0]!r}; say failure, success or failure,success")
    return set(said)


def tell_someone(flow, flow_run, state) -> None:
    """Prefect's hook for a failed or crashed flow run."""
    text = f"{flow_run.name} {state.name.lower()}: {state.message or 'no message'}"
    log.error("%s", text)
    send(f"Trainyard: {flow_run.name} failed", text)


def tell_of_success(run: str, made: Sequence[str], stages: int, verdict: str | None, numbers: str, table: str) -> None:
    """`made`: the stages that had to run, of so many; `numbers` and `table`: what the report says, empty if the run was
    a part of a line."""
    if made:
        done = f"{run} has ended well: {len(made)} of {stages} stages ran, the others were up to date."
    else:
        done = f"{run} has ended well: all {stages} stages were up to date."
    parts = [done, f"Champion: {verdict}" if verdict else "", numbers, table]
    send(f"Trainyard: {run} is done", shortened("\n\n".join(filter(None, parts))), "success")


def shortened(text: str) -> str:
    """Whole lines, as many as a message holds."""
    if len(text) <= LONGEST:
        return text
    kept = text[:LONGEST].rpartition("\n")[0]
    left = text[len(kept) :].count("\n")
    return f"{kept}\n... and {left} more lines: the report has them."


def send(title: str, text: str, kind: Kind = "failure") -> None:
    """To all addresses of TRAINYARD_NOTIFY, if there are any and somebody wants to hear of this. Never raises: a run is
    as good as it was without a message."""
    urls = os.environ.get("TRAINYARD_NOTIFY", "").split()
    try:
        if not urls or kind not in wanted():
            return
        import apprise

        messenger = apprise.Apprise()
        messenger.add(urls)
        sent = messenger.notify(title=title, body=text, body_format=apprise.NotifyFormat.TEXT)
    except Exception as error:  # of whatever library its address needs; it may name the address, which is a secret
        log.error("could not send the notification (%s): check TRAINYARD_NOTIFY", type(error).__name__)
        return
    if not sent:
        log.error("could not send the notification: check TRAINYARD_NOTIFY")
