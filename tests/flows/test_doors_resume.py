"""What is made stays made: of other recordings, of a step that fails, of another door at work."""

from __future__ import annotations

import sys
import urllib.request
from pathlib import Path

import pytest

from flows import nights
from tests.flows.begun import FLOW, Begun
from tests.flows.conftest import copied
from tests.flows.waiting import PATIENCE_S, wait_until


def test_one_new_recording_costs_one_recording_and_a_failed_step_leaves_what_others_made(yard_copy):
    """In a yard where a run was killed while it wrote DVC's file of claims."""
    yard_copy.add_number("five", "5")
    square = yard_copy.root / "tasks/toy/square.py"
    whole = square.read_text()
    square.write_text("def run(params, out, ctx, *, collect):\n    1 / 0\n")
    (yard_copy.root / ".dvc/tmp/rwlock").write_text("")
    result = yard_copy.flow("run", "toy")
    assert result.returncode == 1
    assert "rwlock could not be read" in result.stderr
    assert "toy-collect five" in result.stderr
    assert "toy-collect one" not in result.stderr
    assert "toy-square" in result.stderr and "ZeroDivisionError" in result.stderr
    assert result.stderr.count("Traceback") == result.stderr.count("ZeroDivisionError"), result.stderr
    assert "toy-collect" not in yard_copy.dvc("status").stdout.split("toy-square")[0]
    assert (yard_copy.root / "data/toy/collect/five/number.txt").exists()
    assert (yard_copy.root / "data/toy/square/sum.txt").read_text() == "15"  # what it had made before
    square.write_text(whole)
    mended = yard_copy.dvc("repro", "toy-square")
    assert mended.returncode == 0 and "Running stage 'toy-collect'" not in mended.stdout, mended.stderr
    assert (yard_copy.root / "data/toy/square/sum.txt").read_text() == "40"


@pytest.fixture(scope="module")
def refused(finished_yard, tmp_path_factory):
    """A yard, what it had made, and a run with a source that only the step can refuse."""
    yard = copied(finished_yard, tmp_path_factory.mktemp("refused") / "yard")
    before = yard.outputs()
    (yard.root / "elsewhere").mkdir()
    return yard, before, yard.flow("run", "toy", "--set", "toy.collect.source=elsewhere")


def test_what_a_person_has_to_mend_is_not_tried_again_and_takes_nothing_away(refused):
    yard, before, result = refused
    assert result.returncode == 1 and "elsewhere: holds no number" in result.stderr
    assert "retry" not in result.stderr.lower() and "Traceback" not in result.stderr
    assert "NoneType" not in result.stderr and "NotReady" not in result.stderr
    assert yard.outputs() == before


def test_a_value_that_only_the_step_can_refuse_is_said_to_be_kept(refused):
    _, _, result = refused
    kept = "params.yaml keeps what --set wrote (toy.collect.source: elsewhere, was numbers)"
    assert result.returncode == 1 and kept in result.stderr, result.stderr


def numbers_kept(yard) -> dict[str, str]:
    return {path.parent.name: path.read_text() for path in yard.root.glob("data/toy/collect/*/number.txt")}


def test_kept_work_does_not_outlive_its_code_and_a_fault_that_no_check_foresaw_costs_one_recording(yard_copy):
    """Broken code, which would cost all of them, is not tried again."""
    yard_copy.edit("tasks/toy/reading.py", "return int(text)", "return 10 * int(text) if text != '5' else {}[text]")
    yard_copy.add_number("five", "5")
    result = yard_copy.flow("run", "toy")
    assert result.returncode == 0, result.stderr
    assert "quarantined five: five: cannot be used: KeyError: '5' (number in reading.py)" in result.stderr
    assert numbers_kept(yard_copy) == {"one": "10", "two": "20", "three": "30"}
    assert (yard_copy.root / "data/toy/square/sum.txt").read_text() == "1401"
    (yard_copy.root / "tasks/toy/collect.py").write_text("def run(params, out, ctx):\n    {}['lost']\n")
    result = yard_copy.flow("run", "toy")
    assert result.returncode == 1 and "KeyError: 'lost'" in result.stderr
    assert "retry" not in result.stderr.lower() and "Broken" in result.stderr


def test_kept_work_does_not_outlive_its_code_at_dvcs_door_either(yard_copy):
    yard_copy.edit("tasks/toy/reading.py", "int(text)", "10 * int(text)")
    result = yard_copy.dvc("repro")
    assert result.returncode == 0, result.stderr
    assert numbers_kept(yard_copy) == {"one": "10", "two": "20", "three": "30"}
    assert (yard_copy.root / "data/toy/square/sum.txt").read_text() == "1401"


