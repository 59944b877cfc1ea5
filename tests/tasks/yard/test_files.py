"""Half-written files: never under their name, and not for ever beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.yard.files import natural, read_json, replacing, sweep
from tasks.yard.layouts.example import first_key


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(RuntimeError), replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("ne")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


def test_what_a_killed_process_left_is_swept_and_nothing_else(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path; from tasks.yard.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as t: t.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    for name in ("one/data.hdf5", "one/.done"):
        subprocess.run([sys.executable, "-c", code, tmp_path / name], check=False)
    kept = {".done.json", ".gitignore", ".frame.7.name.png", "b.json"}
    for name in kept:
        (tmp_path / "one" / name).write_text("")
    assert len(list((tmp_path / "one").iterdir())) == len(kept) + 2
    with replacing(tmp_path / "one/mine.json") as mine:  # of a process that is alive
        mine.write_text("half")
        _, _, owner, suffix = mine.name.split(".")
        host, process, began = owner.split("-")
        assert int(process) == os.getpid()
        # a process of the same number before this one, as in a container; one of another host, which may be at work
        before, elsewhere, forgotten = (
            mine.with_name(f".other.{text}.{suffix}")
            for text in (f"{host}-{process}-{int(began) - 1}", f"0badcafe-{process}-1", "0badcafe-1-1")
        )
        for path in (before, elsewhere, forgotten):
            path.write_text("half")
        os.utime(forgotten, (0, 0))
        sweep(tmp_path)
        assert {path.name for path in (tmp_path / "one").iterdir()} == kept | {mine.name, elsewhere.name}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32-le"])
def test_json_is_read_with_a_byte_order_mark_and_in_wide_letters(tmp_path, encoding):
    (tmp_path / "a.json").write_text('{"name": "Äcker"}', encoding=encoding)
    assert read_json(tmp_path / "a.json") == {"name": "Äcker"}
    assert first_key(tmp_path / "a.json") == "name"


def test_names_with_numbers_are_in_the_order_of_these():
    names = ["frame_10.jpg", "frame_2.jpg", "10.jpg", "2.jpg", "frame_02b.jpg", "a/1.jpg", "frame_1.jpg"]
    assert sorted(names, key=natural) == [
        "2.jpg", "10.jpg", "a/1.jpg", "frame_1.jpg", "frame_2.jpg", "frame_02b.jpg", "frame_10.jpg",
    ]  # fmt: skip
    paths = [Path("b/1"), Path("a/10"), Path("a"), Path("a/2/3"), Path("a/2")]
    assert sorted(["a (1).jpg", "a (10).jpg", "a.jpg", "a (2).jpg"], key=natural)[0] == "a.jpg"
    assert sorted(paths, key=natural) == [Path("a"), Path("a/2"), Path("a/2/3"), Path("a/10"), Path("b/1")]
