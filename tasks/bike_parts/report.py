"""The line's result on one page that needs nothing but a browser: which parts are found, in what state, and how sure.

Reads   download (photographs, sources), check_data, split, train, detect, evaluate and inspect, each in the formats
        those steps state
Writes  report.html (self-contained), leaderboard.png, learning.png, presence.png, summary.json, headline.json (for
        DVC) and table.md (to print)
Alone   python -m tasks bike_parts-report
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.bike_parts.formats import detections, photos
from tasks.bike_parts.formats.photos import STATES
from tasks.bike_parts.judging.coco import WITHOUT_ABSENT
from tasks.bike_parts.judging.judge import Judge, judge_of
from tasks.bike_parts.page import cases, charts
from tasks.bike_parts.page.remarks import remarks_of
from tasks.bike_parts.page.ride_pictures import changes_table, rides_of
from tasks.yard.files import read_json, write_json, write_text
from tasks.yard.params import Reporting
from tasks.yard.reporting.headline import write_headline
from tasks.yard.reporting.pages import markdown, render
from tasks.yard.reporting.words import counted, rendered
from tasks.yard.step import Context
from tasks.yard.training import history

PAGE = Path(__file__).parent / "page" / "report.html.j2"
METRICS = {
    "ap50": "AP50", "ap": "AP", "state_macro_f1": "state F1", "damaged_f1": "damaged F1", "absent_f1": "absent F1",
    "recall": "recall", "hallucination": "hallucination",
}  # fmt: skip
PROTOCOL = ("ap", "ap50", "ap75", "ar_100")
PARTS = {
    "ap50": "AP50", "state_accuracy": "states right", "state_macro_f1": "state F1", "damaged_f1": "damaged F1",
    "absent_f1": "absent F1", "boxes": "there", "pairs": "found",
}  # fmt: skip
COUNTS = ("boxes", "pairs")


def ranked(runs: Mapping[str, dict]) -> list[str]:
    """What no network is first, then networks, the best last."""
    return sorted(runs, key=lambda run: (runs[run]["kind"] == "network", runs[run]["ap50"] or 0.0, run))


def shown(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def by_part(run: Mapping[str, Any], protocol: str) -> list[tuple[str, dict[str, Any]]]:
    """Each part's numbers, the one that is found worst first."""
    states = run["states"]["by_part"]
    told = {
        part: {
            "ap50": of["ap50"], "boxes": of["boxes"], "pairs": states[part]["pairs"],
            "state_accuracy": states[part]["accuracy"], "state_macro_f1": states[part]["macro_f1"],
            "damaged_f1": states[part]["damaged_f1"], "absent_f1": states[part]["absent_f1"],
        }
        for part, of in run["protocols"][protocol]["by_part"].items()
    }  # fmt: skip
    return sorted(told.items(), key=lambda of: (of[1]["ap50"] is None, of[1]["ap50"], of[0]))


def tiles_of(details: Mapping[str, Any], top: Mapping[str, Any] | None) -> list[dict[str, str]]:
    """The numbers at the top of the page."""
    if top is None:
        return []
    first = details["runs"].get("mean_box", {})
    common = details["runs"].get("majority_state", {})
    told = [
        {
            "name": "AP50, parts that are there", "value": shown(top["ap50"], 2),
            "says": f"the mean box of each part: {shown(first.get('ap50'), 2)}",
        },
        {
            "name": "macro-F1 of the states", "value": shown(top["state_macro_f1"], 2),
            "says": f"always the usual state: {shown(common.get('state_macro_f1'), 2)}",
        },
        {
            "name": "Recall, hallucination", "value": f"{shown(top['recall'], 2)}, {shown(top['hallucination'], 2)}",
            "says": "of parts that are there found, of absent ones claimed to be there",
        },
    ]  # fmt: skip
    test = details["changes"]["test"]
    if test.get("recall") is not None:
        told.append({
            "name": "Damage in a ride", "value": f"{test['found']} of {test['changes']}",
            "says": f"changes claimed, and {shown(test['false_a_pair'], 2)} false claims a ride",
        })  # fmt: skip
    return told


