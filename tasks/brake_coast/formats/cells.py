"""What a text cell of a telemetry file means: numbers with decimal commas and units, and whether a brake is pressed.

A blank or a word such as "No Data" is a missing reply. Any other cell that is not understood is counted, said with an
example, and refused where there are many: it means something, and nobody knows what.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.yard.step import BadInput

MISSING = {"", "nan", "no data", "nodata", "none", "null", "nil", "n/a", "na", "#n/a", "n.a.", "-", "--", "---", "?"}
MISSING |= {"no frame", "incomplete data", "inf", "-inf", "+inf", "infinity", "-infinity", "unknown", "sna", "invalid"}
YES = "true t wahr yes y ja j on ein an pressed braking active vrai oui verdadero si sí sì vero sim waar aan high"
NO = "false f falsch no n nein off aus released inactive faux non falso não onwaar uit low"
WORDS = {**dict.fromkeys(YES.split(), 1.0), **dict.fromkeys([*NO.split(), "not pressed"], 0.0)}
PER_CENT = {"%": 1.0, "pct": 1.0, "percent": 1.0, "per cent": 1.0, "prozent": 1.0}
UNITS: dict[str, dict[str, float]] = {  # of a column: how many of our units one of these is
    "SPEED": {"km/h": 1.0, "kmh": 1.0, "kph": 1.0, "kmph": 1.0, "km/std": 1.0, "mph": 1.609344, "mi/h": 1.609344}
    | {"m/s": 3.6, "mps": 3.6, "ms-1": 3.6, "m s-1": 3.6, "kn": 1.852, "kt": 1.852, "knots": 1.852},
    "RPM": {"rpm": 1.0, "1/min": 1.0, "/min": 1.0, "u/min": 1.0, "r/min": 1.0, "min-1": 1.0, "min^-1": 1.0, "upm": 1.0}
    | {"rev/min": 1.0, "1/s": 60.0, "rps": 60.0, "x1000": 1000.0},
    "ACCELERATOR_POS_D": PER_CENT,
    "ENGINE_LOAD": PER_CENT,
    "BRAKE_SIGNAL": PER_CENT,
    "GEAR": {},
    "Time": {"s": 1.0, "sec": 1.0, "secs": 1.0, "seconds": 1.0, "sek": 1.0, "ms": 1e-3, "msec": 1e-3, "us": 1e-6}
    | {"µs": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0},
}
GEARS = {"n": 0.0, "p": 0.0, "r": 0.0, "d": np.nan, "s": np.nan, "m": np.nan}  # a lever's letter tells no number
CELL = re.compile(r"([+-]?\d[\d.,'\u2019\u00a0\u202f ]*|[+-]?[.,]\d+)(e[+-]?\d+)?\s*(\D.*)?", re.IGNORECASE)
GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}([.,' \u2019\u00a0\u202f]\d{3})+")
MOST_PRESSED = 0.75  # of the rows of a pedal with many levels: nobody brakes so much
FEWEST_PRESSED = 20  # rows, of a brake that is never released
UNREAD_SHARE = 0.05  # of a column's filled cells; more are no glitch


@dataclass(frozen=True)
class Column:
    """`values` with NaN for what is missing; `unread` marks the filled cells that nobody understood."""

    values: np.ndarray
    unread: np.ndarray
    notes: list[str]


def _split(cell: str) -> tuple[str, str, str] | None:
    """(digits with marks, exponent, unit) of a cell that begins with a number."""
    match = CELL.fullmatch(cell)
    return (match[1].strip(), match[2] or "", (match[3] or "").strip().lower()) if match else None


def _thousands(column: str, texts: list[str]) -> str:
    """Which of "." and "," parts thousands in these cells, "" for neither. Of 1,234 alone the others have to say it."""
    for mark, other in ((",", "."), (".", ",")):
        if any(text.rfind(other) > text.find(mark) >= 0 for text in texts if other in text):
            return mark  # 1.234,5
    marked = [text for text in texts if "," in text]
    if not marked or not all(GROUPS.fullmatch(text) for text in marked):
        return ""
    whole = [text for text in texts if text.isdigit()]
    return "," if any("," in t[t.find(",") + 1 :] for t in marked) or whole or column == "RPM" else ""


def numbers(cells: pd.Series, column: str, unit: str = "") -> Column:
    """The numbers of a column in our units; `unit` is that of its header. A cell's own unit goes before it."""
    units, notes = UNITS.get(column, {}), []
    unit = unit.lower().strip()
    factor = units.get(unit, 1.0)
    if unit and unit not in units and column in UNITS and unit not in ("-", "text", "bool", "0/1"):
        notes.append(f"{column}: the unit '{unit}' of its header is not known and is taken for ours")
    values = np.array(pd.to_numeric(cells.to_numpy(object), errors="coerce"), np.float64)
    if np.isfinite(values).all():  # most columns: nothing but plain numbers
        converted = [f"{column}: converted from {unit}"] if factor != 1 else []
        return Column(values * factor, np.zeros(len(values), bool), notes + converted)
    text = cells.fillna("").astype(str).str.strip()
    values = pd.to_numeric(text, errors="coerce").replace([np.inf, -np.inf], np.nan).to_numpy(np.float64).copy()
    plain = np.isfinite(values)
    values *= factor
    lower = text.str.lower()
    filled = ~lower.isin(MISSING).to_numpy()
    others = np.flatnonzero(filled & ~plain)
    told = text.tolist()
    parts = {i: part for i in others.tolist() if (part := _split(told[i])) is not None}
    digits = [part[0] for part in parts.values()]
    thousands = _thousands(column, digits + text[plain].tolist()) if any("," in d for d in digits) else ""
    commas, converted = 0, set()
    for i, (number, exponent, own) in parts.items():
        if own and own not in units:
            continue
        number = re.sub(r"['\u2019\u00a0\u202f ]", "", number)
        number = (number.replace(thousands, "") if thousands else number).replace(",", ".")
        try:
            values[i] = float(number + exponent) * (units[own] if own else factor)
        except ValueError:
            continue  # two decimal marks
        commas += "," in told[i]
        converted |= {own} if own and units[own] != 1 else set()
    if (column == "RPM" and thousands == ".") or (commas and _groups_of_dots(text[plain])):
        dotted = plain & text.str.fullmatch(GROUPS.pattern).to_numpy() & text.str.contains(".", regex=False).to_numpy()
        values[dotted] = [float(cell.replace(".", "")) * factor for cell in text[dotted]]  # 1.234 beside 987,5
    if column == "GEAR":
        for i in np.flatnonzero(filled & ~np.isfinite(values)):
            cell = lower.iloc[i]
            if cell in GEARS or (cell[:1] in "dsmg" and cell[1:].isdigit()) or cell.rstrip(".").isdigit():
                values[i] = GEARS[cell] if cell in GEARS else float(cell.strip("dsmg."))
                filled[i] = np.isfinite(values[i])
    if commas:
        notes.append(f"{column}: {'thousands have' if thousands == ',' else 'decimal'} commas")
    for own in sorted(converted | ({unit} if factor != 1 else set())):
        notes.append(f"{column}: converted from {own}")
    return Column(values, filled & ~np.isfinite(values), notes)


