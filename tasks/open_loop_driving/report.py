"""The line's result on one page that needs nothing but a browser: how it plans, how it drives, and what neither tells.

Reads   check_data, pack, train, evaluate, drive, drive_rules and visualize, each in the formats those steps state
Writes  report.html (self-contained), leaderboard.png, layers.png, horizon.png, loops.png, learning.png, terms.png,
        summary.json, headline.json (for DVC), table.md (to print), and films that are too large for the page
Alone   python -m tasks open_loop_driving-report
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.open_loop_driving.formats import pack as packs
from tasks.open_loop_driving.judging.driving_scores import alike
from tasks.open_loop_driving.page import cases, charts, inks, remarks, results
from tasks.open_loop_driving.page.results import CLOSED, EXPERT
from tasks.yard.files import read_if_there, read_json, write_json, write_text
from tasks.yard.params import Reporting
from tasks.yard.reporting.headline import write_headline
from tasks.yard.reporting.pages import data_uri, markdown, photo_uri, render
from tasks.yard.reporting.words import counted, other_leads, rendered
from tasks.yard.step import Context
from tasks.yard.training import history

PAGE = Path(__file__).parent / "page" / "report.html.j2"
PERCENT = ("collision_rate", "collision_rate_unmasked")
LOWER = ("l2_", "longitudinal", "lateral", "throttle_brake_l1", "steer_l1", "collision_rate")  # is better
BESIDE = ("blind", "constant_velocity")  # what sees nothing stands beside the leader
SHOWN_ROUTES, PHOTO_PX = 6, 1280


def shown(key: str, value: float | None) -> str:
    """A number as tables have it."""
    if value is None:
        return "-"
    if key in PERCENT:
        return f"{100 * value:.1f} %"
    return f"{value:.1f}" if key in CLOSED else f"{value:.3f}"


def table(details: Mapping[str, Any], runs: Mapping[str, dict], names: Sequence[str], told: Sequence[str]) -> str:
    """What a run of the line ends with, as markdown: for the console and for Prefect."""
    columns = results.columns_of(details)
    headline = details["headline"]
    cells = [["on test", *columns.values(), f"{columns[headline]} 95 %"]]
    for run in names:
        span = (runs[run].get("intervals") or {}).get(headline)
        between = f"{span['low']:.3f} to {span['high']:.3f}" if span else "-"
        cells.append([run, *(shown(key, runs[run].get(key)) for key in columns), between])
    text = f"{details['moments']['test']} moments of {counted(details['routes']['test'], 'route', 'routes')} held out"
    text += f" ({', '.join(details['towns']['test'])}); metres, and L2 in both conventions of this field."
    if details["leader"]:
        text += f" Leader: {details['leader']}, {details['leader_from']}."
    return "\n".join([markdown(cells), "", text, *(f"\n{remark}" for remark in told)]) + "\n"


def films(visualize: Path, seen: Mapping[str, Any], out: Path, embed_mb: float) -> list[dict[str, Any]]:
    """Of each route, in the page as long as they fit there, else beside it."""
    found, room = [], embed_mb * 1e6
    for route, of in seen.get("films", {}).items():
        path = visualize / route / "drive.mp4"
        size = path.stat().st_size
        if size <= room:
            room -= size
            uri = data_uri(path)
        else:
            uri = f"{route}.mp4"
            shutil.copyfile(path, out / uri)
        found.append({"route": route, "uri": uri, **of})
    return found


def stills(visualize: Path, seen: Mapping[str, Any]) -> list[dict[str, Any]]:
    """By kind, in the order of `cases.KINDS`."""
    told = []
    for kind, what in cases.KINDS.items():
        mine = [
            {**one, "uri": photo_uri(visualize / one["file"], PHOTO_PX)}
            for one in seen.get("stills", [])
            if one["kind"] == kind
        ]
        if mine:
            told.append({"kind": kind, "what": what, "stills": mine})
    return told


def drivers(closed: Mapping[str, dict], leader: str | None) -> list[dict[str, Any]]:
    """Who drove, the best first: scores, and infractions a kilometre of the kinds that anybody committed."""
    kinds = {kind for of in closed.values() for kind, count in of["infractions"].items() if count}
    rows = [
        {
            "name": name, "top": name == leader, **of,
            "a_km": {kind: of["infractions_a_km"][kind] for kind in sorted(kinds)},
        }
        for name, of in closed.items()
    ]  # fmt: skip
    return sorted(rows, key=lambda row: (-row["driving_score"], row["name"]))


def tiles(details: Mapping[str, Any], runs: Mapping[str, dict], closed: Mapping[str, dict]) -> list[dict[str, str]]:
    """The numbers at the top of the page, each beside what sees nothing."""
    top = runs.get(details["leader"] or "")
    if top is None:
        return []
    beside = [name for name in BESIDE if name in runs]

    def tile(key: str, name: str, unit: str = "") -> dict[str, str]:
        others = [f"{other.replace('_', ' ')} {shown(key, runs[other].get(key))}" for other in beside]
        return {"name": name, "value": f"{shown(key, top.get(key))}{unit}", "says": ", ".join(others)}

    columns = results.columns_of(details)
    found = [tile(key, f"{columns[key]}, m") for key in list(columns)[:2]]
    found.append(tile("brake_f1", "Brake F1"))
    found.append(tile("collision_rate", "Plans that meet somebody"))
    drove = [name for name in (details["leader"], EXPERT, *beside) if name in closed]
    if same := alike({name: closed[name] for name in drove}) if details["leader"] in drove else {}:
        value, *others = (shown("driving_score", same[name]) for name in drove)
        called = ["the expert" if name == EXPERT else name.replace("_", " ") for name in drove[1:]]
        says = ", ".join(f"{name} {other}" for name, other in zip(called, others, strict=True))
        found.append({"name": "Driving score, closed loop", "value": value, "says": says})
    return found


def numbers_of(details: Mapping[str, Any], runs: Mapping[str, dict]) -> dict[str, float]:
    """The leader's numbers that people compare."""
    top = runs.get(details["leader"] or "", {})
    end = results.until(details)
    keys = (
        f"l2_mean_to_{end}", f"l2_at_{end}", "longitudinal", "lateral", "brake_f1", "collision_rate", *CLOSED
    )  # fmt: skip
    return {key: top[key] for key in keys if top.get(key) is not None}


