"""What a flow asks of dvc.yaml's graph, without a run."""

from __future__ import annotations

import re
import subprocess
from contextlib import ExitStack

import pytest
from dvc.lock import make_lock
from dvc.rwlock import RWLOCK_LOCK

from flows.graph import Graph
from tasks.yard.files import write_json
from tasks.yard.step import BadInput
from tests.flows.conftest import ROOT


@pytest.mark.parametrize(
    ("line", "failed", "in_vain"),
    [
        ("brake_coast", "download", {"detector_data", "train_detector", "label", "pack", "report", "download"}),
        ("brake_coast", "detector_data", {"download", "label", "report"}),
        ("brake_coast", "tune", {"tune"}),
        ("person_search", "train_detector", {"calibrate", "index", "search", "report", "detector_data"}),
        ("ground_plane", "tune", {"tune"}),
    ],
)
def test_a_stage_is_in_vain_once_nothing_that_it_is_for_can_be_finished(line, failed, in_vain):
    graph = Graph(line)
    names = {name: name.removeprefix(f"{line}-") for name in graph.stages if name != "code" and "@" not in name}
    found = {short for name, short in names.items() if graph.in_vain(name, {f"{line}-{failed}"})}
    assert in_vain <= found
    assert failed != "tune" or found == in_vain
    assert not graph.in_vain("code", set()) and not any(graph.in_vain(name, set()) for name in names)


@pytest.mark.parametrize(
    ("line", "name", "beside", "waits"),
    [
        ("brake_coast", "download", {"detector_data"}, True),  # the detector trains on the latter, for minutes
        ("brake_coast", "detector_data", {"download", "label", "tune"}, False),
        ("brake_coast", "download", {"train_detector"}, False),  # annotate needs both
        ("brake_coast", "tune", {"train@simple_concat_lstm"}, True),
        ("brake_coast", "tune", set(), False),
        ("open_loop_driving", "drive_rules", {"train@blind"}, True),
    ],
)
def test_of_stages_at_once_that_one_comes_first_for_which_more_wait(line, name, beside, waits):
    unfinished = {f"{line}-{other}" for other in {name, *beside}}
    assert Graph(line).can_wait(f"{line}-{name}", unfinished) is waits


def test_a_step_that_others_come_before_leaves_them_the_cores(new_yard):
    """toy-judge waits for toy-square; for toy-aside, the same beside it without numbers to tell, nobody waits."""
    says = "    import os\n    write_text(out / 'nice', str(os.nice(0)))\n"
    new_yard.edit("tasks/toy/square.py", "    total =", f"{says}    total =")
    new_yard.add_beside_square("aside")
    new_yard.edit("tasks/toy/aside.py", '    return {"sum": total}\n', "")
    result = new_yard.flow("run", "toy")
    assert result.returncode == 0, result.stderr
    nice = {name: int((new_yard.root / f"data/toy/{name}/nice").read_text()) for name in ("square", "aside")}
    assert nice["aside"] > nice["square"]


def test_claims_that_cannot_be_given_back_do_not_take_the_place_of_what_failed(bare_yard, monkeypatch, caplog):
    monkeypatch.chdir(bare_yard.root)
    graph = Graph("toy")
    guard = make_lock(str(bare_yard.root / ".dvc/tmp" / RWLOCK_LOCK), tmp_dir=graph.repo.tmp_dir)
    with pytest.raises(BadInput, match="the disk is full"), ExitStack() as held, graph.claimed("toy-square"):
        held.enter_context(guard)
        raise BadInput("the disk is full")
    assert "toy-square: DVC's locks are not given back" in caplog.text
    Graph("toy").take_over()
    with graph.claimed("toy-square"):
        pass


def test_what_a_killed_run_of_another_host_has_claimed_is_free_and_what_dvc_has_is_not(bare_yard, monkeypatch):
    killed, other = {"pid": 1, "cmd": "flows run"}, {"pid": 1, "cmd": "dvc repro"}
    out, claims = bare_yard.root / "data/toy/square", bare_yard.root / ".dvc/tmp/rwlock"
    with monkeypatch.context() as there:
        there.setattr("os.getpid", lambda: killed["pid"])
        there.setattr("sys.argv", killed["cmd"].split())
        Graph("toy", bare_yard.root).take_over()
    write_json(claims, {"read": {str(out.with_name("collect")): [killed, other]}, "write": {str(out): killed}})
    graph = Graph("toy", bare_yard.root)
    with pytest.raises(BadInput, match=r"DVC is running in this checkout"), graph.claimed("toy-square"):
        pass
    graph.take_over()
    with graph.claimed("toy-square"):
        pass
    with pytest.raises(BadInput, match=r"dvc repro"), graph.claimed("toy-collect"):
        pass


def test_a_dvc_lock_that_was_cut_is_told_with_the_way_out(yard_copy):
    lock = yard_copy.root / "dvc.lock"
    text = lock.read_text()
    lock.write_text(text[: text.rindex("md5:") + 2])
    result = yard_copy.flow("run", "toy")
    assert result.returncode != 0 and "`git checkout dvc.lock` brings back" in result.stderr + result.stdout
    assert "Traceback" not in result.stderr


def test_whoever_has_a_number_and_no_name_can_run_a_line_in_the_box(bare_yard):
    """As the owner of a mounted checkout does. Without a name in the environment both DVC and our own lock fail."""
    (said,) = re.findall(r"^ENV (.*)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    box = dict(setting.split("=") for setting in said.split())
    code = "from flows.graph import Graph; from flows import lock; from pathlib import Path\n"
    code += "with lock.checkout(Path('.trainyard'), wait=False): print(*Graph('toy').stages)"
    named = {"HOME", "LOGNAME", "USER", "LNAME", "USERNAME"}
    kept = {name: value for name, value in bare_yard.environment.items() if name not in named}
    command = ["unshare", "--map-user", "4242", "python", "-c", code]
    result = subprocess.run(command, cwd=bare_yard.root, env=kept | box, capture_output=True, text=True, check=False)
    if "unshare" in result.stderr:
        pytest.skip(result.stderr)
    assert "toy-collect" in result.stdout, result.stderr
