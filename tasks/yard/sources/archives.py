"""A zip or tar archive becomes a folder, whole or not at all, and never writes outside of it.

What an archive is, its first bytes say, not its name. A backslash in a member's name is a separator: Windows programs
write it so.
"""

from __future__ import annotations

import bz2
import gzip
import logging
import lzma
import os
import shutil
import stat
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from tqdm import tqdm

from tasks.yard.files import FULL_DISK
from tasks.yard.sources import zips
from tasks.yard.step import BadInput

IGNORED = ("__MACOSX/", ".DS_Store", "Thumbs.db")
STREAMS: Mapping[bytes, Any] = {  # what a tar may be packed in, by its first bytes
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}  # fmt: skip
NOT_READ = {  # first bytes -> what it is
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"\x28\xb5\x2f\xfd": "packed by Zstandard",
}
ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
SUFFIXES = (
    ".zip", ".tar", ".tgz", ".tar.gz", ".txz", ".tar.xz", ".tbz2", ".tbz", ".tar.bz2", ".tzst", ".tar.zst", ".7z",
    ".rar",
)  # fmt: skip
CHUNK_BYTES = 1 << 20
NO_TIME = 1980  # of a zip that was packed by a program that keeps none
DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError, NotImplementedError,
)  # fmt: skip

log = logging.getLogger(__name__)


class Damaged(BadInput):
    """The archive's bytes are not those that were packed: fetch it again."""


def kind(archive: Path) -> str | None:
    """zip, tar or a sentence's end that says what else it is; None for no archive. By its first bytes."""
    with archive.open("rb") as file:
        start = file.read(512)
    if start.startswith(ZIP):
        return "zip"
    if start.startswith(tuple(STREAMS)) or start[257:262] == b"ustar":
        return "tar"
    return next((what for first, what in NOT_READ.items() if start.startswith(first)), None)


def _misplaced(name: str) -> str | None:
    """Why nothing may be written under a member's name."""
    path = PurePosixPath(name)
    if path.is_absolute() or ":" in "".join(path.parts[:1]):  # C: is a drive
        return "an absolute path"
    if ".." in path.parts:
        return "a path that leads out of the archive"
    return "a name with a NUL in it" if "\0" in name else None


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    is_dir: bool
    fault: str | None  # why it may not be extracted
    open: Callable[[], Any]
    changed_s: float  # since 1970, as it says; 0: it does not


def _of_zip(packed: zipfile.ZipFile, archive: Path, shown: str) -> list[_Member]:
    members, guessed = [], []
    for member in packed.infolist():
        name, unsure = zips.name_of(member)
        guessed += [name] if unsure else []
        mode = stat.S_IFMT(member.external_attr >> 16)
        fault = _misplaced(name)
        if not fault and mode not in (0, stat.S_IFREG, stat.S_IFDIR):
            fault = "a link or a device"
        if not fault and member.flag_bits & 1:
            fault = "an encrypted file"
        fault = fault or zips.method_fault(member)
        opened = partial(zips.opened, packed, member, archive, shown)
        members.append(_Member(name, member.file_size, name.endswith("/"), fault, opened, _told(member.date_time)))
    if guessed:
        log.warning(
            "%s: %d names are in an unknown code page, such as %r, and may not be those that labels name; pack it "
            "again with names in UTF-8", shown, len(guessed), guessed[0],
        )  # fmt: skip
    return members


def _told(date_time: tuple[int, ...]) -> float:
    """A zip's time of change, in seconds since 1970; 0 for none: programs that keep no time write 1980."""
    try:
        told = datetime(*date_time, tzinfo=UTC)
    except ValueError:
        return 0.0
    return told.timestamp() if told.year > NO_TIME else 0.0


