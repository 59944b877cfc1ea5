"""The results that a flow run shows: table, pictures and page of the report step, and the address of its MLflow run."""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.environment import SERVED, TOOK
from flows.front import servers
from flows.worker import Made
from tasks.yard.files import read_if_there, read_json, write_json
from tasks.yard.tracking import store, views

log = logging.getLogger(__name__)
LONGEST = 5  # steps that a run names
PICTURE_LIMIT_B = 300_000  # a picture goes into the artifact as a data URI, and the artifact into Prefect's database


def report(line: str) -> Path:
    return Path("data", line, "report")


def pages(line: str) -> list[Path]:
    """The report's page, pictures and videos: the artifacts of the flow's MLflow run."""
    folder = report(line)
    return [path for path in sorted(folder.glob("*")) if path.suffix in (".html", ".png", ".mp4")]


def best(made: Mapping[str, Made]) -> dict[str, float]:
    """What stands at the run of a flow of those below it: how many stages ran, their time, and the best of the numbers
    by which its networks are chosen on validation. What else trains, a teacher or a detector, has a score of its own
    kind."""
    scores = [m.metrics.get("val/score") for name, m in made.items() if name.partition("-")[2].startswith("train@")]
    known = [score for score in scores if isinstance(score, (int, float))]
    found = {"stages": float(len(made)), "seconds_in_steps": round(inside_steps_s(made), 1)}
    return found | ({"best/val_score": max(known)} if known else {})


def note(line: str) -> str:
    """The description of the run of a flow, as Markdown."""
    return "\n\n".join([table(line), "The report is the artifact `report.html`."]) if table(line) else ""


def metrics(made: Mapping[str, Made]) -> dict[str, Any]:
    """The metrics of all steps of a run, as `<step>/<metric>`."""
    return {
        f"{name.partition('-')[2] or name}/{key}": value for name, m in made.items() for key, value in m.metrics.items()
    }


def headline(line: str) -> dict[str, float]:
    """The numbers that people compare, as they stand after the run, as `headline/<number>`: in its MLflow run even if
    the report was up to date, so that each run of a line has them."""
    return {f"headline/{key}": value for key, value in read_if_there(report(line) / "headline.json").items()}


def inside_steps_s(made: Mapping[str, Made]) -> float:
    """Seconds in which at least one step was running. The rest of a run is overhead of the yard."""
    total, until = 0.0, 0.0
    for one in sorted(made.values(), key=lambda m: m.began):
        total += max(0.0, one.ended - max(one.began, until))
        until = max(until, one.ended)
    return total


def took(made: Mapping[str, Made]) -> dict[str, float]:
    """Seconds of each step, the longest first. Steps beside each other share the cores, and the sum is of no use."""
    found = {name: round(one.ended - one.began, 3) for name, one in made.items()}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def keep_took(made: Mapping[str, Made]) -> None:
    if made:
        write_json(TOOK, {**read_if_there(TOOK), **took(made)})


def longest(made: Mapping[str, Made]) -> str:
    """A sentence of what a run's time went into; empty of one in which nothing took a second."""
    named = [f"{name} {seconds:.0f} s" for name, seconds in list(took(made).items())[:LONGEST] if seconds >= 1]
    return f"Longest: {', '.join(named)}." if named else ""


def table(line: str) -> str:
    """The table of the report step, as markdown; empty if there is none yet."""
    path = report(line) / "table.md"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def mlflow_server() -> str | None:
    """The address that shows the runs, without a name and password in it; None if nobody serves them now."""
    url = store.server_url() or (read_json(SERVED)["mlflow_url"] if SERVED.exists() else None)
    return views.plainly(url) if url else None


def all_runs(line: str, mlflow: str) -> str | None:
    """The page of `mlflow`, a server's address, that shows the runs of the line; None if it does not say, and then it
    costs an import of MLflow to find out."""
    try:
        experiment = servers.experiment(mlflow, line)
    except Exception as error:  # any server may stand there: no answer of one costs a run
        log.debug("no link to the runs: %s", error)
        return None
    return f"{mlflow}/{views.all_runs(experiment)}" if experiment else None


def markdown(line: str, mlflow: str) -> str:
    """The result artifact of a flow run; `mlflow`: where its run is shown."""
    pictures = [path for path in pages(line) if path.suffix == ".png" and path.stat().st_size <= PICTURE_LIMIT_B]
    shown = [f"![{p.stem}](data:image/png;base64,{base64.b64encode(p.read_bytes()).decode()})" for p in pictures]
    return "\n\n".join(
        [
            f"# {line}",
            table(line),
            f"MLflow: {mlflow}",
            f"Report: `{report(line) / 'report.html'}`",
            *shown,
        ]
    )
