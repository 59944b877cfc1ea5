"""What was found out about a folder, kept while the folder stays as it is, between runs: hashes of what a source holds,
what a recording says of its car. Without it one new recording costs a look into all the others.

Writes data/.cache/memo.sqlite, which is no out of any stage; lost, all is found out anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tasks.yard.files import digest

FILE = Path("data/.cache/memo.sqlite")
WAIT_S = 5.0  # for another process that writes there
FRESH_S = 3.0  # what was changed so lately may change again without another time of change
AT_ONCE = 500  # SQLite takes some thousand values a question


def remembered(kind: str, marks: Mapping[str, str], make: Callable[[Sequence[str]], Iterable[Any]]) -> dict[str, Any]:
    """{key: what `make` says of it} of all keys of `marks`: only of those whose mark is another than at the last time
    is `make` asked, with all of them at once. What it says is JSON; a key without a mark is never remembered."""
    known = _read(kind, marks)
    todo = [key for key in marks if key not in known]
    made = dict(zip(todo, make(todo), strict=True)) if todo else {}
    _write(kind, [(key, marks[key], value) for key, value in made.items() if marks[key]])
    return {key: known[key] if key in known else made[key] for key in marks}


def mark(files: Iterable[Path]) -> str:
    """Changes with the names, sizes and times of change of files; empty if one of them is too new to tell, or gone."""
    seen, newest = [], 0
    try:
        for path in files:
            now = os.stat(path)  # noqa: PTH116 - Path.stat takes twice the time, and there are millions
            newest = max(newest, now.st_mtime_ns, now.st_ctime_ns)
            seen.append((os.fspath(path), now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino))
    except OSError:
        return ""
    return "" if newest > (time.time() - FRESH_S) * 1e9 else digest(seen)


def _read(kind: str, marks: Mapping[str, str]) -> dict[str, Any]:
    if not FILE.is_file():
        return {}
    found, keys = {}, [key for key, one in marks.items() if one]
    with contextlib.suppress(sqlite3.Error), closing(_opened()) as store:
        for first in range(0, len(keys), AT_ONCE):
            some = keys[first : first + AT_ONCE]
            places = ",".join("?" * len(some))
            rows = store.execute(
                f"SELECT key, mark, value FROM memo WHERE kind = ? AND key IN ({places})", (kind, *some)
            )
            found |= {key: json.loads(value) for key, known, value in rows if known == marks[key]}
    return found


def _write(kind: str, rows: Sequence[tuple[str, str, Any]]) -> None:
    if not rows:
        return
    FILE.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(sqlite3.Error), closing(_opened()) as store, store:  # a full disk costs the memory alone
        store.executemany(
            "INSERT OR REPLACE INTO memo VALUES (?, ?, ?, ?)",
            [(kind, key, one, json.dumps(value)) for key, one, value in rows],
        )


def _opened() -> sqlite3.Connection:
    store = sqlite3.connect(FILE, timeout=WAIT_S)
    store.execute("PRAGMA synchronous = OFF")
    store.execute(
        "CREATE TABLE IF NOT EXISTS memo (kind TEXT, key TEXT, mark TEXT, value TEXT, PRIMARY KEY (kind, key))"
    )
    return store


def listed(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """(path below `root`, stat) of every file, in the order of their paths; folders that are links are not entered."""
    found, todo = [], [(str(root), "")]
    while todo:
        folder, prefix = todo.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                name = prefix + entry.name
                if entry.is_dir(follow_symlinks=False):
                    todo.append((entry.path, f"{name}/"))
                elif entry.is_file():
                    found.append((name, entry.stat()))
    yield from sorted(found, key=lambda one: one[0].split("/"))
