"""The registered models of a line: their versions, and the one that has the alias `champion`."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tasks.yard.stage import Stage
from tasks.yard.tracking import store
from tasks.yard.tracking.described import Model
from tasks.yard.tracking.lineage import dvc_hash

CHAMPION = "champion"
BECAUSE, SINCE = "champion.because", "champion.since"  # tags of a version that is champion, or was
WITHDRAWN = "champion.withdrawn"  # taken back by hand, and why: it challenges nobody any more
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


def champion_version(line: str) -> str | None:
    """The version that has the alias `champion`, None if none has."""
    from mlflow.exceptions import MlflowException

    try:
        return str(store.client().get_model_version_by_alias(line, CHAMPION).version)
    except MlflowException as error:
        if error.error_code not in NONE_YET:  # of a server that fails nobody knows, and the next model is not the first
            raise
        return None


def champion(line: str) -> tuple[str, Path] | None:
    """Version and checkpoint of the registered model that has the alias `champion`, None if none has."""
    import mlflow

    if (version := champion_version(line)) is None:
        return None
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{line}@{CHAMPION}"))
    return version, next(folder.rglob("*.pt"))


def tags(line: str) -> dict[str, dict[str, str]]:
    """{version: its tags} of every registered model of the line."""
    return {str(of.version): dict(of.tags) for of in store.client().search_model_versions(f"name = '{line}'")}


def tag(line: str, version: str, key: str, value: str) -> None:
    store.client().set_model_version_tag(line, version, key, value)


def untag(line: str, version: str, key: str) -> None:
    store.client().delete_model_version_tag(line, version, key)


def crown(line: str, version: str, reason: str) -> None:
    client = store.client()
    client.set_registered_model_alias(line, CHAMPION, version)
    client.set_model_version_tag(line, version, BECAUSE, reason)
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    client.set_model_version_tag(line, version, SINCE, now)


@dataclass(frozen=True)
class Version:
    number: str
    network: str
    made: datetime
    tags: dict[str, str]
    is_champion: bool

    @property
    def reigned_from(self) -> datetime | None:
        """None: it never was champion. One of an older yard was crowned soon after it was made."""
        if SINCE in self.tags:
            return datetime.fromisoformat(self.tags[SINCE])
        return self.made if BECAUSE in self.tags else None


def versions(line: str) -> list[Version]:
    """Of the registered model of a line, the newest first."""
    client, found = store.client(), []
    reigning = champion_version(line)
    for of in client.search_model_versions(f"name = '{line}'", order_by=["version_number DESC"]):
        stage = client.get_run(of.run_id).data.tags.get("stage", "") if of.run_id else ""
        made = datetime.fromtimestamp(of.creation_timestamp / 1000).astimezone()
        number = str(of.version)
        found.append(Version(number, stage.partition("@")[2], made, dict(of.tags), number == reigning))
    return found


def score(line: str, version: str, metric: str, value: float, span: tuple[float, float] | None) -> None:
    """Note what a version is worth on the test data of today, with its 95 % interval if there is one."""
    client = store.client()
    low, high = span or ("", "")
    told = {"metric": metric, "value": value, "low": low, "high": high}
    for key, one in told.items():
        client.set_model_version_tag(line, version, f"test.{key}", f"{one:.6g}" if isinstance(one, float) else one)
