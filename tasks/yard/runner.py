"""Runs one stage's step, the same way at both doors: its section of params.yaml, its folders, its context, its MLflow
run.

A stage `<line>-<step>` (or `<line>-<step>@<item>` of a DVC matrix) is `run` in `tasks/<line>/<step>.py`. What it is
handed stands in its signature, and nowhere else: `data/<line>/<upstream>` for the name of an upstream step ({item:
folder} where that is a matrix), its own item under the matrix's key, and for `<section>_params` the section of another
step of its line, or one that all lines share (`yard.<section>`). A step without params of its own is handed None for
them. It writes `data/<line>/<step>[/<item>]`. A step that is not needed with these params is not run: its folder then
holds `not_needed.txt`, which says why; what it made before waits in `data/.cache/not_needed`, and comes back when the
step is needed again.

A module may have `refuse_in_vain(line, out, **inputs)` besides, which is called before anything is changed, with all
params of the line: it raises `BadInput` where what the step would make is for nothing, as steps after it are going to
refuse. As nothing is made by it, DVC tracks none of these params.
"""

from __future__ import annotations

import inspect
import logging
import shutil
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.yard import afar, code, splits
from tasks.yard import params as params_file
from tasks.yard.files import digest, file_hash, sweep, write_text
from tasks.yard.reporting.stamp import LICENCE, stamp
from tasks.yard.sources import watch
from tasks.yard.stage import Stage, entries, matrix_items, stage
from tasks.yard.step import BadInput, Context, suggestion
from tasks.yard.tracking import origin
from tasks.yard.tracking.runs import ranked_first, stage_run

log = logging.getLogger(__name__)
BORROWED = "_params"
NOT_NEEDED = "not_needed.txt"
IN_VAIN = "refuse_in_vain"
WAITING = Path("data/.cache/not_needed")  # as below data/; it may be the only copy: of a half training DVC has none


def _input(this: Stage, name: str, params: Any) -> Path | str | dict[str, Path] | params_file.Section | None:
    """What a step's keyword argument stands for."""
    if name in this.entry.get("matrix", {}):
        return this.item
    if name.endswith(BORROWED):
        section, line = name.removesuffix(BORROWED), getattr(params, this.line)
        for place in (line, params.yard):
            if section in type(place).model_fields:
                return getattr(place, section)
        known = [f"{key}{BORROWED}" for place in (line, params.yard) for key in type(place).model_fields]
        raise BadInput(f"{this.name}: its run asks for {name!r}, which is no section; {suggestion(name, known)}")
    steps = [base.partition("-")[2] for base in entries() if base.startswith(f"{this.line}-")]
    if name not in steps:
        raise BadInput(f"{this.name}: its run asks for {name!r}, which is no step; {suggestion(name, steps)}")
    folder = Path("data", this.line, name)
    items = matrix_items(f"{this.line}-{name}", params)
    return folder if items is None else {item: folder / item for item in items}


def _code_hash(this: Stage) -> str:
    """Changes with the code that the stage uses, as it is now: kept work must not outlive what made it."""
    if not this.line:
        return ""
    return digest(code.of(this.line, this.step), [(str(path), file_hash(path)) for path in this.code_files()])


def _logged(section: params_file.Section | None, inputs: dict[str, Any], yard: params_file.Yard) -> dict[str, Any]:
    """The params of a step's MLflow run: its own, and the shared sections that it asks for under their names."""
    own = {} if section is None else section.model_dump(mode="json")
    return own | yard.model_dump(mode="json", include={name.removesuffix(BORROWED) for name in inputs})


def _waiting(out: Path) -> Path:
    return WAITING / out.relative_to("data")


def _say_not_needed(out: Path, why: str) -> None:
    """In place of what the step made before, but for who was in which split."""
    if not (out / NOT_NEEDED).exists():
        shutil.rmtree(_waiting(out), ignore_errors=True)  # older than what lies here
    write_text(out / NOT_NEEDED, f"{why}\n")
    _move(out, _waiting(out), but=(NOT_NEEDED, splits.FILE))
    log.info("%s is not made: %s", out, why)


def _needed_again(out: Path) -> None:
    """Bring back what the step had made until it was not needed, finished or not; nothing to who begins anew."""
    if (out / NOT_NEEDED).exists():
        _move(_waiting(out), out)
        (out / NOT_NEEDED).unlink()
    shutil.rmtree(_waiting(out), ignore_errors=True)


def _move(here: Path, there: Path, but: Collection[str] = ()) -> None:
    for path in [path for path in here.iterdir() if path.name not in but] if here.is_dir() else []:
        there.mkdir(parents=True, exist_ok=True)
        if (cut := there / path.name).is_dir():  # to another disk, by a run that was killed
            shutil.rmtree(cut)
        shutil.move(path, cut)


def run(
    name: str,
    ctx: Context,
    parent_run: str | None = None,
    tags: dict[str, str] | None = None,
    has_made: Callable[[dict[str, Any]], None] = lambda metrics: None,
) -> dict[str, Any]:
    """Run a stage's step and track it. Returns its metrics. `parent_run` is the MLflow run of the flow, if there is
    one; `has_made` is called with the metrics once all its outs lie there and what MLflow is to be told is kept, before
    it is told."""
    this = stage(name)
    params = params_file.load()
    if why := params_file.not_needed(this.line, this.step, params):
        with watch.remembered(this):
            if ranked_first():
                _say_not_needed(this.out, why)
        has_made({})
        return {}
    section = getattr(getattr(params, this.line), this.step, None) if this.line else None
    module = this.module()
    wanted = inspect.signature(module.run).parameters.values()
    inputs = {p.name: _input(this, p.name, params) for p in wanted if p.kind is p.KEYWORD_ONLY}
    if hasattr(module, IN_VAIN):
        getattr(module, IN_VAIN)(getattr(params, this.line), this.out, **inputs)
    this.out.mkdir(parents=True, exist_ok=True)
    if ranked_first():
        _needed_again(this.out)
    ctx = replace(ctx, code=_code_hash(this))

    def made() -> dict[str, Any]:
        with watch.remembered(this):
            return work()

    def work() -> dict[str, Any]:
        if (nodes := afar.nodes_for(this, params.yard.machine)) is not None:
            metrics = afar.run(nodes, this, section, ctx.code, inputs)
        else:
            metrics = module.run(section, this.out, ctx, **inputs)
        if ranked_first() and LICENCE in this.code_files():
            shown = getattr(params, this.line).model_dump(mode="json")
            stamp(this.out, lambda: origin.of(this, tags or {}), shown)
        sweep(this.out)  # before MLflow is told the hash of what was made, which DVC is to find again
        return metrics or {}  # of a step that has none to tell

    if not (this.tracked and ranked_first()):
        metrics = made()
        has_made(metrics)
    else:
        with stage_run(this, _logged(section, inputs, params.yard), parent_run, tags or {}) as keep:
            metrics = made()
            keep(metrics)
            has_made(metrics)
    return metrics
