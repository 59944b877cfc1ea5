"""Work over recordings: unchanged is kept, bad is quarantined, killed is resumed, gone is removed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.yard.fanout import fan_out
from tasks.yard.files import folder_hash, read_json
from tasks.yard.step import BadInput, Context
from tasks.yard.workers import processes


def double(item: int, folder: Path) -> dict:
    if item < 0:
        raise BadInput(f"row 3: {item} is negative; remove it")
    if item == 0:
        raise OSError(errno.EIO, "disk unplugged")
    (folder / "doubled.txt").write_text(str(2 * item))
    return {"doubled": 2 * item}


def prints(items: dict[str, int]) -> dict[str, str]:
    return {key: f"fingerprint of {value}" for key, value in items.items()}


@pytest.mark.parametrize("ctx", [Context(), Context(map=processes)], ids=["serial", "processes"])
def test_one_bad_recording_does_not_stop_the_others(tmp_path, ctx):
    items = {"a": 1, "b": -2, "c": 3}
    made = fan_out(double, items, prints(items), tmp_path, ctx)
    assert made.summaries == {"a": {"doubled": 2}, "c": {"doubled": 6}}
    assert read_json(tmp_path / "quarantine.json") == {"b": "row 3: -2 is negative; remove it"}
    assert not (tmp_path / "b").exists() and not (tmp_path / "b.part").exists()


def test_work_is_called_what_its_line_calls_it(tmp_path, caplog):
    batches = {"nouns": ("batch of photographs", "batches of photographs")}
    units = []

    def progress(results, unit, **_):
        units.append(unit)
        return results

    ctx = replace(Context(), progress=progress)
    for items in ({"a": 1}, {"a": 1, "b": 0}):
        with caplog.at_level("INFO"), suppress(RuntimeError):
            fan_out(double, items, prints(items), tmp_path, ctx, **batches)
    assert units == ["batch of photographs"] * 2
    assert "1 of 2 batches of photographs unchanged and kept" in caplog.text
    with pytest.raises(RuntimeError, match="1 of 2 batches of photographs failed, first b"):
        fan_out(double, items, prints(items), tmp_path, Context(), **batches)


def test_a_name_that_looks_like_unfinished_work_is_said_and_not_lost(tmp_path):
    items = {"quiet": 1, "quiet.part": 2}
    made = fan_out(double, items, prints(items), tmp_path, Context())
    assert made.summaries == {"quiet": {"doubled": 2}}
    assert "rename it" in read_json(tmp_path / "quarantine.json")["quiet.part"]
    alone = fan_out(double, {"other.part": 3}, {"other.part": "x"}, tmp_path, Context())
    assert not alone.summaries and (tmp_path / "quiet/doubled.txt").exists()  # nothing usable takes nothing away


def test_only_what_changed_is_made_again_and_what_is_gone_is_removed(tmp_path):
    items = {"a": 1, "b": 2, "c": 3}
    fan_out(double, items, prints(items), tmp_path, Context())
    before = {key: (tmp_path / key).stat().st_ino for key in items}
    items = {"a": 1, "b": 5, "d": 4}
    made = fan_out(double, items, prints(items), tmp_path, Context())
    assert made.made == ["b", "d"]
    assert made.summaries == {"a": {"doubled": 2}, "b": {"doubled": 10}, "d": {"doubled": 8}}
    assert (tmp_path / "a").stat().st_ino == before["a"] and not (tmp_path / "c").exists()


def test_a_recording_that_went_bad_leaves_no_old_result(tmp_path):
    fan_out(double, {"a": 1, "b": 2}, {"a": "good", "b": "good"}, tmp_path, Context())
    made = fan_out(double, {"a": -1, "b": 2}, {"a": "bad", "b": "good"}, tmp_path, Context())
    assert list(made.summaries) == ["b"] and not (tmp_path / "a").exists()


def reads(text: str, folder: Path) -> dict:
    """Faults that no check foresees: of the text, of a file of its own, of the memory."""
    if text == "gone":
        (folder / "nothing.txt").read_text()
    if text == "huge":
        raise MemoryError("no room for 80 GB")
    return {"number": int(text)}


@pytest.mark.parametrize("ctx", [Context(), Context(map=processes)], ids=["serial", "processes"])
def test_a_fault_that_no_check_foresaw_is_quarantined_with_its_name_and_kind(tmp_path, ctx):
    items = {"a": "1", "b": "x7", "c": "gone", "d": "4"}
    made = fan_out(reads, items, items, tmp_path, ctx)
    assert made.summaries == {"a": {"number": 1}, "d": {"number": 4}}
    said = read_json(tmp_path / "quarantine.json")
    assert said["b"].startswith("b: cannot be used: ValueError: invalid literal for int() with base 10: 'x7' (reads in")
    assert said["c"].startswith("c: cannot be used: FileNotFoundError") and "(reads in test_fanout.py)" in said["c"]
    assert not (tmp_path / "c.part").exists()
    with pytest.raises(RuntimeError, match="1 of 1 recordings failed, first e: MemoryError"):
        fan_out(reads, {"e": "huge"}, {"e": "1"}, tmp_path, ctx)


def test_a_run_that_fails_takes_nothing_away_and_its_work_is_not_done_twice(tmp_path):
    items = {"a": 1, "b": 2, "c": 3}
    fan_out(double, items, prints(items), tmp_path, Context())
    before = {key: folder_hash(tmp_path / key) for key in items}

    def three(done) -> None:
        assert (done.folder("a") / "doubled.txt").read_text() == "14"
        if len(done.summaries) < 3:
            raise BadInput("three are needed")

    other = {"a": 7, "b": -1, "d": 4}
    for _ in range(2):
        with pytest.raises(BadInput, match="three are needed"):
            fan_out(double, other, prints(other), tmp_path, Context(), accept=three)
        assert {key: folder_hash(tmp_path / key) for key in items} == before
    inode = (tmp_path / "a.part/doubled.txt").stat().st_ino
    enough = {**other, "e": 5}
    made = fan_out(double, enough, prints(enough), tmp_path, Context(), accept=three)
    assert list(made.summaries) == ["a", "d", "e"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "d", "e", "quarantine.json"]
    assert (tmp_path / "a/doubled.txt").read_text() == "14" and (tmp_path / "a/doubled.txt").stat().st_ino == inode


def test_a_fault_of_the_machine_takes_nothing_away(tmp_path):
    fan_out(double, {"a": 1, "c": 3}, prints({"a": 1, "c": 3}), tmp_path, Context())
    with pytest.raises(RuntimeError, match="OSError"):
        fan_out(double, {"a": -1, "b": 0}, prints({"a": -1, "b": 0}), tmp_path, Context())
    assert (tmp_path / "a/doubled.txt").exists() and (tmp_path / "c/doubled.txt").exists()


@pytest.mark.slow
def test_a_fault_of_the_machine_fails_the_step_but_keeps_the_others(tmp_path):
    items = {"a": 0, "b": 2, "c": 3}
    with pytest.raises(RuntimeError, match="1 of 3 recordings failed, first a: OSError"):
        fan_out(double, items, prints(items), tmp_path, Context())
    assert (tmp_path / "b" / "doubled.txt").read_text() == "4" and (tmp_path / "c").exists()


def test_the_map_does_not_change_a_byte(tmp_path):
    items = {f"r{i}": i - 2 for i in range(1, 9) if i != 2}
    for name, ctx in {"one": Context(), "many": Context(map=processes)}.items():
        fan_out(double, items, prints(items), tmp_path / name, ctx)
    assert folder_hash(tmp_path / "one") == folder_hash(tmp_path / "many")


LINES = """
import os, signal, sys
from pathlib import Path
from tasks.yard.fanout import fan_out
from tasks.yard.step import Context

