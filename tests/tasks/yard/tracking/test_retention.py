"""What goes of a line's runs and versions, and what stays whatever its age."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tasks.yard.tracking import challenges, registry, retention, store

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_store")]


def nights(line: str, count: int) -> list[str]:
    """Flows, each with a training below it that made a version. Returns the ids of the flows."""
    client, found = store.client(), []
    client.create_registered_model(line)
    experiment = store.experiment(client, line)
    for night in range(count):
        flow = client.create_run(experiment, tags={"mlflow.source.name": "flows"}, run_name=f"{line} #{night + 1}")
        tags = {
            "mlflow.parentRunId": flow.info.run_id,
            "stage": f"{line}-train@net",
            "git.commit": f"c{night + 1}-dirty",
        }
        tags |= {f"dvc.out.data/{line}/train/net": f"out{night + 1}", "dvc.dep.data/pack": f"pack{night + 1}"}
        run = client.create_run(experiment, tags=tags, run_name=f"train {night + 1}").info.run_id
        client.log_text(run, "weights", "best.pt")
        client.create_model_version(line, "somewhere", run_id=run)
        for one in (run, flow.info.run_id):
            client.set_terminated(one)
        found.append(flow.info.run_id)
        time.sleep(0.01)  # MLflow orders by milliseconds
    return found


def test_the_champion_and_the_one_before_stay_and_a_challenge_counts_on_when_its_version_is_gone():
    client = store.client()
    flows = nights("kept", 7)
    registry.crown("kept", "1", "the first")
    time.sleep(1.1)  # a crown has its second
    registry.crown("kept", "2", "better")
    registry.tag("kept", "3", registry.WITHDRAWN, "blind at night")
    registry.tag("kept", "4", retention.KEEP, "for the paper")
    test = challenges.sketch(["a", "b", "c"])
    registry.tag("kept", "5", challenges.tag_of(test), " ".join(test))
    client.set_tag(client.get_model_version("kept", "5").run_id, "note", "of nobody")

    plan = retention.plan("kept", runs=1, versions=2)
    assert plan.versions == ["5"] and plan.kept_versions == ["1", "2", "3", "4", "6", "7"]
    assert [name for _, name in plan.runs] == ["train 5", "kept #5"] and plan.kept_runs == 6
    assert {"out2", "pack2", "out7"} <= plan.hashes and "out5" not in plan.hashes
    assert "c2" in plan.commits and "c5" not in plan.commits
    files = [Path(client.get_run(run_id).info.artifact_uri) for run_id, _ in plan.runs]
    assert files[0].exists()
    assert challenges.number_of(test, "7", registry.tags("kept")) == 2

    assert retention.carry_out(plan) is None
    assert {version.number for version in registry.versions("kept")} == set(plan.kept_versions)
    assert registry.champion_version("kept") == "2"
    assert {run.info.run_name for run in retention._all(client, "kept")}.isdisjoint({"train 5", "kept #5"})
    assert not files[0].exists() and client.get_run(flows[0]).info.lifecycle_stage == "active"
    assert challenges.number_of(test, "7", registry.tags("kept")) == 2, "nobody is to be beaten by luck later"
    assert retention.plan("kept", runs=1, versions=2).runs == []


def test_models_of_old_runs_go_however_many_answers_mlflow_lists_them_in(monkeypatch):
    monkeypatch.setattr(retention, "PAGE", 2)
    client = store.client()
    nights("many", 5)
    for run in list(retention._all(client, "many")):
        if "stage" in run.data.tags:
            client.create_logged_model(run.info.experiment_id, source_run_id=run.info.run_id)
    plan = retention.plan("many", runs=1, versions=1)
    assert len(plan.runs) == 8 and len(plan.models) == 4


def test_a_line_that_never_ran_has_nothing_to_tidy():
    plan = retention.plan("never", 1, 1)
    assert (plan.runs, plan.versions, plan.kept_versions, plan.hashes) == ([], [], [], set())
