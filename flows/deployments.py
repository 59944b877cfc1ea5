"""The deployments of prefect.yaml, the one description of what runs when: read, checked, and run.

`python -m flows.deployments` is the process of `make serve` that runs what is due or triggered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flows import environment
from flows.environment import STATE
from tasks.yard import params
from tasks.yard.files import digest, write_text
from tasks.yard.step import BadInput, suggestion

PREFECT_YAML = Path("prefect.yaml")
ENTRYPOINT = "flows/line.py:run_line"


class Parameters(BaseModel):
    """Those of the flow `run_line`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    line: str
    assignments: list[str] = []
    force: list[str] = []
    wait: bool = False
    until: str | None = None
    only: str | None = None


class Deployment(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(min_length=1)
    description: str
    entrypoint: str
    parameters: Parameters
    schedules: list[dict[str, Any]]
    tags: list[str] = []
    work_pool: dict[str, Any] | None = None  # for `prefect deploy --all`


def described(path: Path = PREFECT_YAML) -> list[Deployment]:
    """Raises `BadInput` that names the deployment, the key and the fix: else a night that cannot be would be green, or
    its fault in a log that nobody reads."""
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))["deployments"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise BadInput(f"{path}: cannot read its deployments ({error})") from None
    if not isinstance(entries, list):
        raise BadInput(f"{path}: deployments has to be a list, one entry a deployment")
    found = [_checked(entry, f"{path}: deployment {_name(entry, number)}") for number, entry in enumerate(entries)]
    names = [deployment.name for deployment in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise BadInput(f"{path}: two deployments are called {twice}; the later would replace the other: rename one")
    return found


def fault() -> str | None:
    """Which deployment cannot run, and why; None if all can."""
    try:
        described()
    except BadInput as error:
        return str(error)
    return None


def _name(entry: Any, number: int) -> str:
    return str(entry.get("name") or number + 1) if isinstance(entry, dict) else str(number + 1)


def _checked(entry: Any, where: str) -> Deployment:
    with _faults_of(where, {"": [*Deployment.model_fields], "parameters": [*Parameters.model_fields]}):
        made = Deployment.model_validate(entry)
        if made.entrypoint != ENTRYPOINT:
            raise BadInput(f"entrypoint {made.entrypoint} is not run here; it has to be {ENTRYPOINT}")
        params.refuse_unknown_line(made.parameters.line)
        if made.parameters.assignments:
            params.set_values(made.parameters.assignments, write=False)
    _check_schedules(made.schedules, where)
    return made


def _check_schedules(schedules: list[dict[str, Any]], where: str) -> None:
    """By Prefect itself, which takes 1.7 s to import: those that it has taken are remembered."""
    memory = STATE / "schedules"
    taken = memory.read_text(encoding="utf-8").splitlines() if memory.is_file() else []
    this = digest(version("prefect"), repr(schedules))
    if this in taken:
        return
    from prefect.client.schemas.schedules import CronSchedule

    for number, schedule in enumerate(schedules):
        with _faults_of(f"{where}: schedules[{number}]", {"": [*CronSchedule.model_fields]}):
            CronSchedule(**schedule)
    if STATE.is_dir():
        write_text(memory, "\n".join([*taken[-100:], this]))


@contextmanager
def _faults_of(where: str, known: Mapping[str, list[str]]) -> Iterator[None]:
    """The first fault, as one sentence that says where it is; `known` are the keys of each section."""
    try:
        yield
    except (BadInput, TypeError) as error:
        raise BadInput(f"{where}: {error}") from None
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(str(part) for part in fault["loc"])
        section, _, last = key.rpartition(".")
        text = f"{key}: {fault['msg'].removeprefix('Value error, ')}"
        if fault["type"] == "extra_forbidden":
            text = f"unknown key {key!r}; {suggestion(last, known.get(section, []), 'known keys')}"
        raise BadInput(f"{where}: {text}") from None


def run() -> None:
    """Register the deployments with the server and run what is due or triggered, one flow run at a time."""
    from prefect import serve
    from prefect.client.schemas.schedules import CronSchedule

    from flows.line import run_line

    deployments = [
        run_line.to_deployment(
            name=deployment.name,
            description=deployment.description,
            parameters=deployment.parameters.model_dump(exclude_defaults=True),
            tags=deployment.tags,
            schedules=[CronSchedule(**schedule) for schedule in deployment.schedules],
        )
        for deployment in described()
    ]
    serve(*deployments, limit=1, webserver=True)


if __name__ == "__main__":
    environment.prepare()
    run()
