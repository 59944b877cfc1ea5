"""Has a source something new? DVC cannot see behind a URI, so the flow remembers what a source held when it was last read.

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
    if not memory.exists():  # made at DVC's door: take what is there for what it read
        remember(stage)
        return []
    before = read_json(memory)
    return [NEWS] if before["uri"] == uri and before["fingerprint"] != now else []


def remember(stage: Stage) -> None:
    uri = _uri(stage)
    if uri is not None and not uri.startswith("synth://"):
        write_json(_memory(stage), {"uri": uri, "fingerprint": sources.fingerprint(uri)})
