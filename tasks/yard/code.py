"""Lists the code of each stage. A changed helper reruns the stages that use it; a changed comment reruns none.

Reads    tasks/, models/
Writes   data/code/<stage>   for every stage of every line: a line a file that its module imports, straight or through
                             others: path, digest of the file, and <name>=<digest> of each function, class and constant
Alone    python -m tasks code

A digest is of the syntax tree without comments and docstrings, spelt the same in every version of Python. params.py of
a line or the yard only describes params, which are tracked by value, so it is left out with all it imports. Templates,
styles and descriptions of networks are no Python: dvc.yaml lists them with the stages that read them.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tasks.yard.files import write_text
from tasks.yard.step import BadInput, Context

ROOMS = ("tasks", "models")
NO_STAGES = ("__init__", "__main__", "params", "champion", "view", "apply")  # files at a line's top that are no stage
REST = "(top)"  # what a module does besides defining functions and classes


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _is_for_type_checkers(node: ast.AST) -> bool:
    """`if TYPE_CHECKING:` or `if typing.TYPE_CHECKING:`"""
    name = getattr(node.test, "id", getattr(node.test, "attr", None)) if isinstance(node, ast.If) else None
    return name == "TYPE_CHECKING"


BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")  # the fields of a statement that hold statements


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """All statements, but not what only a type checker reads. An import is one, and most of a tree is expressions."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if _is_for_type_checkers(node):
            todo.extend(node.orelse)  # this is what runs
        else:
            yield node
            for block in BLOCKS:
                todo.extend(getattr(node, block, ()))


def _imports(tree: ast.Module, path: Path) -> frozenset[str]:
    found: set[str] = set()
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level or node.module is None:
                raise ValueError(f"{path}:{node.lineno}: a relative import; write the whole name of the module")
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


@dataclass(frozen=True)
class _File:
    imports: frozenset[str]
    empty: bool  # but for a docstring
    digests: str  # its line of a listing, without its name


@cache
def _read(path: Path, modified_ns: int) -> _File:
    """What of a file is kept. Its tree is not: among the trees of all files the interpreter would look for garbage
    again and again."""
    tree = parsed(path)
    return _File(_imports(tree, path), len(tree.body) == _has_docstring(tree), _digests(tree))


def _file(path: Path) -> _File:
    return _read(path, path.stat().st_mtime_ns)


def imports(path: Path) -> frozenset[str]:
    """Every module that a file imports, at its top or inside a function; `from a import b` gives a and a.b."""
    return _file(path).imports


def closure(path: Path, root: Path = Path(), *, with_params: bool = False) -> list[Path]:
    """The files below `root` that a file needs, itself included, sorted; an empty __init__.py does not count.

    `with_params`: those that describe params too, which it needs to run, but which make no other result of it.
    """
    if not path.is_file():
        raise BadInput(
            f"{path}: no such file, and a stage of dvc.yaml is named after it; write it, or take the stage out"
        )
    files: set[Path] = set()
    known: set[str] = set()
    todo = [path]
    while todo:
        path = todo.pop()
        if path in files or (path.name == "params.py" and not with_params):
            continue
        files.add(path)
        for name in imports(path):
            parts = name.split(".")
            if parts[0] not in ROOMS:
                continue
            for i in range(len(parts), 0, -1):  # an import also runs the __init__.py of every package above
                if (above := ".".join(parts[:i])) in known:
                    break
                known.add(above)
                place = root.joinpath(*parts[:i])
                todo += [f for f in (place.with_suffix(".py"), place / "__init__.py") if f.is_file()]
    return sorted(f for f in files if f.name != "__init__.py" or not _file(f).empty)


def _has_docstring(node: ast.AST) -> bool:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    if not isinstance(node, documented) or not node.body or not isinstance(node.body[0], ast.Expr):
        return False
    value = node.body[0].value
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _spell(node: object, into: list[str]) -> None:
    """The tree as text. `ast.dump` would do, but writes empty fields in one version of Python and not in another."""
    if isinstance(node, ast.AST):
        into.append(type(node).__name__)
        for name in node._fields:
            value = getattr(node, name, None)
            if name == "body" and _has_docstring(node):
                value = node.body[1:]
            if value is not None and value != [] and name not in ("type_comment", "kind", "ctx"):
                into.append(name)
                _spell(value, into)
        into.append(".")
    elif isinstance(node, list):
        for one in node:
            _spell(one, into)
        into.append(",")
    else:
        into.append(repr(node))


def _digest(node: object) -> str:
    spelt: list[str] = []
    _spell(node, spelt)
    return hashlib.sha256(" ".join(spelt).encode()).hexdigest()[:12]


def _digests(tree: ast.Module) -> str:
    body = tree.body[_has_docstring(tree) :]
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    rest = [node for node in body if not isinstance(node, definitions)]
    parts = [f"{REST}={_digest(rest)}"] if rest else []
    parts += [f"{node.name}={_digest(node)}" for node in body if isinstance(node, definitions)]
    return " ".join([hashlib.sha256(" ".join(parts).encode()).hexdigest()[:12], *parts])


def listing(module: Path, root: Path = Path()) -> str:
    """What data/code/<stage> holds for the stage of that module."""
    return "".join(f"{f.relative_to(root).as_posix()} {_file(f).digests}\n" for f in closure(module, root))


def of(line: str, step: str, root: Path = Path()) -> str:
    """The listing of one stage, as the code is now."""
    return listing(root / "tasks" / line / f"{step}.py", root)


def changed(before: str, now: str) -> list[str]:
    """What two listings of one stage differ in, a text a file: `tasks/yard/files.py: digest, write_json`."""
    old, new = (dict(line.split(" ", 1) for line in text.splitlines()) for text in (before, now))
    found = []
    for path in sorted(old.keys() | new.keys()):
        if path not in old or path not in new:
            found.append(f"{path} {'added' if path in new else 'gone'}")
        elif old[path] != new[path]:
            parts = [dict(part.split("=") for part in text.split()[1:]) for text in (old[path], new[path])]
            names = [n for n in sorted(parts[0].keys() | parts[1].keys()) if parts[0].get(n) != parts[1].get(n)]
            found.append(f"{path}: {', '.join(names) or 'order'}")
    return found


def stage_modules(root: Path = Path()) -> dict[str, Path]:
    """The module of each stage of each line: what lies at the top of a line's folder."""
    lines = sorted(path.parent for path in (root / "tasks").glob("*/params.py") if path.parent.name != "yard")
    modules = [path for line in lines for path in sorted(line.glob("*.py")) if path.stem not in NO_STAGES]
    return {f"{path.parent.name}-{path.stem}": path for path in modules}


def run(_params: None, out: Path, ctx: Context = Context()) -> dict[str, int]:
    """Returns how many stages there are, and how many files they use."""
    listings = {name: listing(path) for name, path in stage_modules().items()}
    for name, text in listings.items():
        write_text(out / name, text)
    return {
        "stages": len(listings),
        "files": len({line.split()[0] for t in listings.values() for line in t.splitlines()}),
    }
