"""Tells MLflow of a run. Told twice, or told to the half before a kill, a run stands there once and whole.

A run is found by its tag `trainyard.run`. Its status is set last: half a run never stands as finished.
"""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.yard.tracking import store
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
    if run.model:
        _register(client, run_id, run.line, run.model)
    client.set_terminated(run_id, run.status, end_time=run.ended_ms)


def _log_values(client: MlflowClient, run_id: str, run: Run) -> None:
    """Batched: MLflow commits a call, not a value. What is not a number (None: could not be computed) is left out."""
    from mlflow.entities import Metric, Param, RunTag

    values: list[Any] = [
        Metric(name.replace("@", "_at_"), float(value), run.ended_ms or run.began_ms, step)
        for name, value, step in run.metrics
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    ]
    for start in range(0, len(values), METRICS_A_CALL):
        client.log_batch(run_id, metrics=values[start : start + METRICS_A_CALL])
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


def _register(client: MlflowClient, run_id: str, line: str, model: Model) -> None:
    """Log the model with its signature and register it, once a run."""
    import mlflow
    from mlflow.models import ModelSignature

    if client.search_model_versions(f"run_id = '{run_id}'"):
        return
    experiment, half = store.experiment(client, line), f"source_run_id = '{run_id}'"
    for logged in client.search_logged_models([experiment], half):  # of one who was killed before he registered it
        client.delete_logged_model(logged.model_id)
    for name in ("mlflow.tracking._model_registry.fluent", "mlflow.store.model_registry"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with mlflow.start_run(run_id=run_id), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the signature is given; what MLflow would rather have is an example beside it
        mlflow.pyfunc.log_model(
            name="model",
            loader_module=model.loader,
            data_path=str(model.data),
            code_paths=[str(path) for path in model.code],
            signature=ModelSignature.from_dict(model.signature),
            pip_requirements=str(model.requirements),
            registered_model_name=line,
        )
