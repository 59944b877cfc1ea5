"""The house rules that a machine can hold: which room may import what, and that dvc.yaml says what its stages read."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

from tasks.yard import params
from tasks.yard.code import ROOMS, imports, parsed, stage_modules
from tasks.yard.runner import BORROWED
from tasks.yard.sources import watch
from tasks.yard.stage import CODE, Stage

ROOT = Path(__file__).parents[1]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
OF_LINES = [name for name in STAGES if name != CODE]
# The sub-key that says which cells a matrix has; a new cell must not make the others run again.
MATRIX_KEYS = {
    "brake_coast.train.variants",
    "brake_coast.analyse.items",
    "person_search.train.networks",
    "ground_plane.train.networks",
    "bike_parts.train.networks",
    "open_loop_driving.train.networks",
}


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
    ("package", "room"),
    [
        ("mlflow", "tasks/yard/tracking/"),
        ("ultralytics", "tasks/yard/detector/"),
        ("ray", "tasks/yard/cluster.py"),
    ],
)
def test_a_package_has_one_room(package, room):
    users = {
        p.relative_to(ROOT).as_posix()
        for folder in ("flows", "tasks", "models")
        for p in python_files(folder)
        if package in {name.split(".")[0] for name in imports(p)}
    }
    assert users and all(user.startswith(room) for user in users)


def test_every_stage_of_a_line_is_a_file_at_its_top_and_depends_on_its_code():
    assert set(OF_LINES) == set(stage_modules(ROOT))
    for name in OF_LINES:
        deps = STAGES[name]["deps"]
        assert [dep for dep in deps if dep.startswith(f"data/{CODE}/")] == [f"data/{CODE}/{name}"]
        others = [dep for dep in deps if dep.startswith(("tasks/", "models/"))]
        assert all((ROOT / dep).is_file() and not dep.endswith(".py") for dep in others)


def test_every_other_file_in_the_rooms_belongs_to_a_stage():
    """Templates and network descriptions are code too. The viewer's, view.*, is of no stage: nothing depends on its
    page. Nor does anything on the foot of pages, origin.*, which whoever runs a stage puts in."""
    others = {
        str(p.relative_to(ROOT))
        for room in ("tasks", "models")
        for p in (ROOT / room).rglob("*.*")
        if p.is_file() and p.suffix not in (".py", ".pyc") and not p.name.startswith(("view.", "origin."))
    }
    listed = {dep for stage in STAGES.values() for dep in stage["deps"]}
    assert others <= listed


@pytest.mark.parametrize("name", OF_LINES)
def test_a_stage_lists_what_its_templates_include(name):
    deps = {Path(dep).name: dep for dep in STAGES[name]["deps"] if dep.startswith("tasks/")}
    for template in [dep for dep in deps.values() if dep.endswith(".j2")]:
        included = set(re.findall(r'{% include "([^"]+)" %}', (ROOT / template).read_text(encoding="utf-8")))
        assert included <= deps.keys(), f"{name}: {template} includes {included - deps.keys()}"


@pytest.mark.parametrize("name", OF_LINES)
def test_a_stage_reads_the_folders_of_the_steps_in_its_signature(name):
    line, _, step = name.partition("-")
    tree = ast.parse((ROOT / "tasks" / line / f"{step}.py").read_text())
    run = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "run")
    matrix = set(STAGES[name].get("matrix", {}))
    wanted = [argument.arg for argument in run.args.kwonlyargs if argument.arg not in matrix]
    asked = {f"data/{line}/{step}" for step in wanted if not step.endswith(BORROWED)}
    data = [dep for dep in STAGES[name]["deps"] if dep.startswith("data/") and not dep.startswith(f"data/{CODE}/")]
    assert {dep.split("/${")[0] for dep in data} == asked


def steps_before(line: str, step: str) -> set[str]:
    """The step, and those whose outs it needs, directly or not."""
    read = {dep.split("/")[2] for dep in STAGES[f"{line}-{step}"]["deps"] if dep.startswith(f"data/{line}/")}
    return {step}.union(*(steps_before(line, one) for one in read))


@pytest.mark.parametrize("line", params.lines())
def test_a_challenge_names_the_steps_that_it_reads_besides_evaluate_and_what_that_needs(line):
    """What they made in an earlier run must not judge the networks of this one."""
    challenge, apply = ((ROOT / "tasks" / line / f"{name}.py").read_text() for name in ("champion", "apply"))
    kept = apply.partition("def belongings")[2].partition("\ndef ")[0]
    steps = set(re.findall(r'\bdata / "(\w+)"', challenge + kept))
    named = re.search(r"^JUDGED_AFTER = (.+)", challenge, re.MULTILINE)
    after = set(re.findall(r'"(\w+)"', named[1])) if named else set()
    done = set().union(*(steps_before(line, one) for one in ("evaluate", *after)))
    assert steps <= done and not after & steps_before(line, "evaluate")


@pytest.mark.parametrize("name", OF_LINES)
def test_every_param_of_a_step_is_tracked(name):
    """Either a whole section is listed, or all of its keys but the one that makes the matrix; so are those it
    borrows, of its line or of the yard. A step without params of its own has no section."""
    line, _, step = name.partition("-")
    tracked = set(STAGES[name].get("params", []))
    tree = ast.parse((ROOT / "tasks" / line / f"{step}.py").read_text())
    run = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "run")
    borrowed = [
        argument.arg.removesuffix(BORROWED) for argument in run.args.kwonlyargs if argument.arg.endswith(BORROWED)
    ]
    values = params.load(ROOT / "params.yaml")
    own = [step] if hasattr(getattr(values, line), step) else []
    assert own or borrowed or not tracked
    seen = set()
    for part in [*own, *borrowed]:
        owner = line if hasattr(getattr(values, line), part) else "yard"
        section = f"{owner}.{part}"
        keys = {f"{section}.{key}" for key in type(getattr(getattr(values, owner), part)).model_fields}
        assert section in tracked or keys - tracked <= MATRIX_KEYS
        seen |= {section, *keys}
    instead = {f"{line}.{key}" for of, key in getattr(getattr(values, line), "NOT_NEEDED", {}).items() if of == step}
    assert instead <= tracked
    assert tracked - seen - instead <= MATRIX_KEYS


@pytest.mark.parametrize("name", OF_LINES)
def test_a_stage_whose_params_may_point_outside_has_an_out_of_what_it_saw_there(name):
    """Each cell of a matrix has its own, and no stage depends on one: a new date of a file makes nothing stale."""
    stage = Stage(name, *name.split("-", 1), None, STAGES[name])
    cell = "".join(f"@${{item.{key}}}" for key in STAGES[name].get("matrix", {}))
    seen = [out for out in STAGES[name]["outs"] if isinstance(out, str) and out.startswith("data/sources/")]
    wanted = watch.watched(stage, params.load(ROOT / "params.yaml"))
    assert seen == ([f"data/sources/{name}{cell}.json"] if wanted else [])
    assert not [dep for dep in STAGES[name]["deps"] if dep.startswith("data/sources")]


def test_every_deployed_line_exists():
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert {d["parameters"]["line"] for d in deployments} == set(params.lines())


def test_every_line_shows_its_headline_and_nothing_else_as_metrics():
    """400 columns are read by nobody: `dvc exp show` has the few that each report chose."""
    shown = yaml.safe_load((ROOT / "dvc.yaml").read_text())["metrics"]
    assert sorted(shown) == sorted(f"data/{line}/report/headline.json" for line in params.lines())


def test_the_box_publishes_its_pages_to_this_machine_alone_and_leaves_secrets_out():
    """Neither Prefect nor MLflow asks for a password, and the runner's port can be told to stop the nights."""
    yard = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["yard"]
    assert yard["ports"] == ["127.0.0.1:4300:4300", "127.0.0.1:4200:4200", "127.0.0.1:5000:5000"]
    assert "USER 1000" in (ROOT / "Dockerfile").read_text()
    ignored = ((ROOT / name).read_text().splitlines() for name in (".dockerignore", ".gitignore"))
    assert all({".env", "/.env"} & set(lines) for lines in ignored)


