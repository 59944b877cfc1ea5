"""The front page, made from what has been gathered. Nothing on it comes from anywhere else."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import jinja2

import tasks.yard.reporting
from tasks.yard.tracking import views

TEMPLATE = "front.html.j2"
SHOWN_RUNS, SHOWN_REASONS = 8, 6
NEVER = "never run"
OUTCOMES = {"COMPLETED": "good", "RUNNING": "busy", "CANCELLING": "busy", "CANCELLED": "quiet"}  # else bad
WIDTH, HEIGHT, EDGE = 320, 84, 8  # of a trend, px


def when(stamp: float | str | None) -> str:
    """On the clock of the machine that serves."""
    if stamp is None:
        return "\N{EN DASH}"
    moment = datetime.fromisoformat(stamp) if isinstance(stamp, str) else datetime.fromtimestamp(stamp)
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")


def took(seconds: float | None) -> str:
    if seconds is None:
        return "\N{EN DASH}"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def number(value: float | None, digits: int = 3) -> str:
    return "\N{EN DASH}" if value is None else f"{value:,.{digits}f}"


def state_of(line: Mapping[str, Any]) -> tuple[str, str]:
    """(kind, words) of the one thing to know first."""
    if any(OUTCOMES.get(run["type"]) == "busy" for run in line["runs"]):
        return "busy", "a run is at work"
    if line["stages"] is None:
        return "quiet", "not looked at yet"
    reasons = line["stages"]["stages"]
    changed = [name for name, why in reasons.items() if why]
    if not changed:
        return "good", "up to date"
    if all(why == [NEVER] for why in reasons.values()):
        return "quiet", NEVER
    return "warn", f"{len(changed)} of {len(reasons)} stages would run"


def changes(line: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """The stages that would run, each with why: those that never ran, last."""
    stages = (line["stages"] or {"stages": {}})["stages"]
    found = [(name.removeprefix(f"{line['line']}-"), why) for name, why in stages.items() if why]
    return sorted(found, key=lambda of: of[1] == [NEVER])


def trend_of(line: Mapping[str, Any]) -> dict[str, Any] | None:
    """The line's first headline number over its MLflow runs, the oldest first; None if there is none."""
    key = next(iter(line["headline"]), None)
    if key is None:
        return None
    points = [
        {"value": value, "at": run["began"], "run": run["name"]}
        for run in line.get("tracked", [])
        if (value := run["metrics"].get(f"headline/{key}", run["metrics"].get(f"report/{key}"))) is not None
    ]
    return {"metric": key, "points": points, "now": line["headline"][key]}


def drawing(points: Sequence[Mapping[str, Any]]) -> str:
    """A trend as svg markup: equal steps from run to run, and the range of values stands beside it."""
    values = [point["value"] for point in points]
    low, high = min(values), max(values)
    spread = high - low or 1.0
    step = (WIDTH - 2 * EDGE) / max(1, len(points) - 1)
    places = [
        (
            EDGE + i * step if len(points) > 1 else WIDTH / 2,
            HEIGHT - EDGE - (value - low) / spread * (HEIGHT - 2 * EDGE),
        )
        for i, value in enumerate(values)
    ]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{4 if i == len(places) - 1 else 2.4}">'
        f"<title>{escape(point['run'])}, {when(point['at'])}: {point['value']:.3f}</title></circle>"
        for i, ((x, y), point) in enumerate(zip(places, points, strict=True))
    )
    label = escape(f"{len(points)} runs, from {values[0]:.3f} to {values[-1]:.3f}")
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}"><polyline points="{path}"/>{dots}</svg>'
    )


def score_of(line: Mapping[str, Any]) -> dict[str, Any] | None:
    """The champion's number on test: as it was when its version was judged, else as the run that trained it ended."""
    champion = line.get("champion")
    if not champion:
        return None
    tags = champion["tags"]
    if "test.value" in tags:
        span = [tags[key] for key in ("test.low", "test.high") if tags.get(key)]
        return {
            "metric": tags.get("test.metric", ""), "value": float(tags["test.value"]),
            "span": [float(end) for end in span] if len(span) == 2 else None,
        }  # fmt: skip
    parent = next((run for run in line.get("tracked", []) if run["id"] == champion["parent"]), None)
    trend = trend_of({**line, "tracked": [parent] if parent else []})
    if trend and trend["points"]:
        return {"metric": trend["metric"], "value": trend["points"][0]["value"], "span": None}
    return None


