"""The line's result on one page that needs nothing but a browser: who is found, how sure, and what it looks like.

Reads   download, pack, train_detector, train, evaluate, calibrate, index and search, each in the formats those steps
        state; a part that is not there (no cameras, no detector of our own, nobody to judge on) is left out, and the
        page says why
Writes  report.html (self-contained), leaderboard.png, learning.png, summary.json, headline.json (for DVC), table.md (to
        print), and films too large for the page
Alone   python -m tasks person_search-report
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tasks.person_search.judging import baselines, calibration
from tasks.person_search.judging.runs import is_baseline, ranked_runs
from tasks.person_search.page.remarks import of_choice, of_errors, remarks, strangers_of
from tasks.yard.files import read_if_there, read_json, write_json, write_text
from tasks.yard.params import Reporting
from tasks.yard.reporting import charts
from tasks.yard.reporting.headline import write_headline
from tasks.yard.reporting.leaderboard import Dot, Row, panel
from tasks.yard.reporting.pages import data_uri, markdown, photo_uri, render
from tasks.yard.reporting.words import rendered
from tasks.yard.step import Context
from tasks.yard.training import history

PAGE = Path(__file__).parent / "page" / "report.html.j2"
METRICS = {"rank1": "rank-1", "rank5": "rank-5", "rank10": "rank-10", "rank20": "rank-20", "map": "mAP", "minp": "mINP"}
BOXES = {"oracle": "true boxes", "detector": "the detector's boxes", "chance": "the same in any order"}
SHEETS, LINES = 4, 20  # contact sheets, and lines of each kind of finding, on the page
SHEET_PX = 1400  # a sheet's longer side on the page


def inks(runs: Sequence[str]) -> dict[str, str]:
    trained = [run for run in runs if not is_baseline(run)]
    colour = {run: charts.RUNS[i % len(charts.RUNS)] for i, run in enumerate(trained)}
    return {run: colour.get(run, charts.FAINT) for run in runs}


def leaderboard(path: Path, runs: Mapping[str, dict]) -> str:
    """mAP and rank-1 of every run with the 95 % interval; hollow: mAP after re-ranking."""

    def draw() -> Figure:
        figure = Figure(figsize=(11, 0.36 * len(runs) + 1.1))
        panels = figure.subplots(1, 2, sharey=True)
        for axis, (metric, title) in zip(panels, (("map", "mAP"), ("rank1", "rank-1")), strict=True):
            rows = []
            for run, ink in reversed(inks(list(runs)).items()):
                test, reranked = runs[run]["test"], (runs[run]["reranked"] or {}).get(metric)
                dots = [] if reranked is None else [Dot(reranked, 6, hollow=True)]
                rows.append(Row(run, ink, [*dots, Dot(test[metric], 7)], test["intervals"][metric]))
            panel(axis, rows, title=title, xlim=(0, 1.02))
        return figure

    return charts.drawn(path, draw)


def learning(path: Path, histories: Mapping[str, list[dict]]) -> str:
    """Every loss term, and validation mAP with the kept epoch (dot)."""
    terms = list(dict.fromkeys(name for rows in histories.values() for row in rows for name in row["train"]))

    def draw() -> Figure:
        figure = Figure(figsize=(11, 3.3))
        axes = figure.subplots(1, len(terms) + 1, squeeze=False)[0]
        for run, ink in inks(list(histories)).items():
            rows = histories[run]
            for axis, name in zip(axes, terms, strict=False):
                known = [(row["epoch"] + 1, row["train"][name]) for row in rows if row["train"].get(name) is not None]
                if known:
                    axis.plot(*zip(*known, strict=True), color=ink, linewidth=1.8, label=run)
            judged = [
                (row["epoch"] + 1, row["val"]["mAP"], row["best"]) for row in rows if row["val"].get("mAP") is not None
            ]
            if judged:
                epochs, scores, best = zip(*judged, strict=True)
                axes[-1].plot(epochs, scores, color=ink, linewidth=1.8)
                kept = max(i for i, is_best in enumerate(best) if is_best) if any(best) else None
                if kept is not None:
                    axes[-1].plot(epochs[kept], scores[kept], "o", color=ink, markersize=6)
        for axis, name in zip(axes, terms, strict=False):
            axis.set(title="training loss" if name == "loss" else f"{name} loss", xlabel="epoch")
        axes[-1].set(title="mAP on the validation people", xlabel="epoch", ylim=(0, 1.02))
        charts.legend(figure, [axes[0]])
        return figure

    return charts.drawn(path, draw)


def on_searched_frames(cameras: Mapping[str, dict]) -> dict[str, float] | None:
    """What the detector is worth where it is used: {boxes, found, recall, frames, each: people a frame} over the
    cameras whose true boxes are known. None where there are none."""
    known = [of for of in cameras.values() if of.get("true_boxes")]
    boxes, found, frames = (sum(of[key] for of in known) for key in ("true_boxes", "true_boxes_found", "frames"))
    if not boxes:
        return None
    return {"boxes": boxes, "found": found, "recall": found / boxes, "frames": frames, "each": boxes / frames}


def table(details: dict, runs: Sequence[str], detector: dict, search: dict, cameras: dict) -> str:
    """What a run of the line ends with, as markdown: for the console and for Prefect."""

    def shown(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    cells = [["re-identification on test", *METRICS.values(), "mAP 95 %", "mAP re-ranked"]]
    for run in runs:
        told = details["runs"][run]
        span = told["test"]["intervals"]["map"]
        again = (told["reranked"] or {}).get("map")
        between = f"{span['low']:.3f} to {span['high']:.3f}" if span else "-"
        cells.append([run, *(shown(told["test"][key]) for key in METRICS), between, shown(again)])
    told = details["runs"][runs[-1]]["test"]
    why = f"; {details['test_null_because']}" if details["test_null_because"] else ""
    text = [
        markdown(cells),
        "",
        f"{told['queries']} queries of {told['people']} people, {told['gallery']} images{why}.",
    ]
    if details["leader"]:
        text[-1] += " ".join([f" Leader: {details['leader']}, {details['leader_from']}.", *of_choice(details)])
    for split in [name for name in ("test", "val") if name in detector][:1]:
        of = detector[split]
        text += ["", f"Detector on {split}: mAP50 {shown(of.get('map50'))}, mAP50-95 {shown(of.get('map50_95'))}."]
        if on_search := on_searched_frames(cameras):
            text[-1] += (
                f" In the frames that are searched it finds {on_search['found']:,} of {on_search['boxes']:,} people."
            )
    if found := {key: of for key, of in (search.get("metrics") or {}).items() if key in BOXES and of}:
        each = ", ".join(f"{BOXES[key]} {shown(found[key]['map'])}" for key in BOXES if key in found)
        text += ["", f"Search in {len(search['cameras'])} cameras, mAP: {each}."]
        if strangers_of(search):
            text[-1] += f" {of_errors(search)}"
    return "\n".join(text) + "\n"


def searched(search: Path, about: dict, out: Path, embed_mb: float) -> dict[str, list[dict]]:
    """Contact sheets and films that lie in the search step's folder, as the page takes them."""
    says = {name: of.get("says", "") for name, of in about.get("queries", {}).items()}

    def caption(path: Path) -> dict[str, str]:
        name = path.stem if path.parent == search else path.parent.name
        return {"query": name, "says": says.get(name, "")}

    films, sheets = (sorted(search.rglob(f"*.{kind}")) if search.is_dir() else [] for kind in ("mp4", "png"))
    filmed = {path.parent for path in films}
    sheets.sort(key=lambda path: path.parent not in filmed)  # the one of the film first
    shown = []
    for path in films:
        src = data_uri(path)
        if path.stat().st_size > embed_mb * 1e6:
            src = f"{caption(path)['query']}.mp4"
            shutil.copyfile(path, out / src)
        still = path.with_suffix(".jpg")
        shown.append({**caption(path), "src": src, "poster": data_uri(still) if still.exists() else None})
    return {"films": shown, "sheets": [{**caption(path), "uri": photo_uri(path, SHEET_PX)} for path in sheets[:SHEETS]]}


