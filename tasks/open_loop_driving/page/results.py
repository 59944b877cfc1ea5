"""What the report shows of evaluate's and drive's results: who stands where, and whether both loops agree. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

from tasks.open_loop_driving.judging.driving_scores import alike, apart, of_split
from tasks.yard.files import read_if_there

KINDS = ("baseline", "control", "network")  # as they stand in tables, from below
CLOSED = {"driving_score": "driving score", "route_completion": "route completion"}
EXPERT, FILE = "expert", "drives.json"
SHOWN_PAIRS = 4


def until(details: Mapping[str, Any]) -> str:
    """How far ahead is planned, as in the names of numbers: 2s."""
    return details["headline"].rpartition("_")[2]


def columns_of(details: Mapping[str, Any]) -> dict[str, str]:
    """{number: heading} of the table, both loops side by side; L2 never without its convention."""
    end = until(details)
    words = f"{end.removesuffix('s')} s"
    return {
        f"l2_mean_to_{end}": f"L2 mean to {words}", f"l2_at_{end}": f"L2 at {words}", "brake_f1": "brake F1",
        "collision_rate": "collisions", **CLOSED, "longitudinal": "ahead", "lateral": "aside",
        "throttle_brake_l1": "pedals L1", "steer_l1": "steer L1", "collision_rate_unmasked": "all collisions",
    }  # fmt: skip


def collision_rate(run: Mapping[str, Any], kind: str = "masked") -> float | None:
    """Share of moments whose plan meets somebody up to its end."""
    rates = run["collisions"][kind]["rate_up_to"]
    return rates[-1] if rates else None


def closed_loops(drive: Mapping[str, Path], drive_rules: Path) -> dict[str, dict[str, Any]]:
    """{driver: what it did on test, as judging/driving_scores.py has it}; nothing of who drove nowhere. Who is no
    network (the expert) is a driver too."""
    folders = {**dict(sorted(drive.items())), **{path.parent.name: path.parent for path in _rules(drive_rules)}}
    told = {name: read_if_there(folder / FILE) for name, folder in folders.items()}
    return {name: of_split(of, "test") for name, of in told.items() if of and of["splits"]["test"]}


def _rules(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*/{FILE}"))


def said_of_all(key: str, drive: Mapping[str, Path], drive_rules: Path) -> Any:
    """What `drive` says under this key of all drives alike, as why nothing was driven; None: nothing."""
    paths = [*_rules(drive_rules), *(folder / FILE for _, folder in sorted(drive.items()))]
    return next((said for path in paths if (said := read_if_there(path).get(key))), None)


def named(name: str, run: Mapping[str, Any]) -> str:
    """As the page calls a run: networks by their names in params, all else in words."""
    return name if run.get("kind") == "network" else name.replace("_", " ")


def unseen(towns: Mapping[str, Sequence[str]], routes: Mapping[str, Mapping[str, Any]]) -> str:
    """What of test no training has seen, in words. `towns`: of each split; `routes`: of the pack's manifest."""
    if not towns["train"]:
        return "Nothing was trained on this source"
    if not set(towns["train"]) & set(towns["test"]):
        return "Towns that no training has seen"
    cut = any(name.removesuffix("-test") + "-train" in routes for name in routes if name.endswith("-test"))
    return "Parts of routes that no training has seen" if cut else "Routes that no training has seen"


