"""The description of a run: all that MLflow is told of it, whether it is told at once or later from disk."""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tasks.yard.files import read_json, write_text

FILE = "run.json"  # of a description that is kept on disk; the files that it names lie beside it


def now_ms() -> int:
    return int(time.time() * 1000)


@dataclass(frozen=True)
class Model:
    """What MLflow makes a served model of. The loader is code of this project: nothing is unpickled."""

    loader: str  # the module, which has `_load_pyfunc`
    data: Path  # a file or a folder
    signature: dict[str, Any]
    example: Any  # of its inputs, as JSON has them
    about: str  # how it is asked
    code: dict[str, Path]  # the files that the loader needs, by the name under which they are imported
    requirements: list[str]


@dataclass(frozen=True)
class Run:
    line: str
    name: str
    id: str  # `<line>.<random>`, ours: MLflow gives its own, and may be asked for one twice
    tags: dict[str, str]
    parent: str | None = None  # its id
    status: str = "RUNNING"
    began_ms: int = field(default_factory=now_ms)
    ended_ms: int | None = None
    params: dict[str, Any] = field(default_factory=dict)
    metrics: list[tuple] = field(default_factory=list)  # name, value, step, and when in ms; at its end without that
    datasets: dict[str, str] = field(default_factory=dict)  # path -> DVC's hash
    texts: dict[str, str] = field(default_factory=dict)  # artifacts by name
    files: dict[str, Path] = field(default_factory=dict)  # artifacts by name
    model: Model | None = None
    judged: dict[str, Any] = field(default_factory=dict)  # what it says of the runs of others: tracking/judged.py
    children: list[Run] = field(default_factory=list)


def new_id(line: str) -> str:
    return f"{line}.{uuid.uuid4().hex}"


def write(run: Run, folder: Path) -> None:
    """Keep a run in `folder` with a copy of each file: what lies in data/ is made anew by the next run of the stage."""

    def copied(run: Run, here: str) -> dict[str, Any]:
        def copy(source: Path, name: str) -> str:
            target = folder / here / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, target)
            return f"{here}/{name}"

        kept = asdict(run)
        kept["files"] = {name: copy(source, f"files/{name}") for name, source in run.files.items()}
        if run.model:
            kept["model"]["data"] = copy(run.model.data, f"model/{run.model.data.name}")
            kept["model"]["code"] = {name: copy(path, f"code/{name}") for name, path in run.model.code.items()}
        kept["children"] = [copied(child, f"{here}/children/{child.name}") for child in run.children]
        return kept

    # A loss may be NaN, and MLflow takes it; what is no JSON at all, MLflow would leave out.
    write_text(folder / FILE, json.dumps(copied(run, "."), indent=1, default=str) + "\n")


def read(folder: Path) -> Run:
    """What `write` kept."""
    return _restored(read_json(folder / FILE), lambda name: folder / name)


def _restored(kept: Mapping[str, Any], place: Callable[[str], Path]) -> Run:
    model = kept["model"] and Model(
        **kept["model"]
        | {
            "data": place(kept["model"]["data"]),
            "code": {name: place(path) for name, path in kept["model"]["code"].items()},
        }
    )
    files = {name: place(path) for name, path in kept["files"].items()}
    children = [_restored(child, place) for child in kept["children"]]
    return Run(**{**kept, "files": files, "model": model, "children": children})
