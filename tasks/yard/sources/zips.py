"""What members of a zip are called and how they are packed.

One that is packed by Deflate64, as Windows Explorer packs from 2 GB on, is read by Info-ZIP's `unzip` where that is
installed: Python cannot.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import zipfile
import zlib
from pathlib import Path
from typing import Any

from tasks.yard.step import BadInput

METHODS = {9: "Deflate64", 93: "Zstandard", 95: "XZ", 96: "JPEG", 97: "WavPack", 98: "PPMd", 99: "AES encryption"}
READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
DEFLATE64 = 9
REPACK = "unpack it with 7-Zip or unzip and give the folder, or pack it again as zip (Deflate) or tar.gz"
UTF8 = 0x800  # flag of a member: its name is UTF-8


def name_of(member: zipfile.ZipInfo) -> tuple[str, bool]:
    """(path with / between its folders, whether its letters are a guess).

    Without its flag a name is CP 437 by the standard; Linux and macOS write UTF-8 all the same, Windows the code page
    of its country.
    """
    name, guessed = member.orig_filename, False  # ZipInfo.filename has already been cut at a NUL
    if not member.flag_bits & UTF8 and not name.isascii():
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            guessed = True
    return name.replace("\\", "/"), guessed


def method_fault(member: zipfile.ZipInfo) -> str | None:
    """Why a member cannot be read, if its packing is the reason."""
    if member.compress_type in READABLE or (member.compress_type == DEFLATE64 and shutil.which("unzip")):
        return None
    method = METHODS.get(member.compress_type, f"method {member.compress_type}")
    return f"packed by {method}, which cannot be read here, though the archive is whole: {REPACK}"


def opened(packed: zipfile.ZipFile, member: zipfile.ZipInfo, archive: Path, shown: str) -> Any:
    """A member of `archive` as a file to read, whose checksum is compared at its end."""
    return Unzipped(archive, member, shown) if member.compress_type == DEFLATE64 else packed.open(member)


class Unzipped:
    """What `unzip` writes of one member. Raises `BadInput` at the end if that is not what was packed."""

    def __init__(self, archive: Path, member: zipfile.ZipInfo, shown: str) -> None:
        pattern = re.sub(r"([\[*?\\])", r"\\\1", member.orig_filename)
        call = ["unzip", "-p", str(archive.resolve()), pattern]
        self.process = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.member, self.shown, self.crc, self.stream = member, shown, 0, self.process.stdout

    def read(self, size: int) -> bytes:
        assert self.stream is not None
        data = self.stream.read(size)
        self.crc = zlib.crc32(data, self.crc)
        if not data and self.crc != self.member.CRC:
            raise BadInput(
                f"{self.shown}: member {self.member.filename!r} is packed by Deflate64, which Python cannot read and "
                f"unzip did not; nothing was extracted: {REPACK}; should the download itself be damaged, delete "
                "data/.cache/sources"
            )
        return data

    def __enter__(self) -> Unzipped:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.stream is not None
        self.stream.close()
        self.process.wait()