def protocols_of(details: Mapping[str, Any], top: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if top is None:
        return None
    rows = [
        {"name": name.replace("_", " "), "what": what, "numbers": [top["protocols"][name].get(key) for key in PROTOCOL]}
        for name, what in details["protocols"].items()
    ]
    return {"columns": [key.upper().replace("_", " ") for key in PROTOCOL], "rows": rows}


def table(details: Mapping[str, Any], names: Sequence[str], remarks: Sequence[str]) -> str:
    """What a run of the line ends with, as markdown: for the console and for Prefect."""
    cells = [["on test", *METRICS.values(), "AP50 95 %"]]
    for run in names:
        of = details["runs"][run]
        span = of["intervals"].get("ap50")
        between = f"{span['low']:.3f} to {span['high']:.3f}" if span else "-"
        cells.append([run, *(shown(of[key]) for key in METRICS), between])
    count = details["counts"]["test"]
    text = f"{counted(count['photos'], 'photograph', 'photographs')} of "
    text += f"{counted(count['groups'], 'vehicle', 'vehicles')}, {count['parts']:,} labelled parts."
    if details["leader"]:
        text += f" Leader: {details['leader']}, {details['leader_from']}."
    test = details["changes"]["test"]
    if test.get("recall") is not None:
        text += (
            f" Damaged in a ride: {test['found']} of {test['changes']} found, {test['false_claims']} claimed falsely, "
            f"in {counted(test['pairs'], 'ride', 'rides')}."
        )
    return "\n".join([markdown(cells), "", text, *(f"\n{remark}" for remark in remarks)]) + "\n"


def numbers_of(details: Mapping[str, Any], top: Mapping[str, Any] | None) -> dict[str, float]:
    """The leader's numbers that people compare."""
    test = details["changes"]["test"]
    found = {} if top is None else {
        "ap50": top["ap50"], "state_macro_f1": top["state_macro_f1"], "damaged_f1": top["damaged_f1"],
        "absent_f1": top["absent_f1"], "recall": top["recall"], "hallucination": top["hallucination"],
        "changes_recall": test.get("recall"), "changes_false_a_pair": test.get("false_a_pair"),
    }  # fmt: skip
    return {key: value for key, value in found.items() if value is not None}


def pictures(
    judge: Judge | None, details: Mapping[str, Any], download: Path, split: Path, detect: Mapping[str, Path]
) -> dict[str, Any]:
    """The best and worst photographs of the leader, and what it takes for what."""
    if judge is None:
        return {"extremes": [], "confused": []}
    test = photos.read(split, "test")
    found, _ = detections.read(detect[judge.network] / detections.FILE, "test")
    of = cases.cases_of(test, found, judge)
    return {
        "extremes": cases.extremes(test, of, download, details["examples"]),
        "confused": cases.confused(of, download) if judge.learnt else [],
    }


def run(
    _params: None,
    out: Path,
    ctx: Context = Context(),
    *,
    download: Path,
    check_data: Path,
    split: Path,
    train: dict[str, Path],
    detect: dict[str, Path],
    evaluate: Path,
    inspect: Path,
    reporting_params: Reporting,
) -> dict[str, float]:
    """Returns the leader's numbers on test, and what the page weighs."""
    details, checked = read_json(evaluate / "details.json"), read_json(check_data / "details.json")
    verdicts = read_json(inspect / "verdicts.json")
    units = [read_json(file) for file in sorted(download.glob("*/unit.json"))]
    judge = judge_of(evaluate, photos.read(split, "train")) if details["leader"] else None
    top = details["runs"][details["leader"]] if details["leader"] else None
    names = ranked(details["runs"])
    for stale in out.glob("*.png"):
        stale.unlink()
    figures = {"leaderboard": charts.leaderboard(out / "leaderboard.png", details["runs"], names)}
    histories = {
        name: rows for name, folder in sorted(train.items()) if (rows := history.read(folder / "history.jsonl"))
    }
    if histories:
        figures["learning"] = charts.learning(out / "learning.png", histories)
    if curve := charts.presence(out / "presence.png", evaluate / "plots" / "presence.csv", details):
        figures["presence"] = curve
    told = remarks_of(details, checked)
    page = {
        "source_url": reporting_params.source_url,
        "rendered": rendered(("bikes" if unit["rendered"] else "photographs" for unit in units), "batches"),
        "details": details, "names": names, "metrics": METRICS, "figures": figures, "top": top, "states": STATES,
        "tiles": tiles_of(details, top), "protocols": protocols_of(details, top), "remarks": told,
        "part_columns": PARTS, "count_columns": COUNTS,
        "by_part": by_part(top, WITHOUT_ABSENT) if top else [],
        "rides": rides_of(verdicts, download), "changes": changes_table(details["changes"]),
        "sources": sorted({unit["source"] for unit in units}),
        "data_remarks": checked["remarks"], **pictures(judge, details, download, split, detect),
    }  # fmt: skip
    numbers = numbers_of(details, top)
    write_headline(out, numbers)
    write_json(out / "summary.json", {"leader": details["leader"], "remarks": told, **numbers})
    write_text(out / "table.md", table(details, names, told))
    write_text(out / "report.html", render(PAGE, page))
    return {**numbers, "page_mb": (out / "report.html").stat().st_size / 1e6}
