"""Which images or films belong together, by their names: copies of one picture, frames of one film, films of one trip.

    10_jpg.rf.b856d7.jpg                        a copy of 10.jpg that Roboflow made, read as that
    20240501_081500_NF, 2024_0501_081500_0001F  BlackVue's and Viofo's films; a trip is a day, or two that meet at night
    20240501081500_000123F, 240501_081500_001_FH, VID_20240501_081500, 2024-05-01_08-15-00-front    others'
    GH010042, GH020042                          chapters of GoPro's film 42
    c3s1_000451                                 else a frame is of what stands before its last number: c3s1

What belongs together never lies in two splits.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from itertools import groupby, pairwise

from tasks.yard.files import natural
from tasks.yard.splits import SPLITS

COPY = re.compile(r"(.+?)(?:[_.](?:jpe?g|png|bmp|webp|tiff?))?\.rf\.[0-9a-zA-Z]+")
FILM_FRAME = re.compile(r"(.+[_.](?:mp4|mov|avi|mkv|m4v|webm))[-_]\d+", re.IGNORECASE)  # as Roboflow calls them
CHAPTER = re.compile(r"(?<![0-9A-Za-z])G[HXLP]\d\d(\d{4})(?!\d)")
TIME = r"(?:[-_ T.]?([01]\d|2[0-3])[-_.:]?([0-5]\d)[-_.:]?([0-5]\d))"
MOMENT = re.compile(rf"(?<!\d)((?:19|20)\d\d)[-_.]?(0[1-9]|1[0-2])[-_.]?(0[1-9]|[12]\d|3[01])(?:{TIME}|(?!\d))")
SHORT_MOMENT = re.compile(rf"(?<!\d)(\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])[-_]{TIME}(?!\d)")
MEET = timedelta(minutes=15)  # films of one trip begin no further apart: cameras cut them at 1 to 10 minutes
TO = " to "  # between the first and the last picture in the name of a run
RUNS = 10  # that images are cut into where their names show too few groups


def picture_of(stem: str) -> str:
    """The picture that an image is a copy of; by its name without suffix."""
    copy = COPY.fullmatch(stem)
    return copy[1] if copy else stem


def moment(name: str) -> tuple[datetime, bool] | None:
    """(the date in a name, midnight if it has no time; whether it has one)."""
    found = MOMENT.search(name) or SHORT_MOMENT.search(name)
    if not found:
        return None
    parts = found.groups()
    year, month, day = (int(part) for part in parts[:3])
    time = [int(part) for part in parts[3:] if part]
    try:
        return datetime(year if year > 99 else 2000 + year, month, day, *time), bool(time)
    except ValueError:  # 31 February
        return None


def day_of(name: str) -> str | None:
    found = moment(name)
    return found[0].date().isoformat() if found else None


def trips(names: Iterable[str]) -> dict[str, str]:
    """{name: its trip} of those that hold a date: the day, the first one of days whose films follow each other."""
    moments = {name: found for name in names if (found := moment(name))}
    first: dict[str, str] = {}  # {day: the day that its trip began on}
    before: datetime | None = None
    for at, timed in sorted(moments.values()):
        day = at.date().isoformat()
        meets = timed and before is not None and at - before <= MEET
        first.setdefault(day, first[before.date().isoformat()] if meets and before else day)
        before = at if timed else before
    return {name: first[at.date().isoformat()] for name, (at, _) in moments.items()}


def film_of(name: str) -> str | None:
    """The film that a file is a chapter of."""
    chapter = CHAPTER.search(name)
    return f"film {chapter[1]}" if chapter else None


def group_of(stem: str) -> str:
    """What an image belongs to, by its name alone; dates are for `groups`."""
    picture = picture_of(stem)
    if film := FILM_FRAME.fullmatch(picture):
        return film[1]
    if chapter := film_of(picture):
        return chapter
    return re.sub(r"[-_.]*[0-9]+$", "", picture)


def film_of_frame(stem: str) -> str:
    """The film that an image calls itself a frame of, without its suffix and in small letters; of folders on the way to
    the image the last, if its own name is a number."""
    picture = picture_of(stem)
    film = FILM_FRAME.fullmatch(picture)
    name = re.sub(r"[_.][^_.]+$", "", film[1]) if film else re.sub(r"[-_.]*[0-9]+$", "", picture)
    return name.rstrip("/").rpartition("/")[2].lower()


def groups(stems: Iterable[str]) -> dict[str, str]:
    """{name without suffix: what it belongs to}."""
    known = list(stems)
    of_trips = trips(known)
    return {stem: of_trips.get(stem) or group_of(stem) for stem in known}


def runs(names: Iterable[str], before: Collection[str] = ()) -> dict[str, str]:
    """Neighbouring names together, copies of one picture too: for those that show too few groups.

    A run is called as its first and last picture. Those of `before` stay as they were; of what has come since, between
    two of them or behind, each group is a run.
    """
    ordered = sorted(names, key=lambda name: (natural(picture_of(name)), name))
    pictures = list(dict.fromkeys(map(picture_of, ordered)))
    ends = [run.split(TO) for run in before if run.count(TO) == 1]
    spans = sorted((natural(first), natural(last), f"{first}{TO}{last}") for first, last in ends)
    begins = [begin for begin, _, _ in spans]

    def known(picture: str) -> str | None:
        place = bisect_right(begins, natural(picture)) - 1
        return spans[place][2] if place >= 0 and natural(picture) <= spans[place][1] else None

    parts = 1 if any(map(known, pictures)) else min(RUNS, len(pictures))
    run_of: dict[str, str] = {}
    for (run, _), stretch in groupby(pictures, key=lambda picture: (known(picture), parts == 1 and group_of(picture))):
        some = list(stretch)
        if run is not None:
            run_of |= dict.fromkeys(some, run)
            continue
        for number in range(parts):
            mine = [picture for place, picture in enumerate(some) if place * parts // len(some) == number]
            run_of |= dict.fromkeys(mine, f"{mine[0]}{TO}{mine[-1]}")
    return {name: run_of[picture_of(name)] for name in ordered}


def were_runs(names: Iterable[str], before: Collection[str]) -> bool:
    """Were some of them cut into runs? Then they stay so, however many groups their names show by now."""
    return not set(runs(names, before).values()).isdisjoint(before)


def guard(run_of: Mapping[str, str], split_of: Mapping[str, str], images: int) -> set[str]:
    """Names to leave out where a run is beside one of another split: so many pictures, at most a quarter of the run
    whose split comes first in train, val, test. `run_of`: {name: run} by `runs`, `split_of`: {run: split}."""
    ordered = sorted(run_of, key=lambda name: (natural(picture_of(name)), name))
    pictures: dict[str, dict[str, list[str]]] = {}
    for name in ordered:
        pictures.setdefault(run_of[name], {}).setdefault(picture_of(name), []).append(name)
    left_out: set[str] = set()
    for one, other in pairwise(pictures):
        if split_of[one] == split_of[other]:
            continue
        at_end = SPLITS.index(split_of[one]) < SPLITS.index(split_of[other])
        mine = list(pictures[one if at_end else other].values())
        count = min(images, len(mine) // 4)
        left_out |= {name for same in (mine[len(mine) - count :] if at_end else mine[:count]) for name in same}
    return left_out


def guard_remarks(left_out: Collection[str], images: int) -> list[str]:
    if not left_out:
        return []
    return [f"{len(left_out)} images are left out beside runs of another split (guard_images = {images})"]


def divided_copies(placed: Iterable[tuple[str, str]]) -> list[str]:
    """Pictures of which copies lie in several splits, by (name without suffix, split) of images."""
    splits: dict[str, set[str]] = {}
    for stem, split in placed:
        if (picture := picture_of(stem)) != stem:
            splits.setdefault(picture, set()).add(split)
    return sorted(picture for picture, of in splits.items() if len(of) > 1)
