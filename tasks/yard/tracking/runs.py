"""MLflow runs: one for a flow, below it one for each of its stages, below that one for each run a stage made itself.

Steps never log. A run is filled from the inputs and outputs of the step:

    params, metrics     of the step
    history.jsonl       curves, some epochs at a time while it trains (tracking/live.py)
    pictures, pages     and videos, as artifacts
    dependencies        of the stage, with their DVC hashes, the git commit and what differs from it
    model               kept with the run, if the step's module has `served_model(out, item, data)`
    evaluate/metrics    go to the runs of the networks that were judged

A folder `runs/<name>` with a params.json is a child run, with what it has of metrics.json, history.jsonl and pictures.

Nothing here raises because of MLflow: what it cannot be told is owed (tasks/yard/tracking/owed.py).
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.yard.files import read_if_there, read_json
from tasks.yard.stage import Stage
from tasks.yard.tracking import (
    alive,
    described,
    judged,
    lineage,
    live,
    models,
    notes,
    owed,
    registry,
    sending,
    store,
    views,
)
from tasks.yard.tracking.described import Run

log = logging.getLogger(__name__)

SHOWN = (".png", ".html", ".mp4", ".json")  # what people look at; weights go in with the model, data stay in DVC
CHILDREN = "runs"
DIFF = "git.diff"
STEPS = "steps.json"  # artifact of a flow's run: the numbers of each of its steps


def _begin(run: Run) -> Run:
    """Show the run as running, if MLflow can be told now."""
    try:
        alive.begin(run.id)
        sending.begin(store.client(), run)
    except Exception as error:
        log.debug("%s is not shown as running: %s", run.name, error)
    return run


def _end(run: Run) -> None:
    told = False
    try:
        told = owed.deliver(run if run.ended_ms else replace(run, ended_ms=described.now_ms()))
    finally:
        if told or owed.holds(run.id):  # else the next run ends it, as one that was killed
            alive.end(run.id)


def settle_earlier() -> None:
    """Tell MLflow what is owed, and end the runs whose process was killed, so that they do not stay "running"."""
    owed.pay()
    try:
        for run_id in alive.killed():
            owed.forget_half(run_id)
            if owed.holds(run_id):
                continue  # whoever sends it ends it
            client, line = store.client(), run_id.partition(".")[0]
            known = sending.found(client, line, run_id)
            if known and client.get_run(known).info.status == "RUNNING":
                client.set_terminated(known, "KILLED")
    except Exception as error:
        log.debug("killed runs are not ended now: %s", error)


def start_flow_run(line: str, name: str, tags: Mapping[str, str]) -> Run:
    """The parent of the runs that one flow makes, for `end_flow_run`: this process may have been killed by then."""
    settle_earlier()
    commit, diff = lineage.git_state(say=True)
    tags = {**tags, "git.commit": commit, "commit": commit[: lineage.COMMIT], "mlflow.source.name": "flows"}
    return _begin(Run(line, name, described.new_id(line), tags, texts={DIFF: diff} if diff else {}))


def end_flow_run(
    run: Run,
    status: str,
    metrics: Mapping[str, Any],
    artifacts: list[Path],
    params: Mapping[str, Any] = {},
    note: str = "",
    steps: Mapping[str, Any] = {},
) -> None:
    """`metrics`: the few that people compare runs by; `steps`: those of all steps, which go into a file."""
    files = {path.name: path for path in artifacts}
    tags = {**run.tags, **lineage.data_tag(run.line)}
    if note:
        tags[notes.NOTE] = notes.cut(note)
    if registry.REPORT in files:
        tags |= {"report": registry.REPORT, **_leader(run.line)}
    texts = {**run.texts, **({STEPS: json.dumps(steps, indent=1, default=str)} if steps else {})}
    _end(replace(
        run, status=status, metrics=_values(metrics), files=files, params=dict(live.flatten(params)), tags=tags,
        texts=texts, datasets=lineage.sources(run.line),
    ))  # fmt: skip


def _leader(line: str) -> dict[str, str]:
    """Who leads now, as a tag."""
    try:
        leads = judged.leader(line)
    except Exception as error:  # of the files of a line: its challenge will say so
        log.debug("%s: nobody leads: %s", line, error)
        leads = None
    return {"network": leads} if leads else {}


@contextmanager
def stage_run(
    stage: Stage, params: Mapping[str, Any], parent_run: str | None, tags: Mapping[str, str]
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """One stage's run; call what it yields with the metrics once the step is done: that keeps what MLflow is told when
    the block ends. A failed step leaves a FAILED run."""
    if parent_run is None:  # else the flow has done it
        settle_earlier()
    commit, diff = lineage.git_state(say=parent_run is None)
    source = f"python -m tasks {stage.name}"
    tags = {**tags, **lineage.tags(stage, commit), "git.commit": commit, "mlflow.source.name": source}
    name, texts = stage.name.removeprefix(f"{stage.line}-"), {DIFF: diff} if diff else {}
    run = _begin(Run(stage.line, name, described.new_id(stage.line), tags, parent_run, texts=texts))
    began = time.monotonic()
    made: Run | None = None
    curves = live.Curves(run, stage.out)

    def done(metrics: Mapping[str, Any]) -> None:
        nonlocal made
        curves.end()
        told = {**metrics, "wall_s": time.monotonic() - began}
        finished = replace(_finished(run, stage, params, told, curves), ended_ms=described.now_ms())
        owed.keep_first(finished)
        made = finished

    try:
        yield done
    except BaseException as error:
        curves.end()
        if made:  # its result stands, and MLflow may hang
            if owed.keep(made, owed.TOLD):
                alive.end(run.id)
            raise
        status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
        _end(replace(run, status=status, tags={**tags, "error": f"{type(error).__name__}: {error}"[:5000]}))
        raise
    curves.end()
    _end(made or _finished(run, stage, params, {}, curves))


def ranked_first() -> bool:
    """Of the processes that torchrun or SLURM started for one stage, is this the one that tracks it?"""
    return int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or 0) == 0


def own_params(stage: Stage, params: Mapping) -> dict[str, Any]:
    """A stage's params by dotted key; a cell of a matrix has its item instead of the list of all items."""
    flat = dict(live.flatten(params))
    if stage.item:
        flat["item"] = stage.item
        for items in stage.entry["matrix"].values():
            if isinstance(items, str):  # ${line.step.key}, which names all items, not this one
                flat.pop(items.strip("${}").removeprefix(f"{stage.line}.{stage.step}."), None)
    return flat


