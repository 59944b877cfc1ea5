"""The MLflow store: `MLFLOW_TRACKING_URI`, or mlflow.db in the checkout with its artifacts under mlruns/.

`dvc exp run --temp` and `--queue` work in a copy of the checkout that is deleted afterwards: the store, and all that
the yard remembers of runs, is that of the checkout itself.

This room is the only one that imports mlflow.
"""

from __future__ import annotations

import logging
import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from tasks.yard import login
from tasks.yard.step import BadInput
from tasks.yard.tracking import database, health, sqlite_file

if TYPE_CHECKING:  # mlflow takes 4 s to import
    from mlflow import MlflowClient

DEFAULT_STORE = "sqlite:///mlflow.db"
# MLflow's own are 7 retries, each after twice the wait, and 120 s: a server that dies costs 4 minutes a call.
SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",  # s; it may take that long until an uploaded model lies in a bucket
    "MLFLOW_DISABLE_TELEMETRY": "true",  # of DO_NOT_TRACK it takes no other word than "true"
}


class Unavailable(BadInput):
    """The MLflow store cannot be used now. The message names it, and the fix."""


def checkout() -> Path:
    """The checkout that this process works for: the folder it is in, or the one that DVC copied it from."""
    here = Path.cwd()
    copies = (folder for folder in (here, *here.parents) if folder.parts[-3:] == (".dvc", "tmp", "exps"))
    return next((folder.parents[2] for folder in copies), here)


def state() -> Path:
    """Where the yard remembers what is to be done about its runs."""
    folder = checkout() / ".trainyard"
    folder.mkdir(exist_ok=True)
    return folder


def uri() -> str:
    """Of the store; a relative path is one in the checkout."""
    told = os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_STORE
    file = sqlite_file.of(told)
    return told if file is None else f"{sqlite_file.SCHEME}{checkout() / file}"


def shown() -> str:
    """Where the store is, as it may be printed."""
    return str(sqlite_file.of(uri()) or health.shown(uri()))


def fault() -> str | None:
    """Why the store cannot be used now, with the fix; None if it can. Found out within seconds."""
    address = uri()
    file = sqlite_file.of(address)
    return health.fault(address) if file is None else sqlite_file.fault(file)


def client() -> MlflowClient:
    """A client of the store, which is created by one process at a time. Raises `Unavailable`."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    login.hand_on()
    if said := fault():
        raise Unavailable(said)
    os.environ["MLFLOW_TRACKING_URI"] = address = uri()
    import mlflow  # 4 s to import, and most commands never need it

    for name in ("mlflow", "alembic"):  # table creation and advice on environments are of no use to the reader of a run
        logging.getLogger(name).setLevel(logging.ERROR)
    # It prints a traceback of what it raises as well, such as a full disk, which whoever asked says in a sentence.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    file = sqlite_file.of(address)
    with FileLock(state() / "mlflow.lock") if file else database.turn(address):
        try:
            if file:
                sqlite_file.prepare(file)
            mlflow.set_tracking_uri(address)
            connected = mlflow.MlflowClient()
            connected.search_experiments(max_results=1)
        except Exception as error:  # whatever MLflow, SQLAlchemy, Alembic or the network raise
            way_out = f"; {sqlite_file.WAY_OUT}" if file else ""
            raise Unavailable(f"{shown()}: MLflow fails with it ({_first_line(error)}){way_out}") from error
    return connected


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def is_fault(error: BaseException) -> bool:
    """Is this a fault of the store, or of the way to it, and not one of our code?"""
    packages = ("mlflow", "sqlalchemy", "sqlite3", "alembic")
    return isinstance(error, OSError | Unavailable) or type(error).__module__.split(".")[0] in packages


def artifact_root() -> str | None:
    """Where artifacts of new experiments lie: beside a store in a file; for one in a database, where MLflow's own
    variable says. None for a server, which decides that itself."""
    if file := sqlite_file.of(uri()):
        return str(sqlite_file.artifacts(file))
    if not database.kind(uri()):
        return None
    return os.environ.get("MLFLOW_DEFAULT_ARTIFACT_ROOT", "").rstrip("/") or str(checkout() / "mlruns")


def experiment(connected: MlflowClient, line: str) -> str:
    """The id of the line's experiment: one a line."""
    import mlflow

    file, root = sqlite_file.of(uri()), artifact_root()
    place = {"artifact_location": f"{root}/{line}"} if root else {}  # a server has one of its own
    with FileLock(state() / "mlflow.lock") if file else nullcontext():
        known = connected.get_experiment_by_name(line)
        kind = {"mlflow.experimentKind": "custom_model_development"}  # else the UI opens on pages for language models
        if known:
            return known.experiment_id
        try:
            return connected.create_experiment(line, tags=kind, **place)
        except mlflow.MlflowException:  # a server may have other clients, which this lock does not hold off
            if made := connected.get_experiment_by_name(line):
                return made.experiment_id
            raise


def experiment_id(line: str) -> str:
    return experiment(client(), line)


def server_url() -> str | None:
    """The MLflow server that keeps the store, if it is one."""
    address = uri()
    return address if address.startswith("http") else None
