"""Detects changes of sources outside the project. DVC checks neither a URI nor a path in params.yaml, so a stage that
reads some has one more out, which tells in what state it read each of them; the flow compares.

This is how a nightly run finds new recordings in a folder, a bucket or a download. The out goes where the stage's
results go, so a fresh checkout or another machine compares with what was really read.

Writes data/sources/<stage>.json   {uri or path: fingerprint, or null if it could not be asked}; no stage depends on it
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.yard import params as params_file
from tasks.yard.files import write_json
from tasks.yard.sources import local as sources
from tasks.yard.sources.present import PATHS, URIS
from tasks.yard.stage import Stage

log = logging.getLogger(__name__)
SEEN = Path("data/sources")
NEWS = "the source has changed"


def seen_file(stage: Stage) -> Path:
    return SEEN / f"{stage.name}.json"


def _is_open(uri: str) -> bool:
    return not uri.startswith("synth://")


def _is_ours_to_watch(stage: Stage, path: str) -> bool:
    """Does the path exist, outside the folders that the stage reads or writes? DVC checks those itself."""
    place = Path(path).expanduser()
    folders = [dep.partition("/${")[0] for dep in stage.data_deps()] + [f"data/{stage.line}/{stage.step}"]
    return place.exists() and not any(place.resolve().is_relative_to(Path(folder).resolve()) for folder in folders)


def watched(stage: Stage, params: Any) -> list[tuple[str, Any]]:
    """(name, value) of each param that may point outside: `params` of dvc.yaml names a whole section, its own or
    another's, or a key of one."""
    found = []
    for name in stage.entry.get("params", []):
        line, section, *key = name.split(".")
        if len(key) < 2:
            values = getattr(getattr(params, line), section)
            wanted = key or type(values).model_fields
            found += [(name, getattr(values, name)) for name in wanted if name in (*URIS, *PATHS)]
    return found


def _outside(stage: Stage) -> list[str]:
    """The URIs and paths that the stage reads and DVC does not check, in the order of its params."""
    found, params = [], params_file.load()
    if params_file.not_needed(stage.line, stage.step, params):
        return []
    for name, value in watched(stage, params):
        places = [value] if isinstance(value, str) else value or []
        found += [place for place in places if (_is_open(place) if name in URIS else _is_ours_to_watch(stage, place))]
    return found


def is_open(stage: Stage) -> bool:
    """Does the stage read an outside source? Its cached outs may then be out of date."""
    return bool(_outside(stage))


def forget(stage: Stage) -> None:
    """Its step, which is to begin from scratch, fetches anew also what nothing tells the version of."""
    for uri in _outside(stage):
        sources.forget(uri)


def look(stage: Stage) -> dict[str, str | None]:
    """{uri: fingerprint of what it holds now; None if it cannot be asked}"""
    seen: dict[str, str | None] = {}
    for uri in _outside(stage):
        try:
            seen[uri] = sources.fingerprint(uri)
        except Exception as error:  # offline: the data we have stay valid
            log.warning("%s: cannot check its source now (%s)", stage.name, error)
            seen[uri] = None
    return seen


def news(stage: Stage, seen: dict[str, str | None]) -> list[str]:
    """[NEWS] if an outside source has changed since the stage saw it. One that the stage has not seen is a change of
    its params, which DVC notices."""
    now = look(stage)
    return [NEWS] if any(now[uri] and now[uri] != seen[uri] for uri in now.keys() & seen.keys()) else []


@contextmanager
def remembered(stage: Stage) -> Iterator[None]:
    """Write down how the sources were before the block, so that the next run notices what changes meanwhile; only if
    the block succeeds."""
    is_watched = bool(watched(stage, params_file.load()))
    seen = look(stage) if is_watched else {}
    yield
    if is_watched:
        write_json(seen_file(stage), seen)
