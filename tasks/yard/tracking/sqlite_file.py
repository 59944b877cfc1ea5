"""An MLflow store in one file of SQLite: is it whole, how is a new one made, and where do its artifacts lie?"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

SCHEME = "sqlite:///"
BUSY_S = 5.0  # another process may be writing
JOURNALS = ("-journal", "-wal", "-shm")
WAY_OUT = "put a copy of it back, or move it away: what data/ holds stays, what it says of runs is lost"
# What MLflow writes absolute paths into; a store of another version of it may lack some.
PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def of(uri: str) -> Path | None:
    """The file of a store, None for a store of another kind."""
    path = uri.removeprefix(SCHEME).partition("?")[0]
    return Path(path) if uri.startswith(SCHEME) and path else None


def artifacts(file: Path) -> Path:
    return file.parent / "mlruns"


def fault(file: Path) -> str | None:
    """Why the file cannot be used, with the fix; None if it can, or is not there yet."""
    if not file.exists():
        return None if file.parent.is_dir() else f"{file}: no such folder; mend MLFLOW_TRACKING_URI"
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=rw", timeout=BUSY_S, uri=True)) as database:
            (said,) = database.execute("pragma quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        return f"{file}: {error}; another program holds it, or it may not be written: end that, or mend its rights"
    except sqlite3.DatabaseError as error:
        said = str(error)
    return None if said == "ok" else f"{file} is damaged ({said.splitlines()[-1]}); {WAY_OUT}"


def prepare(file: Path) -> None:
    """Create the store if there is none, and let its artifacts be where the file is. By one process at a time."""
    if not file.exists() or file.stat().st_size == 0:
        _create(file)
    _follow(file)


def _create(file: Path) -> None:
    """Under a temporary name: one whose creation was killed half a second in could never be used again."""
    import mlflow

    temporary = file.with_name(f"{file.name}.new")
    for end in ("", *JOURNALS):  # of one that was killed
        temporary.with_name(temporary.name + end).unlink(missing_ok=True)
    mlflow.MlflowClient(f"{SCHEME}{temporary}").search_experiments(max_results=1)
    temporary.replace(file)


def _follow(file: Path) -> None:
    """A checkout that was moved or copied, or is another path in a container: MLflow has noted absolute paths, and
    would write into the old one."""
    here = artifacts(file)
    with closing(sqlite3.connect(file, timeout=BUSY_S)) as database, database:
        noted = [place for (place,) in database.execute("select artifact_location from experiments")]
        olds = {match[1] for place in noted if (match := re.fullmatch(r"(?:file://)?(/.+/mlruns)/[^/]+", place or ""))}
        for old in sorted(olds - {str(here)}):
            if Path(old).exists() and not here.exists():
                continue  # not moved: this store was made elsewhere with its artifacts there
            tables = {name for (name,) in database.execute("select name from sqlite_master where type = 'table'")}
            for table, column in PLACES:
                for before, now in ((f"{old}/", f"{here}/"), (f"file://{old}/", f"file://{here}/")):
                    if table in tables:
                        moved = (
                            f"update {table} set {column} = ? || substr({column}, ?) where substr({column}, 1, ?) = ?"
                        )
                        database.execute(moved, [now, len(before) + 1, len(before), before])