def figures_of(
    out: Path, details: Mapping[str, Any], runs: Mapping[str, dict], drawn: Sequence[dict], names: Sequence[str],
    histories: Mapping[str, list[dict]], expert: float | None,
) -> dict[str, str]:  # fmt: skip
    """`drawn`: the runs in both loops."""
    columns, headline = results.columns_of(details), details["headline"]
    board = {headline: f"{columns[headline]}, m", "brake_f1": "brake F1"}
    if any(runs[run]["driving_score"] is not None for run in names):
        board["driving_score"] = "driving score"
    found = {"leaderboard": charts.leaderboard(out / "leaderboard.png", runs, names, board)}
    free = [run for run in reversed(names) if runs[run]["kind"] != "control"]
    found["horizon"] = charts.horizon(out / "horizon.png", runs, free, details["by_step_s"])
    if deep := results.layered(runs):
        parts = {headline: f"{columns[headline]}, m", "longitudinal": "ahead, m", "brake_f1": "brake F1"}
        found["layers"] = charts.layers(out / "layers.png", runs, deep, parts)
    if len(drawn) > 1:
        axes = f"{columns[headline]}, m: open loop", "driving score: closed loop"
        found["loops"] = charts.both_loops(out / "loops.png", drawn, axes, expert)
    if histories:
        found["learning"] = charts.learning(out / "learning.png", histories)
    leader = histories.get(details["leader"] or "")
    if leader and charts.terms_of(leader):
        found["terms"] = charts.terms(out / "terms.png", leader)
    return found


