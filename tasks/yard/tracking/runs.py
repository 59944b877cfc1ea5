"""MLflow runs: one for a flow, below it one for each of its stages, below that one for each run a stage made itself.

Steps never log. A run is filled from the inputs and outputs of the step:

    params, metrics     of the step
    history.jsonl       curves
    pictures, pages     and videos, as artifacts
    dependencies        of the stage, with their DVC hashes, and the git commit
    model               registered under the line's name, if the step's module has `served_model(out, item)`

A folder `runs/<name>` with a params.json is a child run, with what it has of metrics.json, history.jsonl and pictures.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.yard.files import alive, read_json
from tasks.yard.stage import Stage
from tasks.yard.tracking import store
from tasks.yard.tracking.lineage import dvc_hash, git_commit, log_datasets
from tasks.yard.tracking.registry import log_model

if TYPE_CHECKING:  # mlflow takes 4 s to import
    from mlflow import MlflowClient

SHOWN = (".png", ".html", ".mp4", ".json")  # what people look at; weights go in with the model, data stay in DVC
CHILDREN = "runs"
PROCESS = "trainyard.process"  # host:pid
METRICS_A_BATCH = 1000  # MLflow's limit for one call


def this_process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def end_killed_runs(client: MlflowClient, experiment: str) -> None:
    """End the runs whose process on this machine has ended, so that they do not stay "running"."""
    for run in client.search_runs([experiment], "attributes.status = 'RUNNING'"):
        host, _, process = run.data.tags.get(PROCESS, "").rpartition(":")
        if host == socket.gethostname() and not alive(int(process)):
            client.set_terminated(run.info.run_id, "KILLED")


def start_flow_run(line: str, name: str, tags: Mapping[str, str]) -> str:
    """The parent of the runs that one flow makes. Returns its id."""
    client = store.client()
    end_killed_runs(client, store.experiment(client, line))
    tags = {
        **tags, "mlflow.runName": name, "line": line, "git.commit": git_commit(), "mlflow.source.name": "flows",
        PROCESS: this_process(),
    }  # fmt: skip
    return client.create_run(store.experiment(client, line), tags=tags).info.run_id


def end_flow_run(run_id: str, status: str, metrics: Mapping[str, Any], artifacts: list[Path]) -> None:
    client = store.client()
    _log_metrics(client, run_id, metrics)
    for path in artifacts:
        client.log_artifact(run_id, str(path))
    client.set_terminated(run_id, status)


@contextmanager
def stage_run(
    stage: Stage, params: Mapping[str, Any], parent_run: str | None, tags: Mapping[str, str]
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """One stage's run; call what it yields with the metrics once the step is done. A failed step leaves a FAILED
    run."""
    client = store.client()
    tags = {
        **tags,
        "mlflow.runName": stage.name.removeprefix(f"{stage.line}-"),
        "mlflow.source.name": f"python -m tasks {stage.name}",
        "line": stage.line,
        "stage": stage.name,
        "git.commit": git_commit(),
        PROCESS: this_process(),
        **({"mlflow.parentRunId": parent_run} if parent_run else {}),
    }
    run_id = client.create_run(store.experiment(client, stage.line), tags=tags).info.run_id
    began = time.monotonic()
    try:
        yield lambda metrics: _log_outcome(
            client, run_id, stage, params, {**metrics, "wall_s": time.monotonic() - began}
        )
    except BaseException as error:
        client.set_tag(run_id, "error", f"{type(error).__name__}: {error}"[:5000])
        client.set_terminated(run_id, "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    client.set_terminated(run_id, "FINISHED")


def own_params(stage: Stage, params: Mapping) -> dict[str, Any]:
    """A stage's params by dotted key; a cell of a matrix has its item instead of the list of all items."""
    flat = dict(_flatten(params))
    if stage.item:
        flat["item"] = stage.item
        for items in stage.entry["matrix"].values():
            if isinstance(items, str):  # ${line.step.key}, which names all items, not this one
                flat.pop(items.strip("${}").removeprefix(f"{stage.line}.{stage.step}."), None)
    return flat


def _log_outcome(client: MlflowClient, run_id: str, stage: Stage, params: Mapping, metrics: Mapping) -> None:
    _log_params(client, run_id, own_params(stage, params))
    _log_metrics(client, run_id, metrics)
    _log_history(client, run_id, stage.out / "history.jsonl")
    log_datasets(client, run_id, stage)
    client.set_tag(run_id, f"dvc.out.{stage.out}", dvc_hash(stage.out))
    for path in sorted(stage.out.rglob("*")):
        folder = path.parent.relative_to(stage.out)
        if path.suffix in SHOWN and not path.name.startswith(".") and folder.parts[:1] != (CHILDREN,):
            client.log_artifact(run_id, str(path), str(folder).removeprefix("."))
    for described in sorted((stage.out / CHILDREN).glob("*/params.json")):
        _log_child(client, run_id, stage, described.parent)
    if served := getattr(stage.module(), "served_model", None):
        log_model(run_id, stage, served)


def _log_child(client: MlflowClient, parent: str, stage: Stage, folder: Path) -> None:
    """One of the runs that a step made itself, such as a trial of a search."""
    tags = {
        "mlflow.runName": folder.name,
        "mlflow.parentRunId": parent,
        "line": stage.line,
        "stage": f"{stage.name}/{folder.name}",
    }
    run_id = client.create_run(store.experiment(client, stage.line), tags=tags).info.run_id
    _log_params(client, run_id, dict(_flatten(read_json(folder / "params.json"))))
    metrics = folder / "metrics.json"
    _log_metrics(client, run_id, read_json(metrics) if metrics.exists() else {})
    _log_history(client, run_id, folder / "history.jsonl")
    for picture in sorted(folder.glob("*.png")):
        client.log_artifact(run_id, str(picture))
    client.set_terminated(run_id, "FINISHED")


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _log_params(client: MlflowClient, run_id: str, params: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    client.log_batch(run_id, params=[Param(key, str(value)[:6000]) for key, value in params.items()])


def _log_metrics(client: MlflowClient, run_id: str, metrics: Mapping[str, Any]) -> None:
    _log_steps(client, run_id, [(name, value, 0) for name, value in metrics.items()])


def _log_history(client: MlflowClient, run_id: str, path: Path) -> None:
    if path.exists():
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        steps = [(name, value, int(row.get("epoch", i))) for i, row in enumerate(rows) for name, value in _flatten(row)]
        _log_steps(client, run_id, [(f"curve/{name}", value, step) for name, value, step in steps])


def _log_steps(client: MlflowClient, run_id: str, values: list[tuple[str, Any, int]]) -> None:
    """Batched: 0.15 ms a value instead of 21 ms. What is not a number (None: could not be computed) is left out."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    numbers = [
        Metric(name.replace("@", "_at_"), float(value), now, step)
        for name, value, step in values
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    ]
    for start in range(0, len(numbers), METRICS_A_BATCH):
        client.log_batch(run_id, metrics=numbers[start : start + METRICS_A_BATCH])
