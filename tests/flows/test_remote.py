"""A DVC remote beside a line: unfinished work stays, what is not here comes back, what vanished is sent again."""

from __future__ import annotations

import errno
import logging
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest

from flows import remote
from flows.graph import Graph
from tasks.yard.files import write_json, write_text
from tasks.yard.step import BadInput
from tests.flows.conftest import Yard, make_yard

OUTS = {"code": "data/code", "toy-collect": "data/toy/collect", "toy-square": "data/toy/square"}


def graph(yard: Yard) -> Graph:
    return Graph("toy", yard.root)


def make(yard: Yard, *names: str) -> None:
    """Write outs as those stages would, and record them as a flow does."""
    collect = yard.root / OUTS["toy-collect"]
    for path in (yard.root / "numbers").glob("*.txt"):
        write_text(collect / path.stem / "number.txt", path.read_text())
    write_text(yard.root / "data/toy/square/sum.txt", str(len(list(collect.iterdir()))))
    for name in ("toy-collect", "toy-square", "toy-judge"):
        write_text(yard.root / "data/code" / name, name)
    write_json(yard.root / "data/sources/toy-collect.json", {"numbers": len(list(collect.iterdir()))})
    with chdir(yard.root):
        for name in names:
            graph(yard).record(name)


def set_remote(yard: Yard, url: str) -> None:
    (yard.root / ".dvc/config").write_text(f"[core]\n    remote = store\n['remote \"store\"']\n    url = {url}\n")


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    """A yard with a remote, in which all that is recorded has been sent."""
    made = make_yard(tmp_path / "yard")
    (tmp_path / "store").mkdir()
    set_remote(made, str(tmp_path / "store"))
    make(made, *OUTS)
    graph(made).push()
    yield made


@pytest.fixture
def clone(yard: Yard, tmp_path: Path) -> Yard:
    subprocess.run(["git", "clone", "-q", yard.root, tmp_path / "clone"], check=True)
    for file in ("dvc.lock", ".dvc/config"):
        shutil.copy(yard.root / file, tmp_path / "clone" / file)
    return Yard(tmp_path / "clone")


def stored(tmp_path: Path, content: bytes) -> Path:
    """The object in the remote that holds it."""
    (found,) = (p for p in (tmp_path / "store/files").rglob("*") if p.is_file() and p.read_bytes() == content)
    return found


def test_unfinished_work_stays_as_it_is(yard):
    collect = yard.root / OUTS["toy-collect"]
    write_text(collect / "five" / "number.txt", "5")
    write_text(collect / "six.part" / "half.txt", "6")
    before = yard.outputs()
    graph(yard).pull()
    assert yard.outputs() == before


def test_the_unfinished_work_of_a_first_run_stays_too(clone):
    (clone.root / "dvc.lock").unlink()
    write_text(clone.root / OUTS["toy-collect"] / "one" / "number.txt", "1")
    before = clone.outputs()
    graph(clone).pull()
    assert clone.outputs() == before


def test_a_fresh_clone_gets_all_and_the_next_run_asks_the_remote_for_nothing(yard, clone, tmp_path):
    graph(clone).pull()
    assert clone.outputs() == yard.outputs()
    assert "data/sources/toy-collect.json" in {f"data/{name}" for name in clone.outputs()}
    shutil.rmtree(tmp_path / "store")
    graph(clone).pull()
    shutil.rmtree(clone.root / OUTS["toy-collect"])
    graph(clone).pull()  # the cache holds it
    assert clone.outputs() == yard.outputs()


def test_data_that_are_here_need_no_remote_when_the_cache_was_cleared(yard, tmp_path):
    shutil.rmtree(yard.root / ".dvc/cache/files")
    offline(yard, tmp_path, "not mounted")
    before = yard.outputs()
    graph(yard).pull()
    assert yard.outputs() == before
    assert not [out for stage in graph(yard).stages.values() for out in stage.outs if out.hash_info and out.changed()]


