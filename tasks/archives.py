"""A zip archive becomes a folder, whole or not at all, and never writes outside of it."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from tasks.step import BadInput

IGNORED = ("__MACOSX/", ".DS_Store", "Thumbs.db")
CHUNK_BYTES = 1 << 20


class Damaged(BadInput):
    """The archive's bytes are not those that were packed: fetch it again."""


def _fault(member: zipfile.ZipInfo) -> str | None:
    """Why a member may not be extracted."""
    name = member.orig_filename  # ZipInfo.filename has already been cut at a NUL
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ":" in "".join(path.parts[:1]):  # C: is a drive
        return "an absolute path"
    if ".." in path.parts:
        return "a path that leads out of the archive"
    if "\0" in name:
        return "a name with a NUL in it"
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a link or a device"
    if member.flag_bits & 1:
        return "an encrypted file"
    return None


def extract(archive: Path, folder: Path, shown: str, progress: Callable[..., Any] = tqdm) -> None:
    """Extract all of `archive` to `folder`, which is replaced in one step. `shown` names the archive in errors.

    Raises `Damaged` for a broken archive (its CRCs are checked), `BadInput` if a member must not be extracted or the
    disk is too small. Nothing is written in the second case.
    """
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as packed:
            members = [m for m in packed.infolist() if not m.is_dir() and not _ignored(m.filename)]
            for member in packed.infolist():
                if fault := _fault(member):
                    raise BadInput(f"{shown}: member {member.orig_filename!r} is {fault}; nothing was extracted")
            folder.parent.mkdir(parents=True, exist_ok=True)
            needed, free = sum(m.file_size for m in members), shutil.disk_usage(folder.parent).free
            if needed > free:
                sizes = f"{needed / 1e9:.2f} GB do not fit, {free / 1e9:.2f} GB are free"
                raise BadInput(f"{shown}: {sizes} in {folder.parent}")
            part.mkdir()
            for member in progress(members, total=len(members), desc="extract", unit="file"):
                target = part / member.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with packed.open(member) as source, target.open("xb") as file:  # x: two members of one name are a fault
                    shutil.copyfileobj(source, file, CHUNK_BYTES)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise Damaged(f"{shown}: the archive is damaged or no zip ({error}); run again to fetch it anew") from None
    except FileExistsError as error:
        name = Path(error.filename).name
        raise BadInput(f"{shown}: two members share the name {name!r}; nothing was extracted") from None
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
