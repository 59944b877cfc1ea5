"""Every command and every key that a docstring, a comment, a message, a page or a document quotes: does it exist?

Commands are read by the product's own parsers and nothing is run: a stage, a line, a step, a key of `--set`, a target
of make, a command of dvc, a benchmark and a deployment have to be there.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
import yaml

from flows.__main__ import parser as flows_parser
from tasks.__main__ import parser as tasks_parser
from tasks.yard import params, stage

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    "README.md", "CONTRIBUTING.md", "Makefile", "dvc.yaml", "params.yaml", "prefect.yaml", "compose.yaml", "Dockerfile",
    ".pre-commit-config.yaml", "params.schema.json", "docs/team.md",
]  # fmt: skip
LINES = params.lines()
EXAMPLE = LINES[0]  # what stands for <line>
MODULE = re.compile(r"python -m (?P<module>[\w.]+)(?P<rest>.*)")
OTHER = re.compile(r"^(?:[A-Z_]+=\S+ )?(?P<program>make|dvc|prefect deployment run) (?P<rest>.*)")
KEY = re.compile(rf"(?<![\w./@-])(?:yard|{'|'.join(LINES)})(?:\.[a-z]\w*){{2,}}(?![\w/*{{<])")
STAGE = re.compile(rf"(?<![\w./-])(?:{'|'.join(LINES)})-(?!nightly|x\b)[a-z_]+(?:@[\w.-]+)?(?![\w{{<./-])")
WORTH_READING = re.compile(rf"python -m|`make |`dvc |prefect deployment|{KEY.pattern}|{STAGE.pattern}")
# YAML's documents and Python's f-strings name what is put in; what a person types is any text
STANDS_FOR = {
    "<line>": EXAMPLE, "{line}": EXAMPLE, "line.step.key=value": f"{EXAMPLE}.train.engine.seed=1", "STEP": "train",
    "<stage>": stage.CODE, "{stage.name}": stage.CODE, "{{ stage }}": stage.CODE,
}  # fmt: skip


def text_of(node: ast.AST) -> str | None:
    """A string constant; of an f-string what is put in is in braces, if it is a name."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant)
            else "{" + ast.unparse(part.value) + "}" if isinstance(part.value, ast.Name | ast.Attribute) else ""
            for part in node.values
        )  # fmt: skip
    return None


def texts_of(path: Path) -> list[str]:
    """Strings and comments of a Python file; all of another file."""
    whole = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return [whole.replace("\\\n", " ")]
    if not WORTH_READING.search(whole):
        return []
    nodes = list(ast.walk(ast.parse(whole)))
    parts = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in ast.walk(node) if part != node}
    found = [text_of(node) for node in nodes if id(node) not in parts]
    return [text for text in found if text] + [" ".join(re.findall(r"# (.*)$", whole, flags=re.M))]


def commands_in(text: str) -> list[str]:
    """What is quoted between backticks or in <code>, and lines that begin with a command or hold `python -m`."""
    text = re.sub(r"^```.*$", "", text, flags=re.M)  # fences: what is between them is looked at line by line
    quoted = re.findall(r"`([^`]{1,400})`|<code>(.*?)</code>", text, flags=re.S)
    pieces = [" ".join((one or other).split()) for one, other in quoted]
    rest = re.sub(r"`[^`]{1,400}`|<code>.*?</code>", " ", text, flags=re.S)
    pieces += [re.sub(r"^\s*(- run: )?", "", line) for line in rest.splitlines() if line.startswith(("    ", "\t"))]
    pieces += [line[line.index("python -m") :] for line in rest.splitlines() if "python -m" in line]
    return [piece for piece in pieces if MODULE.search(piece) or OTHER.match(piece)]


def words_of(rest: str) -> list[str]:
    """The arguments, up to a comment or the end of the sentence; placeholders stand for what they name."""
    for name, value in STANDS_FOR.items():
        rest = rest.replace(name, value)
    rest = re.sub(r"\[(-[^\[\]]*)\]", r"\1", rest)  # [--set ...]: may be left out
    rest = re.sub(r"\$?\{[^{}]*\}|<[^<>]*>", "x", rest)
    return shlex.split(re.split(r"\s{2,}|\s#|[`'\";,)]|: |\. |\.$", rest)[0].strip())


@cache
def values() -> params.Params:
    return params.load(ROOT / "params.yaml")


def key_exists(name: str) -> bool:
    """Is this a section or a key of params.yaml?"""
    node = values().model_dump()
    for part in name.split("."):
        if not isinstance(node, dict) or part not in node:
            return False
        node = node[part]
    return True


def stage_of(name: str) -> None:
    """Raises where there is no such stage, or no such item of it."""
    found = stage.stage(name)
    items = stage.matrix_items(name.partition("@")[0], values())
    if items is not None and found.item != "x":
        assert found.item in items, f"{name}: params.yaml has {', '.join(items)}"


def steps_of(line: str) -> set[str]:
    return {name.removeprefix(f"{line}-") for name in stage.entries() if name.startswith(f"{line}-")}


