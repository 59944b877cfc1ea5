"""Detects changes of sources outside the project. DVC does not check a URI, nor a path in params.yaml, so the flow
remembers the state of each source when it was last read.

This is how a nightly run finds new recordings in a folder, a bucket or a download.
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
URIS = ("source", "extra_sources")  # params of these names hold URIs that tasks/yard/sources/local.py opens
PATHS = ("weights", "queries")  # and of these a file or folder, or the name of published weights


def _is_open(uri: str) -> bool:
    return not uri.startswith("synth://")


def _is_ours_to_watch(stage: Stage, path: str) -> bool:
    """Does the path exist, outside the folders that the stage reads or writes? DVC checks those itself."""
    place = Path(path).expanduser()
    folders = [dep.partition("/${")[0] for dep in stage.data_deps()] + [f"data/{stage.line}/{stage.step}"]
    return place.exists() and not any(place.resolve().is_relative_to(Path(folder).resolve()) for folder in folders)


def _outside(stage: Stage) -> list[str]:
    """The URIs and paths that the stage reads and DVC does not check, in the order of its params."""
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
    """[NEWS] if an outside source of the stage has changed since it was last read."""
    try:
        now = look(stage)
    except Exception as error:  # offline: the data we have stay valid
        log.warning("%s: cannot check its source now (%s)", stage.name, error)
        return []
    if now is None:
        return []
    memory = _memory(stage)
    before = read_json(memory) if memory.exists() else {}
    if before.keys() != now.keys():  # made by `dvc repro`: assume that it read the current state
        write_json(memory, now)
        return []
    return [NEWS] if before != now else []


def is_open(stage: Stage) -> bool:
    """Does the stage read an outside source? Its cached outs may then be out of date."""
    return bool(_outside(stage))


def look(stage: Stage) -> dict[str, str] | None:
    """{uri: fingerprint}, taken before the stage runs, so that the next run notices what changes meanwhile."""
    return {uri: sources.fingerprint(uri) for uri in _outside(stage)} or None


def remember(stage: Stage, seen: dict[str, str] | None) -> None:
    if seen is not None:
        write_json(_memory(stage), seen)
