"""Which recordings of a source are of the days that a section's `dates` ask for.

    2026-01-01..2026-03-31    from the first day to the last, both of them included
    2026-01-01..              and all that is still to come
    ..2026-03-31              and all before
    2026-01-01                that day

The day of a recording is the first of these that there is:
    name     the date in its own name, else in that of the next folder on the way to it
    data     the first date in its data, where its line knows how to read it; then in the names of its files
    change   when the newest of its files was last changed, in UTC; of an object of a bucket its Last-Modified

Of a bucket what lies below folders of other days is not even fetched, see `elsewhere`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tasks.yard.fanout import NOUNS
from tasks.yard.layouts import groups
from tasks.yard.step import BadInput

log = logging.getLogger(__name__)
TO = ".."
FORM = "2026-01-31"
WAYS = {
    "name": "by a date in their names",
    "data": "by their data",
    "change": "without one, by the last change of their files",
}
NAMED = 3
HEAD_BYTES = 4096


class Placed(Protocol):
    @property
    def path(self) -> Path: ...


T = TypeVar("T", bound=Placed)


@dataclass(frozen=True, order=True)
class Span:
    """Days from the first to the last one, both included."""

    first: date = date.min
    last: date = date.max

    def __str__(self) -> str:
        if self.first == self.last:
            return self.first.isoformat()
        begin = "" if self.first == date.min else self.first.isoformat()
        return f"{begin}{TO}{'' if self.last == date.max else self.last.isoformat()}"

    def __contains__(self, day: date) -> bool:
        return self.first <= day <= self.last


def day(text: str, where: str) -> date:
    """Raises `BadInput` for what is no day."""
    try:
        if len(text) != len(FORM):
            raise ValueError(text)
        return date.fromisoformat(text)
    except ValueError:
        raise BadInput(f"{where}: {text!r} is no day; write it as {FORM}") from None


def span(text: str, where: str = "dates") -> Span:
    """Raises `BadInput` for what is none, or ends before it begins."""
    first, dots, last = text.partition(TO)
    if not dots:
        last = first
    if not first and not last:
        raise BadInput(f"{where}: {text!r} names no day; write {FORM}{TO}{FORM}, or null for every day")
    begin = day(first, where) if first else date.min
    end = day(last, where) if last else date.max
    if begin > end:
        raise BadInput(f"{where}: {first} is after {last}; the first day comes first")
    return Span(begin, end)


def joined(spans: Iterable[Span]) -> list[Span]:
    """In order, and those that meet as one."""
    found: list[Span] = []
    for one in sorted(spans):
        if found and (found[-1].last == date.max or one.first <= found[-1].last + timedelta(days=1)):
            found[-1] = Span(found[-1].first, max(found[-1].last, one.last))
        else:
            found.append(one)
    return found


def plain(texts: Sequence[str] | None) -> list[str] | None:
    """A section's `dates` in one way of writing it. Raises `BadInput` if it cannot be used."""
    return None if texts is None else [str(one) for one in joined(span(text) for text in texts)]


@dataclass(frozen=True)
class Dated:
    """The day of one recording, and the key of WAYS that tells it."""

    day: date
    by: str


def in_name(name: str) -> date | None:
    found = groups.moment(name)
    return found[0].date() if found else None


def elsewhere(names: Collection[str], asked: Sequence[str]) -> set[str]:
    """Of the paths of files, those below folders of other days: a folder with a date in its name, and without one of
    the asked days in any name below it. If the folder that holds it has files of its own it is left alone: that one may
    be a recording, of which the days are parts."""
    spans = [span(text) for text in asked]
    day_in = lru_cache(maxsize=None)(in_name)
    holders = {name.rpartition("/")[0] for name in names}
    below: dict[str, list[str]] = {}
    for name in names:
        above, folders = "", name.split("/")[:-1]
        for folder in folders:
            if day_in(folder):
                if above.rstrip("/") not in holders:
                    below.setdefault(f"{above}{folder}", []).append(name)
                break
            above += f"{folder}/"
    found: set[str] = set()
    for files in below.values():
        days = {day for name in files for part in name.split("/") if (day := day_in(part))}
        if not any(day in one for day in days for one in spans):
            found.update(files)
    return found


