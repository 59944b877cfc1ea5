"""What is said of a photograph, from what a network sees in it: each part found, its state and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from tasks.bike_parts.formats.photos import ABSENT, DAMAGED, OCCLUDED, STATES, Photos
from tasks.bike_parts.judging.believed import believed_rows


@dataclass(frozen=True)
class Seen:
    """All detections in one photograph, as of formats/detections.py, without its number."""

    part: np.ndarray
    box: np.ndarray
    score: np.ndarray
    states: np.ndarray

    def chosen(self, rows: np.ndarray) -> Seen:
        return Seen(*(getattr(self, field.name)[rows] for field in fields(Seen)))


@dataclass(frozen=True)
class Again:
    """A second look at one photograph of a ride: where both photographs together expect each part."""

    seen: Seen  # one box for each part that has a usual place
    off: np.ndarray  # (n) by how much what was found is off from there, in standard deviations; NaN: it was not found


def repeated(train: Photos) -> set[int]:
    """Parts of which a photograph may show several: of the others only the surest is believed."""
    pairs, counts = np.unique(np.stack([train.photo, train.part], 1), axis=0, return_counts=True)
    return set(pairs[counts > 1, 1].tolist())


def believed(seen: Seen, threshold: float, several: set[int]) -> Seen:
    """What is sure enough to be there, by part, the surest first."""
    return seen.chosen(believed_rows(seen.part, seen.score, threshold, several))


def words(names: Sequence[str]) -> str:
    return ", ".join(name.replace("_", " ") for name in names)


def said(by_state: Mapping[int, Sequence[str]], lost: Sequence[str], of: int, knows_states: bool) -> str:
    """A photograph in a sentence."""
    if len(lost) == of:
        return "no part was found: is there a bicycle in it?"
    told = []
    if by_state[DAMAGED]:
        told.append(f"damaged: {words(by_state[DAMAGED])}")
    if by_state[ABSENT]:
        told.append(f"missing: {words(by_state[ABSENT])}")
    if len(lost) > of / 2:
        told.insert(0, f"too little is found to rely on: {of - len(lost)} of {of} parts")
    elif not told and knows_states:
        told.append("nothing damaged or missing among what can be seen")
    if by_state[OCCLUDED]:
        told.append(f"covered: {words(by_state[OCCLUDED])}")
    if 0 < len(lost) <= of / 2:
        told.append(f"not found: {words(lost)}")
    return "; ".join(told) or "every part was found"


def verdict(seen: Seen, parts: Sequence[str], knows_states: bool = True) -> dict[str, Any]:
    """What verdicts.json says of a photograph, from what is `believed`. `seen.states` are calibrated; of a
    network that has learnt no states no state is said."""
    found = []
    for part, box, score, states in zip(seen.part, seen.box, seen.score, seen.states, strict=True):
        state = int(states.argmax())
        told: dict[str, Any] = {"state": None, "confidence": None, "states": None}
        if knows_states:
            told = {
                "state": STATES[state], "confidence": round(float(states[state]), 4),
                "states": {name: round(float(p), 4) for name, p in zip(STATES, states, strict=True)},
            }  # fmt: skip
        place = [round(float(value), 1) for value in box]
        found.append({"part": parts[part - 1], "box": place, "score": round(float(score), 4), **told})
    by_state = {
        number: list(dict.fromkeys(one["part"] for one in found if one["state"] == name))
        for number, name in enumerate(STATES)
    }
    there = {one["part"] for one in found}
    lost = [part for part in parts if part not in there]
    return {
        "parts": found, "damaged": by_state[DAMAGED], "absent": by_state[ABSENT], "occluded": by_state[OCCLUDED],
        "not_found": lost, "says": said(by_state, lost, len(parts), knows_states),
    }  # fmt: skip


def truth_of(photos: Photos, photo: int) -> dict[str, str]:
    """{part: its state} of a photograph, of those whose state is labelled."""
    rows = (photos.photo == photo) & (photos.state >= 0)
    return {
        photos.parts[part - 1]: STATES[state] for part, state in zip(photos.part[rows], photos.state[rows], strict=True)
    }
