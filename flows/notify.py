"""Tell someone that a run failed or did not happen: TRAINYARD_NOTIFY holds one or more Apprise URLs (mail, Slack, ntfy,
Teams, ...)."""

from __future__ import annotations

import logging
import os

import apprise

log = logging.getLogger(__name__)


def tell_someone(flow, flow_run, state) -> None:
    """Prefect's hook for a failed or crashed flow run."""
    text = f"{flow_run.name} {state.name.lower()}: {state.message or 'no message'}"
    log.error("%s", text)
    send(f"Trainyard: {flow_run.name} failed", text)


def send(title: str, text: str) -> None:
    """To all addresses of TRAINYARD_NOTIFY, if there are any."""
    urls = os.environ.get("TRAINYARD_NOTIFY", "").split()
    if urls:
        messenger = apprise.Apprise()
        messenger.add(urls)
        if not messenger.notify(title=title, body=text):
            log.error("could not send the notification: check TRAINYARD_NOTIFY")
