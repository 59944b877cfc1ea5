"""Which photographs of a source belong together, by their names, and go into one split.

    bike7_before.jpg, bike7_after.jpg      a pair
    10_jpg.rf.b856d7.jpg                   a copy that Roboflow made of 10.jpg
    IMG_20240501_081500.jpg                a day: the same bikes, light and camera
    bike7_20240501_081500_before.jpg       a day, and a bike: what stands before the date and holds a number
    by the param group_by                  what its parentheses hold

Days on which one bike was photographed are one group, as long as a group for each split is left. A number at the end of
a name is no sequence here: photographs are counted, not filmed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from tasks.yard.layouts.groups import MOMENT, SHORT_MOMENT, day_of, picture_of
from tasks.yard.splits import SPLITS

PAIR = re.compile(r"(.*?)[-_. ]*(?<![a-z])(before|after)", re.IGNORECASE)
BIKE = re.compile(r"(.*\d.*?)[-_. ]*")


def pair_of(stem: str) -> str:
    """The name of a photograph without what says when of its pair it is, or that it is a copy."""
    picture = picture_of(stem)
    found = PAIR.fullmatch(picture)
    return found[1] if found and found[1] else picture


def bike_of(stem: str) -> str | None:
    """What stands before the date of a name, None where that holds no number, as in IMG_20240501; of a name without a
    date the name of its pair."""
    picture = picture_of(stem)
    if day_of(picture) is None:
        return pair_of(picture)
    date = MOMENT.search(picture) or SHORT_MOMENT.search(picture)
    found = BIKE.fullmatch(picture[: date.start()]) if date else None
    return found and found[1]


def joined(stems: Iterable[str]) -> dict[str, str]:
    """{name: its group}: whoever shares a day or a bike with one of a group is of it; called as its first day, or as
    its bike if it has none."""
    above: dict[str, str] = {}

    def root(name: str) -> str:
        while above.setdefault(name, name) != name:
            above[name] = name = above[above[name]]
        return name

    known = {stem: [of for of in (day_of(stem), bike_of(stem)) if of] for stem in stems}
    for days_first in known.values():
        ends = sorted(map(root, days_first), key=lambda name: (day_of(name) != name, name))
        above[ends[-1]] = ends[0]
    return {stem: root(of[0]) for stem, of in known.items()}


def by_name(stems: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """({name: its group}, remarks): days and bikes joined; where that leaves too few groups, bikes, or else days."""
    known = list(stems)
    both = joined(known)
    bikes = {stem: bike_of(stem) or day_of(stem) or stem for stem in known}
    days = {stem: day_of(stem) or pair_of(stem) for stem in known}
    ways = ((both, None), (bikes, "day"), (days, "bike"))
    enough = [way for way in ways if len(set(way[0].values())) >= len(SPLITS)]
    found, lost = enough[0] if enough else ways[0]
    if lost is None:
        return found, []
    return found, [
        f"days on which the same bikes were photographed leave {len(set(both.values()))} groups, too few for "
        f"{len(SPLITS)} splits: photographs of one {lost} may lie in several; say by group_by what belongs together"
    ]


def groups(stems: Iterable[str], group_by: str | None, said: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """({name without suffix: its group}, remarks). `said`: the groups that the source itself states, which count where
    `group_by` does not."""
    found: dict[str, str] = {}
    alone = []
    for stem in stems:
        match = None if group_by is None else re.search(group_by, stem)
        if match and match[1]:
            found[stem] = match[1]
        elif stem in said:
            found[stem] = said[stem]
        else:
            alone.append(stem)
    if group_by is None:
        by, remarks = by_name(alone)
        return found | by, remarks
    if not alone:
        return found, []
    found |= {stem: stem for stem in alone}
    return found, [f"{len(alone)} photographs are not matched by group_by and stand alone, first {min(alone)}"]
