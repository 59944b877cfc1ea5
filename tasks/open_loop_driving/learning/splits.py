"""Which routes train, validate and test, and which of them are packed at all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from tasks.open_loop_driving.params import Pack
from tasks.yard import splits
from tasks.yard.splits import SPLITS

LEAST = 20  # frames of each part of a route that is cut
Part = tuple[str, Sequence[int]]  # of this route these frames


def parts_of(used: Mapping[str, Sequence[int]], params: Pack) -> tuple[dict[str, Part], list[str]]:
    """Every route by its own name; where there are fewer than splits, each that is long enough in three parts, training
    first. Remarks."""
    parts: dict[str, Part] = {}
    remarks = []
    for name, frames in used.items():
        guard, n = params.guard_frames, len(frames) - 2 * params.guard_frames
        val, test = round(n * params.shares.val), round(n * params.shares.test)
        train = n - val - test
        if len(used) >= len(SPLITS) or min(train, val, test) < LEAST:
            parts[name] = name, frames
            continue
        ends = [(0, train), (train + guard, train + guard + val), (train + 2 * guard + val, len(frames))]
        for split, (first, end) in zip(SPLITS, ends, strict=True):
            parts[f"{name}-{split}"] = name, frames[first:end]
        few = f"{len(used)} routes are" if len(used) > 1 else "one route is"
        remarks.append(f"{few} fewer than splits: {name} is cut into three, {guard} frames left out between two parts")
    return parts, remarks


def split_routes(
    towns: Mapping[str, str], parts: Mapping[str, Part], known: Mapping[str, str], params: Pack
) -> tuple[dict[str, str], list[str]]:
    """{route or part: split}, remarks. What is known keeps its split; `towns`: of each."""
    of = {name: known[name] for name in towns if name in known}
    for name in towns:  # what was cut once and is whole now stays where its first part was
        if before := [known[f"{name}-{split}"] for split in SPLITS if f"{name}-{split}" in known]:
            of.setdefault(name, splits.first_of(before))
    new = [name for name in sorted(towns) if name not in of]
    if cut := [name for name in new if name != parts[name][0]]:
        short = [name for name in new if name == parts[name][0]]
        of |= {name: name.removeprefix(f"{parts[name][0]}-") for name in cut} | dict.fromkeys(short, "test")
        return of, [f"{name} is too short to be cut: all of it is test" for name in short]
    if len(towns) < len(SPLITS) and len(new) == len(towns):
        told = f"{' and '.join(new)}: too few and too short to be cut: all of it is test"
        fix = "; to train on one of them, name who trains and who tests in a file for open_loop_driving.pack.splits"
        return dict.fromkeys(new, "test"), [told + (fix if len(new) > 1 else "")]
    held = {town: split for split in ("val", "test") for town in getattr(params.held_out, split)}
    held_of = {name: held[towns[name]] for name in new if towns[name] in held}
    remarks = []
    nobody_trains = bool(new) and len(held_of) == len(new) and "train" not in of.values()
    if nobody_trains:
        there = ", ".join(sorted({towns[name] for name in new}))
        remarks.append(f"all routes are of towns that are held out ({there}): drawn by shares, so that some train")
        held_of = {}
    of |= held_of
    rest = [name for name in new if name not in of]
    rng = np.random.default_rng(params.seed)
    for split in ("test", "val"):
        if split in of.values() or not rest:
            continue
        count = max(1, round(getattr(params.shares, split) * len(towns)))
        count = min(count, len(rest) - 1) if "train" not in of.values() and len(rest) > 1 else min(count, len(rest))
        drawn = sorted(rng.choice(len(rest), count, replace=False))
        of |= {rest[i]: split for i in drawn}
        rest = [name for i, name in enumerate(rest) if i not in drawn]
        if not nobody_trains:
            towns_of = ", ".join(getattr(params.held_out, split)) or "none"
            remarks.append(f"no town of {split} ({towns_of}) is there: {count} routes of other towns are {split}")
    return of | dict.fromkeys(rest, "train"), remarks


def chosen(
    about: Mapping[str, tuple[str, int]], of: Mapping[str, str], params: Pack
) -> tuple[list[str], dict[str, str]]:
    """The routes that are packed, {route: why} of the others. `about`: (town, frames) of each; `of`: its split."""
    if params.subset == "full":
        return sorted(about), {}
    groups: dict[str, list[str]] = defaultdict(list)
    for name in sorted(about):
        groups[of[name] if params.subset == "dev" else about[name][0]].append(name)
    taken, left_out = [], {}
    for group, names in sorted(groups.items()):
        # A draw of its own for each, so that a new town changes no other's.
        order = np.random.default_rng([params.seed, *group.encode()]).permutation(len(names))
        frames = 0
        for place, i in enumerate(order):
            full = place >= params.dev_routes if params.subset == "dev" else frames >= params.cap_frames
            if full:
                limit = (
                    f"dev_routes = {params.dev_routes}"
                    if params.subset == "dev"
                    else f"cap_frames = {params.cap_frames}"
                )
                left_out[names[i]] = f"not drawn: open_loop_driving.pack.subset is {params.subset}, {limit} of {group}"
            else:
                taken.append(names[i])
                frames += about[names[i]][1]
    return sorted(taken), left_out
