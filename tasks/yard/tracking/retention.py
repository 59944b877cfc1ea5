"""What may go from MLflow of a line's runs and versions, and what the rest needs of DVC's cache.

Stays: the newest runs and versions, whoever is champion or was before, has an alias, was taken back by hand (else the
same weights would challenge again) or has the tag `keep`, with the whole run that made it; runs at work; and the run
whose report the pages link to. A challenge counts on when its version is gone (challenges.py): its tag goes over to the
registered model.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.yard.tracking import challenges, registry, sqlite_file, store

if TYPE_CHECKING:  # mlflow takes 4 s to import
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.store.entities.paged_list import PagedList

KEEP = "keep"  # tag by which a person holds on to a run or a version
AT_ONCE = 200  # ids in one call of `mlflow gc`
PAGE = 1000  # of an answer of MLflow
TAGS = ("dvc.out.", "dvc.dep.")


@dataclass(frozen=True)
class Plan:
    """What goes, and what stays."""

    line: str
    runs: list[tuple[str, str]]  # MLflow's id, name; those below a run before it
    models: list[str]  # ids of logged models of these runs
    versions: list[str]
    kept_runs: int  # those that stand alone or above others
    kept_versions: list[str]
    hashes: set[str]  # of what the kept versions were made from, and of what they are
    commits: set[str]  # that made them


def plan(line: str, runs: int, versions: int) -> Plan:
    """`runs` and `versions`: how many of the newest stay."""
    client = store.client()
    known = list(_all(client, line))
    by_id = {run.info.run_id: run for run in known}
    staying = _kept_versions(line, versions)
    gone = [version.number for version in registry.versions(line) if version.number not in staying]
    makers = {str(client.get_model_version(line, number).run_id) for number in staying}
    below: dict[str, list[Run]] = {}
    for run in known:
        above = run
        while (parent := above.data.tags.get("mlflow.parentRunId")) in by_id:
            above = by_id[parent]
        below.setdefault(above.info.run_id, []).append(run)
    tops = sorted(below, key=lambda top: -by_id[top].info.start_time)
    report = next((top for top in tops if by_id[top].data.tags.get("report")), None)
    stay = {
        top for place, top in enumerate(tops)
        if place < runs or top == report or any(_holds(run, makers) for run in below[top])
    }  # fmt: skip
    go = [run for top in tops if top not in stay for run in sorted(below[top], key=lambda run: -run.info.start_time)]
    ids = {run.info.run_id for run in go}
    logged = list(_paged(client.search_logged_models, [store.experiment(client, line)]))
    of_kept = [by_id[maker].data.tags for maker in makers if maker in by_id]
    return Plan(
        line, [(run.info.run_id, str(run.info.run_name)) for run in go],
        [model.model_id for model in logged if model.source_run_id in ids], gone, len(stay), sorted(staying, key=int),
        {value for of in of_kept for key, value in of.items() if key.startswith(TAGS)},
        {of["git.commit"].removesuffix("-dirty") for of in of_kept if "git.commit" in of} - {"unknown"},
    )  # fmt: skip


def _holds(run: Run, makers: set[str]) -> bool:
    return run.info.status == "RUNNING" or run.info.run_id in makers or KEEP in run.data.tags


def _all(client: MlflowClient, line: str) -> Iterator[Run]:
    return _paged(client.search_runs, [store.experiment(client, line)])


def _paged(search: Callable[..., PagedList[Any]], experiments: list[str]) -> Iterator[Any]:
    token = None
    while True:
        page = search(experiments, max_results=PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _kept_versions(line: str, newest: int) -> set[str]:
    known = registry.versions(line)
    reigned = [v for _, v in sorted(((v.reigned_from, v) for v in known if v.reigned_from), key=lambda of: of[0])]
    aliased = {str(number) for number in registry.aliases(line).values()}
    held = {v.number for v in known if v.is_champion or registry.WITHDRAWN in v.tags or KEEP in v.tags}
    before = [v.number for v in reigned if not v.is_champion and registry.WITHDRAWN not in v.tags][
        -1:
    ]  # for --rollback
    return {v.number for v in known[:newest]} | held | aliased | set(before)


def carry_out(what: Plan) -> str | None:
    """Returns what is left to do by hand, None if nothing is."""
    client = store.client()
    for number in what.versions:
        for name, hashes in registry.tags(what.line).get(number, {}).items():
            if name.startswith(challenges.TAG):
                client.set_registered_model_tag(what.line, f"{name}.v{number}", hashes)
        client.delete_model_version(what.line, number)
    for model in what.models:
        client.delete_logged_model(model)
    for run_id, _ in what.runs:
        client.delete_run(run_id)
    if sqlite_file.of(store.uri()) is None:
        return "they are marked as deleted: `mlflow gc` on the machine of that server removes them and their files"
    for option, ids in (("--run-ids", [run_id for run_id, _ in what.runs]), ("--logged-model-ids", what.models)):
        for start in range(0, len(ids), AT_ONCE):
            command = [sys.executable, "-m", "mlflow", "gc", "--backend-store-uri", store.uri(), "--tracking-uri",
                       store.uri(), option, ",".join(ids[start : start + AT_ONCE])]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["no word"])[-1]
                return f"they are marked as deleted, and `mlflow gc` failed ({last})"
    return None
