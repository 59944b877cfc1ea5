"""Has something outside the yard changed that a stage reads? DVC cannot see behind a URI, nor follow a path that stands
in params.yaml, so the flow remembers what was there when it was last read.

A nightly run over a folder, a bucket or a download that has gained one recording is how new data come in.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from flows.environment import STATE
from tasks.yard import params as params_file
from tasks.yard.files import read_json, write_json
from tasks.yard.sources import local as sources
from tasks.yard.stage import Stage

log = logging.getLogger(__name__)
NEWS = "the source has changed"
URIS = ("source", "extra_sources")  # params by these names hold what tasks/yard/sources/local.py opens
PATHS = ("weights", "queries")  # and these a file or folder, unless it is a name that somebody publishes


def _is_open(uri: str) -> bool:
    return not uri.startswith("synth://")


def _is_ours_to_watch(stage: Stage, path: str) -> bool:
    """There, and not in a folder that the stage reads or writes by the graph, which itself tells what changed in it."""
    place = Path(path).expanduser()
    folders = [dep.partition("/${")[0] for dep in stage.data_deps()] + [f"data/{stage.line}/{stage.step}"]
    return place.exists() and not any(place.resolve().is_relative_to(Path(folder).resolve()) for folder in folders)


def _outside(stage: Stage) -> list[str]:
    """What the stage reads that the graph does not know, in the order of its params."""
    if not stage.line:
        return []
    section = getattr(getattr(params_file.load(), stage.line), stage.step, None)  # None: a step without params

    def named(keys: Iterable[str]) -> list[str]:
        values = [getattr(section, key, None) for key in keys]
        return [uri for value in values for uri in ([value] if isinstance(value, str) else value or [])]

    return [*filter(_is_open, named(URIS)), *(path for path in named(PATHS) if _is_ours_to_watch(stage, path))]


def _memory(stage: Stage) -> Path:
    return STATE / "sources" / f"{stage.name}.json"


def news(stage: Stage) -> list[str]:
    """[NEWS] if the stage reads something outside that is not what it was when it was last read."""
    try:
        now = look(stage)
    except Exception as error:  # offline tonight: what is here stays good
        log.warning("%s: cannot look at its source now (%s)", stage.name, error)
        return []
    if now is None:
        return []
    memory = _memory(stage)
    before = read_json(memory) if memory.exists() else {}
    if before.keys() != now.keys():  # made at DVC's door: take what is there for what it read
        write_json(memory, now)
        return []
    return [NEWS] if before != now else []


def is_open(stage: Stage) -> bool:
    """Does the stage read what may be something else tomorrow? What was made from it before may be out of date."""
    return bool(_outside(stage))


def look(stage: Stage) -> dict[str, str] | None:
    """{uri: what it holds now}, taken before the stage runs, so that what comes meanwhile is news to the next run."""
    return {uri: sources.fingerprint(uri) for uri in _outside(stage)} or None


def remember(stage: Stage, seen: dict[str, str] | None) -> None:
    if seen is not None:
        write_json(_memory(stage), seen)
