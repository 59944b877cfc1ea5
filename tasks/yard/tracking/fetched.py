"""A model as the registry keeps it, with what belongs to it, brought into a folder of the checkout."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.yard.applying import Model
from tasks.yard.files import file_hash, folder_hash, read_if_there, write_json
from tasks.yard.step import BadInput
from tasks.yard.tracking import judged, store

if TYPE_CHECKING:  # mlflow takes 4 s to import
    from mlflow import MlflowClient

# A tag of the version, the hash of what belongs to it, which lies in artifacts of the run that made the model, as
# `belongings-<hash>`. An older yard kept it once, as `belongings`, and without a tag.
BELONGINGS = "belongings"
NAME = re.compile(r"models:/(?P<line>[^/@]+)(?:@(?P<alias>[\w-]+)|/(?P<version>\d+))")
WAY_OUT = "give --weights FILE to do without the registry"


def model(line: str, name: str) -> Model:
    """The registered model `models:/<line>@<alias>` or `models:/<line>/<version>`; what was fetched once is kept.

    Raises `BadInput`: the name is none, there is no such model, or the registry cannot be reached.
    """
    match = NAME.fullmatch(name)
    if match is None:
        raise BadInput(f"--model {name}: expected models:/{line}@champion or models:/{line}/<version>")
    if match["line"] != line:
        raise BadInput(f"--model {name}: a model of the line {match['line']}, not of {line}")
    try:
        return _fetched(line, name, match["alias"], match["version"])
    except store.Unavailable as error:
        raise BadInput(f"{error}; or {WAY_OUT}") from None
    except Exception as error:
        if not store.is_fault(error):
            raise
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise BadInput(f"{store.shown()}: {name} cannot be fetched ({first}); {WAY_OUT}") from None


def _fetched(line: str, name: str, alias: str, number: str | None) -> Model:
    client = store.client()
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_model_version(line, number) if number else client.get_model_version_by_alias(line, alias)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        why = judged.uncrowned(line) if alias == "champion" else ""
        raise BadInput(
            f"{name}: the registry {store.shown()} has no such model; "
            f"{why or f'run the line (`python -m flows run {line}`)'}; or {WAY_OUT}"
        ) from None
    version, run_id = str(found.version), str(found.run_id)
    tags = client.get_run(run_id).data.tags
    out = next((key.removeprefix("dvc.out.") for key in tags if key.startswith("dvc.out.")), None)
    home = store.state() / "models" / line / f"{version}-{run_id[:8]}"
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    if not read_if_there(home / "fetched.json"):
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        mlflow.artifacts.download_artifacts(f"models:/{line}/{version}/data", dst_path=str(home / "model"))
        weights = next((home / "model").rglob("*.pt"), None)
        if weights is None:
            raise BadInput(f"{name}: holds no weights (*.pt); it was not registered by this line")
        write_json(home / "fetched.json", {"weights": weights.relative_to(home).as_posix()})
    weights = next((home / "model").rglob("*.pt"))
    return Model(
        name=f"models:/{line}/{version}",
        weights=weights,
        belongings=_belongings(client, run_id, found.tags.get(BELONGINGS), home),
        item=tags.get("stage", "").partition("@")[2] or None,
        version=version,
        dvc_hash=tags.get(f"dvc.out.{out}") if out else None,
        git_commit=tags.get("git.commit"),
        sha256=file_hash(weights),
    )


def _belongings(client: MlflowClient, run_id: str, known: str | None, home: Path) -> Path:
    """The folder of what belongs to the model as its version says it now; empty if nothing was kept."""
    name = f"{BELONGINGS}-{known}" if known else BELONGINGS
    here = home / name
    if not (here.is_dir() and any(here.iterdir())):
        here.mkdir(exist_ok=True)
        if any(entry.path == name for entry in client.list_artifacts(run_id)):
            with tempfile.TemporaryDirectory(dir=home) as folder:
                client.download_artifacts(run_id, name, folder)
                Path(folder, name).rename(here)
    return here


def keep(line: str, version: str, folder: Path, served: Sequence[str] = ()) -> None:
    """Put what belongs to a model beside it, anew when it has changed: thresholds may without a training. The version
    says last which it is, so that what was killed on its way is never taken for all of it. `served`: the files of it
    that MLflow's server reads too, which has no more than the model's own folder: they lie beside the weights there."""
    client = store.client()
    of, known = client.get_model_version(line, version), folder_hash(folder)
    if of.tags.get(BELONGINGS) != known:
        client.log_artifacts(str(of.run_id), str(folder), f"{BELONGINGS}-{known}")
        logged = str(of.source).removeprefix("models:/")  # of an older yard it was a folder of the run
        for name in served if "/" not in logged else ():
            if (folder / name).exists():
                client.log_model_artifact(logged, str(folder / name), "data")
        client.set_model_version_tag(line, version, BELONGINGS, known)
