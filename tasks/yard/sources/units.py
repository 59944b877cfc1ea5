"""What the lines' `download` steps share.

A unit is what one folder of download/ is made from: a recording, a data set, a camera, a sequence. Each line has its
own class of units, with `path`, where the unit is on this machine, and `where`, the place in the source as a person
knows it.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from logging import Logger
from pathlib import Path
from typing import NoReturn, Protocol, TypeVar

from tasks.yard import memo
from tasks.yard.fanout import NOUNS, FanOut, as_bad_input, fan_out
from tasks.yard.files import digest, file_hash, natural, replacing
from tasks.yard.sources import archives
from tasks.yard.sources import uri as source_uri
from tasks.yard.step import BadInput, Context, attempt

HASHERS = 8
CHUNK_BYTES = 1 << 20
MANY_FILES = 1000  # fewer are read in no time
NAMED = 5  # of files that are passed over
LEFT_OVERS = ("thumbs.db", "desktop.ini", "ehthumbs.db")


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
    """Of each unit a hash of every file that it is made from. Of a large source those are read again that have changed.

    A file that cannot be read must not stop the others: its unit has the hash of the fault, and making it says more.
    """

    def of(place: int, hashes: Mapping[Path, str | Exception]) -> str:
        unit, files = units[place], mine[place]
        outcomes = [faults[place]] if place in faults else [hashes[file] for file in files]
        if fault := next((one for one in outcomes if isinstance(one, Exception)), None):
            return digest(type(fault).__name__, str(as_bad_input(fault, unit.where)))
        return digest([(os.path.relpath(file, unit.path), one) for file, one in zip(files, outcomes, strict=True)])

    def read(some: Iterable[int]) -> list[str]:
        places = list(some)
        known = dict.fromkeys(file for place in places for file in mine[place])  # several units may have one
        with ThreadPoolExecutor(HASHERS) as pool:  # hashing frees the interpreter lock
            hashes = dict(zip(known, pool.map(partial(attempt, file_hash), known), strict=True))
        return [of(place, hashes) for place in places]

    found = [attempt(lambda unit: list(files_of(unit)), unit) for unit in units]
    faults = {place: files for place, files in enumerate(found) if isinstance(files, Exception)}
    mine = [[] if place in faults else files for place, files in enumerate(found)]
    if sum(map(len, mine)) < MANY_FILES:
        return read(range(len(units)))
    names = [f"{unit.path.absolute()} {getattr(unit, 'name', '')}" for unit in units]
    marks = {name: memo.mark(files) if files else "" for name, files in zip(names, mine, strict=True)}
    if len(marks) < len(units):
        return read(range(len(units)))
    by_key = {key: place for place, key in enumerate(marks)}
    return list(memo.remembered("content", marks, lambda todo: read(by_key[key] for key in todo)).values())


def copied(source: Path, target: Path) -> None:
    """Byte by byte. What an interrupted run brought already is kept."""
    if not (target.exists() and target.stat().st_size == source.stat().st_size):
        # Not shutil.copyfile: the source may be a picture in an archive.
        with replacing(target) as temporary, source.open("rb") as file, temporary.open("wb") as copy:
            shutil.copyfileobj(file, copy, CHUNK_BYTES)


def make_one(unit: T, folder: Path, *, make: Callable[[T, Path], dict], root: Path | None) -> dict:
    """`make(unit, folder)`. A complaint names places in the source, not in a folder that will be gone.

    With `root`, the folder of the source, its places are named from there. What nobody thought of, but for a machine
    that is out of memory or disk, is a complaint too: one strange unit does not end the download of all the others.
    """
    try:
        return make(unit, folder)
    except Exception as error:
        text = str(as_bad_input(error, unit.where)).replace(str(folder), unit.where)
        own = (str(unit.path), unit.where) if root is None else (f"{root}/", "")
        raise BadInput(text.replace(*own)) from None


def make_all(
    make: Callable[[T, Path], dict],
    units: Mapping[str, T],
    fingerprints: Mapping[str, str],
    out: Path,
    ctx: Context,
    root: Path | None = None,
    *,
    accept: Callable[[FanOut], object],
    nouns: tuple[str, str] = NOUNS,
) -> FanOut:
    """One folder of `out` a unit; `make` brings the unit into its folder and returns what was found in it.

    Whatever can fail the step belongs into `accept`, `refuse_too_few` above all: a run that fails takes nothing away.
    """
    return fan_out(partial(make_one, make=make, root=root), units, fingerprints, out, ctx, accept=accept, nouns=nouns)


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
    entries = sorted(root.iterdir())
    inside = [path.name for path in entries][:8]
    packed = next((path.name for path in entries if path.is_file() and archives.kind(path)), None)
    known = "".join(f"\n  {layout}" for layout in layouts)
    hint = f" ({packed} is an archive inside: unpack it beside the others)" if packed else ""
    raise BadInput(
        f"{source_uri.redacted(uri)}: holds {', '.join(inside) or 'nothing'}, and no known layout{hint}:{known}"
    )


def among(files: Iterable[Path]) -> Callable[[Path], bool]:
    """Is a path one of these, whatever ways led to it? Label files like to say ../images."""
    known = {os.path.normpath(file) for file in files}
    return lambda path: os.path.normpath(path) in known


def walked(root: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """(folder, names of folders, names of files) of `root` and all below but what is hidden. As with `os.walk`, a
    folder whose name is taken away is not entered. One that links reach too comes once, by its own path if it has one
    below `root`: links are followed when all that can be reached without them is done; not to what `root` lies in."""
    seen, starts = set(root.resolve().parents), [root]
    for start in starts:  # which grows meanwhile
        for place, below, names in os.walk(start):
            folder = Path(place)
            if (real := folder.resolve()) in seen:
                below.clear()
                continue
            seen.add(real)
            below[:] = sorted(name for name in below if not name.startswith((".", "__MACOSX")))
            yield folder, below, [name for name in names if not name.startswith(".")]
            starts += [folder / name for name in below if (folder / name).is_symlink()]


def passed_over(root: Path, used: Callable[[Path], bool]) -> dict:
    """{files, kinds: {suffix: files}, first: some of them} of what lies below `root` and is not used; {} for nothing.

    Hidden files, and those that systems leave in folders, do not count.
    """
    left: list[Path] = []
    for folder, _, names in walked(root):
        shown = (folder / name for name in names if name.lower() not in LEFT_OVERS)
        left += [path for path in shown if not used(path)]
    kinds = Counter(path.suffix.lower() or "no suffix" for path in left)
    first = [path.relative_to(root).as_posix() for path in sorted(left, key=natural)[:NAMED]]
    return {"files": len(left), "kinds": dict(kinds.most_common(NAMED)), "first": first} if left else {}


def say_passed_over(left: Mapping, where: str, log: Logger) -> None:
    for text in passed_over_words(left):
        log.warning("%s: %s", where, text)


def passed_over_words(left: Mapping) -> list[str]:
    if not left:
        return []
    kinds = ", ".join(f"{count} {kind}" for kind, count in left["kinds"].items())
    return [f"passed over, as nothing here uses them: {left['files']} ({kinds}), the first is {left['first'][0]}"]
