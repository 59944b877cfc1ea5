"""What a served model asks of a fresh environment: all that its code imports, in the versions of the lock file."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import re
import sys
from pathlib import Path

import pytest

from tasks.yard import params
from tasks.yard.code import ROOMS
from tasks.yard.tracking import models

pytestmark = pytest.mark.slow  # imports what each line serves

ROOT = Path(__file__).parents[4]
LOCK = dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;+]+)", (ROOT / "requirements.lock").read_text(), re.M))
HEAVY = ("prefect", "dvc", "ultralytics", "lightning", "optuna", "ray", "matplotlib")  # of the yard, not of a network


def runs(path: Path) -> list[ast.AST]:
    """The nodes of a file without what only a type checker reads."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    checked = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    left_out = {inner for node in checked for part in node.body for inner in ast.walk(part)}
    return [node for node in ast.walk(tree) if node not in left_out]


def imported(path: Path) -> set[str]:
    """The first names of all that a file imports, wherever in it."""
    found = set()
    for node in runs(path):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).partition(".")[0])
    return found


@pytest.mark.parametrize("line", params.lines())
def test_a_served_model_names_every_package_that_its_code_imports_as_the_lock_has_it(line):
    files = models.needed(importlib.import_module(f"tasks.{line}.learning.served"))
    asked = dict(text.split("==") for text in models.requirements(files.values()))
    owners = importlib.metadata.packages_distributions()
    outside = {name for path in files.values() for name in imported(path)} - set(ROOMS) - sys.stdlib_module_names
    assert {"torch", "numpy"} <= outside
    for name in outside:
        assert set(owners[name]) & asked.keys(), f"{name} is imported, and {sorted(asked)} hold it not"
    assert asked == {name: LOCK[re.sub(r"[-_.]+", "-", name).lower()] for name in asked}
    assert not [name for name in asked if name.startswith(HEAVY)]


@pytest.mark.parametrize("line", params.lines())
def test_a_served_model_carries_every_file_of_the_yard_that_it_imports(line):
    files = models.needed(importlib.import_module(f"tasks.{line}.learning.served"))
    for name, path in files.items():
        for node in runs(path):
            if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] in ROOMS:
                place = str(node.module).replace(".", "/")
                parts = [f"{place}.py", *(f"{place}/{alias.name}.py" for alias in node.names)]
                there = [part for part in parts if (ROOT / part).exists()]
                assert not there or any(part in files for part in there), f"{name} imports {node.module}"
