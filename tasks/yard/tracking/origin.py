"""Where a page comes from: when, from which commit, data and params, and which registered model it is about."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from tasks.yard.files import read_if_there
from tasks.yard.stage import Stage
from tasks.yard.tracking import lineage, registry, store, views

log = logging.getLogger(__name__)
SHORT = 10  # characters of a hash


@dataclass(frozen=True)
class Origin:
    at: str
    stage: str
    run: str | None  # the name of the flow run; None: `dvc repro` or `python -m tasks` made it
    commit: str
    data: dict[str, str]  # path -> DVC's hash
    model: str | None = None
    model_url: str | None = None
    run_url: str | None = None


def of(stage: Stage, tags: Mapping[str, str]) -> Origin:
    """Of what `stage` makes now. `tags`: what the flow said of itself. What MLflow does not tell is left out."""
    commit = lineage.git_state(say=False)[0]
    known = Origin(now(), stage.name, tags.get("prefect.flow_run"), commit, lineage.locked_hashes(stage))
    try:
        found = _in_mlflow(stage, tags.get("prefect.flow_run_id"))
    except Exception as error:  # of MLflow, or of a line whose files are not as its champion.py wants them
        log.debug("%s: MLflow does not say where its page belongs: %s", stage.name, error)
        return known
    return replace(known, model=found.get("model"), model_url=found.get("model_url"), run_url=found.get("run_url"))


def now() -> str:
    return datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")


def of_apply(line: str, model: str, commit: str) -> Origin:
    """Of a page that a model made of somebody's own input."""
    return Origin(now(), f"python -m flows apply {line} <input>", None, commit, {}, model)


def _in_mlflow(stage: Stage, flow_run_id: str | None) -> dict[str, str]:
    client = store.client()
    found: dict[str, str] = {}
    experiment, base = store.experiment(client, stage.line), pages_url()
    if flow_run_id:
        mine = f"tags.`prefect.flow_run_id` = '{flow_run_id}' and tags.`mlflow.source.name` = 'flows'"
        for run in client.search_runs([experiment], mine, max_results=1):
            found["run_url"] = f"{base}/{views.one_run(experiment, run.info.run_id)}"
    if importlib.util.find_spec(f"tasks.{stage.line}.champion"):
        data = Path("data", stage.line)
        if leader := importlib.import_module(f"tasks.{stage.line}.champion").challenger(data):
            name = f"{stage.line}-train@{leader.item}"
            versions = registry.versions_of(stage.line, name, data / "train" / leader.item)
            found["model"] = leader.item + (f", version {versions[0]}" if versions else ", not registered")
            if versions:
                found["model_url"] = f"{base}/#/models/{stage.line}/versions/{versions[0]}"
    return found


def pages_url() -> str:
    """Where MLflow's pages are, or will be once `make serve` runs; without a name and password in it."""
    served = read_if_there(store.state() / "server.json").get("mlflow_url")
    url = store.server_url() or served or f"http://127.0.0.1:{os.environ.get('TRAINYARD_MLFLOW_PORT', 5000)}"
    return views.plainly(url)
