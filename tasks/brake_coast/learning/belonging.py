"""Which drives belong together, and so never lie in two splits: those of a day or trip, and copies of each other.

Where there are too few days the drives of one are divided after all, and those that follow each other are kept apart.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tasks.brake_coast.learning.features import Drive
from tasks.yard.splits import NAMED, SPLITS, kept

log = logging.getLogger(__name__)


def components(count: int, edges: Collection[tuple[int, int]]) -> list[int]:
    """A number for each of `count` places, the same for those that edges join, also by way of others."""
    ends = np.array(list(edges), int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(ends[0])), tuple(ends)), shape=(count, count))
    return connected_components(graph, directed=False)[1].tolist()


def moving_frames(drive: Drive) -> np.ndarray:
    """A hash of each frame in which the car moves."""
    table = pd.DataFrame(drive.telemetry).assign(t_ms=drive.t_ms)[drive.telemetry[:, 0] > 0]
    return pd.util.hash_pandas_object(table, index=False).to_numpy()


def same_frames(drives: Sequence[Drive], window_frames: int) -> list[list[int]]:
    """The places of drives that share a window's worth of identical moving frames (copies, overlapping cuts); those
    that belong together, also by way of others, in one list."""
    hashes = [moving_frames(drive) for drive in drives]  # one table at a time: together they are those of all drives
    rows = pd.concat(pd.DataFrame({"drive": index, "key": keys}) for index, keys in enumerate(hashes))
    rows = rows[rows.duplicated("key", keep=False)].drop_duplicates()
    # How many frames each set of drives shares: copies share many frames, and are one set.
    sets = Counter(some for some in rows.groupby("key")["drive"].agg(tuple) if len(some) > 1)
    edges = [(some[0], other) for some, shared in sets.items() if shared >= window_frames for other in some[1:]]
    part = components(len(drives), edges)
    # What is left are pairs that share enough by several sets. A drive that shares too little in all has no part in it.
    rest = {some: shared for some, shared in sets.items() if len({part[place] for place in some}) > 1}
    most: Counter[int] = Counter()
    for some, shared in rest.items():
        most.update(dict.fromkeys(some, shared))
    pairs: Counter[tuple[int, int]] = Counter()
    for some, shared in rest.items():
        for pair in combinations([place for place in some if most[place] >= window_frames], 2):
            pairs[pair] += shared
    part = components(len(drives), edges + [pair for pair, shared in pairs.items() if shared >= window_frames])
    together: dict[int, list[int]] = {}
    for place, number in enumerate(part):
        together.setdefault(number, []).append(place)
    return [some for some in together.values() if len(some) > 1]


def merged(groups: Sequence[str], same: Sequence[Sequence[int]]) -> list[str]:
    """The group of each drive where groups that have drives in one of `same` are one, called as its first drive's."""
    number = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    edges = [(number[groups[some[0]]], number[groups[place]]) for some in same for place in some[1:]]
    part = components(len(number), edges)
    name: dict[int, str] = {}
    return [name.setdefault(part[number[group]], group) for group in groups]


def groups_of(drives: Sequence[Drive], window_frames: int, known: Mapping[str, str]) -> list[str]:
    """The group (day, trip) of each drive, or its own name: if the days are fewer than three, or were divided before.

    Drives that hold the same frames are one group either way. `known`: the splits of groups and drives of before.
    """
    same = same_frames(drives, window_frames)
    for some in same:
        names = [drives[place].name for place in some]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        log.warning("%s%s hold the same frames: kept in one split", " and ".join(names[:NAMED]), more)
    by_day = merged([drive.group for drive in drives], same)
    if len(set(by_day)) >= len(SPLITS) and not kept(known, names_of(by_day, drives))[1]:
        return by_day
    return merged([drive.name for drive in drives], same)


def members_of(groups: Sequence[str], drives: Sequence[Drive]) -> dict[str, list[str]]:
    """{group: names of its drives}."""
    members: dict[str, list[str]] = {}
    for group, drive in zip(groups, drives, strict=True):
        members.setdefault(group, []).append(drive.name)
    return members


def names_of(groups: Sequence[str], drives: Sequence[Drive]) -> dict[str, list[str]]:
    """{group: what it may have been known by: its drives and their days}."""
    names: dict[str, list[str]] = {}
    for group, drive in zip(groups, drives, strict=True):
        names.setdefault(group, []).extend([drive.name, drive.group])
    return names


def apart(
    drives: Sequence[Drive], chosen: Sequence[str], guard_s: float, window_frames: int
) -> tuple[list[Drive], int]:
    """The drives without the frames nearer than `guard_s` to a drive of the same day in another split, and how many
    those were. Of two such drives the one whose split comes first in train, val, test gives them, at most a quarter."""
    ends = [[0, len(drive.t_ms)] for drive in drives]
    order = sorted(range(len(drives)), key=lambda place: (drives[place].group, int(drives[place].t_ms[0]), place))
    for one, other in pairwise(order):
        if drives[one].group != drives[other].group or chosen[one] == chosen[other]:
            continue
        gives = one if SPLITS.index(chosen[one]) < SPLITS.index(chosen[other]) else other
        t_ms, guard_ms = drives[gives].t_ms, 1000 * guard_s
        near = t_ms > drives[other].t_ms[0] - guard_ms if gives == one else t_ms < drives[one].t_ms[-1] + guard_ms
        count = min(int(near.sum()), len(t_ms) // 4, max(0, len(t_ms) - 2 * window_frames))
        ends[gives][1 if gives == one else 0] += -count if gives == one else count
    return [cut(drive, *mine) for drive, mine in zip(drives, ends, strict=True)], sum(
        len(drive.t_ms) - (end - begin) for drive, (begin, end) in zip(drives, ends, strict=True)
    )


def cut(drive: Drive, begin: int, end: int) -> Drive:
    """The frames from `begin` to before `end`."""
    lost = len(drive.t_ms) - (end - begin)
    if not lost:
        return drive
    arrays = ("telemetry", "detections", "detection_masks", "labels", "t_ms", "segment", "image_ok")
    kept_ = {name: getattr(drive, name)[begin:end] for name in arrays}
    kept_["segment"] = kept_["segment"] - kept_["segment"][0]
    counts = {**drive.counts, "frames": end - begin, "frames_beside_another_split": lost}
    return replace(drive, **kept_, counts=counts)
