"""What a step has found in its data: that nobody reads what a later step would make, so that it is not to be run.

The later stage lists the file among its deps in dvc.yaml. Its bytes change with the answer alone: a new recording runs
nothing anew.

Writes <step>/not_needed.json   {later step: why nobody needs it, or null}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from tasks.yard.files import read_if_there, write_json

FILE = "not_needed.json"


def tell(out: Path, whys: Mapping[str, str | None]) -> None:
    write_json(out / FILE, whys)


def told(step: str, deps: Iterable[str]) -> str | None:
    """Why nobody reads what the step makes; None if somebody does. `deps`: of its stage."""
    whys = (read_if_there(Path(dep)).get(step) for dep in deps if Path(dep).name == FILE)
    return next((why for why in whys if why), None)
