"""One stage as dvc.yaml describes it: its names, its folder, what it wants, and its module."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from tasks.yard.step import BadInput, suggestion

DVC_YAML = Path("dvc.yaml")
CODE_ROOMS = ("tasks/", "models/")
CODE = "code"  # the one stage of no line: it writes what each stage's code is, data/code/<stage>


def wants_device(entry: dict[str, Any]) -> bool:
    """Of an entry of dvc.yaml, be it a matrix: does it want the GPU, or all cores, for itself?"""
    return bool(entry.get("meta", {}).get("device"))


@dataclass(frozen=True)
class Stage:
    """`<line>-<step>`, or `<line>-<step>@<item>` for one cell of a matrix; `code` belongs to no line."""

    name: str
    line: str
    step: str
    item: str | None
    entry: dict[str, Any]

    @property
    def out(self) -> Path:
        return Path("data", self.line, self.step, *([self.item] if self.item else []))

    @property
    def tracked(self) -> bool:
        """Does a run of this stage get an MLflow run of its own?"""
        return bool(self.entry.get("meta", {}).get("tracked"))

    @property
    def uses_device(self) -> bool:
        return wants_device(self.entry)

    @property
    def needs_no_process(self) -> bool:
        """Is it so light that a process of its own would take longer to start than the step takes?"""
        return bool(self.entry.get("meta", {}).get("light"))

    def data_deps(self) -> list[str]:
        """The data among its deps, without the listing of its code."""
        deps = [dep for dep in self.entry.get("deps", []) if isinstance(dep, str)]
        return [dep for dep in deps if dep.startswith("data/") and not dep.startswith(f"data/{CODE}/")]

    def code_files(self) -> list[Path]:
        """What lies in the rooms of code and is no Python: templates, styles, descriptions of networks."""
        return [Path(dep) for dep in self.entry.get("deps", []) if isinstance(dep, str) and dep.startswith(CODE_ROOMS)]

    def module(self) -> ModuleType:
        return importlib.import_module(f"tasks.{self.line or 'yard'}.{self.step}")


# libyaml's, where PyYAML has been built with it: a tenth of the time
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def _entries(text: str) -> dict[str, dict]:
    return yaml.load(text, Loader)["stages"]


def entries() -> dict[str, dict]:
    """The stages of dvc.yaml by name, a matrix as one."""
    return _entries(DVC_YAML.read_text(encoding="utf-8"))


def stage(name: str) -> Stage:
    """The stage of that name. Raises `BadInput` that names the nearest one there is."""
    known = entries()
    base, _, item = name.partition("@")
    if base not in known:
        raise BadInput(f"no stage {name!r} in dvc.yaml; {suggestion(base, known)}")
    if bool(item) != ("matrix" in known[base]):
        wanted = f"{base}@<item>" if "matrix" in known[base] else base
        raise BadInput(f"stage {name!r}: expected {wanted}")
    line, _, step = base.rpartition("-")
    return Stage(name, line, step, item or None, known[base])


def asked_for(line: str, steps: Iterable[str], names: Iterable[str], option: str = "--force") -> set[str]:
    """Of these stages of a line those that `label`, `brake_coast-label` or `train@simple_concat_lstm` stand for."""
    prefix, known = f"{line}-", list(names)
    asked: set[str] = set()
    for step in steps:
        wanted = step if step.startswith(prefix) else prefix + step
        found = {name for name in known if wanted in (name, name.partition("@")[0])}
        if not found:
            there = dict.fromkeys(
                name.removeprefix(prefix).partition("@")[0] for name in known if name.startswith(prefix)
            )
            raise BadInput(f"{option} {step}: {line} has no such step; its steps: {', '.join(there)}")
        asked |= found
    return asked


def steps_before(line: str, step: str) -> set[str]:
    """The steps of the line whose outs this step reads, directly or not."""
    found: set[str] = set()
    todo = [step]
    while todo:
        base = f"{line}-{todo.pop()}"
        for dep in Stage(base, line, "", None, entries()[base]).data_deps():
            parts = Path(dep).parts
            if len(parts) > 2 and parts[1] == line and f"{line}-{parts[2]}" in entries() and parts[2] not in found:
                found.add(parts[2])
                todo.append(parts[2])
    return found


def chosen(line: str, names: Iterable[str], until: str | None, only: str | None) -> list[str]:
    """Of the stages of a line, in their order, those that `--until` or `--only` a step wants, or several with commas
    between them; all without either."""
    known = list(names)
    if until and only:
        raise BadInput("--until and --only: one of them; --only runs that step alone, --until what it needs too")
    if not until and not only:
        return known
    option = "--until" if until else "--only"
    wanted = asked_for(line, (until or only or "").split(","), known, option)
    if until:
        bases = {base.removeprefix(f"{line}-").partition("@")[0] for base in wanted}
        before = {before for base in bases for before in steps_before(line, base)}
        wanted |= {name for name in known if name.removeprefix(f"{line}-").partition("@")[0] in before}
    return [name for name in known if name in wanted or name == CODE]


def chosen_entries(line: str, until: str | None, only: str | None) -> list[str]:
    """As `chosen`, a matrix as one: of dvc.yaml alone, before DVC has to be asked."""
    bare = [steps and ",".join(step.partition("@")[0] for step in steps.split(",")) for steps in (until, only)]
    return chosen(line, [name for name in entries() if name == CODE or name.startswith(f"{line}-")], *bare)


def matrix_items(base: str, params: Any) -> list[str] | None:
    """The items of a matrix stage as params.yaml or dvc.yaml lists them; None if it is no matrix."""
    matrix = entries()[base].get("matrix")
    if not matrix:
        return None
    (items,) = matrix.values()
    if not isinstance(items, str):
        return items
    value = params  # of "${line.step.key}"
    for key in items.removeprefix("${").removesuffix("}").split("."):
        value = getattr(value, key)
    return value
