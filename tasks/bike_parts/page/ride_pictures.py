"""Rides on the report: a few whose damage was found, missed or made up, and the table of how often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.bike_parts.judging.verdicts import words
from tasks.bike_parts.page.verdict_pictures import drawn_pair, marks_of

EACH = 2  # rides of each kind
SIDES = ("before", "after")


def kind_of(pair: Mapping[str, Any]) -> str:
    """found, missed or made up; a ride in which nothing was claimed and nothing was done is quiet."""
    claimed = {change["part"] for change in pair["changes"] if change["claimed"]}
    if claimed - set(pair["truth"]):
        return "made up"
    return ("found" if claimed else "missed") if pair["truth"] else "quiet"


def rides_of(verdicts: Mapping[str, Any], download: Path) -> list[dict[str, Any]]:
    """Some of the rides of the test split: those that were found, then missed, then made up."""
    if verdicts["photos_from"] is not None or not verdicts["judged"]:
        return []
    shown = []
    for kind in ("found", "missed", "made up"):
        mine = sorted((p for p in verdicts["pairs"] if kind_of(p) == kind), key=lambda p: -p["damaged_in_ride"])
        for pair in mine[:EACH]:
            photos = [verdicts["photos"][pair[side]] for side in SIDES]
            parts = {change["part"] for change in pair["changes"] if change["claimed"]} | set(pair["truth"])
            uris = drawn_pair([download / of["file"] for of in photos], [marks_of(of, sorted(parts)) for of in photos])
            done = words(pair["truth"]) or "nothing that can be seen in both"
            says = pair["says"][:1].upper() + pair["says"][1:]
            shown.append({"name": f"{kind}: {pair['name']}", "says": says, "truth_says": done, "uris": uris})
    return shown


def changes_table(changes: Mapping[str, Any]) -> list[list[str]] | None:
    """Claims on test beside those of the baselines and of who knew more. None where nobody knows what was done."""
    rows = {"this network, weighed by what rides do": changes["test"]}
    rows |= {of["what"]: of for of in (*changes["baselines"].values(), *changes["limits"].values())}
    if changes["test"]["recall"] is None:
        return None

    def number(of: Mapping[str, Any], key: str, digits: int) -> str:
        span = (of.get("intervals") or {}).get(key)
        text = "\N{EN DASH}" if of[key] is None else f"{of[key]:.{digits}f}"
        return (
            f"{text} ({span['low']:.{digits}f} to {span['high']:.{digits}f})" if span and of[key] is not None else text
        )

    cells: list[list[str]] = [["on test", "rides", "changes", "found", "share found", "false claims a ride"]]
    for name, of in rows.items():
        counts: Sequence[str] = [f"{of[key]:,}" for key in ("pairs", "changes", "found")]
        cells.append([name, *counts, number(of, "recall", 2), number(of, "false_a_pair", 2)])
    return cells
