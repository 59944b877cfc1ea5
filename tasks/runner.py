"""Runs one stage's step, the same way at both doors: its section of params.yaml, its folders, its context, its MLflow
run.

A stage `<line>-<step>` (or `<line>-<step>@<item>` of a DVC matrix) is `run` in `tasks/<line>/<step>.py`. It is handed
`data/<line>/<upstream>` for every upstream step named in its signature ({item: folder} where that is a matrix), its own
item under the matrix's key, the section of another step for a `<step>_params`, and writes
`data/<line>/<step>[/<item>]`.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from tasks import params as params_file
from tasks import tracking
from tasks.files import digest, file_hash, sweep
from tasks.step import BadInput, Context

DVC_YAML = Path("dvc.yaml")
CODE_ROOMS = ("tasks/", "models/")
BORROWED = "_params"


@dataclass(frozen=True)
class Stage:
    """One stage as dvc.yaml describes it; `item` is None unless the stage is one cell of a matrix."""

    name: str
    line: str
    step: str
    item: str | None
    entry: dict

    @property
    def out(self) -> Path:
        return Path("data", self.line, self.step, *([self.item] if self.item else []))

    @property
    def tracked(self) -> bool:
        """Does a run of this stage get an MLflow run of its own?"""
        return bool(self.entry.get("meta", {}).get("tracked"))

    @property
    def uses_device(self) -> bool:
        """Does it want the GPU, or all cores, for itself?"""
        return bool(self.entry.get("meta", {}).get("device"))

    def code(self) -> list[Path]:
        """The source files among its deps."""
        deps = [dep for dep in self.entry["deps"] if isinstance(dep, str) and dep.startswith(CODE_ROOMS)]
        files = [sorted(p.rglob("*.py")) if (p := Path(dep)).is_dir() else [p] for dep in deps]
        return [path for group in files for path in group]

    def module(self) -> ModuleType:
        return importlib.import_module(f"tasks.{self.line}.{self.step}")


@cache
def _stages(text: str) -> dict[str, dict]:
    return yaml.safe_load(text)["stages"]


def stage(name: str) -> Stage:
    """The stage of that name. Raises `BadInput` that names the nearest one there is."""
    entries = _stages(DVC_YAML.read_text(encoding="utf-8"))
    base, _, item = name.partition("@")
    if base not in entries:
        near = difflib.get_close_matches(base, entries, n=1, cutoff=0.4)
        raise BadInput(
            f"no stage {name!r} in dvc.yaml; {'did you mean ' + near[0] if near else 'there are'}: {', '.join(entries)}"
        )
    line, _, step = base.partition("-")
    if bool(item) != ("matrix" in entries[base]):
        wanted = f"{base}@<item>" if "matrix" in entries[base] else base
        raise BadInput(f"stage {name!r}: expected {wanted}")
    return Stage(name, line, step, item or None, entries[base])


def _input(this: Stage, name: str, params: Any) -> Path | str | dict[str, Path] | params_file.Section:
    """What a step's keyword argument stands for."""
    if name in this.entry.get("matrix", {}):
        return this.item
    if name.endswith(BORROWED):
        return getattr(getattr(params, this.line), name.removesuffix(BORROWED))
    folder = Path("data", this.line, name)
    matrix = _stages(DVC_YAML.read_text(encoding="utf-8"))[f"{this.line}-{name}"].get("matrix")
    if not matrix:
        return folder
    (items,) = matrix.values()
    if isinstance(items, str):  # "${line.step.key}"
        value = params
        for key in items.removeprefix("${").removesuffix("}").split("."):
            value = getattr(value, key)
        items = value
    return {item: folder / item for item in items}


def run(name: str, ctx: Context, parent_run: str | None = None, tags: dict[str, str] | None = None) -> dict[str, Any]:
    """Run a stage's step and track it. Returns its metrics. `parent_run` is the MLflow run of the flow, if there is
    one."""
    this = stage(name)
    params = params_file.load()
    section = getattr(getattr(params, this.line), this.step)
    module = this.module()
    wanted = inspect.signature(module.run).parameters.values()
    inputs = {p.name: _input(this, p.name, params) for p in wanted if p.kind is p.KEYWORD_ONLY}
    this.out.mkdir(parents=True, exist_ok=True)
    ctx = replace(ctx, code=digest([(str(path), file_hash(path)) for path in this.code()]))
    if not this.tracked:
        metrics = module.run(section, this.out, ctx, **inputs)
    else:
        with tracking.stage_run(this, section.model_dump(mode="json"), parent_run, tags or {}) as log:
            metrics = module.run(section, this.out, ctx, **inputs)
            log(metrics)
    sweep(this.out)
    return metrics