def head(path: Path) -> date | None:
    """The first date in the beginning of a text file."""
    try:
        with path.open("rb") as file:
            return in_name(file.read(HEAD_BYTES).decode("utf-8", errors="replace"))
    except OSError:
        return None


def day_of(place: Path, root: Path, files: Callable[[], Sequence[Path]], data: Callable[[], date | None]) -> Dated:
    below = place.relative_to(root).parts if place.is_relative_to(root) else (place.name,)
    for part in reversed(below or (root.name,)):
        if found := in_name(part):
            return Dated(found, "name")
    if found := data():
        return Dated(found, "data")
    mine = files()
    if inside := [found for file in mine if (found := in_name(file.name))]:
        return Dated(min(inside), "data")
    times = [file.stat().st_mtime for file in mine if file.is_file()] or [root.stat().st_mtime]
    return Dated(datetime.fromtimestamp(max(times), UTC).date(), "change")


def days(
    units: Sequence[T],
    root: Path,
    files_of: Callable[[T], Sequence[Path]],
    told: Callable[[T], date | None] = lambda unit: None,
) -> list[Dated]:
    """The day of each unit of the source in `root`; `told` reads it from the unit's data."""
    return [day_of(unit.path, root, lambda unit=unit: files_of(unit), lambda unit=unit: told(unit)) for unit in units]


def chosen(
    units: Sequence[T],
    found: Sequence[Dated],
    dates: Sequence[str] | None,
    shown: str,
    nouns: tuple[str, str] = NOUNS,
) -> tuple[list[T], dict[str, Any]]:
    """Those of the units whose day is among `dates`, and what there is to say of it; all, and {}, without `dates`."""
    if dates is None or not units:
        return list(units), {}
    spans = [span(text) for text in dates]
    kept = [unit for unit, dated in zip(units, found, strict=True) if any(dated.day in one for one in spans)]
    first, last = (end(dated.day for dated in found) for end in (min, max))
    by = Counter(dated.by for dated in found)
    about = {"asked": list(dates), "taken": len(kept), "of": len(units), "by": dict(sorted(by.items()))}
    about |= {"first": first.isoformat(), "last": last.isoformat()}
    ways = ", ".join(f"{by[way]} {words}" for way, words in WAYS.items() if by[way])
    log.info("%s: %d of %d %s are of %s; %s", shown, len(kept), len(units), nouns[1], ", ".join(dates), ways)
    if by["change"]:
        bare = [unit.path.name for unit, dated in zip(units, found, strict=True) if dated.by == "change"]
        more = f" and {len(bare) - NAMED} more" if len(bare) > NAMED else ""
        log.warning(
            "%s: no date in the names or data of %s%s: the day of the last change of their files counts",
            shown, ", ".join(bare[:NAMED]), more,
        )  # fmt: skip
    return kept, about


def refuse_none(units: Collection[Any], abouts: Iterable[dict[str, Any]], shown: str, noun: str = NOUNS[0]) -> None:
    """Raises `BadInput` if none of the units is left, with what `chosen` had to say."""
    said = [about for about in abouts if about]
    if said and not units:
        first, last = min(about["first"] for about in said), max(about["last"] for about in said)
        asked = ", ".join(said[0]["asked"])
        raise BadInput(f"{shown}: no {noun} is of {asked}; those it holds are of {first} to {last}")


def refuse_world(dates: Sequence[str] | None, uri: str) -> None:
    """A world has as many recordings as it is asked for, and no days."""
    if dates is not None:
        raise BadInput(f"{uri.partition('?')[0]}: a synthetic world has no days; set dates to null, or name a source")
