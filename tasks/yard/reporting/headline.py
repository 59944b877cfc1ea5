"""The few numbers that people compare between experiments, one file a line: `dvc metrics diff`, `dvc exp show`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tasks.yard.files import write_json

DECIMALS = 4  # a test set of a few drives, people or scenes tells less
MOST = 8  # columns that a terminal has room for


def write_headline(out: Path, numbers: Mapping[str, float | None]) -> None:
    """Writes headline.json: the leader's numbers on test; what could not be computed is left out."""
    told = {key: round(value, DECIMALS) for key, value in numbers.items() if value is not None}
    write_json(out / "headline.json", dict(list(told.items())[:MOST]))
