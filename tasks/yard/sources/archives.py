"""A zip or tar archive becomes a folder, whole or not at all, and never writes outside of it."""

from __future__ import annotations

import gzip
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from tqdm import tqdm

from tasks.yard.files import FULL_DISK
from tasks.yard.step import BadInput

IGNORED = ("__MACOSX/", ".DS_Store", "Thumbs.db")
SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz")
CHUNK_BYTES = 1 << 20
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, NotImplementedError)


class Damaged(BadInput):
    """The archive's bytes are not those that were packed: fetch it again."""


def _misplaced(name: str) -> str | None:
    """Why nothing may be written under a member's name."""
    path = PurePosixPath(name.replace("\\", "/"))
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
    open: Callable[[], IO[bytes]]


def _of_zip(packed: zipfile.ZipFile) -> list[_Member]:
    members = []
    for member in packed.infolist():
        name = member.orig_filename  # ZipInfo.filename has already been cut at a NUL
        kind = stat.S_IFMT(member.external_attr >> 16)
        fault = _misplaced(name)
        if not fault and kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            fault = "a link or a device"
        if not fault and member.flag_bits & 1:
            fault = "an encrypted file"
        members.append(_Member(name, member.file_size, member.is_dir(), fault, lambda m=member: packed.open(m)))
    return members


def _of_tar(packed: tarfile.TarFile, stream: IO[bytes]) -> Iterator[_Member]:
    """Members as they come: a tar has no list of what it holds, and 15 GB are not to be unpacked twice."""
    for member in packed:
        fault = _misplaced(member.name) or (None if member.isreg() or member.isdir() else "a link or a device")
        yield _Member(member.name, member.size, member.isdir(), fault, lambda m=member: packed.extractfile(m))
    while stream.read(CHUNK_BYTES):
        pass  # to its end, where gzip has the checksum


@contextmanager
def _opened(archive: Path) -> Iterator[list[_Member] | Iterator[_Member]]:
    """What an archive holds, whatever its name says of its kind."""
    with archive.open("rb") as file:
        start = file.read(512)
        file.seek(0)
        if start[:2] == b"\x1f\x8b" or start[257:262] == b"ustar":
            with (
                gzip.open(file) if start[:2] == b"\x1f\x8b" else file as stream,
                tarfile.open(fileobj=stream, mode="r|") as packed,
            ):
                yield _of_tar(packed, stream)
        else:
            with zipfile.ZipFile(file) as packed:
                yield _of_zip(packed)


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
        with _opened(archive) as members:
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
    except DAMAGED as error:
        reason = f"the archive is damaged or no zip or tar ({error}); run again to fetch it anew"
        raise Damaged(f"{shown}: {reason}") from None
    except FileExistsError as error:
        name = Path(error.filename).name
        raise BadInput(f"{shown}: two members share the name {name!r}; nothing was extracted") from None
    except OSError as error:
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
