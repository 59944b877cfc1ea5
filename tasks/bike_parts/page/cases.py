"""Test photographs to look at: the best and the worst, and the states that are taken for others most often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from tasks.bike_parts.formats.detections import Detections
from tasks.bike_parts.formats.photos import STATES, Photos
from tasks.bike_parts.judging.judge import Judge
from tasks.bike_parts.judging.matching import matched
from tasks.bike_parts.judging.verdicts import Seen
from tasks.bike_parts.page.drawing import Mark, closeup, photograph
from tasks.bike_parts.page.verdict_pictures import SHOWN_PX, spaced, uri_of
from tasks.yard.layouts.images import readable
from tasks.yard.reporting.film import BACK, FAINT, INK, font

SHOWN = {"best": 2, "worst": 3}  # photographs
KINDS, EACH = 4, 6  # mistakes, and examples of each
TILE_PX, WORDS_PX = 150, 34  # of an example; below it


@dataclass(frozen=True)
class Case:
    """One labelled part of a photograph, and what was made of it."""

    photo: str  # its name below download/
    part: str
    box: Sequence[float]
    true: int  # place in STATES; -1: not labelled
    said: int | None  # None: not found
    sure: float

    @property
    def right(self) -> bool:
        return self.said is not None and self.true in (self.said, -1)


def cases_of(photos: Photos, found: Detections, judge: Judge) -> list[list[Case]]:
    """For each photograph its labelled parts."""
    told = []
    for photo in photos.photos:
        rows = found.image == photo.id
        seen = judge.found(Seen(found.part[rows], found.box[rows], found.score[rows], found.states[rows]))
        seen = seen.chosen(np.argsort(-seen.score, kind="stable"))
        mine = np.flatnonzero(photos.photo == photo.id)
        taken = matched(seen.part, seen.box, photos.part[mine], photos.box[mine])
        of_truth = {int(at): i for i, at in enumerate(taken) if at >= 0}
        cases = []
        for at, row in enumerate(mine):
            i = of_truth.get(at)
            box = (photos.box[row] if i is None else seen.box[i]).tolist()
            said, sure = (None, 0.0) if i is None else (int(seen.states[i].argmax()), float(seen.states[i].max()))
            cases.append(Case(photo.name, photos.parts[photos.part[row] - 1], box, int(photos.state[row]), said, sure))
        told.append(cases)
    return told


def mark_of(case: Case) -> Mark:
    name, true = spaced(case.part), STATES[case.true] if case.true >= 0 else None
    if case.said is None:
        return Mark(case.box, true or "intact", f"{name}: not found")
    if case.right:
        return Mark(case.box, STATES[case.said], name)
    return Mark(case.box, STATES[case.said], f"{name}: {STATES[case.said]}, is {true}", strong=True)


def extremes(
    photos: Photos, cases: Sequence[Sequence[Case]], download: Path, examples: Mapping[str, Sequence[int]]
) -> list[dict[str, Any]]:
    """Photographs of `examples`, the step evaluate's: {best, worst: ids}."""
    place = {photo.id: i for i, photo in enumerate(photos.photos)}
    told = []
    for kind, count in SHOWN.items():
        for photo in examples[kind][:count]:
            mine = cases[place[photo]]
            name = photos.photos[place[photo]].name
            picture = photograph(readable(download / name), [mark_of(case) for case in mine], SHOWN_PX)
            right = sum(case.right for case in mine)
            told.append({
                "kind": kind, "file": name, "uri": uri_of(picture),
                "says": f"{right} of {len(mine)} parts found and their state right",
            })  # fmt: skip
    return told


def tile(image: Image.Image, case: Case) -> Image.Image:
    """The part close up, and below it what it is."""
    shown = Image.new("RGB", (TILE_PX, TILE_PX + WORDS_PX), BACK)
    state = STATES[case.said] if case.said is not None else None
    shown.paste(closeup(image, Mark(case.box, state, None), TILE_PX), (0, 0))
    pen = ImageDraw.Draw(shown)
    pen.text((4, TILE_PX + 4), spaced(case.part), font=font(11, bold=True), fill=INK)
    pen.text((4, TILE_PX + 18), f"{100 * case.sure:.0f} % sure", font=font(11), fill=FAINT)
    return shown


def confused(cases: Sequence[Sequence[Case]], download: Path) -> list[dict[str, Any]]:
    """The mistakes that are made most often: {true, said, count, uri of the surest examples}."""
    wrong = [case for of in cases for case in of if case.said is not None and not case.right]
    told = []
    for (true, said), count in Counter((case.true, case.said) for case in wrong).most_common(KINDS):
        mine = sorted((case for case in wrong if (case.true, case.said) == (true, said)), key=lambda case: -case.sure)
        sheet = Image.new("RGB", (min(EACH, count) * (TILE_PX + 6) - 6, TILE_PX + WORDS_PX), BACK)
        for place, case in enumerate(mine[:EACH]):
            image = readable(download / case.photo)
            sheet.paste(tile(image, case), (place * (TILE_PX + 6), 0))
        told.append({"true": STATES[true], "said": STATES[said or 0], "count": count, "uri": uri_of(sheet)})
    return told