def work(item, folder):
    lines = folder / "lines.txt"
    begun = lines.read_text().count("\\n") if lines.exists() else 0
    with lines.open("a") as file:
        for i in range(begun, 40):
            print(i, file=file, flush=True)
            if i == int(sys.argv[3]):
                os.kill(os.getpid(), signal.SIGKILL)
    (folder / "begun_at.txt").write_text(str(begun))
    return {}

fan_out(work, {"a": 1}, {"a": sys.argv[2]}, Path(sys.argv[1]), Context())
"""


@pytest.mark.slow
@pytest.mark.parametrize(("second", "resumed"), [("same", True), ("other", False)])
def test_a_killed_recording_goes_on_where_it_stopped_unless_its_inputs_changed(tmp_path, second, resumed):
    script = tmp_path / "lines.py"
    script.write_text(LINES)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    killed = subprocess.run([sys.executable, script, tmp_path / "out", "same", "5"], env=environment)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "out" / "a").exists()
    subprocess.run([sys.executable, script, tmp_path / "out", second, "-1"], env=environment, check=True)
    done = tmp_path / "out" / "a"
    assert done.joinpath("lines.txt").read_text().split() == [str(i) for i in range(40)]
    assert int(done.joinpath("begun_at.txt").read_text()) == (6 if resumed else 0)


def test_a_source_with_nothing_usable_takes_nothing_away(tmp_path):
    fan_out(double, {"a": 1}, prints({"a": 1}), tmp_path, Context())
    other = {"b": -2}
    assert fan_out(double, other, prints(other), tmp_path, Context()).summaries == {}
    assert (tmp_path / "a/doubled.txt").read_text() == "2"
