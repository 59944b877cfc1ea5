"""The line's result on one page that needs nothing but a browser, its pictures and a film of a test drive beside it.

Reads   download, annotate, label, pack, train_detector, train and evaluate, each in the formats those steps state; a
        part that is not there (no camera, no detector of our own, no brake signal) is left out of the page
Writes  report.html (self-contained), *.png, drive.mp4, summary.json, headline.json (for DVC), table.md (to print)
Alone   python -m tasks brake_coast-report
"""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from tasks.brake_coast.formats import predictions, recording
from tasks.brake_coast.judging.runs import BASELINES, DOUBTFUL_SHARE, SUBSETS, doubt, leader, ranked_runs, split_name
from tasks.brake_coast.label import NOMINAL_MS
from tasks.brake_coast.page import charts, data_card, video
from tasks.brake_coast.params import ANALYSES, Report
from tasks.yard.files import read_if_there, read_json, write_json, write_text
from tasks.yard.params import Reporting
from tasks.yard.reporting.headline import write_headline
from tasks.yard.reporting.pages import data_uri, environment, markdown
from tasks.yard.reporting.words import other_leads, rendered
from tasks.yard.step import Context
from tasks.yard.training import history

log = logging.getLogger(__name__)
PAGE = Path(__file__).parent / "page" / "report.html.j2"


def summarise(details: dict) -> dict:
    """The small table: per task and subset how much there was to judge, and the PR-AUC of every run and baseline."""
    runs = ranked_runs(details)
    found: dict = {"runs": runs, "leader": leader(details), "tasks": {}}
    counts = ("windows", "positives", "unknown", "unknown_share", "recordings", "prevalence", "null_because")
    counts += ("not_meaningful",)
    for task in details[found["leader"]]:
        found["tasks"][task] = {}
        for subset in SUBSETS:
            of = {run: details[run][task][subset] for run in runs if task in details[run]}
            found["tasks"][task][subset] = {
                **{key: of["prevalence"][key] for key in counts},
                "pr_auc": {run: numbers["pr_auc"] for run, numbers in of.items()},
                "interval": {run: numbers["intervals"]["pr_auc"] for run, numbers in of.items()},
            }
    return found


def chosen(summary: dict) -> str | None:
    """A sentence, if the test drives would have chosen another network."""
    networks = [run for run in summary["runs"] if run not in BASELINES and not split_name(run)[1]]
    if summary["leader"] not in networks:
        return None
    held = [(task, subset) for task, of in summary["tasks"].items() for subset in SUBSETS]
    sound = [(task, subset) for task, subset in held if not summary["tasks"][task][subset]["not_meaningful"]]
    on_test = {
        run: {f"{task} {subset}": summary["tasks"][task][subset]["pr_auc"].get(run) for task, subset in sound}
        for run in networks
    }
    return other_leads(summary["leader"], on_test)


def worth(details: dict) -> list[dict]:
    """What the camera, and what the telemetry, adds to a run that has a blind version beside it."""
    added = {"telemetry": "the camera", "detections": "telemetry"}
    rows = []
    for run in details:
        for blind, what in added.items():
            for subset in SUBSETS:
                over = {task: found[subset].get(f"pr_auc_over_{blind}") for task, found in details[run].items()}
                if any(over.values()):
                    title = f"{what} to {run}-{blind}"
                    rows.append({"title": title, "windows": subset.replace("_", " "), "over": over})
    return rows


def table(summary: dict) -> str:
    """The summary as markdown, for the console and for Prefect: PR-AUC by run and task, best of a column in bold.

    A number of windows whose labels are mostly unknown is marked, and no best one is chosen of such.
    """
    text, marked = [], False
    titles = {"all": "All test windows", "not_yet": "Windows not yet braking (brake tasks) or coasting (coast tasks)"}
    for subset, title in titles.items():
        cells = [["PR-AUC", *summary["tasks"]]]
        held = [task[subset] for task in summary["tasks"].values()]
        for run in summary["runs"]:
            row = [run]
            for task in held:
                value = task["pr_auc"].get(run)
                best = max((v for v in task["pr_auc"].values() if v is not None), default=None)
                shown = "-" if value is None else f"{value:.3f}"
                if value is not None and task["not_meaningful"]:
                    shown, best, marked = f"{shown} (!)", None, True
                row.append(f"**{shown}**" if value is not None and value == best else shown)
            cells.append(row)
        cells.append(["positives / windows", *(f"{task['positives']} / {task['windows']}" for task in held)])
        shares = ["-" if task["unknown_share"] is None else f"{100 * task['unknown_share']:.1f} %" for task in held]
        cells.append(
            ["unknown labels", *(f"{s} (!)" if t["not_meaningful"] else s for s, t in zip(shares, held, strict=True))]
        )
        text += [f"{title}:", "", markdown(cells), ""]
    if marked:
        text += [f"(!) not meaningful: more than {100 * DOUBTFUL_SHARE:.0f} % of the labels are unknown, and those "
                 "that are known are no sample of the drives.", ""]  # fmt: skip
    text += [f"Leader: {summary['leader']}, best on the validation drives. {chosen(summary) or ''}".strip(), ""]
    return "\n".join(text)


