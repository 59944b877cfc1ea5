"""What `evaluate` says of networks that other runs have trained: their numbers on test, and which of them leads.

A training's own run gets the numbers of data/<line>/evaluate/metrics/<network>.json as `test/<number>`, so that it
stands beside its curves what it is worth. It is told once `evaluate` is done, and again before the leader challenges
the champion (tracking/champion.py). Where who leads depends on stages that come after `evaluate` too, `also(data)` of
tasks/<line>/champion.py gives {network: its further numbers on test}: these, and who leads, are told only then.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tasks.yard.files import read_json
from tasks.yard.stage import Stage
from tasks.yard.tracking import notes, registry
from tasks.yard.tracking.lineage import dvc_hash

if TYPE_CHECKING:  # mlflow takes 4 s to import
    from mlflow import MlflowClient

log = logging.getLogger(__name__)
JUDGE = "evaluate"
PREFIX = "test/"


def uncrowned(line: str) -> str:
    """Why the network of this checkout that leads is no champion, and where it lies; empty if it may be one, or nobody
    leads."""
    module, data = challenge_of(line), Path("data", line)
    try:
        leader = module.challenger(data) if module else None
    except LookupError:  # what an older yard's evaluate wrote lacks something; the next run writes it anew
        return ""
    if leader is None or not leader.unfit:
        return ""
    return f"{leader.item} is no challenger: {leader.unfit}; it lies in {data / 'train' / leader.item / 'best.pt'}"


def described(stage: Stage) -> dict[str, Any]:
    """Of a stage that has judged: {train stage: {"out", "hash", "metrics", "note"}}; empty for any other."""
    return of_line(stage.line) if stage.step == JUDGE else {}


def of_line(line: str, ended: bool = False) -> dict[str, Any]:
    """`ended`: all stages of the line have been brought up to date, those after `evaluate` too."""
    data = Path("data", line)
    also = getattr(challenge_of(line), "also", None)
    further = also(data) if also and ended else {}
    leads = leader(line) if ended or not also else None
    found: dict[str, Any] = {}
    for path in sorted((data / JUDGE / "metrics").glob("*.json")):
        out = data / "train" / path.stem
        if (out / "best.pt").exists():  # else a baseline
            metrics = dict(numbers({**read_json(path), **further.get(path.stem, {})}))
            found[f"{line}-train@{path.stem}"] = {
                "out": str(out), "hash": dvc_hash(out), "metrics": metrics,
                "note": notes.network(line, path.stem, None if leads is None else path.stem == leads),
            }  # fmt: skip
    return found


def leader(line: str) -> str | None:
    """The network that validation likes best; None: nobody is, or the line names none."""
    if (module := challenge_of(line)) is None:
        return None
    found = module.challenger(Path("data", line))
    return found and found.item


def challenge_of(line: str) -> ModuleType | None:
    """tasks/<line>/champion.py, of a line that takes part."""
    name = f"tasks.{line}.champion"
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


def numbers(values: Mapping[str, Any], prefix: str = PREFIX) -> Iterator[tuple[str, float]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from numbers(value, f"{prefix}{key}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield f"{prefix}{key}".replace("@", "_at_"), float(value)


def tell(client: MlflowClient, line: str, judged: Mapping[str, Any]) -> None:
    """Told twice it is the same."""
    from mlflow.entities import Metric, RunTag

    for stage, of in judged.items():
        for run in registry.runs_of(client, line, stage, Path(of["out"]), of["hash"])[:1]:
            fresh = {key: value for key, value in of["metrics"].items() if run.data.metrics.get(key) != value}
            at = run.info.end_time or run.info.start_time
            values = [Metric(key, value, at, 0) for key, value in fresh.items()]
            for start in range(0, len(values), 1000):  # MLflow's limit
                client.log_batch(run.info.run_id, metrics=values[start : start + 1000])
            client.log_batch(run.info.run_id, tags=[RunTag(notes.NOTE, of["note"])])
