"""What DVC has found out about files, kept while nobody changes them.

A folder is an out of one stage and a dep of several, and DVC walks it for each of them, two or three times in a run;
params.yaml it reads once a stage. Here each is looked at once, until `forget` says that a stage has written.
"""

from __future__ import annotations

# Of DVC (see graph.py): Output.get_hash, protocol, fs_path; ParamsDependency.read_params; load_path
from functools import partial
from pathlib import Path
from typing import Any

from dvc.dependency import ParamsDependency
from dvc.output import Output
from dvc.stage import PipelineStage
from dvc.utils.serialize import load_path
from dvc_data.hashfile.hash_info import HashInfo


class Looked:
    def __init__(self) -> None:
        self._hashes: dict[tuple[str, bool], HashInfo] = {}
        self._params: tuple[object, dict[str, Any]] | None = None

    def forget(self) -> None:
        """Something is written, or has been."""
        self._hashes.clear()

    def serve(self, stage: PipelineStage) -> None:
        """Let the stage's outs and deps ask here."""
        for entry in [*stage.outs, *stage.deps]:
            if isinstance(entry, ParamsDependency):
                entry.read_params = partial(self._read_params, entry, entry.read_params)
            elif entry.protocol == "local":
                entry.get_hash = partial(self._hash, entry, entry.get_hash)

    def _hash(self, entry: Output, ask: Any) -> HashInfo:
        key = (entry.fs_path, entry.use_cache)
        if key not in self._hashes:
            self._hashes[key] = ask()
        return self._hashes[key]

    def _read_params(self, dep: ParamsDependency, ask: Any, flatten: bool = True, **more: Any) -> dict[str, Any]:
        file = Path(dep.fs_path)
        if not flatten or not dep.params or not file.is_file():
            return ask(flatten=flatten, **more)
        now = file.stat()
        mark = (dep.fs_path, now.st_mtime_ns, now.st_size, now.st_ino)
        if self._params is None or self._params[0] != mark:
            self._params = mark, load_path(dep.fs_path, dep.repo.fs)
        found = {}
        for name in dep.params:
            value: Any = self._params[1]
            for key in name.split("."):
                if not isinstance(value, dict) or key not in value:
                    break
                value = value[key]
            else:
                found[name] = value
        return found
