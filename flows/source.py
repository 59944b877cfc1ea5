"""Has a source something new? DVC cannot see behind a URI, so the flow remembers what a source held when it was last
read.

A nightly run over a folder, a bucket or a download that has gained one recording is how new data come in.
"""

from __future__ import annotations

import logging
from pathlib import Path

from flows.environment import STATE
from tasks import params as params_file
from tasks import sources
from tasks.files import read_json, write_json
from tasks.runner import Stage

log = logging.getLogger(__name__)
NEWS = "the source has changed"


def _uri(stage: Stage) -> str | None:
    return getattr(getattr(getattr(params_file.load(), stage.line), stage.step), "source", None)


def _memory(stage: Stage) -> Path:
    return STATE / "sources" / f"{stage.name}.json"


def news(stage: Stage) -> list[str]:
    """[NEWS] if the stage reads a source that holds something else than when it was last read."""
    uri = _uri(stage)
    if uri is None or uri.startswith("synth://"):
        return []
    try:
        now = sources.fingerprint(uri)
    except Exception as error:  # offline tonight: what is here stays good
        log.warning("%s: cannot look at its source now (%s)", stage.name, error)
        return []
    memory = _memory(stage)
    before = read_json(memory) if memory.exists() else {}
    if before.get("uri") != uri:  # made at DVC's door: take what is there for what it read
        write_json(memory, {"uri": uri, "fingerprint": now})
        return []
    return [NEWS] if before["fingerprint"] != now else []


def is_open(stage: Stage) -> bool:
    """Does the stage read a source that may hold something else tomorrow? What was made from it before may be out of
    date."""
    uri = _uri(stage)
    return uri is not None and not uri.startswith("synth://")


def look(stage: Stage) -> dict | None:
    """What the source holds now: taken before the stage runs, so that what comes meanwhile is news to the next run."""
    if not is_open(stage):
        return None
    uri = _uri(stage)
    return {"uri": uri, "fingerprint": sources.fingerprint(uri)}


def remember(stage: Stage, seen: dict | None) -> None:
    if seen is not None:
        write_json(_memory(stage), seen)