def findings(report: Mapping[str, Any], config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What validation found odd in the data: {what, count, some: the first few, with file and line}."""
    found: dict[str, list[str]] = {}

    def add(what: str, lines: Sequence[str]) -> None:
        if lines:
            found.setdefault(what, []).extend(lines)

    for unit, about in report.get("units", {}).items():
        detect = about.get("detect", {})
        bad = [f"{unit}/{b['file']}, line {b['line']}: {b['why']}" for b in detect.get("bad_label_lines", [])]
        add("label lines that cannot be used", bad)
        add(
            "images without a label file: taken to show nobody",
            [f"{unit}/{name}" for name in detect.get("images_without_labels", [])],
        )
        for part in about.get("parts", []):
            add(
                "images that cannot be read to their end",
                [f"{unit}/{name}" for name in about.get(part, {}).get("unreadable", [])],
            )
        for what, said in about.get("said", {}).items():
            add(
                f"{unit}: {what.replace('_', ' ')}",
                [f"{key}: {value}" for key, value in said.items()] if isinstance(said, dict) else [str(said)],
            )
    same = [f"{', '.join(entry['splits'])}: {' = '.join(entry['images'])}" for entry in report.get("same_images", [])]
    add("one image in several splits", same)
    add("crops that pack left out", [f"{name}: {why}" for name, why in config.get("left_out", {}).items()])
    return [{"what": what, "count": len(lines), "some": lines[:LINES]} for what, lines in found.items()]


def drawings(folder: Path, names: Sequence[str], photos: bool) -> dict[str, str]:
    """{name: URI} of the pictures that are there."""
    uri = partial(photo_uri, width_px=SHEET_PX) if photos else data_uri
    return {name: uri(path) for name in names if (path := folder / f"{name}.png").exists()}


def headline(details: dict, search: dict, detector: dict) -> dict[str, float]:
    """The leader's numbers on test, the detector's and the search's: of each, what there is."""
    found: dict[str, float | None] = {}
    if details["leader"]:
        told = details["runs"][details["leader"]]
        found = {key: told["test"][key] for key in METRICS} | {"map_reranked": (told["reranked"] or {}).get("map")}
    for split in ("val", "test"):
        found |= {f"detector_{split}_{key}": detector.get(split, {}).get(key) for key in ("map50", "map50_95")}
    for key in BOXES:
        found[f"search_map_{key}"] = ((search.get("metrics") or {}).get(key) or {}).get("map")
    opened = (search.get("metrics") or {}).get("open_set") or {}
    found |= {"search_found_right": opened.get("found_right"), "search_said_not_found": opened.get("said_not_found")}
    return {key: value for key, value in found.items() if value is not None}


def run(
    _params: None,
    out: Path,
    ctx: Context = Context(),
    *,
    download: Path,
    pack: Path,
    train_detector: Path,
    train: dict[str, Path],
    evaluate: Path,
    calibrate: Path,
    index: Path,
    search: Path,
    reporting_params: Reporting,
) -> dict[str, float]:
    """Returns the leader's numbers on test, the detector's and the search's, and what the page weighs."""
    details, config = read_json(evaluate / "details.json"), read_json(pack / "dataset_config.json")
    about, cameras = read_if_there(search / "search.json"), read_if_there(index / "index.json").get("cameras", {})
    detector = {k: v for k, v in read_if_there(train_detector / "metrics.json").items() if isinstance(v, dict)}
    report = read_if_there(download / "report.json")
    runs = ranked_runs(details["runs"])
    for stale in [*out.glob("*.png"), *out.glob("*.mp4")]:
        stale.unlink()
    figures = {}
    if judged := {run: details["runs"][run] for run in runs if details["runs"][run]["test"]["map"] is not None}:
        figures["leaderboard"] = leaderboard(out / "leaderboard.png", judged)
    histories = {
        name: rows for name, folder in sorted(train.items()) if (rows := history.read(folder / "history.jsonl"))
    }
    if histories:
        figures["learning"] = learning(out / "learning.png", histories)
    page = {
        "source_url": reporting_params.source_url,
        "rendered": rendered((unit.get("layout") for unit in report.get("units", {}).values()), "parts of the source"),
        "details": details, "runs": runs, "metrics": METRICS, "boxes": BOXES, "leader": details["leader"],
        "baselines": baselines,
        "threshold": details["threshold"], "figures": figures,
        "remarks": remarks(details, detector, about, report),
        "curves": drawings(evaluate, ("cmc", "similarities", "errors"), photos=False),
        "lists": drawings(evaluate, ("ranked",), photos=True),
        "detector": detector, "seen": drawings(train_detector, ("samples", "curves"), photos=True),
        "on_search": on_searched_frames(cameras), "strangers": strangers_of(about),
        "calibration": read_if_there(calibrate / calibration.FILE), "told": of_errors(about),
        "search": about, "cameras": cameras, "found": searched(search, about, out, reporting_params.embed_mb),
        "report": report, "findings": findings(report, config), "config": config,
        "sheets": drawings(download, ("people", "boxes"), photos=True),
    }  # fmt: skip
    numbers = headline(details, about, detector)
    compared = ("map", "rank1", "map_reranked", "detector_test_map50", "search_map_detector")
    write_headline(out, {key: numbers.get(key) for key in compared})
    write_json(out / "summary.json", {"leader": details["leader"], "remarks": page["remarks"], **numbers})
    write_text(out / "table.md", table(details, runs, detector, about, cameras))
    write_text(out / "report.html", render(PAGE, page))
    return {**numbers, "page_mb": (out / "report.html").stat().st_size / 1e6}
