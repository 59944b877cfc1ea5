"""Files are written to a temporary name and renamed: a reader, or a hard link in DVC's cache, never sees half a
file."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # pandas takes half a second, which most users of this module do not need
    from pandas import DataFrame

OWNER = r"([0-9a-f]{8})-(\d+)-\d+"
TEMPORARY = re.compile(rf"\..+\.({OWNER})(\.[^.]*)?")
FORGOTTEN_S = 24 * 3600  # nobody writes one file of another host for so long without a change of it
FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Hands out a temporary path beside `path`; on success it takes the name `path`, on an error it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: writers such as cv2, pandas and torch choose the format by it.
    temporary = path.with_name(f".{path.stem}.{owner()}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        pass
    return True


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _owner(process: int) -> str:
    """A process, apart from one of the same number on another host, or before this one: containers count from 1."""
    try:
        began = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]  # in ticks since the boot
    except OSError:  # it is not alive, or the system has no such file
        began = "0"
    return f"{_host()}-{process}-{began}"


def owner() -> str:
    """This process, for `is_at_work`."""
    return _owner(os.getpid())


def is_at_work(name: str, since_s: float) -> bool:
    """Is the process alive that called itself so (`owner`)? Of one of another host, a container that is gone or another
    machine at this folder, the time tells: `since_s`, when it last wrote its name."""
    if not (match := re.fullmatch(OWNER, name)):
        return False
    if match[1] == _host():
        return alive(int(match[2])) and name == _owner(int(match[2]))
    return time.time() - since_s < FORGOTTEN_S


def sweep(folder: Path, *, everyone: bool = False) -> None:
    """Remove what `replacing` handed out under `folder` to processes that were killed before they could; to everyone,
    where it is known that nobody writes there."""
    for path in folder.rglob(".*"):
        if match := TEMPORARY.fullmatch(path.name):
            with contextlib.suppress(OSError):  # its writer is done with it, or it is a folder
                if everyone or not is_at_work(match[1], path.stat().st_mtime):
                    path.unlink()


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Sorted keys and a final newline, so that equal values are equal bytes. NaN is refused: it is not JSON."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, **arguments: Any) -> Any:
    """In UTF-8, 16 or 32, with or without a byte order mark, as programs of Windows write it; `arguments` are those of
    `json.loads`. Raises `ValueError` for what is none."""
    return json.loads(path.read_bytes(), **arguments)


def read_if_there(path: Path) -> Any:
    """A JSON file; {} if there is none."""
    return read_json(path) if path.exists() else {}


def write_table(path: Path, table: DataFrame) -> None:
    """A data frame as csv, with six decimals: more than the data can tell, and the same text from every BLAS."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6f", lineterminator="\n")


def natural(path: Path | str) -> tuple:
    """Sort key of a path or name: numbers in it by their value: 2 before 10; and x.jpg before x (1).jpg."""
    parts = (path,) if isinstance(path, str) else path.parts
    if parts:
        stem, dot, suffix = parts[-1].rpartition(".")
        parts = (*parts[:-1], stem or suffix, dot + suffix if stem else "")
    return [[int(word) if word.isdecimal() else word for word in re.split(r"(\d+)", part)] for part in parts], parts


def digest(*values: Any) -> str:
    """A short stable hash of JSON-able values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:16]


def file_hash(path: Path) -> str:
    """sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_hash(folder: Path) -> str:
    """Hash of the names and contents of all files under a folder."""
    return digest([(str(p.relative_to(folder)), file_hash(p)) for p in sorted(folder.rglob("*")) if p.is_file()])