def _groups_of_dots(texts: pd.Series) -> bool:
    """Do all cells with a dot look like 1.234? In a column with decimal commas that dot parts thousands."""
    dotted = texts[texts.str.contains(".", regex=False)]
    return len(dotted) > 0 and bool(dotted.str.fullmatch(GROUPS.pattern).all())


def brakes(cells: pd.Series, unit: str = "") -> Column:
    """1 pressed, 0 released. Words of several languages; a share or a percentage is pressed where it is above 0.

    Raises `ValueError` if its numbers cannot say which of them is the released pedal.
    """
    text = cells.fillna("").astype(str).str.strip().str.lower()
    words = text.map(WORDS).to_numpy(np.float64)
    by_word = np.isfinite(words)
    if by_word.all() and not unit:  # most columns
        number = Column(np.full(len(words), np.nan), np.zeros(len(words), bool), [])
    else:
        number = numbers(cells.where(~by_word, ""), "BRAKE_SIGNAL", unit)
    amount, unread, notes = number.values, number.unread.copy(), list(number.notes)
    wrong = (amount < 0) | (amount > 100)
    unread |= wrong
    amount = np.where(wrong, np.nan, amount)
    known = amount[np.isfinite(amount)]
    levels = np.unique(known)
    above = levels[levels > 0]
    if len(above) and not np.array_equal(above, [1.0]):
        shown = ", ".join(f"{level:g}" for level in levels[:5]) + ", ..." * (len(levels) > 5)
        if len(above) > 1 and above.max() <= 3 and (above == above.astype(int)).all():
            raise ValueError(f"holds the codes {shown}: which of them is a pressed brake? Write True and False")
        if not by_word.any() and levels[0] > 0:
            raise ValueError(
                f"is never 0 (its levels are {shown}): where does it rest? Subtract that, or write True/False"
            )
        pressed = int((known > 0).sum())
        notes.append(f"BRAKE_SIGNAL: a brake is pressed above 0, that is in {pressed} of {len(known)} rows ({shown})")
        if not by_word.any() and len(above) > 2 and pressed > MOST_PRESSED * len(known):
            raise ValueError(
                f"is above 0 in {pressed} of {len(known)} rows ({shown}): does it rest a little above 0? "
                "Subtract where it rests, or write True/False"
            )
    values = np.where(by_word, words, np.where(np.isnan(amount), np.nan, amount > 0))
    blank = int(np.isnan(values).sum() - unread.sum())
    if (values == 1).sum() >= FEWEST_PRESSED and not (values == 0).any() and blank > len(values) / 5:
        raise ValueError(f"is pressed or blank ({blank} rows) and never released: write False where it is")
    return Column(values, unread, notes)


def refuse_unread(name: str, cells: pd.Series, column: Column, path: object) -> list[str]:
    """A warning for cells that are not understood, none if there are none. Raises `BadInput` if they are many."""
    count = int(column.unread.sum())
    if not count:
        return []
    filled = int((~cells.fillna("").astype(str).str.strip().str.lower().isin(MISSING)).sum())
    example = cells[column.unread].iloc[0]
    text = f"{name}: {count} of {filled} cells are not understood, such as '{str(example)[:40]}'"
    if count > UNREAD_SHARE * filled and count > 1:
        known = (
            "True or False" if name == "BRAKE_SIGNAL" else "plain numbers" + (f" in {_ours(name)}" * bool(_ours(name)))
        )
        raise BadInput(f"{path}: {text}; write {known}, and leave blank what is missing")
    return [text + "; they count as missing"]


def together(notes: list[str]) -> list[str]:
    """Notes that say the same of several columns as one."""
    columns: dict[str, list[str]] = {}
    for note in notes:
        column, colon, rest = note.partition(": ")
        plain = column in UNITS and colon and "cells" not in rest
        columns.setdefault(rest if plain else note, []).extend([column] if plain else [])
    return [f"{', '.join(names)}: {said}" if names else said for said, names in columns.items()]


def _ours(name: str) -> str:
    return next((unit for unit, factor in UNITS.get(name, {}).items() if factor == 1), "")