def stretch(
    params: Report, details: dict, run: str, *, download: Path, annotate: Path, label: Path, evaluate: Path
) -> video.Stretch:
    """The busiest stretch of the test drives, one with a camera if there is any."""
    tasks = list(details[run])
    best: tuple[tuple, str, pd.DataFrame] | None = None
    for drive in predictions.written(evaluate):
        columns = ["t_ms", *(predictions.column(run, task) for task in tasks)]
        scores = predictions.read(evaluate, drive)[columns].set_axis(["t_ms", *tasks], axis=1)
        labels = pd.read_csv(label / drive / "labels.csv")[["t_ms", "segment", "braking", "coasting"]]
        labels[["braking", "coasting"]] = labels[["braking", "coasting"]].fillna(-1).astype(int)
        telemetry = recording.read_telemetry(download / drive).rows
        rows = telemetry.merge(labels, on="t_ms", validate="1:1").merge(scores, on="t_ms", validate="1:1")
        rows = rows.rename(columns={"time": "Time"})
        rows = rows.iloc[video.busiest(rows, params.video_frames)].reset_index(drop=True)
        braking = rows["braking"] == 1
        onsets = braking & (rows["braking"].shift() == 0)
        key = (recording.description(download / drive)["has_images"], int(onsets.sum()), int(braking.sum()))
        if best is None or key > best[0]:
            best = key, drive, rows
    _, name, rows = best
    images, boxes, roi_px = video.camera_of(name, rows["Time"], download, annotate)
    thresholds = {task: details[run][task]["threshold"] for task in tasks}
    return video.Stretch(name, run, rows, thresholds, images, boxes, roi_px)


def run(
    params: Report,
    out: Path,
    ctx: Context = Context(),
    *,
    download: Path,
    annotate: Path,
    label: Path,
    pack: Path,
    train_detector: Path,
    train: dict[str, Path],
    evaluate: Path,
    reporting_params: Reporting,
) -> dict[str, float]:
    """Returns the PR-AUC of the leading run and what the page weighs."""
    details = read_json(evaluate / "details.json")
    config = read_json(pack / "dataset_config.json")
    summary = summarise(details)
    tasks, run_shown = list(summary["tasks"]), summary["leader"]
    details = {name: details[name] for name in summary["runs"]}
    judged = [task for task in tasks if summary["tasks"][task]["all"]["pr_auc"][run_shown] is not None]

    for stale in [*out.glob("*.png"), *out.glob("*.mp4")]:
        stale.unlink()
    figures = {}
    if judged:
        curves = pd.read_csv(evaluate / "plots" / "pr.csv")
        figures["leaderboard"] = charts.leaderboard(out / "leaderboard.png", details, judged, "all")
        figures["leaderboard_not_yet"] = charts.leaderboard(out / "leaderboard_not_yet.png", details, judged, "not_yet")
        figures["pr"] = charts.pr(out / "pr.png", curves, details, judged)
        figures["reliability"] = charts.reliability(out / "reliability.png", details, judged)
    histories = {
        name: rows for name, folder in sorted(train.items()) if (rows := history.read(folder / "history.jsonl"))
    }
    if histories:
        figures["learning"] = charts.learning(out / "learning.png", histories)

    shown = stretch(params, details, run_shown, download=download, annotate=annotate, label=label, evaluate=evaluate)
    film = out / "drive.mp4"
    poster = video.write(shown, film, params.video_fps, ctx.progress)
    poster.save(out / "drive.png")

    embedded = film.stat().st_size <= reporting_params.embed_mb * 1e6
    pictures = sorted(train_detector.glob("*.png"))
    page = {
        "source_url": reporting_params.source_url,
        "rendered": rendered(data_card.layouts(download), "recordings"),
        "summary": summary,
        "details": details,
        "tasks": tasks,
        "other_leads": chosen(summary),
        "window": {"frames": config["sequence_length"], "seconds": config["sequence_length"] * NOMINAL_MS / 1000},
        "worth": worth(details),
        "runs": summary["runs"],
        "shown": run_shown,
        "drives": data_card.drive_rows(download, annotate, label, config),
        "findings": data_card.findings(download),
        "refused": data_card.refused(config, download, annotate, label),
        "splits": data_card.split_rows(config),
        "split_note": data_card.split_note(config, download),
        "saturation": data_card.saturation(config),
        "unknown": data_card.unknown_rows(label, download, tasks),
        "standing": data_card.standing(label, download),
        "detector": {k: v for k, v in read_if_there(train_detector / "metrics.json").items() if isinstance(v, dict)},
        "detector_pictures": [{"name": p.stem.replace("_", " "), "uri": data_uri(p)} for p in pictures],
        "figures": figures,
        "analyses": ANALYSES,
        "film": {
            "src": data_uri(film) if embedded else film.name,
            "poster": data_uri(out / "drive.png"),
            "recording": shown.recording,
            "seconds": len(shown.rows) / params.video_fps,
            "has_camera": bool(shown.images),
        },
    }
    write_json(out / "summary.json", summary)
    compared = {f"{task}_pr_auc": summary["tasks"][task]["all"]["pr_auc"][run_shown] for task in judged}
    compared["detector_map50"] = page["detector"].get("test", {}).get("map50")
    write_headline(out, compared)
    write_text(out / "table.md", table(summary))
    write_text(out / "report.html", render(page))
    leading = {f"{task}/pr_auc": summary["tasks"][task]["all"]["pr_auc"][run_shown] for task in judged}
    for task in judged:
        held = summary["tasks"][task]["all"]
        leading |= {f"{task}/{key}": float(held[key]) for key in ("unknown_share", "not_meaningful")}
    return {**leading, "page_mb": (out / "report.html").stat().st_size / 1e6, "film_mb": film.stat().st_size / 1e6}


def render(page: dict) -> str:
    made = environment(PAGE)
    made.filters["blind"] = lambda run: split_name(run)[1]
    made.filters["doubt"] = doubt
    made.globals |= {"BASELINES": BASELINES, "DOUBTFUL_SHARE": DOUBTFUL_SHARE}
    return made.get_template(PAGE.name).render(page)
