"""Several trials at once, over the toy of test_search: what is found does not depend on who is faster, or dies."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from tasks.yard.files import folder_hash, read_json
from tasks.yard.step import WorkerKilled
from tasks.yard.tuning.hands import gpu_of
from tests.flows.waiting import wait_until
from tests.tasks.yard.tuning.test_search import SPACE, descend, rows, search

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[4]


def unsteady(section, folder, until, seed: int) -> list[dict]:
    """Takes now long and now not, so that trials end in any order."""
    time.sleep(random.Random(f"{seed}{folder.name}{until}").random() / 10)
    return descend(section, folder, until)


def dies(section, folder, until, number: int, times: int | None = None) -> list[dict]:
    """The worker of trial 3 ends by a signal, always or so many times."""
    tried = folder / "tried"
    if folder.name == "trial-003" and (times is None or not tried.exists()):
        if times:
            tried.write_text("")
        os.kill(os.getpid(), number)
    tried.unlink(missing_ok=True)
    return descend(section, folder, until)


@pytest.fixture(autouse=True)
def slots(monkeypatch):
    monkeypatch.setenv("TRAINYARD_DEVICE_SLOTS", "3")


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """By one process, so that one piece is trained after the other."""
    out = tmp_path_factory.mktemp("three")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TRAINYARD_DEVICE_SLOTS", "1")
        return out, search(out, at_once=3)


@pytest.mark.parametrize("seed", [0, 1])
def test_whoever_is_faster_the_bytes_are_the_same(three, tmp_path, seed, caplog):
    whole, found = three
    with caplog.at_level(logging.INFO, "tasks.yard.tuning"):
        assert search(tmp_path, partial(unsteady, seed=seed), at_once=3) == found
    assert folder_hash(tmp_path) == folder_hash(whole)
    assert found["gain"] > 0.2 and found["pruned"] > 0 and rows(whole)[0]["state"] == "complete"
    said = [record.getMessage() for record in caplog.records]
    assert sum("has been trained up to epoch" in line for line in said) >= 12
    assert sum(" ends: " in line for line in said) == 12


def test_three_at_once_is_another_search_than_one_at_a_time(three, tmp_path):
    """The third trial is proposed before the first has ended."""
    whole, _ = three
    search(tmp_path, at_once=1, trials=4)
    assert read_json(whole / "runs/.search.json") != read_json(tmp_path / "runs/.search.json")
    values = {row["rate"] for row in rows(whole).values()}
    assert len(values) == 12, "the same was tried twice"


def test_more_trials_or_fewer_end_with_the_bytes_of_a_search_for_so_many(three, tmp_path):
    """Of a search for 5 the last ones ended without those that follow them in one for 12."""
    whole, found = three
    search(tmp_path, at_once=3, trials=5)
    assert search(tmp_path, at_once=3) == found and folder_hash(tmp_path) == folder_hash(whole)
    search(tmp_path, at_once=3, trials=5)
    search(tmp_path / "five", at_once=3, trials=5)
    five = folder_hash(tmp_path / "five")
    (tmp_path / "five").rename(tmp_path.parent / "five")
    assert folder_hash(tmp_path) == five


def test_a_driver_that_is_killed_leaves_no_worker_and_its_search_is_taken_up(three, tmp_path):
    whole, found = three
    code = (
        "import sys; from functools import partial; from pathlib import Path; "
        "from tests.tasks.yard.tuning import test_turns as t; "
        "t.search(Path(sys.argv[1]), partial(t.unsteady, seed=5), at_once=3)"
    )
    for number, trials in ((signal.SIGKILL, 2), (signal.SIGINT, 5), (signal.SIGKILL, 8)):
        run = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL
        )
        wait_until(lambda n=trials: len(list(tmp_path.glob("runs/*/trial.json"))) >= n, f"{trials} trials")
        workers = psutil.Process(run.pid).children(recursive=True)
        os.killpg(run.pid, number) if number == signal.SIGINT else run.send_signal(number)
        began = time.monotonic()
        assert run.wait(timeout=30) != 0 and len(workers) > 2
        wait_until(lambda w=workers: not any(one.is_running() for one in w), "no worker left")
        assert time.monotonic() - began < 20
        assert not (tmp_path / "trials.csv").exists()
    assert search(tmp_path, partial(unsteady, seed=6), at_once=3) == found
    assert folder_hash(tmp_path) == folder_hash(whole)


def test_a_trial_whose_worker_dies_once_is_tried_again(three, tmp_path):
    whole, found = three
    assert search(tmp_path, partial(dies, number=signal.SIGKILL, times=1), at_once=3) == found
    assert folder_hash(tmp_path) == folder_hash(whole)


def test_values_that_always_crash_their_worker_cost_one_trial_and_a_machine_that_kills_it_ends_the_search(tmp_path):
    found = search(tmp_path / "crash", partial(dies, number=signal.SIGSEGV), at_once=3, trials=6)
    assert found["failed"] == 1 and found["trials"] == 6
    assert "trial-003: its worker process was ended by SIGSEGV, twice" in rows(tmp_path / "crash")[3]["reason"]
    with pytest.raises(WorkerKilled, match=r"trial-003: its worker process was killed.*toy\.tune\.space: {'rate'"):
        search(tmp_path / "kill", partial(dies, number=signal.SIGKILL), at_once=3, trials=6)
    assert search(tmp_path / "kill", at_once=3, trials=6)["failed"] == 0  # with more memory it goes on


def test_values_that_do_not_go_together_and_errors_of_training(tmp_path):
    space = {"model.heads": {"choices": [1, 2, 3]}, "rate": SPACE["rate"]}
    found = search(tmp_path, space=space, sampler="random", trials=9, at_once=3)
    assert 0 < found["failed"] < 9
    with pytest.raises(TypeError) as caught:
        search(tmp_path / "wrong", broken, at_once=3)
    assert "in broken" in "".join(caught.value.__notes__)


def broken(section, folder, until):
    return folder + until


def test_gpus_are_dealt_out_in_turn():
    assert [gpu_of(seat, 2, None) for seat in range(4)] == ["0", "1", "0", "1"]
    assert [gpu_of(seat, 2, "GPU-a,7") for seat in range(3)] == ["GPU-a", "7", "GPU-a"]
    assert gpu_of(3, 1, None) is gpu_of(0, 0, None) is None