def title_of(path: str) -> str:
    """What a link to a page or film below data/ is called."""
    _, step, *rest = PurePosixPath(path).parts
    file = PurePosixPath(*rest)
    words = step.replace("_", " ")
    if file.suffix == ".mp4":
        return f"film: {file.with_suffix('')}"
    if file.name == "report.html":
        return ": ".join([words, *file.parts[:-1]])
    return f"{words}: {file.with_suffix('')}"


def links_of(line: Mapping[str, Any]) -> list[dict[str, str]]:
    """The report first, then the other pages, then films."""
    found = [
        {"href": f"/data/{quote(of['path'])}", "title": title_of(of["path"]), "at": when(of["at"]),
         "kind": "film" if of["path"].endswith(".mp4") else "page"}
        for of in line["pages"]
    ]  # fmt: skip
    return sorted(found, key=lambda link: (link["title"] != "report", link["kind"] != "page"))


def applied_of(line: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the line's models said of new input, with links to it."""
    return [
        {**of, "at": when(of["at"]), "links": [
            {"href": f"/data/{quote(path)}", "title": PurePosixPath(*PurePosixPath(path).parts[3:])}
            for path in of["files"]
        ]}
        for of in line["applied"]
    ]  # fmt: skip


def runs_of(line: Mapping[str, Any], places: Mapping[str, str]) -> list[dict[str, Any]]:
    """The last runs, with what both servers know of each."""
    trend = trend_of(line)
    tracked = {run["tags"].get("prefect.flow_run_id"): run for run in line.get("tracked", [])}
    found = []
    for run in line["runs"][:SHOWN_RUNS]:
        ours = tracked.get(run["id"])
        value = None
        if ours and trend:
            key = trend["metric"]
            value = ours["metrics"].get(f"headline/{key}", ours["metrics"].get(f"report/{key}"))
        mlflow = f"{places['mlflow']}/{views.one_run(line['experiment'], ours['id'])}" if ours else None
        found.append({
            **run, "kind": OUTCOMES.get(run["type"], "bad"), "when": when(run["began"]), "took": took(run["took_s"]),
            "value": value, "prefect": f"{places['prefect']}/runs/flow-run/{run['id']}", "mlflow": mlflow,
        })  # fmt: skip
    return found


def first_run(line: str) -> str:
    return f"python -m flows run {line}"


def card(line: Mapping[str, Any], places: Mapping[str, str]) -> dict[str, Any]:
    kind, words = state_of(line)
    trend, champion, found = trend_of(line), line.get("champion"), changes(line)
    if champion:
        champion = {
            **champion, "score": score_of(line), "since": when(champion["since"] or champion["made"]),
            "href": f"{places['mlflow']}/#/models/{line['line']}/versions/{champion['version']}",
        }  # fmt: skip
    recordings, experiment = line["recordings"], line.get("experiment")
    there = (champion, trend, line["runs"], line["pages"], line["applied"], recordings["steps"])
    return {
        "empty": words == NEVER and not any(there),
        "first_run": first_run(line["line"]),
        "line": line["line"], "kind": kind, "state": words, "champion": champion,
        "changes": found[:SHOWN_REASONS], "more_changes": found[SHOWN_REASONS:],
        "trend": trend, "drawing": drawing(trend["points"]) if trend and len(trend["points"]) > 1 else None,
        "headline": line["headline"], "leader": line["leader"], "runs": runs_of(line, places),
        "next_night": when(line["next_night"]) if line["next_night"] else None,
        "steps": recordings["steps"], "newest": recordings.get("newest"),
        "newest_at": when(recordings.get("newest_at")),
        "links": links_of(line), "applied": applied_of(line), "fault": line.get("fault"),
        "all_runs": f"{places['mlflow']}/{views.all_runs(experiment)}" if experiment else None,
    }  # fmt: skip


def render(now: Mapping[str, Any], change: str, places: Mapping[str, str], where: str) -> str:
    """`places`: the addresses of Prefect and MLflow as whoever asks can reach them; `where`: the checkout."""
    folders = [Path(__file__).parent, Path(tasks.yard.reporting.__file__).parent]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["number"] = number
    running = now.get("running")
    cards = sorted((card(line, places) for line in now["lines"]), key=lambda of: of["empty"])  # those last
    return environment.get_template(TEMPLATE).render(
        cards=cards, places=places, where=where, change=change,
        at=when(now["at"] or time.time()), looked=now["at"] is not None, faults=now.get("faults", []),
        stages_at=when(now.get("stages_at")), stages_fault=now.get("stages_fault"), running=running,
        source_url=now.get("source_url"),
    )  # fmt: skip
