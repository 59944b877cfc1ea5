"""The two sequences that a MARMOT root with labels in both of its parts is, <name>-train and <name>-val: one recording.

As long as one part alone had labels the root was one sequence, <name>, and what its frames were in they stay in. Where
no number of a frame comes in both parts, numbers tell which frames are neighbours; those on the border are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tasks.ground_plane.formats import sequence
from tasks.ground_plane.formats.sequence import Sequence
from tasks.ground_plane.learning.splits import GUARD, frame_name
from tasks.yard.splits import SPLITS


def roots(units: Mapping[str, Sequence]) -> dict[str, list[Sequence]]:
    """{name of a root: its two parts}."""
    names = {name.removesuffix(f"-{of.part}") for name, of in units.items() if name.endswith(f"-{of.part}")}
    found = {name: [units.get(f"{name}-{part}") for part in sequence.PARTS] for name in sorted(names)}
    return {
        name: [one for one in parts if one]
        for name, parts in found.items()
        if [of and of.part for of in parts] == list(sequence.PARTS)
    }


def as_before(units: dict[str, Sequence], known: dict[str, str]) -> tuple[dict[str, Sequence], dict[str, str]]:
    """The units, and what was known of them before, with what was known of roots as wholes."""
    found: dict[str, str] = {}
    for name, (train, val) in roots(units).items():
        for of, taken in ((train, ()), (val, train.frame_ids)):
            had = {frame: known.get(frame_name(name, frame)) for frame in of.frame_ids if frame not in taken}
            found |= {frame_name(of.name, frame): split for frame, split in had.items() if split}
            splits = tuple(split for split in SPLITS if split in of.splits or split in had.values())
            units = {**units, of.name: replace(of, splits=splits)}
    return units, found | known


@dataclass(frozen=True)
class Labelled:
    frame: int
    unit: str
    place: int  # in the unit's frames
    split: str
    known: bool  # packed before

    @property
    def rank(self) -> tuple[bool, int]:
        return self.known, SPLITS.index(self.split)


def near(frames: list[Labelled], gap: int) -> set[Labelled]:
    """Who is nearer than `gap` frames to one of the other part in another split: of two the one that has come since,
    then the one to train on, then the one of validation. Two that were packed before stay."""
    pairs = (
        (one, other)
        for i, one in enumerate(frames)
        for other in frames[i + 1 : i + 1 + gap]
        if one.unit != other.unit and one.split != other.split and not (one.known and other.known)
    )
    return {min(pair, key=lambda frame: frame.rank) for pair in pairs}


def labelled(unit: str, said: Mapping[str, Any], known: Mapping[str, str]) -> list[Labelled]:
    rows = zip(said["frames"], said["split"], said["labelled"], strict=True)
    return [
        Labelled(frame, unit, place, split, unit in known or frame_name(unit, frame) in known)
        for place, (frame, split, ours) in enumerate(rows)
        if ours and split in SPLITS
    ]


def apart(
    scenes: dict[str, dict[str, Any]], units: Mapping[str, Sequence], known: Mapping[str, str], guard: int
) -> list[str]:
    """Takes those out of their splits that are `near` by `guard`, or by as much as leaves each split half of its own.
    Returns remarks."""
    remarks = []
    for name, parts in roots(units).items():
        frames = [row for of in parts if of.name in scenes for row in labelled(of.name, scenes[of.name], known)]
        frames.sort(key=lambda row: row.frame)
        if len({row.frame for row in frames}) < len(frames):
            continue  # each part has numbers of its own
        have = Counter(row.split for row in frames)
        for gap in range(guard, -1, -1):
            lost = near(frames, gap)
            if all(2 * count <= have[split] for split, count in Counter(row.split for row in lost).items()):
                break
        for row in lost:
            scenes[row.unit]["split"][row.place] = GUARD
        if near(frames, guard):
            short = f"; for ground_plane.pack.guard_frames = {guard} there is no room" if gap < guard else ""
            lies = f"{len(lost)} labelled frames are left out, {gap} on each border{short}"
            remarks.append(f"{name}-train and {name}-val are of one recording: {lies}")
    return remarks
