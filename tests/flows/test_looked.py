"""A folder is looked through again when something in it has changed, however little, and only then."""

from __future__ import annotations

import os

from tests.flows.waiting import wait_until


def test_a_run_with_nothing_to_do_remembers_folders_and_an_edit_in_place_is_seen(yard_copy):
    memory = yard_copy.root / ".trainyard/looked.json"
    one = yard_copy.root / "data/toy/collect/one/number.txt"
    for path in (yard_copy.root / "data/toy").rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))  # as if it was made long ago
    wait_until(lambda: yard_copy.status()["toy-collect"] == "up to date", "a look")
    assert "data/toy/collect, out" in memory.read_text()
    one.chmod(0o644)
    one.write_text("7")  # of the same length
    assert "output data/toy/collect modified" in yard_copy.status()["toy-collect"]
    one.write_text("1")
    os.utime(one, (1_700_000_000, 1_700_000_000))
    assert yard_copy.status()["toy-collect"] == "up to date"
    memory.write_text("no JSON")
    assert set(yard_copy.status().values()) == {"up to date"}
