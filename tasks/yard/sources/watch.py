"""Detects changes of sources outside the project. DVC checks neither a URI nor a path in params.yaml, so a stage that
ran remembers the state in which it read each of them, at both doors; the flow compares.

This is how a nightly run finds new recordings in a folder, a bucket or a download.

Writes .trainyard/sources/<stage>.json   {uri or path: fingerprint} of the last run that succeeded
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.yard import params as params_file
from tasks.yard.files import read_json, write_json
from tasks.yard.sources import local as sources
from tasks.yard.sources.present import PATHS, URIS
from tasks.yard.stage import Stage

log = logging.getLogger(__name__)
MEMORY = Path(".trainyard/sources")
NEWS = "the source has changed"


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
    return MEMORY / f"{stage.name}.json"


def news(stage: Stage) -> list[str]:
    """[NEWS] if an outside source of the stage has changed since the stage read it."""
    try:
        now = look(stage)
    except Exception as error:  # offline: the data we have stay valid
        log.warning("%s: cannot check its source now (%s)", stage.name, error)
        return []
    memory = _memory(stage)
    before = read_json(memory) if memory.exists() else {}
    if before.keys() != now.keys():  # its outs came from a DVC remote or the run cache: nobody here has read the source
        remember(stage, now)
        return []
    return [NEWS] if before != now else []


def is_open(stage: Stage) -> bool:
    """Does the stage read an outside source? Its cached outs may then be out of date."""
    return bool(_outside(stage))


def look(stage: Stage) -> dict[str, str]:
    """{uri: fingerprint}, taken before the stage runs, so that the next run notices what changes meanwhile."""
    return {uri: sources.fingerprint(uri) for uri in _outside(stage)}


def remember(stage: Stage, seen: dict[str, str]) -> None:
    if seen:
        write_json(_memory(stage), seen)


@contextmanager
def remembered(stage: Stage) -> Iterator[None]:
    """Remember the state of the sources before the block, if the block succeeds. A source that cannot be asked now is
    not remembered: whether its state matters the stage itself will say."""
    try:
        seen = look(stage)
    except Exception as error:
        log.debug("%s: its source cannot be asked (%s)", stage.name, error)
        seen = {}
    yield
    remember(stage, seen)
