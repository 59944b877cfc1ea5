from __future__ import annotations

import os
import time

import pytest

from tasks.yard import memo
from tasks.yard.sources import units
from tests.tasks.yard.sources.test_units import Unit, files_of

LONG_AGO_S = 1000


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Two units of many files, none of them new."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(units, "MANY_FILES", 4)
    for name in ("a", "b"):
        (tmp_path / "source" / name).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "source" / name / f"{number}.txt").write_text(f"{name} {number}")
    monkeypatch.setattr(memo, "FRESH_S", -LONG_AGO_S)  # as if all was written long ago
    return [Unit(tmp_path / "source" / name, name) for name in ("a", "b")]


def test_of_a_large_source_only_what_has_changed_is_read_again(source, monkeypatch):
    first = units.content_hashes(source, files_of)
    read = []
    monkeypatch.setattr(units, "file_hash", lambda path: read.append(path) or "anew")
    assert units.content_hashes(source, files_of) == first and not read
    changed = source[1].path / "1.txt"
    changed.write_text("b 9")  # as long as before
    os.utime(changed, ns=(changed.stat().st_atime_ns, changed.stat().st_mtime_ns))
    again = units.content_hashes(source, files_of)
    assert again[0] == first[0] and again[1] != first[1] and {path.parent.name for path in read} == {"b"}


def test_what_is_too_new_to_tell_or_lost_is_read_again(source, monkeypatch):
    monkeypatch.setattr(memo, "FRESH_S", LONG_AGO_S)
    first = units.content_hashes(source, files_of)
    (source[0].path / "0.txt").write_text("a 8")
    assert units.content_hashes(source, files_of)[0] != first[0]
    memo.FILE.parent.mkdir(parents=True, exist_ok=True)
    memo.FILE.write_bytes(b"no database")
    assert units.content_hashes(source, files_of)[1] == first[1]


def test_a_folder_is_listed_in_the_order_of_its_paths(tmp_path):
    for name in ("b/1", "a/b/2", "a.txt", "a/3"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert [name for name, _ in memo.listed(tmp_path)] == ["a/3", "a/b/2", "a.txt", "b/1"]
    assert memo.mark([tmp_path / "gone"]) == "" and time.time() > 0
