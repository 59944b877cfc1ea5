"""What stands in MLflow of a flow and of a stage."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from tasks.yard.stage import Stage
from tasks.yard.tracking import live, runs, sending, store, views
from tests.flows.waiting import wait_until
from tests.tasks.yard.tracking import others

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_store")]

ROOT = Path(__file__).parents[4]


def test_a_run_whose_process_was_killed_is_ended_by_the_next_and_those_at_work_are_left(tmp_path, monkeypatch):
    """In a container a process has another name of host every time, and the numbers of processes begin anew."""
    flow = (
        "import signal; from tasks.yard.tracking.runs import start_flow_run\n"
        "print('run', start_flow_run('toy', 'toy', {}).id, flush=True); signal.pause()"
    )
    after_the_step = (
        "import signal; from tasks.yard.stage import Stage; from tasks.yard.tracking import owed, runs\n"
        "owed.deliver = lambda run: (print('run', run.id, flush=True), signal.pause())\n"
        "with runs.stage_run(Stage('toy-x', 'toy', 'x', None, {'deps': []}), {}, None, {}) as log: log({'score': 1})"
    )
    (tmp_path / "other").mkdir()  # another checkout, with the same store
    there = ((flow, tmp_path), (flow, tmp_path), (flow, tmp_path / "other"), (after_the_step, tmp_path))
    said = [tmp_path / f"said {number}" for number in range(4)]
    processes = [others.started(code, folder, file) for (code, folder), file in zip(there, said, strict=True)]
    try:
        for process, file in zip(processes, said, strict=True):
            wait_until(lambda process=process, file=file: said_run(file) or not process.is_alive(), "a run")
        ids = [said_run(file) for file in said]
        for process in (processes[0], processes[2], processes[3]):
            process.kill()
            process.join()
        own = runs.start_flow_run("toy", "toy", {})
        client = store.client()
        found = [client.get_run(sending.found(client, "toy", run_id)).info.status for run_id in [*ids, own.id]]
        # The one of the other checkout is that checkout's to end.
        assert found == ["KILLED", "RUNNING", "RUNNING", "FINISHED", "RUNNING"]
        runs.end_flow_run(own, "FINISHED", {}, [])
        assert {path.name for path in Path(".trainyard/alive").iterdir()} == {ids[1]}
    finally:
        for process in processes:
            process.kill()
            process.join()


def test_a_run_whose_end_could_neither_be_told_nor_kept_is_ended_by_the_next(tmp_path):
    full = (
        "import os; from pathlib import Path; from tasks.yard.tracking import runs\n"
        "run = runs.start_flow_run('toy', 'toy', {})\n"
        "Path('.trainyard/owed').touch(); os.environ['MLFLOW_TRACKING_URI'] = 'http://127.0.0.1:1'\n"
        "runs.end_flow_run(run, 'FAILED', {}, []); print('run', run.id, flush=True)"
    )
    process = others.started(full, tmp_path, tmp_path / "said")
    process.join()
    Path(".trainyard/owed").unlink()
    own, client = runs.start_flow_run("toy", "toy", {}), store.client()
    known = sending.found(client, "toy", said_run(tmp_path / "said"))
    assert client.get_run(known).info.status == "KILLED"
    runs.end_flow_run(own, "FINISHED", {}, [])
    assert not list(Path(".trainyard/alive").iterdir())


def said_run(file: Path) -> str | None:
    """The run that a process has told of."""
    found = re.search(r"^run (\S+)\n", file.read_text() if file.exists() else "", re.MULTILINE)
    return found and found[1]


@pytest.fixture
def cell() -> Stage:
    """A cell of a matrix and its output."""
    entry = {"deps": [], "matrix": {"analysis": "${brake_coast.analyse.items}"}}
    stage = Stage("brake_coast-analyse@misses", "brake_coast", "analyse", "misses", entry)
    stage.out.mkdir(parents=True)
    (stage.out / "history.jsonl").write_text(
        '{"epoch": 0, "val": {"score": 0.5}}\n{"epoch": 1, "val": {"score": 0.7}}\n'
    )
    return stage


def test_the_run_of_a_matrix_cell_says_its_item_and_not_the_list_of_all(cell):
    params = {"items": ["misses", "cost"], "shown": 2, "misses": {"max_lead_s": 3}}
    with runs.stage_run(cell, params, None, {}) as log:
        log({"score": 0.7, "unknown": None})
    client = store.client()
    (run,) = client.search_runs([store.experiment_id("brake_coast")])
    assert run.data.params == {"item": "misses", "shown": "2", "misses.max_lead_s": "3"}
    assert run.data.metrics["score"] == 0.7 and "unknown" not in run.data.metrics
    assert [point.value for point in client.get_metric_history(run.info.run_id, "curve/val.score")] == [0.5, 0.7]
    assert run.info.status == "FINISHED"


def test_curves_go_out_while_the_step_works_and_each_point_stands_there_once(cell, monkeypatch):
    monkeypatch.setattr(live, "EVERY_S", 0.05)
    rows = [f'{{"epoch": {epoch}, "val": {{"score": {epoch / 4}}}}}\n' for epoch in range(3)]
    client = store.client()

    def sent() -> list[float]:
        (run,) = client.search_runs([store.experiment_id("brake_coast")])
        return [point.value for point in client.get_metric_history(run.info.run_id, "curve/val.score")]

    with runs.stage_run(cell, {}, None, {}) as log:
        assert sent() == []  # what lies there is of the run before
        for known in (1, 2):
            (cell.out / "history.jsonl").write_text("".join(rows[:known]))
            wait_until(lambda known=known: sent() == [0.0, 0.25][:known], "the curve", every_s=0.05)
        (cell.out / "history.jsonl").write_text("".join(rows))
        log({"score": 0.5})
    assert sent() == [0.0, 0.25, 0.5]


def test_the_tags_of_a_run_are_what_people_search_by(cell):
    lock = {"stages": {"brake_coast-download": {"outs": [{"path": "data/brake_coast/download", "md5": "f" * 32}]}}}
    Path("dvc.lock").write_text(yaml.safe_dump(lock))
    shutil.copy(ROOT / "dvc.yaml", ".")
    entry = {"deps": [], "matrix": {"variant": ["a"]}}
    with runs.stage_run(Stage("brake_coast-train@a", "brake_coast", "train", "a", entry), {}, None, {}) as log:
        log({})
    (run,) = store.client().search_runs([store.experiment_id("brake_coast")], "tags.network = 'a'")
    tags = run.data.tags
    assert tags["line"] == "brake_coast" and tags["stage"] == "brake_coast-train@a"
    assert tags["data"] == f"download {'f' * 12}" and tags["commit"] == "unknown"


def test_a_flow_has_the_numbers_that_people_compare_first_and_all_of_them_in_a_file():
    import mlflow

    flow = runs.start_flow_run("toy", "toy 2026-11-29 #1", {})
    Path("report.html").write_text("<title>toy</title>")
    params = {"judge": {"scale": 2}}
    runs.end_flow_run(
        flow, "FINISHED", {"headline/AP": 0.5}, [Path("report.html")], params, "| AP |\n|---|\n| 0.5 |",
        {f"judge/{number}": number for number in range(500)},
    )  # fmt: skip
    (run,) = store.client().search_runs([store.experiment_id("toy")])
    assert run.data.metrics == {"headline/AP": 0.5} and run.data.params == {"judge.scale": "2"}
    assert "| AP |" in run.data.tags["mlflow.note.content"] and run.data.tags["report"] == "report.html"
    experiment = store.client().get_experiment(run.info.experiment_id)
    shown = json.loads(experiment.tags[views.TAG])["selectedColumns"]  # of the list that the links lead to
    assert shown[1:] == ["metrics.`headline/AP`", "tags.`network`", "tags.`data`", "tags.`commit`"]
    assert f"&viewStateShareKey={views.KEY}" in runs.link("http://here", "toy", None)
    assert mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/{runs.STEPS}")["judge/499"] == 499
    assert mlflow.artifacts.load_text(f"{run.info.artifact_uri}/report.html") == "<title>toy</title>"


def test_a_step_that_fails_leaves_a_failed_run_with_its_error(cell):
    with pytest.raises(ValueError), runs.stage_run(cell, {}, None, {}):
        raise ValueError("no rows")
    (run,) = store.client().search_runs([store.experiment_id("brake_coast")])
    assert run.info.status == "FAILED" and run.data.tags["error"] == "ValueError: no rows"
