"""Which photographs train, validate and test: whole bikes and days, each part in each state with its share everywhere.

Reads    check_data/cleaned.json
Writes   split/{train,val,test}_coco.json   formats/photos.py, as pycocotools reads it; pictures stay where they are
         split/split.json                   {published: photographs that keep the source's split, made: {splits:
                                            {photos, groups, new_groups, rms_error, rms_error_of_chance}}, counts:
                                            {split: {photos, boxes, groups}}, shares: {part: {state: {split: share}}},
                                            remarks}
         split/splits.json                  the groups of each split (tasks/yard/splits.py)
Alone    python -m tasks bike_parts-split

A split that the source publishes is kept; what it lacks is drawn from its training photographs. What was assigned
before keeps its split, and only new groups are dealt out. Fewer groups than splits are dealt out ride by ride, and
fewer rides photograph by photograph, aloud.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.bike_parts.formats import cleaned, photos
from tasks.bike_parts.formats.cleaned import Clean
from tasks.bike_parts.formats.photos import SPLITS, STATES, Photo, Photos
from tasks.bike_parts.importers.together import pair_of
from tasks.bike_parts.learning import stratified
from tasks.bike_parts.params import Split
from tasks.yard import splits
from tasks.yard.files import write_json
from tasks.yard.step import Context

log = logging.getLogger(__name__)

FEW_GROUPS = 10  # below, shares cannot be near those asked for
LABELS = (*STATES, "not labelled")
ERRORS = ("rms_error", "rms_error_of_chance")  # of the shares of part x state, as they are and by chance from nothing
TOO_FEW = "{} photographs are too few for all three"


def columns(of: Sequence[Clean], parts: Sequence[str]) -> np.ndarray:
    """(parts x states) how often each part is there in each state; a state that is not labelled is one of its own."""
    counts = np.zeros((len(parts), len(LABELS)), int)
    place = {name: i for i, name in enumerate(parts)}
    for photo in of:
        for part in photo.parts:
            counts[place[part.name], part.state] += 1  # -1: the last column
    return counts.ravel()


def published(found: Sequence[Clean]) -> tuple[dict[str, str], dict[tuple[str, ...], list[Clean]], list[str]]:
    """({file: the split that it keeps}, {splits to be made: the photographs that they are made of}, remarks), data set
    by data set. Without a published training split a data set is divided anew."""
    datasets: dict[str, list[Clean]] = defaultdict(list)
    for photo in found:
        datasets[photo.file.partition("/")[0]].append(photo)
    kept: dict[str, str] = {}
    free: dict[tuple[str, ...], list[Clean]] = defaultdict(list)
    remarks = []
    for name, mine in datasets.items():
        there = {photo.split for photo in mine if photo.split}
        if there and "train" not in there:
            remarks.append(f"{name}: its source divides off {', '.join(sorted(there))} and no train: divided anew")
            there = set()
        lacking = tuple(split for split in SPLITS if split == "train" or split not in there)
        given = {photo.file: photo.split for photo in mine if there and photo.split}
        if len(lacking) == 1:  # all three are published; who has none of them is dealt out among all
            lacking = SPLITS
        else:
            given = {file: split for file, split in given.items() if split != "train"}
        kept |= {file: split for file, split in given.items() if split}
        if rest := [photo for photo in mine if photo.file not in given]:
            free[lacking] += rest
    return kept, free, remarks


def ride_of(photo: Clean) -> str:
    file = Path(photo.file)
    return str(file.with_name(pair_of(file.stem)))


def groups_of(found: Sequence[Clean], needed: int) -> tuple[dict[str, list[Clean]], list[str]]:
    """({group: its photographs}, remarks) of those to be dealt out; where groups are too few, rides, and single
    photographs where those are too few as well."""
    grouped: dict[str, list[Clean]] = defaultdict(list)
    rides: dict[str, list[Clean]] = defaultdict(list)
    for photo in found:
        grouped[photo.group].append(photo)
        rides[ride_of(photo)].append(photo)
    few = f"{len(found)} photographs are of {len(grouped)} vehicles or days only"
    shown = "what is tested on may show what was learnt from"
    if len(grouped) < needed <= len(rides) < len(found):
        return dict(rides), [f"{few}: they are dealt out ride by ride, and {shown}"]
    if len(grouped) < needed <= len(found):
        alone = {photo.file: [photo] for photo in found}
        return alone, [f"{few}: they are dealt out one by one, and {shown}"]
    told = [f"{few}: shares cannot be near those asked for"] if len(grouped) < min(FEW_GROUPS, len(found)) else []
    return dict(grouped), told


def as_dealt(grouped: Mapping[str, list[Clean]], known: Mapping[str, str]) -> tuple[dict[str, list[Clean]], list[str]]:
    """({group: its photographs}, remarks) where groups that turned out to be one would leave a split empty, as days may
    that a bike joins which came back: each is one a split then. What is new goes with those that train, if some do."""
    found: dict[str, list[Clean]] = {}
    divided = []
    for group, mine in grouped.items():
        there = [split for split in SPLITS if any(known.get(photo.file) == split for photo in mine)]
        if len(there) < 2:
            found[group] = mine
            continue
        divided.append(group)
        for split in there:
            own = [photo for photo in mine if known.get(photo.file, there[0]) == split]
            found[f"{group} in {split}"] = own
    if not divided:
        return found, []
    several = "vehicles or days were dealt out into several splits before, and their photographs stay there"
    return found, [f"{len(divided)} {several}, first {divided[0]}"]


def members_of(groups: Mapping[str, Sequence[Clean]]) -> dict[str, list[str]]:
    return {group: [file for photo in mine for file in (photo.file, *photo.also)] for group, mine in groups.items()}


def dealt(
    groups: Mapping[str, Sequence[Clean]],
    before: Mapping[str, str],
    lacking: Sequence[str],
    parts: Sequence[str],
    params: Split,
) -> tuple[dict[str, str], dict[str, float]]:
    """({group: split}, the errors of shares). `before`: of groups that had one; `lacking`: those to be made."""
    names = sorted(groups)
    counts = np.array([columns(groups[name], parts) for name in names])
    sizes = np.array([len(groups[name]) for name in names])
    share_of = {split: getattr(params.shares, split, 0.0) for split in lacking}
    share_of["train"] = 1 - sum(share_of.values())
    shares = np.array([share_of[split] for split in lacking])
    fixed = np.array([lacking.index(before[name]) if name in before else -1 for name in names])
    nothing = np.full(len(names), -1)  # what was assigned is no chance: a second run would be compared with itself
    chance = stratified.deal(counts, sizes, nothing, shares, params.seed, 0)
    best = stratified.deal(counts, sizes, fixed, shares, params.seed, params.swaps)
    errors = (stratified.rms(counts, of, shares) for of in (best, chance))
    split_of = {name: lacking[split] for name, split in zip(names, best.tolist(), strict=True)}
    return split_of, dict(zip(ERRORS, errors, strict=True))


def uneven(made: Mapping[str, float], out: Path) -> list[str]:
    """A remark where what is kept has become no more even than chance: its labels are others now."""
    kept = made["groups"] - made["new_groups"]
    if not kept or made["rms_error"] < made["rms_error_of_chance"]:
        return []
    return [
        f"{kept} of {made['groups']} vehicles or days keep the split that they had, and parts and states are no more "
        f"evenly divided than by chance; to draw all anew, and be judged on another test set, delete "
        f"{out / splits.FILE}"
    ]


def as_photos(found: Sequence[Clean], parts: Sequence[str], first: tuple[int, int]) -> Photos:
    """`first`: the first id of a photograph and of an annotation, its own in each split."""
    place = {name: i for i, name in enumerate(parts, 1)}
    rows = [(first[0] + i, part) for i, photo in enumerate(found) for part in photo.parts]
    return Photos(
        list(parts),
        [
            Photo(first[0] + i, of.name, of.width, of.height, of.group, tuple(place[name] for name in of.doubted))
            for i, of in enumerate(found)
        ],
        np.arange(first[1], first[1] + len(rows)),
        np.array([photo for photo, _ in rows], np.int64),
        np.array([place[part.name] for _, part in rows], np.int64),
        np.array([part.box for _, part in rows], np.float64).reshape(-1, 4),
        np.array([part.state for _, part in rows], np.int64),
        np.array([part.trust for _, part in rows], np.float64),
    )


def shares_of(by_split: Mapping[str, Sequence[Clean]], parts: Sequence[str]) -> dict[str, Any]:
    """{part: {state: {split: its share of them}}} of those that there are."""
    counts = {split: columns(mine, parts).reshape(len(parts), -1) for split, mine in by_split.items()}
    total = sum(counts.values())
    return {
        part: {
            state: {split: counts[split][i, j] / total[i, j] for split in SPLITS}
            for j, state in enumerate(LABELS)
            if total[i, j]
        }
        for i, part in enumerate(parts)
    }


def run(params: Split, out: Path, ctx: Context = Context(), *, check_data: Path) -> dict[str, float]:
    """Returns photographs, boxes and groups of each split. Raises `BadInput` if one of them would be empty."""
    parts, found = cleaned.read(check_data)
    found = sorted(found, key=lambda photo: photo.file)
    known = splits.known(out, params.splits)
    fixed, free, remarks = published(found)
    groups: dict[str, list[Clean]] = {}
    split_of: dict[str, str] = {}
    how = {}
    for lacking, mine in free.items():
        grouped, few = groups_of(mine, len(lacking))
        kept, divided = splits.kept(known, members_of(grouped))
        if {known[photo.file] for photo in mine if photo.file in known} - set(kept.values()):
            grouped, divided = as_dealt(grouped, known)
            kept, _ = splits.kept(known, members_of(grouped))
        before = {group: split for group, split in kept.items() if split in lacking}
        dealt_out, errors = dealt(grouped, before, lacking, parts, params)
        new = len(grouped) - len(before)
        how[", ".join(lacking)] = {"photos": len(mine), "groups": len(grouped), "new_groups": new, **errors}
        groups, split_of = groups | grouped, split_of | dealt_out
        remarks += [*few, *divided, *uneven(how[", ".join(lacking)], out)]
    members = members_of(groups | {photo.file: [photo] for photo in found if photo.file in fixed})
    splits.refuse_empty(set(split_of.values()) | set(fixed.values()), out, TOO_FEW.format(len(found)))
    of = {photo.file: split_of[group] for group, mine in groups.items() for photo in mine} | fixed
    by_split = {split: [photo for photo in found if of[photo.file] == split] for split in SPLITS}
    today = [*split_of.items(), *fixed.items()]
    remarks += splits.moved(known, today)
    counts, first = {}, (1, 1)
    for split, mine in by_split.items():
        made = as_photos(mine, parts, first)
        photos.write(out, split, made)
        first = first[0] + len(mine), first[1] + len(made.id)
        counts[split] = {"photos": len(mine), "boxes": len(made.id), "groups": len({photo.group for photo in mine})}
    divided = Counter(group for mine in by_split.values() for group in {photo.group for photo in mine})
    sourced = {photo.group for photo in found if photo.file in fixed}
    if several := sorted(group for group, times in divided.items() if times > 1 and group in sourced):
        remarks.append(
            f"{len(several)} vehicles or days lie in several splits, as their source divides them, first {several[0]}"
        )
    for remark in remarks:
        log.warning("%s", remark)
    splits.write(out, splits.manifest(today, known, members))
    write_json(out / "split.json", {
        "published": len(fixed), "made": how, "counts": counts, "shares": shares_of(by_split, parts),
        "remarks": remarks,
    })  # fmt: skip
    of_most = max(how.values(), key=lambda of: of["photos"], default={})
    return {f"{split}_{what}": number for split, mine in counts.items() for what, number in mine.items()} | {
        key: of_most[key] for key in ERRORS if key in of_most
    }
