"""The line's result on one page that needs nothing but a browser: where people stand, and what that is worth.

Reads   check_data, pack, train, evaluate and visualize, each in the formats those steps state
Writes  report.html (self-contained), leaderboard.png, learning.png, summary.json, headline.json (for DVC), table.md (to
        print), and the film if it is too large for the page
Alone   python -m tasks ground_plane-report
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tasks.ground_plane.page.drawing import PERSON_M
from tasks.ground_plane.page.remarks import of_standing
from tasks.yard.files import read_if_there, read_json, write_json, write_text
from tasks.yard.params import Reporting
from tasks.yard.reporting import charts
from tasks.yard.reporting.headline import write_headline
from tasks.yard.reporting.leaderboard import Dot, Row, panel
from tasks.yard.reporting.pages import data_uri, markdown, photo_uri, render
from tasks.yard.reporting.words import other_leads, rendered
from tasks.yard.step import Context
from tasks.yard.training import history

PAGE = Path(__file__).parent / "page" / "report.html.j2"
METRICS = {"moda": "MODA", "modp": "MODP", "precision": "precision", "recall": "recall"}
KINDS = ("baseline", "shuffled", "off", "alone", "without", "network")  # as they stand in tables
SHOWN_UNITS, SHOWN_FINDINGS, PHOTO_PX = 3, 20, 1600


def ranked(runs: Mapping[str, dict]) -> list[str]:
    """What knows nothing first, then controls, then networks, the best last."""
    return sorted(runs, key=lambda run: (KINDS.index(runs[run]["kind"]), runs[run]["moda"] or 0.0, run))


def leaderboard(path: Path, runs: Mapping[str, dict], names: Sequence[str]) -> str:
    """MODA and MODP of every run on test with the 95 % interval."""

    def draw() -> Figure:
        figure = Figure(figsize=(11, 0.32 * len(names) + 1.1))
        for axis, metric in zip(figure.subplots(1, 2, sharey=True), ("moda", "modp"), strict=True):
            rows = []
            for run in names:
                of = runs[run]
                ink = charts.RUNS[0] if of["kind"] == "network" else charts.FAINT
                dots = [] if of[metric] is None else [Dot(of[metric], 6.5)]
                rows.append(Row(run, ink, dots, (of["intervals"] or {}).get(metric)))
            low = min([0.0, *(dot.value for row in rows for dot in row.dots)])
            panel(axis, rows, title=METRICS[metric], xlim=(1.05 * low - 0.02, 1.02))
        return figure

    return charts.drawn(path, draw)


def learning(path: Path, histories: Mapping[str, list[dict]]) -> str:
    """Training loss, and MODA on validation with the kept epoch (dot)."""

    def draw() -> Figure:
        figure = Figure(figsize=(11, 3.3))
        left, right = figure.subplots(1, 2)
        for (run, rows), ink in zip(histories.items(), charts.RUNS * len(histories), strict=False):
            known = [(row["epoch"] + 1, row["train"]["loss"]) for row in rows if row["train"].get("loss") is not None]
            left.plot(*zip(*known, strict=True), color=ink, linewidth=1.8, label=run)
            judged = [row for row in rows if row["val"].get("moda") is not None]
            right.plot([r["epoch"] + 1 for r in judged], [r["val"]["moda"] for r in judged], color=ink, linewidth=1.8)
            if best := [row for row in judged if row["best"]]:
                right.plot(best[-1]["epoch"] + 1, best[-1]["val"]["moda"], "o", color=ink, markersize=6)
        left.set(title="training loss", xlabel="epoch", yscale="log")
        right.set(title="MODA on validation", xlabel="epoch")
        charts.legend(figure, [left])
        return figure

    return charts.drawn(path, draw)


def table(details: dict, names: Sequence[str]) -> str:
    """What a run of the line ends with, as markdown: for the console and for Prefect."""

    def shown(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    cells = [["on test", *METRICS.values(), "MODA 95 %", "what"]]
    for run in names:
        of = details["runs"][run]
        span = (of["intervals"] or {}).get("moda")
        between = f"{span['low']:.3f} to {span['high']:.3f}" if span else "-"
        cells.append([run, *(shown(of[key]) for key in METRICS), between, of["what"]])
    text = [markdown(cells), ""]
    text.append(
        f"{details['frames']['test']} frames of {details['scenes']['test']} scenes, {details['people']['test']} "
        f"people; one to one within {details['match_m']:g} m."
    )
    if details["leader"]:
        text[-1] += f" Leader: {details['leader']}, {details['leader_from']}; threshold {shown(details['threshold'])}."
    return "\n".join([*text, *(f"\n{remark}" for remark in details["remarks"])]) + "\n"


def film(visualize: Path, out: Path, embed_mb: float) -> str | None:
    path = visualize / "plane.mp4"
    if not path.exists():
        return None
    if path.stat().st_size <= embed_mb * 1e6:
        return data_uri(path)
    shutil.copyfile(path, out / path.name)
    return path.name


def pictures(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """{name: URI} of the photographs that are there."""
    return {name: photo_uri(path, PHOTO_PX) for name in names if (path := folder / f"{name}.png").exists()}


def run(
    _params: None,
    out: Path,
    ctx: Context = Context(),
    *,
    check_data: Path,
    pack: Path,
    train: dict[str, Path],
    evaluate: Path,
    visualize: Path,
    reporting_params: Reporting,
) -> dict[str, float]:
    """Returns the leader's numbers on test, and what the page weighs."""
    details, check, packed = (
        read_json(path) for path in (evaluate / "details.json", check_data / "check.json", pack / "scenes.json")
    )
    seen = read_if_there(visualize / "summary.json")
    details["remarks"] += of_standing(seen.get("standing", {}))
    on_test = {run: {key: details["runs"][run][key] for key in METRICS} for run in details["networks"]}
    if said := other_leads(details["leader"], on_test):
        details["remarks"].insert(0, said)
    names = ranked(details["runs"])
    for stale in [*out.glob("*.png"), *out.glob("*.mp4")]:
        stale.unlink()
    figures = {"leaderboard": leaderboard(out / "leaderboard.png", details["runs"], names)}
    histories = {
        name: rows for name, folder in sorted(train.items()) if (rows := history.read(folder / "history.jsonl"))
    }
    if histories:
        figures["learning"] = learning(out / "learning.png", histories)
    units = list(check["usable"])
    spread = units[:: max(1, len(units) // SHOWN_UNITS)][:SHOWN_UNITS]
    findings = [text for unit in check["units"].values() for text in unit["findings"]]
    page: dict[str, Any] = {
        "source_url": reporting_params.source_url,
        "rendered": rendered((unit.get("layout") for unit in check["units"].values()), "sequences"),
        "details": details, "names": names, "metrics": METRICS, "figures": figures, "check": check, "packed": packed,
        "box_m": f"{PERSON_M[0]:g}", "still": seen.get("still"),
        "film": film(visualize, out, reporting_params.embed_mb),
        "shown": pictures(visualize, ("frame", "heatmap")),
        "curve": pictures(evaluate, ("threshold",)), "findings": findings[:SHOWN_FINDINGS], "count": len(findings),
        "checked": pictures(check_data, [f"{unit}-{kind}" for unit in spread for kind in ("cameras", "plane")]),
        "unusable": {name: said["why"] for name, said in check["units"].items() if not said["usable"]},
    }  # fmt: skip
    top = details["runs"][details["leader"]] if details["leader"] else dict.fromkeys(METRICS)
    numbers = {key: top[key] for key in METRICS if top[key] is not None}
    write_headline(out, numbers)
    write_json(out / "summary.json", {"leader": details["leader"], "remarks": details["remarks"], **numbers})
    write_text(out / "table.md", table(details, names))
    write_text(out / "report.html", render(PAGE, page))
    return {**numbers, "page_mb": (out / "report.html").stat().st_size / 1e6}
