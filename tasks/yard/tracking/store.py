"""MLflow: where a model came from. The only module that imports mlflow.

Steps never log. What a run carries is read from what a step was given and what it wrote: its params, its metrics,
`history.jsonl`
(curves), pictures, pages and videos, the stage's dependencies with their DVC hashes, the git commit, and, where the
step's
module offers `served_model(out, item)`, the model itself, registered under the line's name. A folder `runs/<name>` with
a params.json is a child run of its own, with metrics.json, history.jsonl and pictures where they are.

The store is `MLFLOW_TRACKING_URI`, or `sqlite:///mlflow.db` in the project with artifacts under `mlruns/`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from filelock import FileLock

from tasks.yard.files import alive

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput

    from tasks.yard.stage import Stage

log = logging.getLogger(__name__)
DEFAULT_STORE = "sqlite:///mlflow.db"
STATE = Path(".trainyard")
SHOWN = (".png", ".html", ".mp4", ".json")  # what people look at; weights go in with the model, data stay in DVC
CHAMPION = "champion"
CHILDREN = "runs"
PROCESS = "trainyard.process"  # host:pid
METRICS_A_BATCH = 1000  # MLflow's limit for one call


def client() -> MlflowClient:
    """A client of the configured store, which is created or migrated by one process at a time."""
    os.environ.setdefault("MLFLOW_TRACKING_URI", DEFAULT_STORE)
    import mlflow  # 4 s to import, and most commands never need it

    for name in ("mlflow", "alembic"):  # table creation and advice on environments are of no use to the reader of a run
        logging.getLogger(name).setLevel(logging.ERROR)

    STATE.mkdir(exist_ok=True)
    with FileLock(STATE / "mlflow.lock"):
        mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
        store = mlflow.MlflowClient()
        store.search_experiments(max_results=1)
    return store


def experiment(store: MlflowClient, line: str) -> str:
    """The id of the line's experiment: one a line."""
    with FileLock(STATE / "mlflow.lock"):
        found = store.get_experiment_by_name(line)
        kind = {"mlflow.experimentKind": "custom_model_development"}  # else the UI opens on pages for language models
        return found.experiment_id if found else store.create_experiment(line, tags=kind)


def experiment_id(line: str) -> str:
    return experiment(client(), line)


def git_commit() -> str:
    """The commit of the checkout, `-dirty` if tracked files differ from it; "unknown" outside git."""
    describe = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    result = subprocess.run(describe, capture_output=True, text=True)
    return result.stdout.strip() if result.returncode == 0 else "unknown"


def this_process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def end_killed_runs(store: MlflowClient, experiment: str) -> None:
    """Runs whose process on this machine is gone do not stand as running for ever."""
    for run in store.search_runs([experiment], "attributes.status = 'RUNNING'"):
        host, _, process = run.data.tags.get(PROCESS, "").rpartition(":")
        if host == socket.gethostname() and not alive(int(process)):
            store.set_terminated(run.info.run_id, "KILLED")


def start_flow_run(line: str, name: str, tags: Mapping[str, str]) -> str:
    """The parent of the runs that one flow makes. Returns its id."""
    store = client()
    end_killed_runs(store, experiment(store, line))
    tags = {
        **tags, "mlflow.runName": name, "line": line, "git.commit": git_commit(), "mlflow.source.name": "flows",
        PROCESS: this_process(),
    }  # fmt: skip
    return store.create_run(experiment(store, line), tags=tags).info.run_id


def end_flow_run(run_id: str, status: str, metrics: Mapping[str, Any], artifacts: list[Path]) -> None:
    store = client()
    _log_metrics(store, run_id, metrics)
    for path in artifacts:
        store.log_artifact(run_id, str(path))
    store.set_terminated(run_id, status)