def check_flows(words: list[str]) -> None:
    if not words:
        return  # the program itself is spoken of
    chosen = flows_parser().parse_args(words)
    line = getattr(chosen, "line", None)
    assert line in (*LINES, None), f"no line {line}"
    for assignment in getattr(chosen, "set", []):
        name = assignment.partition("=")[0]
        assert "=" in assignment and key_exists(name), f"params.yaml has no {name}"
        assert name.partition(".")[0] in (line, "yard"), f"{name} is none of {line}"
    assert set(getattr(chosen, "force", [])) <= steps_of(line or EXAMPLE)


def check_tasks(words: list[str]) -> None:
    chosen = tasks_parser().parse_args(words)
    if chosen.stage is not None:
        stage_of(chosen.stage)


def check_module(module: str, words: list[str]) -> None:
    if module.split(".")[0] not in ("flows", "tasks", "tests"):
        return  # of another package
    if module == "flows":
        check_flows(words)
    elif module == "tasks":
        check_tasks(words)
    elif module == "tests.benchmarks":
        there = {path.stem for path in (ROOT / "tests/benchmarks").glob("*.py")}
        assert {word for word in words if word.isidentifier()} <= there
    elif (ROOT / module.replace(".", "/") / "__main__.py").exists():
        return
    else:
        found = importlib.util.find_spec(module)
        assert found and "__main__" in Path(found.origin).read_text(encoding="utf-8"), f"{module} cannot be run"


def check_make(words: list[str]) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M)
    assert set(words[:1]) <= set(targets), f"no target {words[0]}"


def check_dvc(words: list[str]) -> None:
    """The commands and options exist; what an option wants may be left out in a text."""
    from dvc.cli.parser import get_main_parser

    made = get_main_parser()
    for word in words:
        inner = next((a.choices for a in made._actions if getattr(a, "choices", None) and a.dest != "level"), None)
        if word.startswith("-"):
            assert word in made._option_string_actions, f"dvc has no {word}"
        elif isinstance(inner, dict):
            assert word in inner, f"dvc has no {word}"
            made = inner[word]
        elif words[0] != "remote":  # which takes names and addresses
            stage_of(word)


def check_deployment(words: list[str]) -> None:
    deployed = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    flow, _, name = words[0].partition("/")
    assert flow == "line" and name in {d["name"] for d in deployed}, f"no deployment {words[0]}"


def check(command: str) -> None:
    """Raises where a command names what is not there."""
    if found := MODULE.search(command):
        return check_module(found["module"], words_of(found["rest"]))
    found = OTHER.match(command)
    checks = {"make": check_make, "dvc": check_dvc, "prefect deployment run": check_deployment}
    return checks[found["program"]](words_of(found["rest"]))


def fault_of(command: str) -> str | None:
    try:
        check(command)
    except SystemExit:
        return f"{command}: refused by the parser"
    except Exception as error:
        return f"{command}: {error}"
    return None


def files() -> list[Path]:
    code = [path for room in ("flows", "tasks", "models", "tests") for path in sorted((ROOT / room).rglob("*"))]
    texts = [path for path in code if path.suffix in (".py", ".j2", ".yaml") and path != Path(__file__).resolve()]
    return [ROOT / name for name in DOCUMENTS] + [path for path in texts if "toy" not in path.parts]


@cache
def quoted() -> dict[str, list[str]]:
    """{file: the texts in it}."""
    return {str(path.relative_to(ROOT)): texts_of(path) for path in files()}


@pytest.mark.slow
def test_every_command_that_is_quoted_exists():
    commands = {c: file for file, texts in quoted().items() for text in texts for c in commands_in(text)}
    faults = [f"{file}: {fault}" for command, file in commands.items() if (fault := fault_of(command))]
    assert not faults, "\n".join(faults)
    assert len(commands) > 90  # not all of it is passed over


@pytest.mark.parametrize(
    "command",
    [
        "python -m tasks person_search-search --set person_search.search.queries=<a folder>",
        "python -m tasks person_search-serach",
        "python -m tasks person_search-train@no_network",
        "python -m flows run person_search --set person_search.search.query=x",
        "python -m flows run person_search --set ground_plane.train.engine.seed=1",
        "python -m flows run person_search --force serach",
        "python -m flows go brake_coast",
        "python -m tests.benchmarks nothing",
        "python -m tasks.yard.files",
        "make everything",
        "dvc repro -s brake_coast-lable",
        "dvc metric show",
        "prefect deployment run line/no_line-nightly",
    ],
)
def test_a_command_that_does_not_exist_is_noticed(command, capsys):
    assert fault_of(command), command


SUFFIXES = {"py", "json", "html", "csv", "md", "j2", "yaml", "h5", "jpg", "png", "txt", "mp4", "parquet", "com"}


def test_every_key_and_every_stage_that_is_named_exists():
    """In documents, pages and the strings of the product; tests name what is not there on purpose."""
    wrong = []
    for file, texts in quoted().items():
        if file.startswith("tests/"):
            continue
        for name in {name for text in texts for name in KEY.findall(text)}:
            if name.rpartition(".")[2] not in SUFFIXES and not key_exists(name):
                wrong.append(f"{file}: params.yaml has no {name}")
        for name in {name for text in texts for name in STAGE.findall(text)}:
            if name.partition("@")[0] not in stage.entries():
                wrong.append(f"{file}: no stage {name}")
    assert not wrong, "\n".join(sorted(wrong))