def run(
    _params: None,
    out: Path,
    ctx: Context = Context(),
    *,
    check_data: Path,
    pack: Path,
    train: dict[str, Path],
    evaluate: Path,
    drive: dict[str, Path],
    drive_rules: Path,
    visualize: Path,
    reporting_params: Reporting,
) -> dict[str, float]:
    """Returns the leader's numbers on test, and what the page weighs."""
    details, packed = read_json(evaluate / "details.json"), packs.manifest(pack)
    check, seen = read_json(check_data / "check.json"), read_if_there(visualize / "summary.json")
    closed = results.closed_loops(drive, drive_rules)
    runs = results.joined(details, closed)
    on_leaders_moments = results.joined({"runs": details["runs"] | details["beside_leader"]}, closed)
    names = results.ranked(runs, details["headline"])
    told = remarks.of_page(details, runs, closed)
    on_test = {
        run: {key: _higher(key, runs[run].get(key)) for key in results.columns_of(details)}
        for run in details["networks"]
    }
    same = not any("test" in of for of in details["left_out"].values())  # moments: else nobody is above anybody
    if same and (said := other_leads(details["leader"], on_test)):
        told.insert(0, said)
    for stale in [*out.glob("*.png"), *out.glob("*.mp4")]:
        stale.unlink()
    histories = {
        name: rows for name, folder in sorted(train.items()) if (rows := history.read(folder / "history.jsonl"))
    }
    layers, drawn = seen.get("layers", []), results.both(runs, details["headline"])
    top = runs.get(details["leader"] or "")
    expert = results.expert_on(drawn[0]["on"], closed) if drawn else None
    routes, beside = check["routes"], [details["leader"] or "", *BESIDE]
    page: dict[str, Any] = {
        "source_url": reporting_params.source_url,
        "rendered": rendered(["town"] if packed.get("rendered") else [], "routes"),
        "details": details, "runs": runs, "names": names, "top": top, "remarks": told,
        "tiles": tiles(details, on_leaders_moments, closed), "columns": results.columns_of(details), "percent": PERCENT,
        "unseen": results.unseen(details["towns"], packed["routes"]),
        "routes_of_test": counted(details["routes"]["test"], "route", "routes"),
        "holds": results.holds(runs, names), "called": {run: results.named(run, of) for run, of in runs.items()},
        "closed_columns": CLOSED, "closed": closed, "drivers": drivers(closed, details["leader"]),
        "creep_s": results.said_of_all("creep_s", drive, drive_rules),
        "why_none": results.said_of_all("why_not", drive, drive_rules), "until": results.until(details),
        "loops": results.disagreement(runs, details["headline"]), "drawn_on": drawn and (
            f"{counted(drawn[0]['moments'], 'moment', 'moments')} in open loop, "
            f"{counted(drawn[0]['drives'], 'drive', 'drives')}"
        ),
        "figures": figures_of(out, details, runs, drawn, names, histories, expert),
        "legend": [("expert's way", inks.TRUTH), *zip(map(inks.named, layers), inks.of_layers(layers), strict=True)],
        "films": films(visualize, seen, out, reporting_params.embed_mb), "cases": stills(visualize, seen),
        "packed": packed, "check": check, "checked": pictures(check_data),
        "parts": [
            (title, of)
            for title, part in (("By situation", "by_situation"), ("By command", "by_command"))
            if (of := results.side_by_side(on_leaders_moments, beside, part, details["headline"]))
        ],
        "unusable": {name: of["why"] for name, of in routes.items() if not of.get("usable", True)},
        "findings": [f"{name}: {text}" for name, of in routes.items() for text in of.get("findings", [])],
    }  # fmt: skip
    numbers = numbers_of(details, runs)
    write_headline(out, numbers)
    write_json(out / "summary.json", {"leader": details["leader"], "remarks": told, **numbers})
    write_text(out / "table.md", table(details, runs, names, told))
    write_text(out / "report.html", render(PAGE, page))
    return {**numbers, "page_mb": (out / "report.html").stat().st_size / 1e6}


def _higher(key: str, value: float | None) -> float | None:
    """The number turned so that higher is better."""
    return -value if value is not None and key.startswith(LOWER) else value


def pictures(check_data: Path) -> dict[str, str]:
    """What check_data drew of some routes."""
    return {path.stem: photo_uri(path, PHOTO_PX) for path in sorted(check_data.glob("*.png"))[:SHOWN_ROUTES]}
