"""Two doors, one graph: after either, the other finds nothing to do."""

from __future__ import annotations

import json
import shutil
import sqlite3

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


LEADING = """from tasks.yard.tracking.champion import Leader

def challenger(data):
    return Leader("a network", "score", {})
"""


def test_both_doors_write_the_same_bytes_and_the_same_lock_and_who_leads_by_either_is_judged(finished_yard, new_yard):
    repro = new_yard.dvc("repro")
    assert repro.returncode == 0, repro.stderr
    assert new_yard.outputs() == finished_yard.outputs()
    locks = [yaml.safe_load((yard.root / "dvc.lock").read_text()) for yard in (new_yard, finished_yard)]
    assert locks[0] == locks[1]
    (new_yard.root / "tasks/toy/champion.py").write_text(LEADING)
    assert new_yard.dvc("repro").returncode == 0
    flow, again = new_yard.flow("run", "toy"), new_yard.flow("run", "toy")
    assert "0 of 5 stages ran" in flow.stdout
    assert "Champion: a network is not registered in this MLflow store" in flow.stdout, flow.stderr
    assert "Champion" not in again.stdout


def test_a_stage_that_fails_keeps_no_leader_unjudged_and_nothing_else_from_the_remote(new_yard, tmp_path):
    (tmp_path / "store").mkdir()
    new_yard.send_to(tmp_path / "store")
    (new_yard.root / "tasks/toy/champion.py").write_text(LEADING)
    new_yard.add_beside_square("evaluate")
    new_yard.edit("params.yaml", "weights: null", "weights: numbers/bad.txt")
    failed = new_yard.flow("run", "toy")
    assert failed.returncode != 0 and "toy-judge@1: " in failed.stderr
    assert "Champion: a network is not registered in this MLflow store" in failed.stderr
    assert b"15" in [path.read_bytes() for path in (tmp_path / "store/files").rglob("*") if path.is_file()]
    for champion, said in (
        (f'{LEADING}\nJUDGED_AFTER = ("judge",)\n', "nobody was judged, because this is not up to date: judge"),
        ("def challenger(data):\n    return data['leader']\n", "nobody was judged: TypeError: "),
    ):
        (new_yard.root / "tasks/toy/champion.py").write_text(champion)
        shutil.rmtree(tmp_path / "store/files")
        failed = new_yard.flow("run", "toy")
        assert "toy-judge@1: " in failed.stderr and f"Champion: {said}" in failed.stderr, failed.stderr
        assert (tmp_path / "store/files").exists()


def test_a_stage_that_nobody_needs_with_these_params_is_not_run_at_either_door(yard_copy):
    yard_copy.edit(
        "tasks/toy/params.py",
        "    square: Square\n",
        "    NOT_NEEDED = {'square': 'judge.weights'}\n    square: Square\n",
    )
    yard_copy.edit("tasks/toy/params.py", "    NOT_NEEDED =", "    NOT_NEEDED: ClassVar =")
    yard_copy.edit("tasks/toy/params.py", "from pydantic", "from typing import ClassVar\n\nfrom pydantic")
    yard_copy.edit("tasks/toy/judge.py", 'int((square / "sum.txt").read_text())', "0 if params.weights else 1")
    yard_copy.edit("dvc.yaml", "    params: [toy.square]\n", "    params: [toy.square, toy.judge.weights]\n")
    yard_copy.edit(
        "dvc.yaml",
        "    outs: [data/toy/square]\n",
        "    outs: [{data/toy/square: {persist: true}}, data/sources/toy-square.json]\n",
    )
    half = yard_copy.root / "data/toy/square/half.txt"  # of a training that was killed: DVC has no copy of it
    half.write_text("unfinished")
    square, told = yard_copy.root / "data/toy/square", "'toy-square' - Finished in state Not needed"
    set_weights = yard_copy.flow("run", "toy", "--set", "toy.judge.weights=numbers/one.txt")
    assert set_weights.returncode == 0 and told in set_weights.stderr, set_weights.stderr
    assert [path.name for path in square.iterdir()] == ["not_needed.txt"]
    assert "toy.judge.weights is set" in (square / "not_needed.txt").read_text()
    assert "3 of 5 stages ran" in set_weights.stdout and "up to date" in yard_copy.dvc("status").stdout
    yard_copy.edit("params.yaml", "weights: numbers/one.txt", "weights: numbers/two.txt")
    by_dvc = yard_copy.dvc("repro")
    assert by_dvc.returncode == 0 and "toy.judge.weights is set" in by_dvc.stderr + by_dvc.stdout
    assert told in yard_copy.flow("run", "toy").stderr
    needed = yard_copy.flow("run", "toy", "--set", "toy.judge.weights=null")
    assert needed.returncode == 0 and half.read_text() == "unfinished", needed.stderr
    assert sorted(path.name for path in square.iterdir()) == ["half.txt", "sum.txt"]
    assert yard_copy.flow("run", "toy", "--set", "toy.judge.weights=data/toy/square/sum.txt").returncode == 0
    assert (square / "sum.txt").read_text() == "15"  # its own result takes nobody's place


def test_values_seen_before_come_back_from_the_run_cache_and_a_changed_file_outside_is_noticed(yard_copy, tmp_path):
    weights = tmp_path / "weights.txt"
    weights.write_text("100")
    other = yard_copy.flow("run", "toy", "--set", "toy.square.offset=7", "--set", f"toy.judge.weights={weights}")
    assert other.returncode == 0, other.stderr
    assert (yard_copy.root / "data/toy/square/sum.txt").read_text() == "21"
    assert set(yard_copy.status().values()) == {"up to date"}
    weights.write_text("2000")
    now = yard_copy.status()
    assert now["toy-judge@1"] == now["toy-judge@2"] == "the source has changed"
    assert now["toy-square"] == "up to date"
    back = yard_copy.flow("run", "toy", "--set", "toy.square.offset=1")
    assert "2 of 5 stages ran" in back.stdout and back.stderr.count("Restored") == 1
    assert "'toy-square' - Finished in state Restored" in back.stderr
    assert (yard_copy.root / "data/toy/square/sum.txt").read_text() == "15"
    assert json.loads((yard_copy.root / "data/toy/judge/1/score.json").read_text()) >= 2000
    assert "a comment that has to stay" in (yard_copy.root / "params.yaml").read_text()


def test_a_step_that_does_not_exist_is_refused_before_a_server_is_started(finished_yard):
    wrong = finished_yard.flow("run", "toy", "--force", "colect")
    assert wrong.returncode == 2 and "no such step" in wrong.stderr
    assert "Beginning flow run" not in wrong.stderr


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
    md5 = {out["path"]: out["md5"] for stage in locked.values() for out in stage["outs"]}
    assert mine["dvc.dep.data/toy/square"] == md5["data/toy/square"]
    assert mine["dvc.out.data/toy/judge/2"] == md5["data/toy/judge/2"]
    assert len(mine["git.commit"].removesuffix("-dirty")) == 40
    assert ("scale", "0.5") in set(database.execute("select key, value from params where run_uuid = ?", [run]))
    curve = "select value from metrics where run_uuid = ? and key = 'curve/loss' order by step"
    assert [round(value, 2) for (value,) in database.execute(curve, [run])] == [15.0, 7.5, 5.0]
    inputs = "select d.name from datasets d join inputs i on i.source_id = d.dataset_uuid where i.destination_id = ?"
    assert {name for (name,) in database.execute(inputs, [run])} == {"data/toy/square", "data/toy/collect"}
