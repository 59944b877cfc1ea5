"""This run of a line against that one: what they were made with, where they came from, and what they reached."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from tasks.yard.step import BadInput
from tasks.yard.tracking import origin, store

if TYPE_CHECKING:  # mlflow takes 4 s to import
    from mlflow.entities import Run

MOST = 1000  # runs that are looked through, the newest first
NONE = "\N{EN DASH}"


def flows(line: str) -> list[Run]:
    """The runs of the line's flow, the newest first."""
    client = store.client()
    wanted = "tags.`mlflow.source.name` = 'flows'"
    order = ["attributes.start_time DESC"]
    return list(client.search_runs([store.experiment(client, line)], wanted, max_results=MOST, order_by=order))


def chosen(line: str, names: list[str]) -> tuple[Run, Run]:
    """The runs that two names, one, or none stand for; what is not named is the newest that ended well."""
    known = flows(line)
    ended = [run for run in known if run.info.status == "FINISHED"]
    picked = [named(line, name, known) for name in names]
    for run in ended:
        if len(picked) < 2 and all(run.info.run_id != other.info.run_id for other in picked):
            picked = [run, *picked] if names else [*picked, run]
    if len(picked) < 2:
        raise BadInput(f"{line} has {len(ended)} runs in {store.shown()} that ended well; two are needed to compare")
    before, after = sorted(picked, key=lambda run: run.info.start_time)
    return before, after


def named(line: str, name: str, known: list[Run]) -> Run:
    """By number (12, #12), name, or the beginning of MLflow's id."""
    number = re.fullmatch(r"#?(\d{1,6})", name)
    for run in known:
        ours = run.info.run_name or ""
        if name == ours or (number and re.search(rf"#{number[1]}\b", ours)):
            return run
    found = [run for run in known if len(name) > 5 and run.info.run_id.startswith(name)]
    if len(found) == 1:
        return found[0]
    last = ", ".join(str(run.info.run_name) for run in known[:5])
    raise BadInput(f"{line} has no run {name!r} in {store.shown()}; the last ones: {last or 'none'}")


def lines(line: str, names: list[str]) -> Iterator[str]:
    """The two beside each other: what differs, and all numbers that people compare."""
    runs = chosen(line, names)
    yield from table([["", *(str(run.info.run_name) for run in runs), ""], *about(*runs)])
    yield ""
    params = [dict(run.data.params) for run in runs]
    differing = [[key, *(of.get(key, NONE) for of in params), ""] for key in sorted(params[0].keys() | params[1].keys())
                 if params[0].get(key) != params[1].get(key)]  # fmt: skip
    yield from table([["params that differ", "", "", ""], *differing] if differing else [["no param differs"]])
    yield ""
    numbers = [run.data.metrics for run in runs]
    keys = dict.fromkeys(
        [*sorted(k for of in numbers for k in of if k.startswith("headline/")), *numbers[0], *numbers[1]]
    )
    yield from table([["numbers", "", "", "difference"], *(compared(key, *numbers) for key in keys)])
    yield ""
    ids, experiments = ([run.info.run_id for run in runs], [runs[0].info.experiment_id])
    found = f"runs={quote(json.dumps(ids))}&experiments={quote(json.dumps(experiments))}"
    yield f"{origin.pages_url()}/#/compare-runs?{found}"


def about(before: Run, after: Run) -> Iterator[list[str]]:
    def began(run: Run) -> str:
        return datetime.fromtimestamp(run.info.start_time / 1000).astimezone().strftime("%Y-%m-%d %H:%M")

    yield ["began", began(before), began(after), ""]
    yield ["outcome", before.info.status, after.info.status, ""]
    for name in ("commit", "network"):
        yield [name, *(run.data.tags.get(name, NONE) for run in (before, after)), ""]
    data = [{one.dataset.name: one.dataset.digest for one in (run.inputs.dataset_inputs if run.inputs else [])}
            for run in (before, after)]  # fmt: skip
    for path in sorted(data[0].keys() | data[1].keys()):
        hashes = [of.get(path, NONE)[:12] for of in data]
        yield [path, *hashes, "" if hashes[0] == hashes[1] else "another"]


def compared(key: str, before: Mapping[str, float], after: Mapping[str, float]) -> list[str]:
    values = before.get(key), after.get(key)
    shown = [NONE if value is None else f"{value:.4g}" for value in values]
    known = [value for value in values if value is not None]
    return [key.removeprefix("headline/"), *shown, f"{known[1] - known[0]:+.4g}" if len(known) == 2 else ""]


def table(rows: list[list[str]]) -> Iterator[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
