"""Archives as they come from the world: by what they are, not by what they are called; what cannot be read is said."""

from __future__ import annotations

import io
import shutil
import struct
import zipfile
import zlib

import pytest

from tasks.yard.sources import local as sources
from tasks.yard.sources.uri import name_of
from tasks.yard.step import BadInput
from tests.tasks.yard.sources.test_local import DRIVES, FLAT, get, gets, held, packed, site, tarred  # noqa: F401


def zipped(names: list[str], flag: int = 0) -> bytes:
    """A zip whose members' names are these, byte by byte, each with its place as content."""
    members, central = b"", b""
    for place, name in enumerate(names):
        raw, content = name.encode("latin-1"), str(place).encode()
        crc = zlib.crc32(content)
        about = struct.pack("<HHHHIIIHH", flag, 0, 0, 33, crc, len(content), len(content), len(raw), 0)
        central += (
            b"PK\1\2" + struct.pack("<HH", 20, 20) + about + struct.pack("<HHHII", 0, 0, 0, 0, len(members)) + raw
        )
        members += b"PK\3\4" + struct.pack("<H", 20) + about + raw + content
    end = struct.pack("<HHHHIIH", 0, 0, len(names), len(names), len(central), len(members), 0)
    return members + central + b"PK\5\6" + end


def with_method(data: bytes, method: int) -> bytes:
    changed = bytearray(data)
    for mark, offset in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        at = changed.find(mark)
        while at >= 0:
            struct.pack_into("<H", changed, at + offset, method)
            at = changed.find(mark, at + 4)
    return bytes(changed)


def deflate64(files: dict[str, bytes]) -> bytes:
    """Stored blocks are the same in Deflate and in Deflate64."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=0) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return with_method(buffer.getvalue(), 9)


TEXT = {"set/images/[a] 1*.txt": b"one" * 100, "set/b.txt": b"", "set/c.txt": b"three"}


def test_backslashes_in_names_are_folders(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped(["set\\", "set\\images\\a.txt", "set/images\\b.txt", "set\\c.txt"]))
    (tmp_path / "a.tar").write_bytes(tarred({"set\\images\\a.txt": b"1", "set\\c.txt": b"3"}, mode="w"))
    of_zip = held(sources.local(str(tmp_path / "a.zip"), tmp_path / "cache"))
    assert of_zip == {"images/a.txt": b"1", "images/b.txt": b"2", "c.txt": b"3"}
    assert held(sources.local(str(tmp_path / "a.tar"), tmp_path / "cache")) == {"images/a.txt": b"1", "c.txt": b"3"}


@pytest.mark.skipif(not shutil.which("unzip"), reason="needs unzip, which reads Deflate64")
def test_deflate64_is_read_where_unzip_is_installed(tmp_path):
    (tmp_path / "a.zip").write_bytes(deflate64(TEXT))
    found = held(sources.local(str(tmp_path / "a.zip"), tmp_path / "cache"))
    assert found == {name.removeprefix("set/"): content for name, content in TEXT.items()}
    spoilt = deflate64(TEXT).replace(b"three", b"thrae", 1)
    (tmp_path / "b.zip").write_bytes(spoilt)
    with pytest.raises(BadInput, match=r"'set/c.txt' is packed by Deflate64.* unzip did not; .*7-Zip"):
        sources.local(str(tmp_path / "b.zip"), tmp_path / "cache")


@pytest.mark.parametrize(("method", "name"), [(9, "Deflate64"), (93, "Zstandard"), (98, "PPMd")])
def test_a_method_that_cannot_be_read_is_named_and_the_download_kept(site, tmp_path, monkeypatch, method, name):  # noqa: F811
    monkeypatch.setenv("PATH", str(tmp_path))  # where no unzip is
    site.content = with_method(deflate64(TEXT), method)
    for _ in range(3):
        with pytest.raises(BadInput, match=rf"packed by {name}.*archive is whole.*7-Zip"):
            get(site.url, tmp_path / "cache")
    assert len(gets(site)) == 1 and [path.name for path in tmp_path.rglob("archive.zip")] == ["archive.zip"]


@pytest.mark.slow
@pytest.mark.parametrize("packing", ["xz", "bz2", "gz"])
def test_a_tar_is_read_however_it_is_packed(site, tmp_path, packing):  # noqa: F811
    site.content = tarred(DRIVES, mode=f"w:{packing}")
    assert held(get(site.url, tmp_path)) == FLAT
    for name in (f"set.tar.{packing}", "download"):
        (tmp_path / name).write_bytes(site.content)
        assert held(sources.local(str(tmp_path / name), tmp_path / "cache")) == FLAT
    assert name_of(f"/data/set.tar.{packing}") == "set"
    site.content, site.etag = site.content[:300_000], '"cut"'
    with pytest.raises(BadInput, match="damaged"):
        get(site.url, tmp_path)
    middle = len(site.content) // 2
    site.content, site.etag = site.content[:middle] + b"\0" * 5000 + site.content[middle + 5000 :], '"spoilt"'
    with pytest.raises(BadInput, match="damaged"):
        get(site.url, tmp_path)


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
        (b"Rar!\x1a\7", "a RAR"),
        (b"\x28\xb5\x2f\xfd", "packed by Zstandard"),
    ],
)
def test_what_cannot_be_read_is_said_with_what_to_do(site, tmp_path, start, said):  # noqa: F811
    for name in ("set.7z", "set.tar.zst", "set"):
        (tmp_path / name).write_bytes(start + bytes(200))
        with pytest.raises(BadInput, match=f"{name}: is {said}.*pack it again as zip"):
            sources.local(str(tmp_path / name), tmp_path / "cache")
    site.content = start + bytes(200)
    for _ in range(2):
        with pytest.raises(BadInput, match=f"is {said}"):
            get(site.url, tmp_path / "cache")
    assert len(gets(site)) == 1


def test_names_in_utf_8_without_its_flag_are_read_and_those_of_a_code_page_are_reported(tmp_path, caplog):
    (tmp_path / "a.zip").write_bytes(zipped(["行人.txt".encode().decode("latin-1"), "a.txt"]))
    assert sorted(held(sources.local(str(tmp_path / "a.zip"), tmp_path / "cache"))) == ["a.txt", "行人.txt"]
    assert not caplog.records
    (tmp_path / "b.zip").write_bytes(zipped(["行人.txt".encode("gbk").decode("latin-1"), "a.txt"]))
    sources.local(str(tmp_path / "b.zip"), tmp_path / "cache")
    assert "1 names are in an unknown code page" in caplog.text


def test_the_first_bytes_decide_not_the_name(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(packed(DRIVES))
    assert held(sources.local(str(tmp_path / "a.tar.gz"), tmp_path / "cache")) == FLAT