def _of_tar(packed: tarfile.TarFile, stream: IO[bytes]) -> Iterator[_Member]:
    """Members as they come: a tar has no list of what it holds, and 15 GB are not to be unpacked twice."""
    for member in packed:
        name = member.name.replace("\\", "/")
        fault = _misplaced(name) or (None if member.isreg() or member.isdir() else "a link or a device")
        opened = partial(packed.extractfile, member)
        yield _Member(name, member.size, member.isdir(), fault, opened, float(member.mtime))
    while stream.read(CHUNK_BYTES):
        pass  # to its end, where gzip has the checksum


@contextmanager
def _opened(archive: Path, shown: str) -> Iterator[list[_Member] | Iterator[_Member]]:
    """What an archive holds, whatever its name says of its kind."""
    what = kind(archive)
    if what not in ("zip", "tar", None):
        raise BadInput(f"{shown}: is {what}, which cannot be read here: {zips.REPACK}")
    with archive.open("rb") as file:
        if what == "tar":
            start = file.read(8)
            file.seek(0)
            packing = next((opened for first, opened in STREAMS.items() if start.startswith(first)), None)
            with packing(file) if packing else file as stream, tarfile.open(fileobj=stream, mode="r|") as packed:
                yield _of_tar(packed, stream)
        else:
            with zipfile.ZipFile(file) as packed:
                yield _of_zip(packed, archive, shown)


def extract(archive: Path, folder: Path, shown: str, progress: Callable[..., Any] = tqdm) -> None:
    """Extract all of `archive` to `folder`, which is replaced in one step. `shown` names the archive in errors.

    Raises `Damaged` for a broken archive (its CRCs are checked), `BadInput` if a member must not be extracted or the
    disk is too small. Nothing is left behind then.
    """
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)

    def check(members: list[_Member]) -> None:
        for member in members:
            if member.fault:
                raise BadInput(f"{shown}: member {member.name!r} is {member.fault}; nothing was extracted")
        needed, free = sum(member.size for member in members), shutil.disk_usage(folder.parent).free
        if needed > free:
            sizes = f"{needed / 1e9:.2f} GB do not fit, {free / 1e9:.2f} GB are free"
            raise BadInput(f"{shown}: {sizes} in {folder.parent}")

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _opened(archive, shown) as members:
            total = None
            if isinstance(members, list):  # all of it is known beforehand
                check(members)
                total = len(members)
            part.mkdir()
            for member in progress(members, total=total, desc="extract", unit="file"):
                check([member])
                if member.is_dir or _ignored(member.name):
                    continue
                target = part / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                with member.open() as source, target.open("xb") as file:  # x: two members of one name are a fault
                    shutil.copyfileobj(source, file, CHUNK_BYTES)
                if target.stat().st_size != member.size:
                    raise EOFError(f"{member.name} ends too early")
                if 0 < member.changed_s < time.time():  # it tells the day of a recording without a date
                    os.utime(target, (member.changed_s, member.changed_s))
    except DAMAGED as error:
        reason = f"the archive is damaged or no zip or tar ({error}); run again to fetch it anew"
        raise Damaged(f"{shown}: {reason}") from None
    except FileExistsError as error:
        name = Path(error.filename).name
        raise BadInput(f"{shown}: two members share the name {name!r}; nothing was extracted") from None
    except OSError as error:
        if error.errno is None:  # bz2's word for bytes that are none of its own
            raise Damaged(f"{shown}: the archive is damaged ({error}); run again to fetch it anew") from None
        if error.errno not in FULL_DISK:
            raise
        raise BadInput(f"{shown}: the disk is full ({folder.parent}); make room and run again") from None
    else:
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _ignored(name: str) -> bool:
    return name.startswith(IGNORED[0]) or PurePosixPath(name).name in IGNORED[1:]


def without_single_top(folder: Path) -> Path:
    """The folder inside as long as there is nothing else: archives like to wrap all they hold. Its name is kept."""
    while len(entries := list(folder.iterdir())) == 1 and entries[0].is_dir():
        folder = entries[0]
    return folder
