"""What the code of a stage is: which files, and what of them counts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.yard import code

REPO = Path(__file__).parents[3]


@pytest.fixture
def rooms(tmp_path):
    """Writes files under a root of their own: {name without .py: text}; every package has an empty __init__.py."""

    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            for package in path.relative_to(tmp_path).parents:
                if package.name:
                    (tmp_path / package / "__init__.py").touch()
        return tmp_path

    return write


def used(root: Path, module: str = "tasks/toy/step.py") -> set[str]:
    return {path.relative_to(root).as_posix() for path in code.closure(root / module, root)}


IMPORTS = {
    "plain": "import tasks.yard.files",
    "renamed": "import tasks.yard.files as f",
    "a name from it": "from tasks.yard.files import read",
    "the module from its package": "from tasks.yard import files",
    "inside a function": "def run():\n    from tasks.yard import files",
    "inside a class": "class Step:\n    import tasks.yard.files",
    "in a try": "try:\n    from tasks.yard import files\nexcept ImportError:\n    files = None",
    "under a condition": "import sys\nif sys.platform == 'linux':\n    from tasks.yard import files",
    "through another": "from tasks.toy import helper",
}


@pytest.mark.parametrize("how", IMPORTS)
def test_a_file_is_used_however_it_is_imported(rooms, how):
    root = rooms({"tasks/toy/step": IMPORTS[how], "tasks/toy/helper": IMPORTS["plain"], "tasks/yard/files": "x = 1"})
    rooms({"tasks/yard/unused": "x = 1", "tasks/other/step": "x = 1"})
    helper = {"tasks/toy/helper.py"} if how == "through another" else set()
    assert used(root) == {"tasks/toy/step.py", "tasks/yard/files.py"} | helper


@pytest.mark.parametrize("test", ["TYPE_CHECKING", "typing.TYPE_CHECKING"])
def test_what_only_a_type_checker_reads_is_not_used(rooms, test):
    text = f"import typing\nfrom typing import TYPE_CHECKING\nif {test}:\n    from tasks.yard import files\n"
    root = rooms({"tasks/toy/step": text, "tasks/yard/files": "x = 1"})
    assert used(root) == {"tasks/toy/step.py"}
    rooms({"tasks/toy/step": text + "else:\n    from tasks.yard import files\n"})
    assert used(root) == {"tasks/toy/step.py", "tasks/yard/files.py"}


def test_circles_end_and_packages_and_networks_count_but_params_and_strangers_do_not(rooms):
    root = rooms({
        "tasks/toy/step": "import numpy, flows.line, tasks.none\nfrom tasks.toy import a\nfrom models.toy import net",
        "tasks/toy/a": "from tasks.toy import b, params", "tasks/toy/b": "from tasks.toy import a",
        "tasks/toy/params": "from tasks.yard import params, limits", "tasks/yard/limits": "x = 1",
        "models/toy/net": "x = 1", "flows/line": "x = 1",
    })  # fmt: skip
    expected = {"tasks/toy/step.py", "tasks/toy/a.py", "tasks/toy/b.py", "models/toy/net.py"}
    assert used(root) == expected
    (root / "models/toy/__init__.py").write_text('"""Networks."""\n')
    assert used(root) == expected
    (root / "models/toy/__init__.py").write_text('"""Networks."""\nREGISTRY = {}\n')
    assert used(root) == expected | {"models/toy/__init__.py"}


def test_a_relative_import_is_refused_with_its_place(rooms):
    root = rooms({"tasks/toy/step": "x = 1\nfrom . import helper\n"})
    with pytest.raises(ValueError, match=r"step\.py:2: a relative import"):
        code.closure(root / "tasks/toy/step.py", root)


BEFORE = '''"""A module."""
import math

LIMIT = 3


class Shape:
    """A shape."""

    def area(self, radius: float) -> float:
        """Of a circle."""
        return math.pi * radius**2


async def fetch():
    """Nothing yet."""


def double(x):
    return 2 * x
'''


def changes(rooms, before: str, after: str) -> list[str]:
    root = rooms({"tasks/toy/step": before})
    first = code.of("toy", "step", root)
    assert code.changed(first, code.of("toy", "step", root)) == []
    rooms({"tasks/toy/step": after})
    (root / "tasks/toy/step.py").touch()
    return code.changed(first, code.of("toy", "step", root))


SILENT = {
    "no docstring": ('"""A module."""\n', ""),
    "another docstring of a class": ("A shape.", "A form."),
    "another docstring of a method": ("Of a circle.", "Of a disc."),
    "a docstring where there was none": ("    return 2 * x", '    """Twice."""\n    return 2 * x'),
    "a comment": ("LIMIT = 3", "LIMIT = 3  # a reason"),
    "a layout": ("    return 2 * x", "    return (\n        2\n        * x\n    )"),
    "other quotes": ("radius: float", "radius:   float"),
}
TOLD = {
    "a constant": ("LIMIT = 3", "LIMIT = 4", "(top)"),
    "an import": ("import math", "import math\nimport json", "(top)"),
    "a method": ("radius**2", "radius**3", "Shape"),
    "a default": ("def double(x)", "def double(x=1)", "double"),
    "a function": ("2 * x", "3 * x", "double"),
    "a type": ("2 * x", "2.0 * x", "double"),
    "an async function": ('"""Nothing yet."""', "return 1", "fetch"),
    "a decorator": ("def double", "@staticmethod\ndef double", "double"),
    "a new name": ("def double", "def twice", "double, twice"),
    "a string that is no docstring": ("    return 2 * x", "    x\n    'no docstring'\n    return 2 * x", "double"),
}


@pytest.mark.parametrize("change", SILENT)
def test_what_people_read_does_not_count(rooms, change):
    old, new = SILENT[change]
    assert old in BEFORE and changes(rooms, BEFORE, BEFORE.replace(old, new, 1)) == []


@pytest.mark.parametrize("change", TOLD)
def test_what_is_run_counts_and_is_named(rooms, change):
    old, new, names = TOLD[change]
    assert changes(rooms, BEFORE, BEFORE.replace(old, new, 1)) == [f"tasks/toy/step.py: {names}"]


def test_another_order_of_functions_is_told_as_such(rooms):
    parts = ["def one():\n    return 1\n", "def two():\n    return 2\n"]
    assert changes(rooms, "".join(parts), "".join(parts[::-1])) == ["tasks/toy/step.py: order"]


def test_files_that_come_and_go_are_told(rooms):
    root = rooms({"tasks/toy/step": "import tasks.yard.one", "tasks/yard/one": "x = 1", "tasks/yard/two": "x = 1"})
    first = code.of("toy", "step", root)
    rooms({"tasks/toy/step": "import tasks.yard.two"})
    assert code.changed(first, code.of("toy", "step", root)) == [
        "tasks/toy/step.py: (top)", "tasks/yard/one.py gone", "tasks/yard/two.py added"
    ]  # fmt: skip


@given(order=st.permutations(["alpha", "beta", "gamma", "delta"]))
def test_the_files_are_listed_by_name_whatever_the_order_of_imports(order, tmp_path_factory):
    root = tmp_path_factory.mktemp("rooms")
    (root / "tasks/toy").mkdir(parents=True)
    for name, after in zip(order, [*order[1:], None], strict=True):  # a chain, in this order
        (root / f"tasks/toy/{name}.py").write_text(f"import tasks.toy.{after}\n" if after else "")
    (root / "tasks/toy/step.py").write_text("".join(f"from tasks.toy import {name}\n" for name in order))
    files = [line.split()[0] for line in code.of("toy", "step", root).splitlines()]
    assert files == [f"tasks/toy/{name}.py" for name in ("alpha", "beta", "delta", "gamma", "step")]


names = st.sampled_from(["one", "two", "three"])
listings = st.dictionaries(names.map("tasks/{}.py".format), st.dictionaries(names, st.sampled_from("abc"), min_size=1))


def text(listing: dict[str, dict[str, str]]) -> str:
    lines = [f"{path} {hash(str(parts))} " + " ".join(map("=".join, parts.items())) for path, parts in listing.items()]
    return "".join(f"{line}\n" for line in lines)


@given(before=listings, now=listings)
def test_changed_names_each_file_and_part_that_differs_and_no_other(before, now):
    told = dict(line.replace(":", "").split(" ", 1) for line in code.changed(text(before), text(now)))
    assert told.keys() == {path for path in before.keys() | now.keys() if before.get(path) != now.get(path)} | {
        path for path in before.keys() & now.keys() if list(before[path].items()) != list(now[path].items())
    }
    for path in told.keys() & before.keys() & now.keys():
        old, new = before[path], now[path]
        names = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
        assert told[path] == (", ".join(names) or "order")


def test_a_listing_is_the_same_in_another_process():
    """No order of a set, no id and no hash of a string gets into it."""
    ask = "from tasks.yard import code; print(code.of('ground_plane', 'evaluate'), end='')"
    done = subprocess.run([sys.executable, "-c", ask], cwd=REPO, capture_output=True, text=True, check=True)
    assert done.stdout == code.of("ground_plane", "evaluate", REPO) and done.stdout.count("\n") > 5


def test_every_stage_of_every_line_is_listed_and_nothing_else(rooms):
    root = rooms({"tasks/toy/params": "", "tasks/toy/step": "", "tasks/toy/champion": "", "tasks/toy/view": ""})
    rooms({"tasks/toy/importers/folder": "", "tasks/yard/params": "", "tasks/yard/code": "", "tasks/notes/step": ""})
    assert code.stage_modules(root) == {"toy-step": root / "tasks/toy/step.py"}
