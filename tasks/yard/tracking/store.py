"""The MLflow store: `MLFLOW_TRACKING_URI`, or `sqlite:///mlflow.db` in the project with artifacts under `mlruns/`.

This room is the only one that imports mlflow.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

if TYPE_CHECKING:  # mlflow takes 4 s to import
    from mlflow import MlflowClient

DEFAULT_STORE = "sqlite:///mlflow.db"
STATE = Path(".trainyard")


def client() -> MlflowClient:
    """A client of the configured store, which is created or migrated by one process at a time."""
    os.environ.setdefault("MLFLOW_TRACKING_URI", DEFAULT_STORE)
    import mlflow  # 4 s to import, and most commands never need it

    for name in ("mlflow", "alembic"):  # table creation and advice on environments are of no use to the reader of a run
        logging.getLogger(name).setLevel(logging.ERROR)

    STATE.mkdir(exist_ok=True)
    with FileLock(STATE / "mlflow.lock"):
        mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
        connected = mlflow.MlflowClient()
        connected.search_experiments(max_results=1)
    return connected


def experiment(connected: MlflowClient, line: str) -> str:
    """The id of the line's experiment: one a line."""
    import mlflow

    with FileLock(STATE / "mlflow.lock"):
        known = connected.get_experiment_by_name(line)
        kind = {"mlflow.experimentKind": "custom_model_development"}  # else the UI opens on pages for language models
        if known:
            return known.experiment_id
        try:
            return connected.create_experiment(line, tags=kind)
        except mlflow.MlflowException:  # a server may have other clients, which this lock does not hold off
            if made := connected.get_experiment_by_name(line):
                return made.experiment_id
            raise


def experiment_id(line: str) -> str:
    return experiment(client(), line)


def server_url() -> str | None:
    """The MLflow server that keeps the store, if it is one."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", DEFAULT_STORE)
    return uri if uri.startswith("http") else None


def link(base_url: str, line: str, run_id: str | None) -> str:
    """Where the MLflow pages at `base_url` show a run of the line, or all of its runs."""
    return f"{base_url}/#/experiments/{experiment_id(line)}" + (f"/runs/{run_id}" if run_id else "")
