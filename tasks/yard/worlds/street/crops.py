"""Crops of people cut from a camera's pictures as a detector would cut them: the raw stuff of re-identification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.yard.worlds.people import Look, draw_look
from tasks.yard.worlds.street.camera import Camera
from tasks.yard.worlds.street.scene import HEIGHT_PX, WIDTH_PX

GROUP = 3  # people who pass a camera at the same time, and hide each other
MOMENT_STEP_S = 0.7
GOOD, JUNK = 0.7, 0.4  # share of a person that is seen: crops of at least GOOD are kept, those under JUNK are junk
MIN_CROP_PX = 34  # height
DISTRACTORS, MAX_JUNK = 24, 6  # crops of a camera


@dataclass(frozen=True)
class Crop:
    """`person` counts in the session; -1 is junk. `box` counts in its frame."""

    person: int
    frame: int
    box: int
    visible: float
    picture: np.ndarray


def detected(rng: np.random.Generator, picture: np.ndarray, xyxy: Sequence[int], spread: float = 0.035) -> np.ndarray:
    """Cut out as a detector would: no side of the box is quite right."""
    x1, y1, x2, y2 = xyxy
    off = rng.normal(0.015, spread, 4) * (x2 - x1, y2 - y1, x2 - x1, y2 - y1)
    left, top = max(0, round(x1 - off[0])), max(0, round(y1 - off[1]))
    return picture[top : max(top + 8, round(y2 + off[3])), left : max(left + 6, round(x2 + off[2]))].copy()


def of_people(camera: Camera, looks: dict[int, Look], wanted: int, rng: np.random.Generator) -> list[Crop]:
    """At least two usable crops of each person, `wanted` where they can be had, at moments of their way past.

    People come in groups, with a stranger among them; who was hidden too often passes again.
    """
    found: dict[int, list[Crop]] = {person: [] for person in looks}
    junk: list[Crop] = []
    frame = 0
    queue = [int(person) for person in rng.permutation(list(looks))]
    passes = 0
    while queue:
        group, queue = queue[:GROUP], queue[GROUP:]
        passes += 1
        alone = passes > 4 * len(looks)  # nobody is hidden by others for ever
        if alone:
            group, queue = group[:1], group[1:] + queue
        passing = [looks[person] for person in group] + ([] if alone else [draw_look(rng)])
        walkers = [camera.walker(rng, look, float(rng.normal(0, 0.5))) for look in passing]
        for moment in range(wanted):
            time_s = (moment - (wanted - 1) / 2) * MOMENT_STEP_S
            picture, boxes = camera.frame([walker.at(time_s) for walker in walkers], rng)
            frame += 1
            for number, box in enumerate(boxes):
                tall = box.xyxy[3] - box.xyxy[1]
                if box.index >= len(group) or (box.visible >= GOOD and tall < MIN_CROP_PX):
                    continue
                crop = detected(rng, picture, box.xyxy)
                person = group[box.index]
                if box.visible >= GOOD and len(found[person]) < wanted:
                    found[person].append(Crop(person, frame, number, box.visible, crop))
                elif box.visible < JUNK:
                    junk.append(Crop(-1, frame, number, box.visible, crop))
        queue += [person for person in group if len(found[person]) < 2]
    return [crop for person in looks for crop in found[person]] + junk[:MAX_JUNK]


def distractors(camera: Camera, rng: np.random.Generator) -> list[np.ndarray]:
    """What a detector takes for a person: pieces of the street, and strangers cut so badly that nobody counts them."""
    cut: list[np.ndarray] = []
    while len(cut) < DISTRACTORS:
        people_ = [camera.walker(rng, draw_look(rng), 0.0).at(0.0) for _ in range(2)]
        picture, boxes = camera.frame(people_, rng)
        for box in boxes:
            x1, y1, x2, y2 = box.xyxy
            wide, high = x2 - x1, y2 - y1
            part = rng.choice(["half", "beside"])
            if part == "half":
                keep = float(rng.uniform(0.3, 0.5))
                upper, lower = (x1, y1, x2, round(y1 + keep * high)), (x1, round(y2 - keep * high), x2, y2)
                xyxy = upper if rng.random() < 0.5 else lower
            else:
                side = rng.choice([-0.7, 0.7]) * wide
                xyxy = (round(x1 + side), y1, round(x2 + side), y2)
            cut.append(detected(rng, picture, (max(0, xyxy[0]), *xyxy[1:]), 0.03))
        high = int(rng.integers(40, 90))
        x, y = int(rng.integers(0, WIDTH_PX - high // 2)), int(rng.integers(10, HEIGHT_PX - high))
        empty, _ = camera.frame([], rng)
        cut.append(empty[y : y + high, x : x + round(0.42 * high)])
    return cut[:DISTRACTORS]
