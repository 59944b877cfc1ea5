"""Tells MLflow of a run. Told twice, or told to the half before a kill, a run stands there once and whole.

A run is found by its tag `trainyard.run`. Its status is set last: half a run never stands as finished.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.yard.tracking import judged, models, store, views
from tasks.yard.tracking.described import Model, Run

if TYPE_CHECKING:  # mlflow takes 4 s to import
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput

OURS, PARENT = "trainyard.run", "trainyard.parent"  # tags that hold our ids
METRICS_A_CALL, OTHERS_A_CALL = 1000, 100  # MLflow's limits


def found(client: MlflowClient, line: str, run_id: str) -> str | None:
    """MLflow's id of a run of ours, None if it knows none."""
    runs = client.search_runs([store.experiment(client, line)], f"tags.`{OURS}` = '{run_id}'", max_results=1)
    return runs[0].info.run_id if runs else None


def begin(client: MlflowClient, run: Run) -> str:
    """MLflow's id of the run, which is made if it is not there."""
    if known := found(client, run.line, run.id):
        return known
    tags = {**run.tags, "mlflow.runName": run.name, "line": run.line, OURS: run.id}
    if run.parent:
        tags[PARENT] = run.parent
        if above := found(client, run.line, run.parent):
            tags["mlflow.parentRunId"] = above
    return client.create_run(store.experiment(client, run.line), start_time=run.began_ms, tags=tags).info.run_id


def send(run: Run) -> None:
    _send(store.client(), run)


def _send(client: MlflowClient, run: Run) -> None:
    run_id = begin(client, run)
    if client.get_run(run_id).info.status == run.status:
        return  # whoever sent it ended before he could note that he had
    _log_values(client, run_id, run)
    if run.datasets:
        log_inputs(client, run_id, _datasets(run.datasets))
    for name, path in run.files.items():
        client.log_artifact(run_id, str(path), Path(name).parent.as_posix().removeprefix("."))
    for name, text in run.texts.items():
        client.log_text(run_id, text, name)
    for child in run.children:
        _send(client, child)
    if run.parent is None:
        _adopt(client, run, run_id)
        _show(client, run)
    if run.model:
        _keep(client, run_id, run.line, run.model)
    if run.judged:
        judged.tell(client, run.line, run.judged)
    client.set_terminated(run_id, run.status, end_time=run.ended_ms)


def sender(run: Run) -> Callable[[Sequence[tuple]], None] | None:
    """Takes metrics of a run that is at work; None if MLflow does not know it."""
    client = store.client()
    run_id = found(client, run.line, run.id)
    return (lambda points: _log_metrics(client, run_id, points, run.began_ms)) if run_id else None


def _log_metrics(client: MlflowClient, run_id: str, points: Sequence[tuple], when_ms: int) -> None:
    """Batched: MLflow commits a call, not a value. What is not a number (None: could not be computed) is left out."""
    from mlflow.entities import Metric

    values = [
        Metric(name.replace("@", "_at_"), float(value), at[0] if at else when_ms, step)
        for name, value, step, *at in points
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    ]
    for start in range(0, len(values), METRICS_A_CALL):
        client.log_batch(run_id, metrics=values[start : start + METRICS_A_CALL])


def _log_values(client: MlflowClient, run_id: str, run: Run) -> None:
    from mlflow.entities import Param, RunTag

    _log_metrics(client, run_id, run.metrics, run.ended_ms or run.began_ms)
    params = [Param(key, str(value)[:6000]) for key, value in run.params.items()]
    for start in range(0, len(params), OTHERS_A_CALL):
        client.log_batch(run_id, params=params[start : start + OTHERS_A_CALL])
    tags = [RunTag(key, value[:5000]) for key, value in run.tags.items()]
    tags += [RunTag(f"dvc.dep.{path}", md5) for path, md5 in run.datasets.items()]
    for start in range(0, len(tags), OTHERS_A_CALL):
        client.log_batch(run_id, tags=tags[start : start + OTHERS_A_CALL])


def _datasets(hashes: Mapping[str, str]) -> list[DatasetInput]:
    """Data deps as MLflow datasets, named by path, with DVC's hash as digest."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    return [
        DatasetInput(
            Dataset(name=path, digest=md5[:36], source_type="dvc", source=json.dumps({"path": path, "md5": md5})),
            [InputTag("mlflow.data.context", "input")],
        )
        for path, md5 in hashes.items()
    ]


def log_inputs(client: MlflowClient, run_id: str, inputs: list[DatasetInput]) -> None:
    """Of runs that end at once, each adds the data sets that all of them have read, and MLflow refuses all but the
    first of them: asked again, it finds them there."""
    from mlflow.exceptions import MlflowException

    for wait_s in (0.1, 0.4, 1.6):
        try:
            return client.log_inputs(run_id, datasets=inputs)
        except MlflowException:
            time.sleep(wait_s)
    return client.log_inputs(run_id, datasets=inputs)


def _adopt(client: MlflowClient, run: Run, run_id: str) -> None:
    """The runs below this one that were told before it: MLflow was away when this one began."""
    for child in client.search_runs([store.experiment(client, run.line)], f"tags.`{PARENT}` = '{run.id}'"):
        if "mlflow.parentRunId" not in child.data.tags:
            client.set_tag(child.info.run_id, "mlflow.parentRunId", run_id)


def _show(client: MlflowClient, run: Run) -> None:
    """Let the list of the line's runs have the columns that this flow has numbers for."""
    numbers = [name for name, *_ in run.metrics]
    if not any(name.startswith("headline/") for name in numbers):
        return
    experiment = store.experiment(client, run.line)
    trained = client.search_runs([experiment], f"tags.stage LIKE '{run.line}-train@%'", max_results=1)
    client.set_experiment_tag(experiment, views.TAG, views.state(numbers, trained[0].data.metrics if trained else []))


def _keep(client: MlflowClient, run_id: str, line: str, model: Model) -> None:
    """Log the model with its signature, once a run. Which of them becomes a version is the registry's to say."""
    half = f"source_run_id = '{run_id}'"
    known = client.search_logged_models([store.experiment(client, line)], half)
    if any(str(logged.status) == "READY" for logged in known):
        return
    for logged in known:  # of one who was killed before all of it was there
        client.delete_logged_model(logged.model_id)
    models.log(run_id, model)
