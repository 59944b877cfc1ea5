"""The state of the yard's stages: which are up to date, and why the others are not.

python -m flows status [--json]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from flows import forcing, lock
from flows.environment import STATE, TOOK
from tasks.yard import params
from tasks.yard import stage as stage_entries
from tasks.yard.files import read_if_there
from tasks.yard.stage import CODE


def stages(lines: list[str], *, apart: bool = False) -> Iterator[tuple[str, str, list[str]]]:
    """(line, stage, the reasons why it has to run) of each stage, `code` once and of no line. `apart`: see `Graph`."""
    from flows.graph import Graph

    shown: set[str] = set()
    graph = None
    for line in lines:
        graph = Graph(line, apart=apart, repo=graph.repo if graph else None)
        for name in [name for name in graph.stages if name not in shown]:
            shown.add(name)
            yield line if name.startswith(f"{line}-") else "", name, graph.why(name)


def told(line: str | None = None, *, apart: bool = False) -> dict[str, Any]:
    """What a script asks for: {"at", "running", "code", "lines": {line: {"up_to_date", "stages": {stage: reasons},
    "took": {stage: seconds}}}}.

    `running`: who holds this checkout now, None if nobody does; what is being made looks changed meanwhile. `took`: in
    the step, when a flow of this checkout ran it last; a stage that none has run is not there.
    """
    lines, took = [line] if line else params.lines(), read_if_there(TOOK)
    found: dict[str, dict[str, list[str]]] = {name: {} for name in lines}
    code: list[str] = []
    for of, name, reasons in stages(lines, apart=apart):
        if of:
            found[of][name] = reasons
        else:
            code = reasons
    return {
        "at": datetime.now().astimezone().isoformat(timespec="seconds"),
        "running": lock.holder(STATE),
        "code": code,
        "lines": {
            name: {
                "up_to_date": not any(of.values()),
                "stages": of,
                "took": {stage: seconds for stage, seconds in took.items() if stage in of},
            }
            for name, of in found.items()
        },
    }


def marks(root: Path = Path()) -> list[tuple[str, int]]:
    """What a stage's state hangs on in this checkout, by its times of change: alike twice, nothing has been edited."""
    named = [root / name for name in ("dvc.yaml", "dvc.lock", "params.yaml")]
    code = [path for room in ("tasks", "models") for path in sorted((root / room).rglob("*.py"))]
    return [(str(path), path.stat().st_mtime_ns) for path in [*named, *code] if path.is_file()]


def plan(
    line: str,
    changes: Mapping[str, tuple[Any, Any]],
    force: list[str],
    until: str | None = None,
    only: str | None = None,
) -> dict[str, list[str]]:
    """{stage: why it would run} of a run that would change params so: {key: (value before, value now)}.

    The items of a matrix are those of today. Whether a stage makes something else than before is known only once it has
    run: what comes after it is listed with that reason.
    """
    from flows.graph import Graph

    graph = Graph(line)
    names = stage_entries.chosen(line, graph.stages, until, only)
    forced = stage_entries.asked_for(line, force, names) - forcing.owed().keys()  # those `why` knows
    found: dict[str, list[str]] = {}
    for name in names:
        sections = [key for key in stage_entries.stage(name).entry.get("params", []) if isinstance(key, str)]
        own = [
            f"param {key} {before} -> {now}"
            for key, (before, now) in changes.items()
            if any(f"{key}.".startswith(f"{section}.") for section in sections)
        ]
        earlier = [other for other in graph.before(name) if found.get(other) and other != CODE]  # `why` knows code
        late = [f"{', '.join(earlier)} may make something else"] if earlier else []
        found[name] = [*([forcing.REASON] if name in forced else []), *own, *graph.why(name)] or late
    return found
