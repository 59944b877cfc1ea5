"""Two doors, one graph: after either, the other finds nothing to do."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from pathlib import Path

import psutil
import yaml


def test_after_a_flow_run_dvc_has_nothing_to_do_and_the_next_flow_runs_no_step(finished_yard):
    status = finished_yard.dvc("status")
    assert "up to date" in status.stdout and status.returncode == 0
    repro = finished_yard.dvc("repro")
    assert "Running stage" not in repro.stdout
    again = finished_yard.flow("run", "toy")
    assert "0 of 5 stages ran" in again.stdout
    assert again.stderr.count("Up to date") == 5
    assert "Traceback" not in again.stderr


def test_a_good_run_prints_no_traceback_and_names_the_quarantined(finished_yard):
    log = (finished_yard.root / "first_run.log").read_text()
    assert "Traceback" not in log
    assert "quarantined bad: bad.txt: 'four' is not a whole number" in log


def test_both_doors_write_the_same_bytes_and_the_same_lock(finished_yard, new_yard):
    repro = new_yard.dvc("repro")
    assert repro.returncode == 0, repro.stderr
    assert new_yard.outputs() == finished_yard.outputs()
    locks = [yaml.safe_load((yard.root / "dvc.lock").read_text()) for yard in (new_yard, finished_yard)]
    assert locks[0] == locks[1]
    flow = new_yard.flow("run", "toy")
    assert "0 of 5 stages ran" in flow.stdout


def test_status_says_what_has_changed(yard_copy):
    assert set(yard_copy.status().values()) == {"up to date"}
    assert (
        yard_copy.call(
            "python", "-c", "from tasks.yard.params import set_values; set_values(['toy.judge.scale=2.5'])"
        ).returncode
        == 0
    )
    with (yard_copy.root / "tasks/toy/helper.py").open("a") as file:
        file.write("\n# touched\n\n\ndef cube(number):\n    return number**3\n")
    now = yard_copy.status()
    assert now["toy-collect"] == "up to date"
    assert now["toy-square"] == "code tasks/toy/helper.py: cube"
    assert now["toy-judge@1"] == "param toy.judge.scale 0.5 -> 2.5"
    yard_copy.add_number("five", "5")  # DVC cannot see into a source; the flow can
    assert yard_copy.status()["toy-collect"] == "the source has changed"


def test_a_file_outside_the_yard_that_has_changed_is_noticed(yard_copy, tmp_path):
    weights = tmp_path / "weights.txt"
    weights.write_text("100")
    assert yard_copy.flow("run", "toy", "--set", f"toy.judge.weights={weights}").returncode == 0
    assert set(yard_copy.status().values()) == {"up to date"}
    weights.write_text("2000")
    now = yard_copy.status()
    assert now["toy-judge@1"] == now["toy-judge@2"] == "the source has changed"
    assert now["toy-square"] == "up to date"
    assert yard_copy.flow("run", "toy").returncode == 0
    assert json.loads((yard_copy.root / "data/toy/judge/1/score.json").read_text()) >= 2000


def test_one_new_recording_costs_one_recording(yard_copy):
    yard_copy.add_number("five", "5")
    result = yard_copy.flow("run", "toy")
    assert result.returncode == 0, result.stderr
    assert "toy-collect five" in result.stderr
    assert "toy-collect one" not in result.stderr
    assert (yard_copy.root / "data/toy/square/sum.txt").read_text() == "40"


def test_values_seen_before_come_back_from_the_run_cache(yard_copy):
    assert yard_copy.flow("run", "toy", "--set", "toy.square.offset=7").returncode == 0
    assert (yard_copy.root / "data/toy/square/sum.txt").read_text() == "21"
    back = yard_copy.flow("run", "toy", "--set", "toy.square.offset=1")
    assert "0 of 5 stages ran" in back.stdout and "Restored" in back.stderr
    assert (yard_copy.root / "data/toy/square/sum.txt").read_text() == "15"
    assert "a comment that has to stay" in (yard_copy.root / "params.yaml").read_text()


def test_force_runs_one_step_anew(yard_copy):
    result = yard_copy.flow("run", "toy", "--force", "collect")
    assert "1 of 5 stages ran" in result.stdout  # same bytes again, so the stages after it stay up to date
    wrong = yard_copy.flow("run", "toy", "--force", "colect")
    assert wrong.returncode == 1 and "no such step" in wrong.stderr


def test_a_wrong_set_writes_nothing(yard_copy):
    before = (yard_copy.root / "params.yaml").read_text()
    for assignment, hint in [
        ("toy.square.ofset=3", "'offset'"),
        ("toy.square.offset=101", "less than or equal to 100"),
    ]:
        result = yard_copy.flow("run", "toy", "--set", assignment)
        assert result.returncode == 1 and hint in result.stderr, result.stderr
        assert "Traceback" not in result.stderr
    assert (yard_copy.root / "params.yaml").read_text() == before


def test_a_failed_step_leaves_what_others_made(yard_copy):
    (yard_copy.root / "tasks/toy/square.py").write_text("def run(params, out, ctx, *, collect):\n    1 / 0\n")
    yard_copy.add_number("five", "5")
    result = yard_copy.flow("run", "toy")
    assert result.returncode == 1
    assert "toy-square" in result.stderr and "ZeroDivisionError" in result.stderr
    assert "toy-collect" not in yard_copy.dvc("status").stdout.split("toy-square")[0]
    assert (yard_copy.root / "data/toy/collect/five/number.txt").exists()
    assert (yard_copy.root / "data/toy/square/sum.txt").read_text() == "15"  # what it had made before


def test_what_a_person_has_to_mend_is_not_tried_again_and_takes_nothing_away(yard_copy):
    before = yard_copy.outputs()
    (yard_copy.root / "elsewhere").mkdir()
    result = yard_copy.flow("run", "toy", "--set", "toy.collect.source=elsewhere")
    assert result.returncode == 1 and "elsewhere: holds no number" in result.stderr
    assert "retry" not in result.stderr.lower() and "Traceback" not in result.stderr
    assert "NoneType" not in result.stderr and "NotReady" not in result.stderr
    assert yard_copy.outputs() == before


def wait_for(path: Path, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.05)


def test_a_second_run_says_who_holds_the_checkout_and_a_killed_one_is_resumed(new_yard):
    slow = ("python", "-m", "flows", "run", "toy", "--set", "toy.collect.pause_s=12.0")
    first = new_yard.start(*slow)
    wait_for(new_yard.root / "data/toy/collect/one")
    second = new_yard.flow("run", "toy")
    assert second.returncode == 3
    assert f"pid {first.pid}" in second.stderr
    repro = new_yard.dvc("repro")
    assert repro.returncode != 0 and str(first.pid) in repro.stderr + repro.stdout
    family = psutil.Process(first.pid).children(recursive=True)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    gone, alive = psutil.wait_procs(family, timeout=10)
    assert not alive, f"left behind: {alive}"
    stamp = (new_yard.root / "data/toy/collect/one").stat().st_mtime_ns
    resumed = new_yard.flow("run", "toy", "--set", "toy.collect.pause_s=0.0")
    assert resumed.returncode == 0, resumed.stderr
    assert (new_yard.root / "data/toy/collect/one").stat().st_mtime_ns == stamp
    assert "up to date" in new_yard.dvc("status").stdout
    runs = sqlite3.connect(new_yard.root / "mlflow.db").execute("select status from runs").fetchall()
    assert "RUNNING" not in {status for (status,) in runs}
    states = sqlite3.connect(new_yard.root / ".trainyard/prefect/prefect.db").execute("select state_type from flow_run")
    assert sorted(state for (state,) in states) == ["COMPLETED", "CRASHED"]  # the refused one never began


def test_a_flow_beside_dvc_at_work_says_so(new_yard):
    params = new_yard.root / "params.yaml"
    params.write_text(params.read_text().replace("pause_s: 0.0", "pause_s: 12.0"))
    repro = new_yard.start("dvc", "repro")
    wait_for(new_yard.root / "data/toy/collect/bad.part")  # the first of them is begun: 24 s on two cores are left
    beside = new_yard.flow("run", "toy")
    assert beside.returncode == 1 and "DVC is at work" in beside.stderr, beside.stderr
    assert "Traceback" not in beside.stderr
    assert "data/toy/collect" in beside.stderr and repro.poll() is None
    _, errors = repro.communicate(timeout=120)
    assert repro.returncode == 0, errors  # what it was making was left alone


def test_mlflow_knows_where_a_result_came_from(finished_yard):
    database = sqlite3.connect(finished_yard.root / "mlflow.db")
    query = "select run_uuid, key, value from tags"
    tags: dict[str, dict[str, str]] = {}
    for run, key, value in database.execute(query):
        tags.setdefault(run, {})[key] = value
    children = {t["stage"]: (run, t) for run, t in tags.items() if "stage" in t}
    assert set(children) == {"toy-judge@1", "toy-judge@2"}
    run, mine = children["toy-judge@2"]
    parent = tags[mine["mlflow.parentRunId"]]
    assert parent["line"] == "toy" and parent["prefect.flow_run"] == mine["prefect.flow_run"]
    locked = yaml.safe_load((finished_yard.root / "dvc.lock").read_text())["stages"]
    assert mine["dvc.dep.data/toy/square"] == locked["toy-square"]["outs"][0]["md5"]
    assert mine["dvc.out.data/toy/judge/2"] == locked["toy-judge@2"]["outs"][0]["md5"]
    assert len(mine["git.commit"].removesuffix("-dirty")) == 40
    assert ("scale", "0.5") in set(database.execute("select key, value from params where run_uuid = ?", [run]))
    curve = "select value from metrics where run_uuid = ? and key = 'curve/loss' order by step"
    assert [round(value, 2) for (value,) in database.execute(curve, [run])] == [15.0, 7.5, 5.0]
    inputs = "select d.name from datasets d join inputs i on i.source_id = d.dataset_uuid where i.destination_id = ?"
    assert {name for (name,) in database.execute(inputs, [run])} == {"data/toy/square", "data/toy/collect"}
