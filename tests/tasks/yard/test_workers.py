"""Worker processes that die, and how many there are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tasks.yard import step, workers
from tasks.yard.fanout import fan_out
from tasks.yard.files import read_json
from tasks.yard.step import BadInput, Context
from tasks.yard.workers import mapped

ROOT = Path(__file__).parents[3]
NAMES = {name: name for name in ("a", "big", "c", "d", "e")}


def die(item: str, folder: Path, by: int, times: int, deaths: Path) -> dict:
    """`big` ends its process so many times."""
    if item == "big":
        with deaths.open("a") as file:
            file.write("x")
        if len(deaths.read_text()) <= times:
            os.kill(os.getpid(), by)
    (folder / "made.txt").write_text(item)
    return {}


def die_over(job: tuple[str, Path], **how) -> dict:
    return die(*job, **how)


GIVEN_UP = """
import operator
from tasks.yard import workers
outcomes = workers.mapped(operator.neg, range(9), [str(n) for n in range(9)], 2)
try:
    for outcome in outcomes:
        raise OSError(28, "No space left on device")
except OSError as error:
    print(error)
"""


def test_who_fails_over_an_outcome_ends_and_waits_for_no_worker():
    """`outcomes` lives as long as the process, as where the traceback of the error holds it."""
    run = subprocess.run([sys.executable, "-c", GIVEN_UP], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.stdout == "[Errno 28] No space left on device\n" and not run.stderr


def test_who_asks_when_the_work_is_to_end_hears_it():
    crew = workers.Workers(2)
    crew.kill()
    assert isinstance(crew("a", abs, -1), InterruptedError)
    crew.end()


def two_at_once(fn, items, *, names, parallel=True):
    return mapped(fn, items, names, 2)


@pytest.mark.parametrize(
    ("by", "times"), [(signal.SIGKILL, 1), (signal.SIGKILL, 2), (signal.SIGSEGV, 2)], ids=["once", "killed", "crashed"]
)
def test_a_worker_that_dies_costs_the_recording_in_its_hands_at_most(tmp_path, by, times):
    out, deaths = tmp_path / "out", tmp_path / "deaths"
    work = partial(die, by=by, times=times, deaths=deaths)
    ctx = Context(map=two_at_once)
    if (by, times) == (signal.SIGKILL, 2):  # memory: a fault of the machine
        with pytest.raises(BadInput, match="1 of 5 recordings failed, first big: its worker process was killed, most"):
            fan_out(work, NAMES, NAMES, out, ctx)
        assert not (out / "big").exists() and deaths.read_text() == "xx"
        assert fan_out(work, NAMES, NAMES, out, ctx).made == ["big"]  # memory is there again, and the others are kept
    else:
        made = fan_out(work, NAMES, NAMES, out, ctx)
        assert set(made.summaries) == NAMES.keys() - ({"big"} if times == 2 else set())
    assert {path.parent.name for path in out.glob("*/made.txt")} >= {"a", "c", "d", "e"}
    if by == signal.SIGSEGV:
        assert "big: its worker process was ended by SIGSEGV, twice" in read_json(out / "quarantine.json")["big"]


def return_a_function(item: int) -> object:
    return item if item else lambda: None


def test_what_cannot_be_handed_over_is_one_items_fault():
    outcomes = dict(mapped(return_a_function, [1, 0, 2], ["one", "none", "two"], 2))
    assert outcomes[0] == 1 and outcomes[2] == 2 and "cannot be handed over" in str(outcomes[1])


def test_many_items_go_in_blocks_and_a_worker_that_dies_over_one_costs_one_item(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "BLOCKS", 4)
    called = []

    def noted(call, name, fn, item):
        called.append(name)
        return call(name, fn, item)

    names = [*NAMES, "f", "g"]
    jobs = [(name, tmp_path / name) for name in names]
    for _, folder in jobs:
        folder.mkdir()
    work = partial(die_over, by=signal.SIGSEGV, times=9, deaths=tmp_path / "deaths")
    outcomes = dict(mapped(work, jobs, names, 2, noted))
    assert sorted(called) == ["a to big", "c to d", "e to f", "g to g"]
    assert sorted(outcomes) == list(range(7)) and "big: its worker process was ended" in str(outcomes.pop(1))
    assert set(map(str, outcomes.values())) == {"{}"}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
def test_cores_are_those_that_this_process_may_use():
    code = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); from tasks.yard.step import cores; "
    found = subprocess.run([sys.executable, "-c", code + "print(cores())"], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "1"


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_cores_are_no_more_than_the_control_group_gives(tmp_path, monkeypatch, files, limit):
    monkeypatch.setattr(step, "CGROUP", tmp_path)
    usable = step.cores()
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert step.cores() == (usable if limit is None else min(usable, limit))


def test_what_all_workers_have_to_import_is_imported_once(tmp_path):
    """Torch takes seconds, and hundreds of MB that they then share."""
    (tmp_path / "heavy.py").write_text("import os\nopen('imports', 'a').write(f'{os.getpid()} ')\n")
    (tmp_path / "light.py").write_text("import os, heavy\ndef work(item):\n    return os.getpid()\n")
    code = "import light; from tasks.yard.workers import mapped; "
    code += "print(len({pid for _, pid in mapped(light.work, range(40), list('x' * 40), 4)}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 1 and len((tmp_path / "imports").read_text().split()) == 2  # by the driver, and once more