def _finished(run: Run, stage: Stage, params: Mapping, metrics: Mapping, curves: live.Curves) -> Run:
    run = replace(run, status="FINISHED", params=own_params(stage, params), metrics=_values(metrics))
    try:
        return replace(
            run,
            tags={**run.tags, f"dvc.out.{stage.out}": lineage.dvc_hash(stage.out)},
            metrics=[*run.metrics, *curves.told()],
            datasets=lineage.locked_hashes(stage),
            files=dict(_shown(stage.out)),
            children=[_child(run, stage, path.parent) for path in sorted((stage.out / CHILDREN).glob("*/params.json"))],
            model=models.described(stage),
            judged=judged.described(stage),
        )
    except Exception:  # the step has done its work, and a fault of the page about it must not undo that
        log.warning("%s: what it made cannot be described for MLflow", stage.name, exc_info=True)
        return run


def _shown(out: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out)
        if path.suffix in SHOWN and not path.name.startswith(".") and name.parts[0] != CHILDREN:
            yield name.as_posix(), path


def _child(run: Run, stage: Stage, folder: Path) -> Run:
    """One of the runs that a step made itself, such as a trial of a search, which names its network in its params."""
    tags: dict[str, str] = {
        key: run.tags[key] for key in ("network", "data", "commit", "git.commit") if key in run.tags
    }
    for key in lineage.NETWORKS & run.params.keys():
        tags["network"] = run.params[key]
    return Run(
        run.line, folder.name, f"{run.id}.{folder.name}", {**tags, "stage": f"{stage.name}/{folder.name}"}, run.id,
        "FINISHED",
        run.began_ms, described.now_ms(),
        params=dict(live.flatten(read_json(folder / "params.json"))),
        metrics=[*_values(read_if_there(folder / "metrics.json")), *live.points(folder / live.FILE)],
        files={path.name: path for path in sorted(folder.glob("*.png"))},
    )  # fmt: skip


def _values(metrics: Mapping[str, Any]) -> list[tuple[str, Any, int]]:
    return [(name, value, 0) for name, value in metrics.items()]


def link(base_url: str, line: str, run_id: str | None) -> str:
    """Where the MLflow pages at `base_url` show a run of ours, or all runs of the line; the pages' own address if
    MLflow does not say."""
    try:
        client = store.client()
        known = sending.found(client, line, run_id) if run_id else None
        experiment = store.experiment(client, line)
        return f"{base_url}/{views.one_run(experiment, known) if known else views.all_runs(experiment)}"
    except Exception as error:
        log.debug("no link to the run: %s", error)
        return base_url
