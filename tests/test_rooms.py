"""The house rules that a machine can hold: which room may import what, and that dvc.yaml lists the code its stages
use."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest
import yaml

from tasks.yard import code, params
from tasks.yard.runner import BORROWED

ROOT = Path(__file__).parents[1]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# The sub-key that says which cells a matrix has; a new cell must not make the others run again.
MATRIX_KEYS = {
    "brake_coast.train.variants",
    "brake_coast.analyse.items",
    "person_search.train.networks",
    "ground_plane.train.networks",
}


def module_file(name: str) -> Path | None:
    path = ROOT / name.replace(".", "/")
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.exists()), None)


@cache
def imports(path: Path) -> frozenset[str]:
    """Every module that a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def closure(path: Path) -> set[Path]:
    """All files of this project that a file needs, itself included; empty __init__.py files do not count.

    Nor does what only describes params: they are tracked by value, and no field has a default that its code could
    change.
    """
    files, todo = set(), [path]
    while todo:
        path = todo.pop()
        if path in files or path.name == "params.py":
            continue
        files.add(path)
        for name in imports(path):
            parts = name.split(".")
            if parts[0] in ("tasks", "models", "flows"):  # an import also runs the __init__.py of every package above
                todo += [f for i in range(len(parts)) if (f := module_file(".".join(parts[: i + 1])))]
    return {f for f in files if f.name != "__init__.py" or len(ast.parse(f.read_text()).body) > 1}


def python_files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        (
            "models",
            {
                "flows",
                "tasks",
                "prefect",
                "dvc",
                "mlflow",
                "ultralytics",
                "pandas",
                "h5py",
                "cv2",
                "logging",
                "argparse",
            },
        ),
        ("tasks", {"flows", "prefect", "dvc"}),
    ],
)
def test_imports_run_one_way(room, forbidden):
    wrong = {
        str(p.relative_to(ROOT)): bad
        for p in python_files(room)
        if (bad := {n.split(".")[0] for n in imports(p)} & forbidden)
    }
    assert not wrong


@pytest.mark.parametrize(
    ("package", "only"), [("mlflow", "tasks/yard/tracking/store.py"), ("ultralytics", "tasks/yard/detector/network.py")]
)
def test_a_package_has_one_door(package, only):
    users = {
        str(p.relative_to(ROOT))
        for room in ("flows", "tasks", "models")
        for p in python_files(room)
        if package in {name.split(".")[0] for name in imports(p)}
    }
    assert users == {only}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_the_code_it_uses_and_on_no_other(name):
    line, _, step = name.partition("-")
    listed = {dep for dep in STAGES[name]["deps"] if dep.startswith(("tasks/", "models/"))}
    data_files = {dep for dep in listed if not dep.endswith(".py")}
    used = {str(path.relative_to(ROOT)) for path in closure(ROOT / "tasks" / line / f"{step}.py")}
    assert listed - data_files == used, "\n".join(["dvc.yaml should list:", *sorted(used | data_files)])
    assert all((ROOT / path).is_file() for path in data_files)


def test_every_other_file_in_the_rooms_belongs_to_a_stage():
    """Templates and network descriptions are code too. The viewer's, view.*, is of no stage: nothing depends on its
    page."""
    others = {
        str(p.relative_to(ROOT))
        for room in ("tasks", "models")
        for p in (ROOT / room).rglob("*.*")
        if p.is_file() and p.suffix not in (".py", ".pyc") and not p.name.startswith("view.")
    }
    listed = {dep for stage in STAGES.values() for dep in stage["deps"]}
    assert others <= listed


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_reads_the_folders_of_the_steps_in_its_signature(name):
    line, _, step = name.partition("-")
    tree = ast.parse((ROOT / "tasks" / line / f"{step}.py").read_text())
    run = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "run")
    matrix = set(STAGES[name].get("matrix", {}))
    wanted = [argument.arg for argument in run.args.kwonlyargs if argument.arg not in matrix]
    asked = {f"data/{line}/{step}" for step in wanted if not step.endswith(BORROWED)}
    steps = {dep.split("/${")[0] for dep in STAGES[name]["deps"] if dep.startswith("data/")}
    assert {path for path in steps if not path.endswith(".pt")} == asked