@contextmanager
def stage_run(
    stage: Stage, params: Mapping[str, Any], parent_run: str | None, tags: Mapping[str, str]
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """One stage's run; call what it yields with the metrics once the step is done. A failed step leaves a FAILED
    run."""
    store = client()
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
    run_id = store.create_run(experiment(store, stage.line), tags=tags).info.run_id
    began = time.monotonic()
    try:
        yield lambda metrics: _log_outcome(
            store, run_id, stage, params, {**metrics, "wall_s": time.monotonic() - began}
        )
    except BaseException as error:
        store.set_tag(run_id, "error", f"{type(error).__name__}: {error}"[:5000])
        store.set_terminated(run_id, "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    store.set_terminated(run_id, "FINISHED")


def _log_outcome(store: MlflowClient, run_id: str, stage: Stage, params: Mapping, metrics: Mapping) -> None:
    from mlflow.entities import Param

    flat = dict(_flatten(params))
    if stage.item:
        flat["item"] = stage.item
        for items in stage.entry["matrix"].values():
            if isinstance(items, str):  # ${line.step.key}, which names all items, not this one
                flat.pop(items.strip("${}").removeprefix(f"{stage.line}.{stage.step}."), None)
    store.log_batch(run_id, params=[Param(key, str(value)[:6000]) for key, value in flat.items()])
    _log_metrics(store, run_id, metrics)
    _log_history(store, run_id, stage.out / "history.jsonl")
    _log_datasets(store, run_id, stage)
    store.set_tag(run_id, f"dvc.out.{stage.out}", dvc_hash(stage.out))
    for path in sorted(stage.out.rglob("*")):
        folder = path.parent.relative_to(stage.out)
        if path.suffix in SHOWN and not path.name.startswith(".") and folder.parts[:1] != (CHILDREN,):
            store.log_artifact(run_id, str(path), str(folder).removeprefix("."))
    for described in sorted((stage.out / CHILDREN).glob("*/params.json")):
        _log_child(store, run_id, stage, described.parent)
    if served := getattr(stage.module(), "served_model", None):
        _log_model(store, run_id, stage, served)


def _log_child(store: MlflowClient, parent: str, stage: Stage, folder: Path) -> None:
    """One of the runs that a step made itself, such as a trial of a search."""
    from mlflow.entities import Param

    tags = {
        "mlflow.runName": folder.name,
        "mlflow.parentRunId": parent,
        "line": stage.line,
        "stage": f"{stage.name}/{folder.name}",
    }
    run_id = store.create_run(experiment(store, stage.line), tags=tags).info.run_id
    params = json.loads((folder / "params.json").read_text(encoding="utf-8"))
    store.log_batch(run_id, params=[Param(key, str(value)[:6000]) for key, value in _flatten(params)])
    metrics = folder / "metrics.json"
    _log_metrics(store, run_id, json.loads(metrics.read_text(encoding="utf-8")) if metrics.exists() else {})
    _log_history(store, run_id, folder / "history.jsonl")
    for picture in sorted(folder.glob("*.png")):
        store.log_artifact(run_id, str(picture))
    store.set_terminated(run_id, "FINISHED")


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _log_metrics(store: MlflowClient, run_id: str, metrics: Mapping[str, Any], step: int = 0) -> None:
    _log_steps(store, run_id, [(name, value, step) for name, value in metrics.items()])


def _log_history(store: MlflowClient, run_id: str, path: Path) -> None:
    if path.exists():
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        steps = [(name, value, int(row.get("epoch", i))) for i, row in enumerate(rows) for name, value in _flatten(row)]
        _log_steps(store, run_id, [(f"curve/{name}", value, step) for name, value, step in steps])


def _log_steps(store: MlflowClient, run_id: str, values: list[tuple[str, Any, int]]) -> None:
    """Batched: 0.15 ms a value instead of 21 ms. What is not a number (None: could not be computed) is left out."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    numbers = [
        Metric(name.replace("@", "_at_"), float(value), now, step)
        for name, value, step in values
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    ]
    for start in range(0, len(numbers), METRICS_A_BATCH):
        store.log_batch(run_id, metrics=numbers[start : start + METRICS_A_BATCH])


def _log_datasets(store: MlflowClient, run_id: str, stage: Stage) -> None:
    """The stage's data deps as MLflow datasets, named by path, with DVC's hash as digest."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = []
    for path, md5 in locked_hashes(stage).items():
        dataset = Dataset(name=path, digest=md5[:36], source_type="dvc", source=json.dumps({"path": path, "md5": md5}))
        inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", "input")]))
        store.set_tag(run_id, f"dvc.dep.{path}", md5)
    if inputs:
        log_inputs(store, run_id, inputs)


def log_inputs(store: MlflowClient, run_id: str, inputs: list[DatasetInput]) -> None:
    """Of runs that end at once, each adds the data sets that all of them have read, and MLflow refuses all but the
    first of them: asked again, it finds them there."""
    from mlflow.exceptions import MlflowException

    for wait_s in (0.1, 0.4, 1.6):
        try:
            return store.log_inputs(run_id, datasets=inputs)
        except MlflowException:
            time.sleep(wait_s)
    return store.log_inputs(run_id, datasets=inputs)


def locked_hashes(stage: Stage) -> dict[str, str]:
    """DVC's hashes of the data this stage reads: the outs that dvc.lock records for the stages before it."""
    lock = Path("dvc.lock")
    stages = (yaml.safe_load(lock.read_text(encoding="utf-8")) or {}).get("stages", {}) if lock.exists() else {}
    outs = {out["path"]: out["md5"] for entry in stages.values() for out in entry.get("outs", []) if "md5" in out}
    deps = stage.data_deps()
    return {path: md5 for path, md5 in sorted(outs.items()) if any(path == d or path.startswith(f"{d}/") for d in deps)}


def dvc_hash(path: Path) -> str:
    """What DVC will record for a file or folder: md5 of the bytes, or of the sorted listing of a folder (`.dir`)."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    files = {p.relative_to(path).as_posix(): p for p in path.rglob("*") if p.is_file()}
    listing = [{"md5": dvc_hash(file), "relpath": name} for name, file in sorted(files.items())]
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode()).hexdigest() + ".dir"


def _log_model(store: MlflowClient, run_id: str, stage: Stage, served: Callable) -> None:
    """Log the model with its signature and register it. The loader is code of this project: nothing is unpickled."""
    import mlflow
    from mlflow.models import infer_signature

    model = served(stage.out, stage.item)
    if model is None:
        return
    loader, data_path, inputs = model
    predictor = sys.modules[loader]._load_pyfunc(str(data_path))
    for name in ("mlflow.tracking._model_registry.fluent", "mlflow.store.model_registry"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with mlflow.start_run(run_id=run_id), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the signature is given; what MLflow would rather have is an example beside it
        mlflow.pyfunc.log_model(
            name="model",
            loader_module=loader,
            data_path=str(data_path),
            code_paths=["tasks", "models"],
            signature=infer_signature(inputs, predictor.predict(inputs)),
            pip_requirements="requirements.lock",
            registered_model_name=stage.line,
        )


def versions_of(line: str, stage: str, out: Path) -> list[str]:
    """The registered versions of the model that a stage made as it lies in `out` now, the newest first."""
    store, here = client(), dvc_hash(out)
    found = []
    for version in store.search_model_versions(f"name = '{line}'", order_by=["version_number DESC"]):
        tags = store.get_run(version.run_id).data.tags
        if tags.get("stage") == stage and tags.get(f"dvc.out.{out}") == here:
            found.append(str(version.version))
    return found


def champion(line: str) -> tuple[str, Path] | None:
    """Version and checkpoint of the registered model that has the alias `champion`, None if none has."""
    import mlflow
    from mlflow.exceptions import MlflowException

    store = client()
    try:
        found = store.get_model_version_by_alias(line, CHAMPION)
    except MlflowException:
        return None
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{line}@{CHAMPION}"))
    return str(found.version), next(folder.rglob("*.pt"))


def crown(line: str, version: str, reason: str) -> None:
    store = client()
    store.set_registered_model_alias(line, CHAMPION, version)
    store.set_model_version_tag(line, version, "champion.because", reason)
