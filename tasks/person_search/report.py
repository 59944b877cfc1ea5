"""The line's result on one page that needs nothing but a browser: who is found, how sure, and what it looks like.

Reads   download, pack, train_detector, train, evaluate and search; a part that is not there (no cameras, no detector of
        our own) is left out of the page, and the page says why
Writes  report.html (self-contained), leaderboard.png, learning.png, summary.json, table.md (the same to print)
Alone   python -m tasks person_search-report
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tasks import charts
from tasks.files import read_json, write_json, write_text
from tasks.pages import data_uri, markdown, render
from tasks.person_search.params import Report
from tasks.step import Context

PAGE = Path(__file__).with_name("report.html.j2")
FEW_PEOPLE = 30  # below, a few lucky or unlucky people move mAP by more than networks differ
SHOWN = ("ranked", "cmc", "similarities", "errors")
COLUMNS = ("rank1", "rank5", "rank10", "rank20", "map", "minp")


def read_if_there(path: Path) -> dict:
    return read_json(path) if path.exists() else {}


def ordered(details: dict) -> list[str]:
    """Baselines, then networks, each from the worst to the best on test."""
    runs = details["runs"]

    def key(name: str) -> tuple[bool, float]:
        return name in details["networks"], runs[name]["test"]["map"] or 0.0

    return sorted(runs, key=key)


def leaderboard(path: Path, details: dict, runs: list[str]) -> str:
    """mAP and rank-1 of every run with the 95 % interval over resampled people."""

    def draw() -> Figure:
        figure = Figure(figsize=(11, 0.36 * len(runs) + 0.9))
        for axis, (metric, title) in zip(figure.subplots(1, 2, sharey=True), (("map", "mAP"), ("rank1", "rank-1"))):
            for y, run in enumerate(runs):
                told, trained = details["runs"][run]["test"], run in details["networks"]
                ink = charts.RUNS[details["networks"].index(run) % len(charts.RUNS)] if trained else charts.FAINT
                if span := told["intervals"][metric]:
                    axis.plot([span["low"], span["high"]], [y, y], color=ink, linewidth=2.5, alpha=0.45)
                axis.plot(told[metric], y, "o", color=ink, markersize=8)
            axis.set(title=title, xlim=(0, 1.02))
            axis.set_yticks(range(len(runs)), runs)
            axis.grid(axis="y", visible=False)
        return figure

    return charts.drawn(path, draw)


def learning(path: Path, histories: Mapping[str, list[dict]]) -> str:
    """Training loss and validation mAP by epoch."""

    def draw() -> Figure:
        figure = Figure(figsize=(11, 3.3))
        left, right = figure.subplots(1, 2)
        for (run, rows), ink in zip(histories.items(), charts.RUNS * len(histories)):
            epochs = [row["epoch"] + 1 for row in rows]
            left.plot(epochs, [row["train"].get("loss") for row in rows], color=ink, label=run)
            judged = [row for row in rows if row["val"].get("mAP") is not None]
            right.plot(
                [row["epoch"] + 1 for row in judged],
                [row["val"]["mAP"] for row in judged],
                "o-",
                color=ink,
                markersize=3,
            )
        left.set(title="training loss", xlabel="epoch")
        right.set(title="mAP on the validation people", xlabel="epoch", ylim=(0, 1.02))
        charts.legend(figure, [left])
        return figure

    return charts.drawn(path, draw)


def table(details: dict, runs: list[str], detector: dict, search: dict) -> str:
    """What a run of the line ends with: as markdown, for the console and for Prefect."""
    cells = [["re-identification on test", "rank-1", "rank-5", "mAP", "mINP", "mAP re-ranked"]]
    for run in runs:
        told = details["runs"][run]
        values = [told["test"][key] for key in ("rank1", "rank5", "map", "minp")]
        values.append((told.get("reranked") or {}).get("map"))
        cells.append([run, *("-" if value is None else f"{value:.3f}" for value in values)])
    told = details["runs"][runs[-1]]["test"]
    text = [
        markdown(cells),
        "",
        f"{told['queries']} queries of {told['people']} people, {told['gallery']} in the gallery.",
    ]
    if "test" in detector:
        of = detector["test"]
        text += [
            "",
            f"Detector on test: mAP50 {of['map50']:.3f}, mAP50-95 {of['map50_95']:.3f}, {of['images']} images.",
        ]
    if found := (search.get("metrics") or {}):
        if found.get("detector"):
            told = ", ".join(
                f"{name} {found[key]['map']:.3f}"
                for key, name in (("detector", "detector's boxes"), ("oracle", "true boxes"), ("chance", "chance"))
            )
            text += [
                "",
                f"Search in {len(search['cameras'])} cameras, mAP: {told}; {found['detector']['queries']} queries.",
            ]
    return "\n".join(text) + "\n"


def remarks(details: dict, runs: list[str], search: dict) -> list[str]:
    """What has to be said beside the numbers."""
    told = []
    if reason := details["test_null_because"] or details["leader_null_because"]:
        told.append(f"Not judged: {reason}.")
    people = details["runs"][runs[-1]]["test"]["people"]
    if 0 < people < FEW_PEOPLE:
        told.append(f"The test split holds {people} people: so few that these numbers mean little.")
    if reason := details["threshold"]["null_because"]:
        told.append(f"Threshold: {reason}.")
    if reason := search.get("empty") or search.get("metrics_null_because"):
        told.append(f"Search: {reason}.")
    return told


def history(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def searched(folder: Path, about: dict, embed_mb: float) -> dict[str, Any]:
    """Sheets and films of the search step, as the page takes them."""
    sheets = [path for name in about.get("sheets", []) if (path := folder / name / "sheet.png").exists()]
    films = [path for name in about.get("videos", []) if (path := folder / name / "search.mp4").exists()]
    says = {name: of["says"] for name, of in about.get("queries", {}).items()}
    return {
        "sheets": [{"query": path.parent.name, "says": says.get(path.parent.name, ""), "uri": data_uri(path)} for path in sheets],
        "films": [
            {"query": path.parent.name, "src": data_uri(path) if path.stat().st_size <= embed_mb * 1e6 else f"../search/{path.parent.name}/{path.name}"}
            for path in films
        ],
    }  # fmt: skip


def run(
    params: Report,
    out: Path,
    ctx: Context = Context(),
    *,
    download: Path,
    pack: Path,
    train_detector: Path,
    train: dict[str, Path],
    evaluate: Path,
    search: Path,
) -> dict[str, float]:
    """Returns the leader's numbers on test, the search's, and what the page weighs."""
    details, about = read_json(evaluate / "details.json"), read_if_there(search / "search.json")
    detector = {k: v for k, v in read_if_there(train_detector / "metrics.json").items() if isinstance(v, dict)}
    report, config = read_if_there(download / "report.json"), read_json(pack / "dataset_config.json")
    runs = ordered(details)
    for stale in out.glob("*.png"):
        stale.unlink()
    figures = dict.fromkeys(("leaderboard", "learning"))
    judged = [name for name in runs if details["runs"][name]["test"]["map"] is not None]
    if judged:
        figures["leaderboard"] = leaderboard(out / "leaderboard.png", details, judged)
    histories = {name: rows for name, folder in sorted(train.items()) if (rows := history(folder / "history.jsonl"))}
    if histories:
        figures["learning"] = learning(out / "learning.png", histories)

    pictures = {
        where: [{"name": path.stem, "uri": data_uri(path)} for path in paths if path.exists()]
        for where, paths in {
            "detector": [train_detector / f"{name}.png" for name in ("samples", "curves")],
            "data": [download / "people.png", download / "boxes.png"],
        }.items()
    }
    drawn = {name: data_uri(path) if (path := evaluate / f"{name}.png").exists() else None for name in SHOWN}
    page = {
        "details": details, "runs": runs, "columns": COLUMNS, "leader": details["leader"], "remarks": remarks(details, runs, about),
        "figures": figures, "pictures": pictures, "drawn": drawn, "detector": detector, "search": about, "found": searched(search, about, params.embed_mb),
        "data": report, "counts": config["counts"], "size_px": [config["height_px"], config["width_px"]],
    }  # fmt: skip
    write_text(out / "table.md", table(details, runs, detector, about))
    write_text(out / "report.html", render(PAGE, page))
    numbers = {}
    if details["leader"]:
        told = details["runs"][details["leader"]]["test"]
        numbers = {key: told[key] for key in ("rank1", "map", "minp") if told[key] is not None}
    for key in ("detector", "oracle"):
        if (about.get("metrics") or {}).get(key):
            numbers[f"search_map_{key}"] = about["metrics"][key]["map"]
    write_json(out / "summary.json", {"leader": details["leader"], **numbers})
    return {**numbers, "page_mb": (out / "report.html").stat().st_size / 1e6}