def test_what_is_as_it_was_recorded_moves_on_with_dvc_lock(yard, clone):
    graph(clone).pull()
    yard.add_number("five", "5")
    make(yard, "toy-collect", "toy-square")
    graph(yard).push()
    shutil.copy(yard.root / "dvc.lock", clone.root)
    half = clone.root / OUTS["toy-collect"] / "six.part" / "half.txt"
    write_text(half, "6")
    graph(clone).pull()
    assert half.exists()
    half.unlink()
    half.parent.rmdir()
    assert clone.outputs() == yard.outputs()


@pytest.mark.parametrize("lost", [b"2", b"4"])
def test_what_vanished_from_the_remote_is_made_anew_by_a_clone_and_sent_again_by_who_has_it(
    yard, clone, tmp_path, lost, caplog
):
    """2 is a number of collect, 4 the sum of square."""
    owner, other = ("toy-collect", "toy-square") if lost == b"2" else ("toy-square", "toy-collect")
    gone = stored(tmp_path, lost)
    gone.unlink()
    graph(clone).pull()
    assert f"does not hold all of it; {owner} makes it anew" in caplog.text
    assert (clone.root / OUTS[other]).exists() and not (clone.root / OUTS[owner]).exists()
    graph(yard).push()
    assert gone.read_bytes() == lost


def test_what_neither_a_clone_nor_the_remote_has_keeps_nothing_else_from_being_sent(
    yard, clone, tmp_path, caplog, monkeypatch
):
    """As after a run of a part."""
    stored(tmp_path, b"4").unlink()
    graph(clone).pull()
    write_text(clone.root / "numbers" / "five.txt", "5")
    write_text(clone.root / OUTS["toy-collect"] / "five" / "number.txt", "5")
    monkeypatch.chdir(clone.root)
    graph(clone).record("toy-collect")
    graph(clone).push()
    assert stored(tmp_path, b"5") and "not here: data/toy/square" in caplog.text
    assert list((clone.root / ".trainyard/sent").iterdir())  # known: there is nothing more to send
    graph(yard).push()
    assert stored(tmp_path, b"4")


def offline(yard: Yard, tmp_path: Path, how: str) -> None:
    if how == "a dead host":
        set_remote(yard, "http://127.0.0.1:9/store")
    else:
        (tmp_path / "store").rename(tmp_path / "away")
        if how == "no folder":
            (tmp_path / "store").touch()


@pytest.mark.parametrize("how", ["a dead host", "not mounted", "no folder"])
def test_a_remote_that_is_offline_is_one_sentence(yard, clone, tmp_path, how, caplog, capfd):
    offline(clone, tmp_path, how)
    if how == "a dead host":
        offline(yard, tmp_path, how)
    with pytest.raises(BadInput, match=r"^DVC remote store .*mend the remote"):
        graph(clone).pull()
    yard.add_number("five", "5")
    make(yard, "toy-collect")
    with pytest.raises(BadInput, match=r"^DVC remote store .* the next run sends it$"):
        graph(yard).push()
    assert not caplog.records and len("".join(capfd.readouterr()).splitlines()) < 3


def test_a_disk_that_is_full_under_a_remote_or_the_cache_is_named_with_the_way_out(yard):
    place = "/cache/files/md5/0a"
    said = rf"^DVC remote store .* the disk is full at {place} .*; make room"
    with pytest.raises(BadInput, match=said), remote._plainly(graph(yard).repo, "then"):
        raise OSError(errno.ENOSPC, "No space left on device", place)


def test_a_remote_that_is_offline_when_there_is_nothing_to_send_is_a_warning(yard, tmp_path, caplog):
    offline(yard, tmp_path, "not mounted")
    graph(yard).pull()
    graph(yard).push()
    (said,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "no such folder" in said.getMessage() and "nothing to send" in said.getMessage()


def test_what_dvc_is_making_at_the_moment_is_not_checked_out(yard):
    out = yard.root / OUTS["toy-square"]
    shutil.rmtree(out)
    claims = {"read": {}, "write": {str(out): {"pid": 1, "cmd": "dvc repro"}}}
    (yard.root / ".dvc/tmp").mkdir(exist_ok=True)
    write_json(yard.root / ".dvc/tmp/rwlock", claims)
    with pytest.raises(BadInput, match="DVC is running in this checkout"):
        graph(yard).pull()
    assert not out.exists()
