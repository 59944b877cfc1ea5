"""The CSV of a logger as text cells, whatever program saved it: encoding, separator, damage, a header that comes again.

Only the damaged rows are lost: one with bytes of a power cut, with too many cells or an open quote becomes an error
row. Everything that was read otherwise than as a plain comma-separated UTF-8 file is said in `notes`.
"""

from __future__ import annotations

import csv
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, tee
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from tasks.brake_coast.formats.cells import UNITS
from tasks.yard.step import BadInput

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
DAMAGED = "Incomplete Data"  # what the key cell of a damaged row says
HEADER_LINES = 50  # where a header may stand: loggers like to write about themselves first
MOST_WIDE_SHARE = 0.1  # of the rows that may have too many cells; more is another table than its header says
MOST_MB = 500  # of one table: 10 million rows, a day at 100 a second; reading it takes five times that
PART_ROWS = 5_000
UNIT = re.compile(r"^(.*?)\s*[(\[]([^)\]]*)[)\]]$")


class Line(NamedTuple):
    number: int
    text: str
    cut: bool  # off at its end: the file ends in it


@dataclass(frozen=True)
class Table:
    """`cells` has a text column a name that is kept, `names` are all there were; `units` what stands in brackets behind
    a name; `damaged` counts rows. Rows that are the same in all columns have the same number in `marks`."""

    cells: pd.DataFrame
    names: list[str]
    marks: np.ndarray
    units: dict[str, str]
    damaged: int
    notes: list[str]


def decoded(data: bytes) -> tuple[str, str]:
    """(text, name of the encoding): UTF-8, UTF-16 with or without a mark, else that of a Western Windows."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace"), "UTF-16"
    even, odd = (data[start:400:2].count(0) / max(1, len(data[start:400:2])) for start in (0, 1))
    if abs(odd - even) > 0.5:  # every other byte of English text is 0
        return data.decode("utf-16-le" if odd > even else "utf-16-be", "replace"), "UTF-16"
    try:
        return data.decode("utf-8-sig"), "UTF-8"
    except UnicodeDecodeError:
        text = data.decode("utf-8-sig", "replace")
    lines = text.split("\n")
    spoilt = sum("\ufffd" in line for line in lines)
    if spoilt <= 0.05 * len(lines) and "\ufffd" not in lines[0]:  # a few damaged rows of a UTF-8 file
        return text, "UTF-8"
    return data.decode("cp1252", "replace"), "Windows-1252"


def _lines(text: str, damaged: list[int]) -> Iterator[Line]:
    """Those that hold something, one by one: two million of them at once are 200 MB. `damaged` gets the numbers of
    those that are."""
    number, start, whole = 0, 0, text.endswith(("\n", "\r", "\0"))
    for end in re.finditer(r"\r\n|\n|\r|\Z", text):
        number, line, start = number + 1, text[start : end.start()], end.end()
        if "\0" in line:  # what stands behind the zero bytes is the row with which logging went on
            damaged.append(number)
            line = line.rpartition("\0")[2]
        if line.strip(" ,;\t|"):
            yield Line(number, line, cut=not whole and end.end() == len(text))


def split(line: str, separator: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])]


def _name(cell: str, known: dict[str, str]) -> tuple[str, str]:
    """(name, unit) of a header's cell; known names are found in any case, with blanks for underscores."""
    cell = cell.strip().strip("\ufeff").strip('"')
    match = UNIT.match(cell)
    name, unit = (match[1], match[2].strip()) if match else (cell, "")
    return known.get(re.sub(r"[\s_]+", "_", name.strip()).upper(), name.strip() or cell), unit


def _header(lines: list[Line], known: dict[str, str]) -> tuple[int, str]:
    """(place in `lines`, separator): of the first lines the one with the most known names."""

    def score(place: int, separator: str) -> tuple[int, int, int]:
        cells = split(lines[place].text, separator)
        named = {_name(c, known)[0] for c in cells} if place in may_name else set()
        return len(named & set(known.values())), len(cells), -place

    places = range(min(HEADER_LINES, len(lines)))
    plain = {place: re.sub(r"[\s_]+", "_", lines[place].text).upper() for place in places}
    may_name = {place for place, text in plain.items() if any(name in text for name in known)}
    scores = {(place, separator): score(place, separator) for place in places for separator in SEPARATORS}
    if not any(names for names, *_ in scores.values()):
        scores = {option: found for option, found in scores.items() if option[0] == 0}
    return max(scores, key=scores.__getitem__)


def _units_below(line: str, names: dict[str, str], separator: str) -> dict[str, str]:
    """{name: unit} if this line holds units of the columns and nothing else."""
    told = {name: cell.strip("()[] ") for name, cell in zip(names, split(line, separator), strict=False)}
    filled = {name: cell for name, cell in told.items() if cell not in ("", "-")}
    known = sum(cell.lower() in UNITS.get(name, {}) for name, cell in filled.items())
    if known < 2 or any(any(mark.isdigit() for mark in cell) and "/" not in cell for cell in filled.values()):
        return {}
    return {name: cell for name, cell in filled.items() if not names[name]}


def _names(line: str, separator: str, known: dict[str, str], path: Path) -> dict[str, str]:
    """{name: unit} of a header, in the order of its columns; a name that comes again gets a number."""
    names: dict[str, str] = {}
    cells = split(line, separator)
    while cells and not cells[-1]:  # a header that ends in a separator
        cells.pop()
    for cell in cells:
        name, unit = _name(cell, known)
        if name in names and name in known.values():
            raise BadInput(f"{path}: two columns are called {name}; leave one of them out")
        base, n = name, 1
        while name in names:
            name, n = f"{base}.{n}", n + 1
        names[name] = unit
    return names


