"""The registered models of a line: their versions, and the one that has the alias `champion`."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.yard.tracking import models, notes, sqlite_file, store, views
from tasks.yard.tracking.lineage import dvc_hash

if TYPE_CHECKING:  # mlflow takes 4 s to import
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import RegisteredModel

log = logging.getLogger(__name__)
CHAMPION = "champion"
REPORT = "report.html"
KEPT = ("line", "stage", "network", "data", "commit")  # tags of a run that its version has too
BECAUSE, SINCE = "champion.because", "champion.since"  # tags of a version that is champion, or was
WITHDRAWN = "champion.withdrawn"  # taken back by hand, and why: it challenges nobody any more
NONE_YET = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # no such model; a model that has no such alias


def versions_of(line: str, stage: str, out: Path, here: str | None = None) -> list[str]:
    """The registered versions of the model that a stage made as it lies in `out` now, or did when its hash was `here`;
    the newest first."""
    client, here = store.client(), here or dvc_hash(out)
    versions = []
    for version in client.search_model_versions(f"name = '{line}'", order_by=["version_number DESC"]):
        tags = client.get_run(str(version.run_id)).data.tags
        if tags.get("stage") == stage and tags.get(f"dvc.out.{out}") == here:
            versions.append(str(version.version))
    return versions


def made_by(line: str, stage: str, out: Path) -> tuple[str | None, str | None]:
    """(version, git commit) of what a stage made as it lies in `out` now, as far as MLflow tells. Never raises, and
    makes no store where there is none."""
    file = sqlite_file.of(store.uri())
    if file is not None and not file.exists():
        return None, None
    try:
        here = dvc_hash(out)
        versions = versions_of(line, stage, out, here)
        runs = runs_of(store.client(), line, stage, out, here)
    except Exception as error:  # of MLflow: the weights lie there, whatever it says of them
        log.debug("%s: MLflow does not say who made it: %s", out, error)
        return None, None
    return next(iter(versions), None), next((of.data.tags.get("git.commit") for of in runs), None)


def enter(line: str, stage: str, out: Path, here: str | None = None) -> list[str]:
    """As `versions_of`; a model that lies in MLflow and is no version yet becomes one. A network that challenges nobody
    stays what its run says of it."""
    client, here = store.client(), here or dvc_hash(out)
    if known := versions_of(line, stage, out, here):
        return known
    for run in runs_of(client, line, stage, out, here):
        mine = f"source_run_id = '{run.info.run_id}'"
        for logged in client.search_logged_models([run.info.experiment_id], mine):
            if str(logged.status) == "READY":
                _introduce(client, line, logged.tags.get(models.REQUEST, ""))
                tags = {key: run.data.tags[key] for key in KEPT if key in run.data.tags}
                source = f"models:/{logged.model_id}"
                made = client.create_model_version(line, source, run.info.run_id, tags, model_id=logged.model_id)
                return [str(made.version)]
    return []


def _introduce(client: MlflowClient, line: str, about: str) -> None:
    """Say at the line's registered model how it is served and asked: as the newest of its versions is."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(line, description=notes.request(line, about))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        client.update_registered_model(line, notes.request(line, about))


def describe(line: str, version: str) -> None:
    """Bring what the page of a version says up to date. The table of results is that of the network in data/: of a
    version that another training made, the page keeps the one it has."""
    client = store.client()
    of = client.get_model_version(line, version)
    if not of.run_id:
        return
    tags = client.get_run(of.run_id).data.tags
    item = tags.get("stage", "").partition("@")[2]
    results, out = Path("data", line, "evaluate", "metrics"), Path("data", line, "train", item)
    told = notes.table_in(of.description or "")
    if (results / f"{item}.json").exists() and tags.get(f"dvc.out.{out}") == dvc_hash(out):
        told = notes.table(results, item)
    text = notes.version(item, of.tags, tags, CHAMPION in of.aliases, report_url(client, line), told)
    client.update_model_version(line, version, text)


def report_url(client: MlflowClient, line: str) -> str | None:
    """Within MLflow's pages: the page of the line's last run that made one."""
    experiment = store.experiment(client, line)
    wanted = f"tags.report = '{REPORT}'"
    for run in client.search_runs([experiment], wanted, max_results=1, order_by=["attributes.start_time DESC"]):
        return views.one_run(experiment, run.info.run_id, REPORT)
    return None


def runs_of(client: MlflowClient, line: str, stage: str, out: Path, here: str) -> list[Run]:
    """The runs that made what lies in `out`, whose hash is `here`, the newest first."""
    wanted = f"tags.stage = '{stage}' and tags.`dvc.out.{out}` = '{here}'"
    return list(client.search_runs([store.experiment(client, line)], wanted, order_by=["attributes.start_time DESC"]))


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
    """{version: its tags} of every registered model of the line; under "" what stays of those that are gone."""
    client = store.client()
    found = {str(of.version): dict(of.tags) for of in client.search_model_versions(f"name = '{line}'")}
    return {**found, "": dict(of.tags) if (of := _model(client, line)) else {}}


def aliases(line: str) -> dict[str, str]:
    """{alias: version}"""
    of = _model(store.client(), line)
    return {alias: str(version) for alias, version in of.aliases.items()} if of else {}


def _model(client: MlflowClient, line: str) -> RegisteredModel | None:
    found = client.search_registered_models(f"name = '{line}'")
    return found[0] if found else None


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