@pytest.mark.parametrize("name", STAGES)
def test_every_param_of_a_step_is_tracked(name):
    """Either a whole section is listed, or all of its keys but the one that makes the matrix; so are those it
    borrows."""
    line, _, step = name.partition("-")
    tracked = set(STAGES[name]["params"])
    tree = ast.parse((ROOT / "tasks" / line / f"{step}.py").read_text())
    run = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "run")
    borrowed = [
        argument.arg.removesuffix(BORROWED) for argument in run.args.kwonlyargs if argument.arg.endswith(BORROWED)
    ]
    seen = set()
    for step in [step, *borrowed]:
        section = f"{line}.{step}"
        model = type(getattr(getattr(params.load(ROOT / "params.yaml"), line), step))
        keys = {f"{section}.{key}" for key in model.model_fields}
        assert section in tracked or keys - tracked <= MATRIX_KEYS
        seen |= {section, *keys}
    assert tracked - seen <= MATRIX_KEYS


def test_every_deployed_line_exists():
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert {d["parameters"]["line"] for d in deployments} == set(params.lines())


# What may stand at a line's top beside its stages.
TOP = {"__init__", "params", "champion", "view"}


def lines() -> list[str]:
    return sorted(path.parent.name for path in (ROOT / "tasks").glob("*/params.py") if path.parent.name != "yard")


def line_of(module: str) -> str | None:
    """The line that a module belongs to, that of its networks too; None for what lines share."""
    room, _, rest = module.partition(".")
    line = rest.partition(".")[0]
    return line if room in ("tasks", "models") and line in lines() else None


@pytest.mark.parametrize("room", ["yard", *lines()])
def test_the_yard_imports_no_line_and_a_line_no_other(room):
    foreign = {
        str(path.relative_to(ROOT)): bad
        for top in ("tasks", "models")
        for path in python_files(f"{top}/{room}")
        if (bad := sorted({name for name in code.imports(path) if line_of(name) not in (None, room)}))
    }
    assert not foreign


def imports_when_loaded(path: Path) -> set[str]:
    """Modules of this project that a file imports as it is loaded: not inside functions, nor for type checkers."""
    found: set[Path] = set()
    todo: list[ast.AST] = list(code.parsed(path).body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            above = [node.module] if isinstance(node, ast.ImportFrom) else []
            for alias in node.names:  # `from a import b` needs the module a.b if there is one, else the name b in a
                name = ".".join([*above, alias.name])
                if name.split(".")[0] in code.ROOMS and (file := module_file(name) or module_file(*above)):
                    found.add(file)
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            todo += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            todo += ast.iter_child_nodes(node)
    return {str(file.relative_to(ROOT)) for file in found if file != path}


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Some modules that import each other all the way round, or none."""
    graph = dict(graph)
    while leaves := [name for name, used in graph.items() if not used & graph.keys()]:
        for name in leaves:
            del graph[name]
    walk = sorted(graph)[:1]
    while walk and walk[-1] not in walk[:-1]:
        walk.append(min(graph[walk[-1]] & graph.keys()))
    return walk[walk.index(walk[-1]) :] if walk else []


def test_no_modules_import_each_other_in_a_circle():
    files = [path for room in code.ROOMS for path in python_files(room)]
    graph = {str(path.relative_to(ROOT)): imports_when_loaded(path) for path in files}
    assert not circle(graph)
    assert circle({"a": {"b"}, "b": {"c", "d"}, "c": {"b"}, "d": set()}) == ["b", "c", "b"]


def test_at_a_lines_top_stand_its_stages_and_no_helper():
    files = {f"{path.parent.name}-{path.stem}" for line in lines() for path in (ROOT / "tasks" / line).glob("*.py")}
    stages = {name for name in STAGES if name.partition("-")[0] in lines()}
    assert files - {f"{line}-{name}" for line in lines() for name in TOP} == stages