def read_table(path: Path, known: Sequence[str], key: str, *, alone: bool = False) -> Table:
    """A CSV as text cells, blank ones included; names in `known` are found in any spelling of case, `key` is its clock.
    `alone`: nothing is kept of other columns, which are most of what some loggers write.

    Raises `BadInput` naming the file if it is absent, empty or no table.
    """
    try:
        if path.stat().st_size > MOST_MB * 1e6:
            raise BadInput(f"{path}: {path.stat().st_size / 1e6:.0f} MB in one table; split it, one file a drive")
        text, encoding = decoded(path.read_bytes())
    except FileNotFoundError:
        raise BadInput(f"{path}: no {path.name} in this recording") from None
    if not text.strip(" \r\n\t\0"):
        raise BadInput(f"{path}: the file is empty; record it again or remove the folder")
    spelt = {name.upper(): name for name in known}
    damaged: list[int] = []
    lines = _lines(text, damaged)
    first = list(islice(lines, HEADER_LINES + 2))
    notes = [f"read as {encoding}"] if encoding != "UTF-8" else []
    try:
        place, separator = _header(first, spelt)
        names = _names(first[place].text, separator, spelt, path)
        if separator != ",":
            notes.append(f"its cells are separated by {SEPARATORS[separator]}")
        before = [line.text for line in first[:place] if not line.text.lower().startswith("sep=")]
        if before:
            notes.append(f"{len(before)} lines before the header are passed over, the first is '{before[0][:40]}'")
        below = first[place + 1 :]
        if below and (units := _units_below(below[0].text, names, separator)):
            names |= units
            notes.append("the units are read from the line below the header")
            del below[0]
        kept = set(known) if alone else None
        return _rows(path, chain(below, lines), damaged, names, separator, spelt, key, notes, kept)
    except csv.Error as error:
        raise BadInput(f"{path}: not a readable CSV ({error})") from None


def _rows(
    path: Path,
    lines: Iterable[Line],
    damaged: list[int],
    names: dict[str, str],
    separator: str,
    known: dict[str, str],
    key: str,
    notes: list[str],
    kept: set[str] | None,
) -> Table:
    def readable() -> Iterator[Line]:
        for line in lines:
            if line.text.count('"') % 2:
                damaged.append(line.number)
            else:
                yield line

    lines_, split_here = tee(readable())
    split_rows = csv.reader((line.text for line in split_here), delimiter=separator, skipinitialspace=True)
    columns, parts, again, read, wide, short = list(names), [], [], 0, 0, 0
    rows: list[list[str]] = []
    units = dict(names)
    where, marks = array("q"), array("q")  # of each row the number of its line, and what tells its cells from others

    def places() -> list[int]:
        return [place for place, name in enumerate(columns) if kept is None or name in kept]

    def close() -> None:
        parts.append(pd.DataFrame(rows, columns=[columns[place] for place in mine], dtype=str))
        rows.clear()

    mine = places()

    for (number, line, cut), cells in zip(lines_, split_rows, strict=True):
        read += 1
        cells = [cell.strip() for cell in cells]
        if (
            key.upper() in line.upper()
            and key in (found := {_name(c, known)[0] for c in cells})
            and len(found & set(columns)) > 1
        ):
            again.append(number)  # the logger was started again; its columns may be others now
            close()
            new = _names(line, separator, known, path)
            columns, units = list(new), {**units, **new}
            mine = places()
            continue
        surplus = [cell for cell in cells[len(columns) :] if cell]
        wide += bool(surplus)
        if surplus or "\ufffd" in line or "\0" in line or (cut and len(cells) < len(columns)):
            damaged.append(number)
            continue
        short += len(cells) < len(columns)
        rows.append([cells[place] if place < len(cells) else "" for place in mine])
        where.append(number)
        marks.append(hash("\0".join(cells).rstrip("\0")))
        if len(rows) == PART_ROWS:  # a column of text is smaller than lists of cells
            close()
    close()
    cells = pd.concat(parts, ignore_index=True).fillna("") if len(parts) > 1 else parts[0]
    if wide > MOST_WIDE_SHARE * max(1, read):
        raise BadInput(
            f"{path}: {wide} of {read} rows have more cells than the {len(columns)} of the header; are there "
            "decimal commas in a file separated by commas? Write decimal points, or separate by semicolons"
        )
    if short > MOST_WIDE_SHARE * max(1, read):
        notes.append(f"{short} of {read} rows have fewer cells than the header: their last columns are blank")
    if again:
        notes.append(f"the header comes again in line {again[0]}" + f" and {len(again) - 1} more" * (len(again) > 1))
    told_apart = np.array(marks, dtype=np.int64)
    if damaged:
        damaged.sort()
        notes.append(f"{len(damaged)} damaged rows are left out, the first in line {damaged[0]}")
        blank = pd.DataFrame({name: [DAMAGED if name == key else ""] * len(damaged) for name in cells}, index=damaged)
        cells = pd.concat([cells.set_axis(where), blank]).sort_index(kind="stable").reset_index(drop=True)
        order = np.argsort(np.array([*where, *damaged]), kind="stable")
        told_apart = np.concatenate([told_apart, np.zeros(len(damaged), np.int64)])[order]
    told = {name: unit for name, unit in units.items() if unit}
    return Table(cells, list(units), told_apart, told, len(damaged), notes)
