"""What one finished run of a line says: the rows of its table, and on how much of what.

Reads data/<line>/. A result is {"rows": [[row, {column: number or null}], ...] as they stand in the table, "columns":
[...], "on": of how much of what, "said": {name: number} for below it}.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.brake_coast.judging.runs import ranked_runs as brake_runs
from tasks.open_loop_driving.page import results as driven
from tasks.person_search.judging.runs import ranked_runs as person_runs
from tasks.yard.files import read_if_there, read_json
from tasks.yard.reporting.words import counted

NOT_YET = "brake_1s, not yet braking"


def made(rows: dict[str, dict], on: str, said: dict[str, float | None]) -> dict[str, Any]:
    columns = list(dict.fromkeys(column for numbers in rows.values() for column in numbers))
    return {"rows": [[row, numbers] for row, numbers in rows.items()], "columns": columns, "on": on, "said": said}


def brake_coast(data: Path) -> dict[str, Any]:
    details = read_json(data / "evaluate/details.json")
    rows = {
        run: {task: of["all"]["pr_auc"] for task, of in tasks.items()}
        | ({NOT_YET: tasks["brake_1s"]["not_yet"]["pr_auc"]} if "brake_1s" in tasks else {})
        for run, tasks in ((run, details[run]) for run in brake_runs(details))
    }
    held = {task: of["all"] for task, of in details["prevalence"].items()}
    each = ", ".join(f"{of['positives']} of {of['windows']} windows of {task}" for task, of in held.items())
    drives = max(of["recordings"] for of in held.values())
    return made(rows, f"{counted(drives, 'drive', 'drives')} held out; positive are {each}", {})


def person_search(data: Path) -> dict[str, Any]:
    details = read_json(data / "evaluate/details.json")
    rows = {
        run: {
            "rank-1": of["test"]["rank1"], "mAP": of["test"]["map"], "mINP": of["test"]["minp"],
            "mAP re-ranked": (of["reranked"] or {}).get("map"),
        }
        for run, of in ((run, details["runs"][run]) for run in person_runs(details["runs"]))
    }  # fmt: skip
    test = details["runs"][details["networks"][0]]["test"]
    detector = read_if_there(data / "train_detector/metrics.json").get("test", {})
    found = read_if_there(data / "search/search.json").get("metrics") or {}
    said = {"mAP50 of the detector, on scenes held out": detector.get("map50")}
    for key, boxes in (
        ("detector", "the detector's boxes"),
        ("oracle", "true boxes"),
        ("chance", "the detector's boxes in any order"),
    ):
        said[f"mAP of the search in whole frames, with {boxes}"] = (found.get(key) or {}).get("map")
    said["Share of the people in these frames whom the detector finds"] = found.get("detector_recall")
    if asked := found.get("open_set"):
        refused = asked["said_not_found"]
        said[f"Of {asked['there']} searches for somebody whom another camera saw, found there"] = asked["found_right"]
        said[f"Of {asked['nowhere']} searches for somebody whom no camera saw, claimed to be found"] = (
            None if refused is None else 1 - refused
        )
    on = f"{test['people']} people held out, {test['queries']} queries in {test['gallery']} images"
    return made(rows, on, said)


def ground_plane(data: Path) -> dict[str, Any]:
    details = read_json(data / "evaluate/details.json")
    columns = {"moda": "MODA", "modp": "MODP", "precision": "precision", "recall": "recall"}
    known = {run: of for run, of in details["runs"].items() if of["moda"] is not None}
    kinds: dict[str, list[str]] = {}
    for run, of in known.items():
        kinds.setdefault(of["kind"], []).append(run)

    def numbers(run: str) -> dict[str, float | None]:
        return {name: known[run][key] for key, name in columns.items()}

    def by_moda(run: str) -> float:
        return known[run]["moda"]

    rows = {run: numbers(run) for kind in ("baseline", "shuffled") for run in kinds.get(kind, []) if run != "empty"}
    if kinds.get("alone"):
        rows["one camera alone, the best"] = numbers(max(kinds["alone"], key=by_moda))
    if kinds.get("without"):
        rows["one camera taken away, the worst"] = numbers(min(kinds["without"], key=by_moda))
    rows |= {run: numbers(run) for run in kinds.get("network", [])}
    scenes = [of["moda"] for of in details["per_scene"].values() if of["moda"] is not None]
    said = {"MODA in the worst scene": min(scenes, default=None), "MODA in the best scene": max(scenes, default=None)}
    on = f"{details['frames']['test']} frames of {details['scenes']['test']} scenes held out, "
    return made(rows, f"{on}{details['people']['test']} people, one to one within {details['match_m']:g} m", said)


def bike_parts(data: Path) -> dict[str, Any]:
    details = read_json(data / "evaluate/details.json")
    columns = {
        "ap50": "AP50", "state_macro_f1": "state F1", "damaged_f1": "damaged F1", "recall": "parts found",
        "hallucination": "absent parts claimed",
    }  # fmt: skip
    names = {"mean_box": "mean box", "majority_state": "majority state", "blind": "another bike"}
    rows = {
        names.get(run, run): {title: details["runs"][run][key] for key, title in columns.items()}
        for run in (*details["baselines"], *details["networks"])
        if run in details["runs"]
    }
    test, changes = details["counts"]["test"], details["changes"]["test"]
    said = {
        f"Of {changes['changes']} changes in {changes['pairs']} rides found": changes["recall"],
        "Changes claimed a ride where none is": changes["false_a_pair"],
    }
    on = f"{test['photos']} photographs of {test['groups']} bikes held out, {test['parts']} parts"
    return made(rows, on, said)


def open_loop_driving(data: Path) -> dict[str, Any]:
    details = read_json(data / "evaluate/details.json")
    folders = {path.name: path for path in sorted((data / "drive").glob("*/"))}
    runs = driven.joined(details, driven.closed_loops(folders, data / "drive_rules"))
    end = driven.until(details)
    keys = (f"l2_mean_to_{end}", f"l2_at_{end}", "brake_f1", "driving_score", "route_completion")
    columns = {key: driven.columns_of(details)[key] for key in keys}
    names = [run for run in driven.ranked(runs, details["headline"]) if run not in details["controls"]]
    rows = {PLAIN.get(run, run): runs[run] for run in names}
    if closed := driven.closed_loops({}, data / "drive_rules").get(driven.EXPERT):
        rows["the expert"] = closed
    said = {}
    for network in driven.layered(runs):
        for layer in runs[network]["names"]:
            said[f"{columns[keys[0]]} of `{network}`, layer {layer}"] = runs[network]["layers"][layer][keys[0]]
    for control in details["controls"]:
        said[f"{columns[keys[0]]} of the control `{control}`"] = runs[control][keys[0]]
    told = {row: {title: of.get(key) for key, title in columns.items()} for row, of in rows.items()}
    on = f"{details['moments']['test']} moments of {counted(details['routes']['test'], 'route', 'routes')} held out"
    return made(told, f"{on}; L2 in metres", said)


# What sees nothing, as its rows are called.
PLAIN = {"constant_velocity": "constant velocity", "mean_path": "mean path", "blind": "told speed, command, target"}
LINES = {
    "brake_coast": brake_coast, "person_search": person_search, "ground_plane": ground_plane, "bike_parts": bike_parts,
    "open_loop_driving": open_loop_driving,
}  # fmt: skip
LAST = dict.fromkeys(LINES, "evaluate") | {
    "person_search": "search",
    "open_loop_driving": "report",
}  # the step to run up to
