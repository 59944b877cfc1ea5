"""Detections that stand in one place of a camera and are no known person: a thing taken for one, it seems.

Looked for in at most `SAMPLED` frames, evenly spread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tasks.person_search.formats.cameras import Indexed
from tasks.person_search.judging.search_metrics import ious
from tasks.yard.metrics.standing import groups

SAME_PLACE = 0.7  # IoU of two boxes
ON_A_PERSON = 0.5  # IoU with a true box
SAMPLED = 100


def is_on_a_person(one: Indexed, row: int) -> bool:
    true = one.oracle["box"][one.oracle["frame"] == one.rows["frame"][row]]
    return bool((ious(true, np.broadcast_to(one.rows["box"][row], true.shape)) >= ON_A_PERSON).any())


def standing(one: Indexed) -> list[dict[str, Any]]:
    """{box, frames: in how many, of: so many looked at, person: None where nobody knows} of each; none that is one."""
    numbers = np.array(list(one.camera.files))
    looked = numbers[np.unique(np.linspace(0, len(numbers) - 1, min(SAMPLED, len(numbers))).round().astype(int))]
    rows = np.flatnonzero(np.isin(one.rows["frame"], looked))
    frame, box = one.rows["frame"][rows], one.rows["box"][rows]
    pairs = [ious(box, np.broadcast_to(each, box.shape)) >= SAME_PLACE for each in box]
    found = []
    for mine in groups(np.array(pairs).reshape(len(rows), len(rows)), frame, len(looked)):
        person = None
        if one.oracle is not None:
            if np.mean([is_on_a_person(one, row) for row in rows[mine]]) >= 0.5:
                continue  # somebody who does not walk
            person = False
        middle = [round(float(value), 1) for value in np.median(box[mine], axis=0)]
        found.append({"box": middle, "frames": len(np.unique(frame[mine])), "of": len(looked), "person": person})
    return found


def mark(answers: Sequence[dict], of: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Say of each camera's best detection, in `standing`, whether it is one of these."""
    for answer in answers:
        for camera in answer["cameras"]:
            if camera["best"] is not None:
                boxes = np.array([each["box"] for each in of[camera["unit"]]]).reshape(-1, 4)
                box = np.broadcast_to(np.array(camera["best"]["box"]), boxes.shape)
                camera["best"]["standing"] = bool((ious(boxes, box) >= SAME_PLACE).any())