def holds(runs: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Who holds where the driver stands and stays, the best first; [] where he never does. Controls are left out."""
    rows = [
        {"run": name, "name": named(name, runs[name]), **of}
        for name in names
        if runs[name]["kind"] != "control" and (of := runs[name].get("holds"))
    ]
    return sorted(rows, key=lambda row: (row["share"], row["mean_m"], row["run"]))


def joined(details: Mapping[str, Any], closed: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Each run's numbers of both loops in one place."""
    found = {}
    for name, of in details["runs"].items():
        driven = closed.get(name, {})
        spans = {**(of.get("intervals") or {}), **driven.get("intervals", {})}
        found[name] = {**of, "intervals": spans, "collision_rate": collision_rate(of)}
        found[name] |= {
            "collision_rate_unmasked": collision_rate(of, "unmasked"), "collided": collisions_of(of),
        }  # fmt: skip
        found[name] |= {"by_drive": driven.get("by_drive", {}), **{key: driven.get(key) for key in CLOSED}}
    return found


def ranked(runs: Mapping[str, Mapping[str, Any]], headline: str) -> list[str]:
    """What sees nothing first, then controls, then networks, the one that comes nearest last."""

    def place(run: str) -> tuple:
        value = runs[run][headline]
        return KINDS.index(runs[run]["kind"]), -(float("inf") if value is None else value), run

    return sorted(runs, key=place)


def _told(runs: Mapping[str, Mapping[str, Any]], headline: str) -> dict[str, Mapping[str, Any]]:
    return {name: of for name, of in runs.items() if of[headline] is not None and of["driving_score"] is not None}


def both(runs: Mapping[str, Mapping[str, Any]], headline: str) -> list[dict[str, Any]]:
    """Runs that were judged in both loops, nearest to the expert's way first, on the moments and drives that all of
    them have; [] where there are none."""
    told = _told(runs, headline)
    same, closed = apart([of["by_route"] for of in told.values()]), alike(told)
    if same == set() or not closed:
        return []
    rows, on = [], sorted(set.intersection(*(set(of["by_drive"]) for of in told.values())))
    for name, of in told.items():
        routes = [of["by_route"][route] for route in (of["by_route"] if same is None else same)]
        off, moments = [one["l2_mean"] for one in routes], [one["moments"] for one in routes]
        rows.append({
            "run": name, "kind": of["kind"], "open": of[headline] if same is None else fmean(off, moments),
            "closed": closed[name], "moments": sum(moments), "on": on, "drives": len(on),
        })  # fmt: skip
    return sorted(rows, key=lambda row: (row["open"], row["run"]))


def expert_on(drives: Iterable[str], closed: Mapping[str, Mapping[str, Any]]) -> float | None:
    """The expert's driving score on these; None if he did not drive all."""
    his = closed.get(EXPERT, {}).get("by_drive", {})
    scores = [his.get(drive) for drive in drives]
    return fmean(scores) if scores and None not in scores else None


def disagreement(runs: Mapping[str, Mapping[str, Any]], headline: str) -> dict[str, Any]:
    """{judged, pairs, against, examples, moments, drives}: how many runs there are in both loops, and of how many pairs
    of them the one that is nearer in open loop drives worse; the fewest and the most moments and drives that both of a
    pair have, by which they are compared."""
    names = sorted(_told(runs, headline), key=lambda name: (runs[name][headline], name))
    every = [both({a: runs[a], b: runs[b]}, headline) for a, b in combinations(names, 2)]
    pairs = [(a, b) for a, b in filter(None, every) if a["open"] != b["open"] and a["closed"] != b["closed"]]
    against = [(a, b) for a, b in pairs if a["closed"] < b["closed"]]
    against.sort(key=lambda pair: -abs(pair[0]["closed"] - pair[1]["closed"]))
    return {
        "judged": len(names), "pairs": len(pairs), "against": len(against),
        "examples": [(a["run"], b["run"]) for a, b in against[:SHOWN_PAIRS]],
        **{key: sorted({of(a[key] for a, _ in pairs) for of in (min, max)}) for key in ("moments", "drives") if pairs},
    }  # fmt: skip


def side_by_side(
    runs: Mapping[str, Mapping[str, Any]], names: Sequence[str], part: str, headline: str
) -> dict[str, Any] | None:  # fmt: skip
    """Of `by_situation` or `by_command`: {runs, rows: [{name, moments, routes, off: [headline of each run], brakes:
    [brake F1 of each]}]}; None where nobody is judged so."""
    told = [name for name in names if runs.get(name, {}).get(part)]
    if not told:
        return None
    first = runs[told[0]][part]
    rows = [
        {
            "name": name, "moments": of["moments"], "routes": of["routes"],
            "off": [runs[run][part].get(name, {}).get(headline) for run in told],
            "brakes": [runs[run][part].get(name, {}).get("brake_f1") for run in told],
        }
        for name, of in sorted(first.items(), key=lambda of: (-of[1]["moments"], of[0]))
    ]  # fmt: skip
    return {"runs": told, "rows": rows}


def collisions_of(run: Mapping[str, Any]) -> dict[str, str]:
    """Counts behind the rates: {masked: "3 of 75", unmasked: ...}."""
    found = {}
    for kind in ("masked", "unmasked"):
        of = run["collisions"][kind]
        found[kind] = f"{of['up_to'][-1]} of {of['moments']}" if of["moments"] else "-"
    return found


def layered(runs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Networks with more than one layer, by name."""
    return sorted(name for name, of in runs.items() if len(of.get("layers") or {}) > 1)
