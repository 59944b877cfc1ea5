"""What DVC has found out about files, kept while nobody changes them.

A folder is an out of one stage and a dep of several, and DVC walks it for each of them, two or three times in a run;
params.yaml it reads once a stage. Here each is looked at once, until `forget` says that a stage has written. DVC asks
its database about each file of a folder, a tenth of a millisecond each; a folder whose files have the sizes, times and
inodes that they had at the last run has the hash that it had then.

Writes .trainyard/looked.json   {folder, how it is looked at: [state of its files, hash]}
"""

from __future__ import annotations

# Of DVC (see graph.py): Output.get_hash, changed_cache, protocol, fs_path; ParamsDependency.read_params; load_path
import hashlib
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

from dvc.dependency import ParamsDependency
from dvc.output import Output
from dvc.stage import PipelineStage
from dvc.utils.serialize import load_path
from dvc_data.hashfile.hash_info import HashInfo

from tasks.yard.files import read_json, write_json
from tasks.yard.memo import FRESH_S, listed

IGNORED = ".dvcignore"


def state_of(folder: Path, root: Path) -> str:
    """Changes with the names, sizes, times and inodes of the files in a folder; empty if one of them is so new that it
    may change again without another time."""
    ignored = root / IGNORED
    found = hashlib.md5(ignored.read_bytes() if ignored.is_file() else b"")
    newest = 0
    for name, stat in listed(folder):
        newest = max(newest, stat.st_mtime_ns)
        found.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ino}\n".encode(errors="surrogateescape"))
    return "" if newest > (time.time() - FRESH_S) * 1e9 else found.hexdigest()


class Looked:
    def __init__(self, root: Path, memory: Path) -> None:
        self._root, self._memory = root, memory
        try:
            self._known: dict[str, list[str]] = read_json(memory)
        except (OSError, ValueError):
            self._known = {}
        self._hashes: dict[tuple[str, bool], HashInfo] = {}
        self._whole: set[tuple[str, str]] = set()  # outs and hashes that DVC's cache holds all of
        self._params: tuple[object, dict[str, Any]] | None = None

    def forget(self) -> None:
        """Something is written, or has been."""
        self._hashes.clear()
        self._whole.clear()

    def serve(self, stage: PipelineStage) -> None:
        """Let the stage's outs and deps ask here."""
        for out in stage.outs:
            out.changed_cache = partial(self._changed_cache, out, out.changed_cache)
        for entry in [*stage.outs, *stage.deps]:
            if isinstance(entry, ParamsDependency):
                entry.read_params = partial(self._read_params, entry, entry.read_params)
            elif entry.protocol == "local":
                entry.get_hash = partial(self._hash, entry, entry.get_hash)

    def _hash(self, entry: Output, ask: Any) -> HashInfo:
        key = (entry.fs_path, entry.use_cache)
        if key not in self._hashes:
            self._hashes[key] = self._of_folder(entry, ask) if os.path.isdir(entry.fs_path) else ask()  # noqa: PTH112
        return self._hashes[key]

    def _of_folder(self, entry: Output, ask: Any) -> HashInfo:
        key = f"{os.path.relpath(entry.fs_path, self._root)}, {'out' if entry.use_cache else 'dep'}"
        state = state_of(Path(entry.fs_path), self._root)
        if state and self._known.get(key, [""])[0] == state:
            return HashInfo(entry.hash_name, self._known[key][1])
        found = ask()
        if state and self._known.get(key) != [state, found.value]:
            self._known[key] = [state, found.value]
            write_json(self._memory, self._known)
        return found

    def _changed_cache(self, out: Output, ask: Any, *more: Any, **named: Any) -> bool:
        if more or named or not out.hash_info:
            return ask(*more, **named)
        key = (out.fs_path, out.hash_info.value)
        if key not in self._whole and not ask():
            self._whole.add(key)
        return key not in self._whole

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
