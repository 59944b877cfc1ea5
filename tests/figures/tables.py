"""The README's tables from result files: medians over seeds with their range, and what may not be said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

from tasks.yard.files import write_text
from tasks.yard.reporting.pages import markdown
from tasks.yard.step import BadInput

TITLES = {
    "raw_pixels": "raw pixels",
    "colour_stripes": "colour stripes",
    "persistence": "persistence (knows the brake signal of now)",
    "blind": "blind: where people stood most in training",
    "mean box": "mean box of each part, blind",
    "majority state": "the leader's boxes, each part in its usual state",
    "another bike": "control: what the leader finds on another bike",
    "shuffled": "control: each camera with another's calibration",
    "one camera alone, the best": "control: one camera alone, the best",
    "one camera taken away, the worst": "control: one camera taken away, the worst",
    "constant velocity": "constant velocity: goes on as it went",
    "mean path": "the expert's mean way at this command",
    "told speed, command, target": "blind: a network that is told speed, command and target point",
    "the expert": "the expert, who knows everything",
}
FIRST = {
    "brake_coast": "PR-AUC on test",
    "person_search": "re-identification on test",
    "ground_plane": "on test",
    "bike_parts": "on test",
    "open_loop_driving": "on test",
}


def of_seeds(runs: Mapping[str, Mapping[str, Any]], row: str, column: str) -> list[float]:
    values = [dict(run["rows"]).get(row, {}).get(column) for run in runs.values()]
    return [value for value in values if value is not None]


def shown(values: Sequence[float]) -> str:
    """The median, and the range unless it is nothing."""
    if not values:
        return "-"
    low, middle, high = (f"{value:.3f}" for value in (min(values), median(values), max(values)))
    return middle if low == high else f"{middle} ({low} to {high})"


def unranked(runs: Mapping[str, Mapping[str, Any]], rows: Sequence[str], columns: Sequence[str]) -> str | None:
    """Columns in which the ranges of two trained networks overlap: seeds, not networks, decide who is above."""
    trained = [row for row in rows if len({str(dict(of["rows"]).get(row)) for of in runs.values()}) > 1]
    told = []
    for one, other in combinations(trained, 2):
        pairs = {column: (of_seeds(runs, one, column), of_seeds(runs, other, column)) for column in columns}
        same = [c for c, (a, b) in pairs.items() if a and b and min(a) <= max(b) and min(b) <= max(a)]
        if same:
            told.append(f"`{one}` and `{other}` in {', '.join(same)}")
    return f"Ranges overlap, so that nothing here ranks the two: {'; '.join(told)}." if told else None


def block(line: str, result: Mapping[str, Any], others: Sequence[tuple[str, Mapping[str, Any]]] = ()) -> str:
    """What stands between the markers. `others`: (name, result) of other worlds."""
    runs = result["seeds"]
    first = next(iter(runs.values()))
    rows, columns = [row for row, _ in first["rows"]], first["columns"]
    cells = [[FIRST[line], *columns]]
    for row in rows:
        plain = row in TITLES or row in ("prevalence", "chance")
        values = [shown(of_seeds(runs, row, column)) for column in columns]
        cells.append([TITLES.get(row, row if plain else f"`{row}`"), *values])
    cpus = " and ".join(sorted({run["cpu"] for run in runs.values()}))
    seeds = f"median over seeds {', '.join(runs)} (least to most)" if len(runs) > 1 else f"seed {next(iter(runs))}"
    text = [
        markdown(cells),
        "",
        f"Each number: {seeds}. On {first['on']}.",
        f"Made by `python -m tests.figures {line}` on {cpus}; the digits depend on the model of CPU.",
    ]
    if said := unranked(runs, rows, columns):
        text.append(said)
    for name in first["said"]:
        values = [run["said"][name] for run in runs.values() if run["said"].get(name) is not None]
        if values:
            text.append(f"{name}: {shown(values)}.")
    for name, other in others:
        each = [
            f"`{row}` {column} {shown(of_seeds(other['seeds'], row, column))}" for row, column in fallen(result, other)
        ]
        if each:
            text.append(f"On another world ({name}) outside of these ranges: {'; '.join(each)}.")
    return "\n".join(text)


def fallen(result: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(row, column) whose median on another world lies outside of the range here."""
    runs, found = result["seeds"], []
    for row, numbers in next(iter(runs.values()))["rows"]:
        for column in numbers:
            here, there = of_seeds(runs, row, column), of_seeds(other["seeds"], row, column)
            trained = len(set(here)) > 1
            if trained and there and not min(here) <= median(there) <= max(here):
                found.append((row, column))
    return found


def parts(readme: Path, line: str) -> tuple[str, str]:
    """What stands before and after a line's block. Raises `BadInput` where the file or a marker is missing."""
    begin, end = f"<!-- figures:{line} -->\n", "\n<!-- /figures -->"
    if not readme.is_file():
        raise BadInput(f"{readme}: no such file; name one with --readme")
    before, found, rest = readme.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise BadInput(f"{readme}: no {begin.strip()} with a {end.strip()} after it; put both where the table goes")
    return before + begin, end + after


def wanted(readme: Path, name: str) -> bool:
    """Is there a place for this block? A line's own is asked for before (`parts`); a learning curve may have none."""
    return f"<!-- figures:{name} -->" in readme.read_text(encoding="utf-8")


def write(readme: Path, blocks: Mapping[str, str]) -> None:
    """Between `<!-- figures:<line> -->` and `<!-- /figures -->`."""
    for line, inside in blocks.items():
        before, after = parts(readme, line)
        write_text(readme, f"{before}{inside}{after}")
