"""What belongs together by its name, so that no split may divide it: copies of one picture, films of one trip.

<x>_jpg.rf.<hash>.jpg                          Roboflow's copies of the picture <x>.jpg, turned or coloured anew
20240501_081500_NF, 2024_0501_081500_0001F,    a minute or so of a trip, as dashcams store it: BlackVue, Viofo,
20240501081500_000123F, 240501_081500_001_FH   Nextbase; a day is a trip, and so are two that meet at midnight
GX020123, GP020123, GOPR0123                   chapters of one film of a GoPro
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta

COPY = re.compile(r"(.+)_(?:jpe?g|png|bmp|webp|tiff?)\.rf\.[0-9a-z]{6,}", re.IGNORECASE)
STAMPS = (
    re.compile(
        r"(?<!\d)((?:19|20)\d\d)[-_.]?(\d\d)[-_.]?(\d\d)[-_. T]{0,3}(\d\d)[-_.:]?(\d\d)[-_.:]?(\d\d)(?=\D|\d{3}\D|$)"
    ),
    re.compile(r"(?<!\d)(\d\d)(\d\d)(\d\d)_(\d\d)(\d\d)(\d\d)(?!\d)"),
)
DAY = re.compile(r"(\d{4}-\d{2}-\d{2})(?:[_ ]|$)")
CHAPTER = re.compile(r"(?:.*[^A-Za-z0-9])?(?:G[HXLP]\d\d|GOPR)(\d{4})", re.IGNORECASE)
SAME_TRIP = timedelta(minutes=10)  # between the starts of two films of one trip; dashcams store 1 to 5 min a film
JUDGED_FIRST = ("test", "val", "train")  # of copies in several splits those in the first of these stay


def picture_of(stem: str) -> str | None:
    """The picture that a file named so (without its suffix) is a copy of; None if its name does not say so."""
    match = COPY.fullmatch(stem)
    return match[1] if match else None


def copies_elsewhere(images: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """Of (name, stem, split): {name: why} of the copies to leave out, whose picture is in a split that is judged on."""
    copies = [(name, picture, split) for name, stem, split in images if (picture := picture_of(stem)) is not None]
    home: dict[str, str] = {}
    for _, picture, split in sorted(copies, key=lambda copy: JUDGED_FIRST.index(copy[2])):
        home.setdefault(picture, split)
    return {
        name: f"a copy of the picture {picture}, which is in {home[picture]} too"
        for name, picture, split in copies
        if split != home[picture]
    }


def moment_of(name: str) -> datetime | None:
    """When a film or drive named so began; None if its name does not say so."""
    for stamp in STAMPS:
        for match in stamp.finditer(name):
            year, *others = (int(number) for number in match.groups())
            try:
                return datetime(year if year > 99 else 2000 + year, *others)
            except ValueError:
                continue  # 99 is no month: these digits are a serial number
    return None


def trips(names: Iterable[str]) -> dict[str, str]:
    """The group of each drive: its day, where the name says one, else the film that it is a chapter of, else itself."""
    groups: dict[str, str] = {}
    begun: list[tuple[datetime, str]] = []
    for name in names:
        moment, day, chapter = moment_of(name), DAY.match(name), CHAPTER.fullmatch(name)
        if moment is not None:
            begun.append((moment, name))
            groups[name] = moment.date().isoformat()
        else:
            groups[name] = day[1] if day else f"film-{chapter[1]}" if chapter else name
    last: tuple[datetime, str] | None = None
    for moment, name in sorted(begun):
        if last is not None and moment - last[0] <= SAME_TRIP:
            groups[name] = groups[last[1]] if moment.date() != last[0].date() else groups[name]
        last = moment, name
    joined = {}  # a trip over midnight takes the rest of its second day with it
    for moment, name in sorted(begun):
        joined.setdefault(moment.date(), groups[name])
        groups[name] = joined[moment.date()]
    return groups
