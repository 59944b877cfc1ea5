"""A folder and a store of its own for each test. MLflow takes seconds to make one, so the others are copies."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tasks.yard.tracking import store


@pytest.fixture(scope="session")
def new_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an empty store."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", store.DEFAULT_STORE)
        store.client()
    return folder / "mlflow.db"


@pytest.fixture
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_store: Path):
    shutil.copy(new_store, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    yield
    sys.modules["mlflow"].set_tracking_uri(None)
