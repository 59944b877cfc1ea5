"""The registered models of a line: their versions, and the one that has the alias `champion`."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from tasks.yard.stage import Stage
from tasks.yard.tracking import store
from tasks.yard.tracking.described import Model
from tasks.yard.tracking.lineage import dvc_hash

CHAMPION = "champion"
NONE_YET = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # no such model; a model that has no such alias


def described_model(stage: Stage) -> Model | None:
    """The model that a stage serves, with its signature; None if it serves none."""
    served = getattr(stage.module(), "served_model", None)
    model = served and served(stage.out, stage.item)
    if not model:
        return None
    from mlflow.models import infer_signature

    loader, data, inputs = model
    predictor = sys.modules[loader]._load_pyfunc(str(data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # integers that might be missing one day
        signature = infer_signature(inputs, predictor.predict(inputs)).to_dict()
    return Model(loader, Path(data), signature, [Path("tasks"), Path("models")], Path("requirements.lock"))


def versions_of(line: str, stage: str, out: Path) -> list[str]:
    """The registered versions of the model that a stage made as it lies in `out` now, the newest first."""
    client, here = store.client(), dvc_hash(out)
    versions = []
    for version in client.search_model_versions(f"name = '{line}'", order_by=["version_number DESC"]):
        tags = client.get_run(version.run_id).data.tags
        if tags.get("stage") == stage and tags.get(f"dvc.out.{out}") == here:
            versions.append(str(version.version))
    return versions


def champion(line: str) -> tuple[str, Path] | None:
    """Version and checkpoint of the registered model that has the alias `champion`, None if none has."""
    import mlflow
    from mlflow.exceptions import MlflowException

    client = store.client()
    try:
        version = client.get_model_version_by_alias(line, CHAMPION)
    except MlflowException as error:
        if error.error_code not in NONE_YET:  # of a server that fails nobody knows, and the next model is not the first
            raise
        return None
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{line}@{CHAMPION}"))
    return str(version.version), next(folder.rglob("*.pt"))


def tags(line: str) -> dict[str, dict[str, str]]:
    """{version: its tags} of every registered model of the line."""
    return {str(of.version): dict(of.tags) for of in store.client().search_model_versions(f"name = '{line}'")}


def tag(line: str, version: str, key: str, value: str) -> None:
    store.client().set_model_version_tag(line, version, key, value)


def crown(line: str, version: str, reason: str) -> None:
    client = store.client()
    client.set_registered_model_alias(line, CHAMPION, version)
    client.set_model_version_tag(line, version, "champion.because", reason)
