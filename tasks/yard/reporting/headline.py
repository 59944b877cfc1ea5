"""The few numbers that people compare between experiments, one file a line: `dvc metrics diff`, `dvc exp show`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tasks.yard.files import write_text

DECIMALS = 4  # a test set of a few drives, people or scenes tells less
MOST = 8  # columns that a terminal has room for


def write_headline(out: Path, numbers: Mapping[str, float | None]) -> None:
    """Writes headline.json: the leader's numbers on test, the main one first, in the order in which they come; what
    could not be computed is left out."""
    told = {key: round(value, DECIMALS) for key, value in numbers.items() if value is not None}
    text = json.dumps(dict(list(told.items())[:MOST]), indent=1, allow_nan=False)
    write_text(out / "headline.json", f"{text}\n")
