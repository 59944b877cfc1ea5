"""Which photographs of a source belong together, by their names, and go into one split.

    bike7_before.jpg, bike7_after.jpg      a pair
    10_jpg.rf.b856d7.jpg                   a copy that Roboflow made of 10.jpg
    IMG_20240501_081500.jpg                a day: the same bikes, light and camera
    by the param group_by                  what its parentheses hold

A number at the end of a name is no sequence here: photographs are counted, not filmed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from tasks.yard.layouts.groups import day_of, picture_of

PAIR = re.compile(r"(.*?)[-_. ]*(?<![a-z])(before|after)", re.IGNORECASE)


def pair_of(stem: str) -> str:
    """The name of a photograph without what says when of its pair it is, or that it is a copy."""
    picture = picture_of(stem)
    found = PAIR.fullmatch(picture)
    return found[1] if found and found[1] else picture


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
        elif group_by is None:
            found[stem] = day_of(stem) or pair_of(stem)
        else:
            found[stem] = stem
            alone.append(stem)
    if not alone:
        return found, []
    return found, [f"{len(alone)} photographs are not matched by group_by and stand alone, first {min(alone)}"]
