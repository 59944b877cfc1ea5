"""What the lines' `download` steps share.

A unit is what one folder of download/ is made from: a recording, a data set, a camera, a sequence. Each line has its
own class of units, with `path`, where the unit is on this machine, and `where`, the place in the source as a person
knows it.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NoReturn, Protocol, TypeVar

from tasks.yard.fanout import FanOut, fan_out
from tasks.yard.files import digest, file_hash, replacing
from tasks.yard.sources import uri as source_uri
from tasks.yard.step import BadInput, Context

log = logging.getLogger(__name__)
HASHERS = 8
OF_THE_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ESTALE}


class Unit(Protocol):
    @property
    def path(self) -> Path: ...

    @property
    def where(self) -> str: ...


T = TypeVar("T", bound=Unit)


def shown(uri: str, root: Path, path: Path) -> str:
    """A place below `root`, the folder that `uri` became, as a person knows it."""
    return f"{source_uri.redacted(uri).rstrip('/')}/{path.relative_to(root).as_posix()}".removesuffix("/.")


def content_hashes(units: Sequence[T], files_of: Callable[[T], Sequence[Path]]) -> list[str]:
    """Of each unit a hash of every file that it is made from. Where one cannot be read, making the unit will say so."""

    def of(unit: T) -> str:
        try:
            return digest([(os.path.relpath(file, unit.path), file_hash(file)) for file in files_of(unit)])
        except Exception as error:
            if _of_the_machine(error):
                raise
            return digest(["unreadable", repr(error)])

    with ThreadPoolExecutor(HASHERS) as pool:  # hashing frees the interpreter lock
        return list(pool.map(of, units))


def _of_the_machine(error: Exception) -> bool:
    """Is it out of memory, disk or network? Then no unit is to blame."""
    known = isinstance(error, OSError) and error.errno in OF_THE_MACHINE
    return known or isinstance(error, MemoryError | ConnectionError | TimeoutError)


def copied(source: Path, target: Path) -> None:
    """Byte by byte. What an interrupted run brought already is kept."""
    if not (target.exists() and target.stat().st_size == source.stat().st_size):
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)


def make_one(unit: T, folder: Path, *, make: Callable[[T, Path], dict], root: Path | None) -> dict:
    """`make(unit, folder)`. A complaint names places in the source, not in a folder that will be gone.

    With `root`, the folder of the source, its places are named from there. What nobody thought of, but for a machine
    that is out of memory or disk, is a complaint too: one strange unit does not end the download of all the others.
    """
    try:
        return make(unit, folder)
    except BadInput as error:
        text = str(error)
    except Exception as error:
        if _of_the_machine(error):
            raise
        log.debug("%s", unit.where, exc_info=True)
        at = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(at.filename).name}:{at.lineno}"
        text = f"{unit.where}: cannot be used: {type(error).__name__}: {error} ({where}); please report it"
    own = (str(unit.path), unit.where) if root is None else (f"{root}/", "")
    raise BadInput(text.replace(str(folder), unit.where).replace(*own))


def make_all(
    make: Callable[[T, Path], dict],
    units: Mapping[str, T],
    fingerprints: Mapping[str, str],
    out: Path,
    ctx: Context,
    root: Path | None = None,
) -> FanOut:
    """One folder of `out` a unit; `make` brings the unit into its folder and returns what was found in it."""
    return fan_out(partial(make_one, make=make, root=root), units, fingerprints, out, ctx)


def refuse_too_few(done: FanOut, needed: int, what: str, uri: str, advice: str = "") -> None:
    """Raises `BadInput` with the reason of every unit that could not be used if fewer than `needed` are left."""
    if len(done.summaries) < needed:
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in sorted(done.quarantined.items()))
        raise BadInput(f"{source_uri.redacted(uri)}: usable {what}: {len(done.summaries)}{advice}{reasons}")


def refuse_same_name(units: Mapping[str, Unit], name: str, where: str) -> None:
    """Raises `BadInput` if a unit of this name is among `units` already."""
    if name in units:
        raise BadInput(f"{where} and {units[name].where} are both called {name}; rename one of them")


def refuse_no_folder(root: Path, uri: str) -> None:
    if not root.is_dir():
        raise BadInput(f"{source_uri.redacted(uri)}: neither a folder nor an archive; give the folder of the data")


def refuse_unknown(root: Path, uri: str, *layouts: str) -> NoReturn:
    """Raises `BadInput` that says what is there instead of one of the known `layouts`, a text each."""
    inside = sorted(path.name for path in root.iterdir())[:8]
    known = "".join(f"\n  {layout}" for layout in layouts)
    raise BadInput(f"{source_uri.redacted(uri)}: holds {', '.join(inside) or 'nothing'}, and no known layout:{known}")