def test_the_readme_draws_the_rooms_that_there_are():
    """The drawing is that of `git ls-files`, folders only; a new room is drawn, a gone one is not."""
    drawn = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Where things are")[2].partition("```")[2]
    names = {line.split()[0].rstrip("/") for line in drawn.partition("```")[0].splitlines() if line.strip()}
    shared = {p.name for p in (ROOT / "tasks/yard").iterdir() if (p / "__init__.py").exists()}
    assert shared <= names, shared - names
    for line in params.lines():
        rooms = {p.name for p in (ROOT / "tasks" / line).iterdir() if (p / "__init__.py").exists()}
        assert rooms <= {"importers", "formats", "learning", "judging", "page"} and rooms <= names


def test_contributing_says_what_each_file_and_room_is_for_that_lines_share():
    table = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()
    (row,) = (line for line in table if line.startswith("| `tasks/yard/` |"))
    named = {name for words in re.findall(r"`([a-z_ ]+)`", row.split("|")[2]) for name in words.split()}
    there = {p.stem for p in (ROOT / "tasks/yard").iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert named - {"apply"} == there - {"__init__"}


def line_of(module: str) -> str | None:
    """The line that a module belongs to, that of its networks too; None for what lines share."""
    room, _, rest = module.partition(".")
    line = rest.partition(".")[0]
    return line if room in ("tasks", "models") and line in params.lines() else None


@pytest.mark.parametrize("room", ["yard", *params.lines()])
def test_the_yard_imports_no_line_and_a_line_no_other(room):
    foreign = {
        str(path.relative_to(ROOT)): bad
        for top in ("tasks", "models")
        for path in python_files(f"{top}/{room}")
        if (bad := sorted({name for name in imports(path) if line_of(name) not in (None, room)}))
    }
    assert not foreign


def module_file(name: str) -> Path | None:
    place = ROOT / name.replace(".", "/")
    return next((p for p in (place.with_suffix(".py"), place / "__init__.py") if p.exists()), None)


def imports_when_loaded(path: Path) -> set[str]:
    """Modules of this project that a file imports as it is loaded: not inside functions, nor for type checkers."""
    found: set[Path] = set()
    todo: list[ast.AST] = list(parsed(path).body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            above = [node.module] if isinstance(node, ast.ImportFrom) else []
            for alias in node.names:  # `from a import b` needs the module a.b if there is one, else the name b in a
                name = ".".join([*above, alias.name])
                if name.split(".")[0] in ROOMS and (file := module_file(name) or module_file(*above)):
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
    files = [path for room in ROOMS for path in python_files(room)]
    graph = {str(path.relative_to(ROOT)): imports_when_loaded(path) for path in files}
    assert not circle(graph)
    assert circle({"a": {"b"}, "b": {"c", "d"}, "c": {"b"}, "d": set()}) == ["b", "c", "b"]
