"""The pictures of a recording in one file: a stored, uncompressed zip that any program opens.

    <recording>/frames.zip    <Time>.jpg|png, in the order of time

A recording has some hundred pictures. As files of their own, each costs DVC a look at every status, commit and push, so
that a yard of 2,000 drives has a million of them; as one file a recording costs the same however long it is.

A `Packed` path stands for one picture, <recording>/frames.zip/<Time>.jpg, and is read as if it were a file.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from tasks.yard.files import replacing
from tasks.yard.step import BadInput

NAME = "frames.zip"
EPOCH = (1980, 1, 1, 0, 0, 0)  # equal pictures are equal bytes
LOCAL_HEADER_BYTES = 30
OPEN_ARCHIVES = 16  # whose contents are remembered


class Packed(type(Path())):  # type: ignore[misc]
    """A picture in a `frames.zip`; its name, stem, suffix and parent are those of a path."""

    def read_bytes(self) -> bytes:
        begin, size = self._place()
        with Path(self.parent).open("rb") as file:
            file.seek(begin)
            return file.read(size)

    def _place(self) -> tuple[int, int]:
        archive = Path(self.parent)
        now = archive.stat()
        try:
            return contents(str(archive), now.st_mtime_ns, now.st_size)[self.name]
        except KeyError:
            raise FileNotFoundError(2, "no such picture in it", str(self)) from None

    def open(self, mode: str = "r", *_: Any, **__: Any) -> Any:  # type: ignore[override]
        if mode != "rb":
            raise OSError(f"{self}: a picture in an archive is read as bytes")
        return io.BytesIO(self.read_bytes())

    def stat(self, **_: Any) -> os.stat_result:  # type: ignore[override]
        """Of its archive, with the size of the picture."""
        whole = Path(self.parent).stat()
        return os.stat_result([*whole[:6], self._place()[1], *whole[7:]])

    def is_file(self) -> bool:
        archive = Path(self.parent)
        return archive.is_file() and self.name in names(archive)


@lru_cache(OPEN_ARCHIVES)
def contents(archive: str, _changed_ns: int, _size: int) -> dict[str, tuple[int, int]]:
    """{picture: (where its bytes begin, how many)}. Raises `BadInput` for what is no archive of stored pictures."""
    found = {}
    try:
        with Path(archive).open("rb") as file, zipfile.ZipFile(file) as packed:
            for member in packed.infolist():
                if member.compress_type != zipfile.ZIP_STORED:
                    raise BadInput(f"{archive}: {member.filename} is compressed; pack the pictures stored: zip -0")
                file.seek(member.header_offset)
                header = file.read(LOCAL_HEADER_BYTES)
                more = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
                found[member.filename] = member.header_offset + LOCAL_HEADER_BYTES + more, member.file_size
    except zipfile.BadZipFile as error:
        raise BadInput(f"{archive}: is no zip ({error})") from None
    return found


def names(archive: Path) -> list[str]:
    """Of the pictures in it, in its order."""
    now = archive.stat()
    return list(contents(str(archive), now.st_mtime_ns, now.st_size))


def paths(folder: Path) -> list[Path]:
    """Of the pictures in the folder's archive; none if it has none."""
    archive = folder / NAME
    return [Packed(archive, name) for name in names(archive)] if archive.is_file() else []


def pack(files: Iterable[Path], folder: Path) -> None:
    """Put the pictures into the folder's archive, and away."""
    known = list(files)
    if not known:
        return
    with replacing(folder / NAME) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as packed:
        for path in known:
            member = zipfile.ZipInfo(path.name, EPOCH)
            member.external_attr = 0o644 << 16
            packed.writestr(member, path.read_bytes())
    for path in known:
        path.unlink()