def test_what_was_forced_is_still_forced_after_a_kill_and_goes_on_where_it_was_killed(yard_copy):
    """Though what the run before the last made of the same inputs is in DVC's cache. A run that waited meanwhile, and
    was killed too, is told of as that one is."""
    begun = Begun(yard_copy, *FLOW, "--force", "collect", "--force", "judge@1")
    waits, notes = yard_copy.begin(*FLOW, "--wait"), yard_copy.root / ".trainyard/flow_runs"
    wait_until(lambda: len(list(notes.glob("[!.]*"))) == 2 or waits.poll() is not None, "a run that waits")
    runs = [note.name for note in notes.glob("[!.]*")]
    for process in (waits, begun.process):
        process.kill()
    waits.communicate()
    begun.end()
    status = yard_copy.status()
    assert status["toy-collect"].startswith("forced; ") and status["toy-judge@1"].startswith("forced; "), status
    assert "forced" not in status["toy-judge@2"]
    yard_copy.gates("two", "three")
    again = yard_copy.flow("run", "toy")
    assert again.returncode == 0 and "toy-judge@1: forced" in again.stderr, again.stderr
    assert begun.one.stat().st_mtime_ns == begun.stamp  # of the forced run
    assert set(yard_copy.status().values()) == {"up to date"}
    told = nights.ask(yard_copy.api, "flow_runs/filter", {"flow_runs": {"id": {"any_": runs}}})
    assert [run["state_type"] for run in told] == ["CRASHED", "CRASHED"]


def test_a_run_that_is_killed_before_it_has_begun_stands_open_no_longer_than_to_the_next(yard_copy):
    """It has a name, and Prefect may believe it at work, before a line of it has run."""
    state = yard_copy.root / ".trainyard"
    count, notes = (state / "numbers/toy").read_text(), set((state / "flow_runs").glob("[!.]*"))
    process = yard_copy.begin(*FLOW)
    wait_until(lambda: (state / "numbers/toy").read_text() != count or process.poll() is not None, "a run with a name")
    process.kill()
    process.communicate()
    (note,) = set((state / "flow_runs").glob("[!.]*")) - notes
    again = yard_copy.flow("run", "toy")
    assert again.returncode == 0, again.stderr
    (told,) = nights.ask(yard_copy.api, "flow_runs/filter", {"flow_runs": {"id": {"any_": [note.name]}}})
    assert told["state_type"] == "CRASHED"


def test_a_flow_beside_dvc_at_work_says_so(new_yard):
    gates = new_yard.gates()
    params = new_yard.root / "params.yaml"
    params.write_text(params.read_text().replace("gates: null", f"gates: {gates.name}"))
    repro = new_yard.start(str(Path(sys.executable).with_name("dvc")), "repro", **new_yard.programs)
    begun = new_yard.root / "data/toy/collect/bad.part"
    wait_until(lambda: begun.exists() or repro.poll() is not None, "the first number")
    beside = new_yard.flow("run", "toy")
    assert beside.returncode == 1 and "DVC is running in this checkout" in beside.stderr, beside.stderr
    assert "Traceback" not in beside.stderr
    assert "toy-collect" in beside.stderr and str(repro.pid) in beside.stderr and repro.poll() is None
    new_yard.gates("bad", "one", "two", "three")
    _, errors = repro.communicate(timeout=PATIENCE_S)
    assert repro.returncode == 0, errors  # what it was making was left alone


REFUSED = """
from filelock import FileLock
from flows import environment; environment.prepare()
from flows.line import run_line
print(run_line("toi", return_state=True))
with FileLock(".trainyard/run.lock"):
    for line in ("toi", "toy"):
        print(run_line(line, ["toy.collect.source=https://ada:hunter2@host/a.zip"], return_state=True))
"""


def test_a_deployment_of_no_line_fails_and_a_password_is_taken_out_of_prefects_database(yard_copy):
    """Prefect calls the flow itself, without the command line. Whatever else the run is refused for: another line than
    there is, or a checkout that another run holds."""
    result = yard_copy.call("python", "-c", REFUSED)
    unknown = result.stdout.partition("change that")[0]
    assert "Failed" in unknown and "no line 'toi'" in unknown and "toy" in unknown, result.stdout + result.stderr
    assert result.stdout.count("change that") == 2, result.stdout + result.stderr
    request = urllib.request.Request(f"{yard_copy.api}/flow_runs/filter", b"{}", {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as reply:
        assert b"hunter2" not in reply.read()
