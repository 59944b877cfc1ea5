"""The lineage of a run: the git commit, DVC's hashes of the inputs and outputs of its stage, and MLflow datasets."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from tasks.yard.stage import Stage

if TYPE_CHECKING:  # mlflow takes 4 s to import
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput


def git_commit() -> str:
    """The commit of the checkout, `-dirty` if tracked files differ from it; "unknown" outside git."""
    describe = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    result = subprocess.run(describe, capture_output=True, text=True)
    return result.stdout.strip() if result.returncode == 0 else "unknown"


def dvc_hash(path: Path) -> str:
    """What DVC will record for a file or folder: md5 of the bytes, or of the sorted listing of a folder (`.dir`)."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    files = {p.relative_to(path).as_posix(): p for p in path.rglob("*") if p.is_file()}
    listing = [{"md5": dvc_hash(file), "relpath": name} for name, file in sorted(files.items())]
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode()).hexdigest() + ".dir"


def locked_hashes(stage: Stage) -> dict[str, str]:
    """DVC's hashes of the data this stage reads: the outs that dvc.lock records for the stages before it."""
    lock = Path("dvc.lock")
    stages = (yaml.safe_load(lock.read_text(encoding="utf-8")) or {}).get("stages", {}) if lock.exists() else {}
    outs = {out["path"]: out["md5"] for entry in stages.values() for out in entry.get("outs", []) if "md5" in out}
    deps = stage.data_deps()
    return {path: md5 for path, md5 in sorted(outs.items()) if any(path == d or path.startswith(f"{d}/") for d in deps)}


def log_datasets(client: MlflowClient, run_id: str, stage: Stage) -> None:
    """The stage's data deps as MLflow datasets, named by path, with DVC's hash as digest."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = []
    for path, md5 in locked_hashes(stage).items():
        dataset = Dataset(name=path, digest=md5[:36], source_type="dvc", source=json.dumps({"path": path, "md5": md5}))
        inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", "input")]))
        client.set_tag(run_id, f"dvc.dep.{path}", md5)
    if inputs:
        log_inputs(client, run_id, inputs)


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
