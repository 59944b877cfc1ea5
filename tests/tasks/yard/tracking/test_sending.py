"""What several stages tell one MLflow store at once."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from mlflow.entities import Dataset, DatasetInput

from tasks.yard.tracking import store
from tasks.yard.tracking.sending import log_inputs

pytestmark = pytest.mark.slow

ROUNDS, TOGETHER = 6, 8


def test_runs_that_end_at_once_all_name_the_data_they_read(tmp_path, monkeypatch, empty_store):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    shutil.copy(empty_store, tmp_path)
    client = store.client()
    experiment = store.experiment_id("toy")
    run_ids = [client.create_run(experiment).info.run_id for _ in range(TOGETHER)]
    gate = Barrier(TOGETHER, timeout=240)  # s: one that fails must not hang the others

    def end(run_id: str) -> None:
        for number in range(ROUNDS):
            dataset = Dataset(name=f"data/toy/{number}", digest="1", source_type="dvc", source="{}")
            gate.wait()
            log_inputs(client, run_id, [DatasetInput(dataset, [])])

    with ThreadPoolExecutor(TOGETHER) as pool:
        list(pool.map(end, run_ids))
    for run_id in run_ids:
        names = {given.dataset.name for given in client.get_run(run_id).inputs.dataset_inputs}
        assert names == {f"data/toy/{number}" for number in range(ROUNDS)}
