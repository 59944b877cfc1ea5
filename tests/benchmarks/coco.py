"""COCO's twelve numbers of 2,000 photographs with 22 parts, against pycocotools: `python -m tests.benchmarks.coco`.

From arrays to numbers, on both sides: pycocotools wants dicts, so it is given its dicts ready made as well ("judging
alone"). Parts that are there count (VIPriors' protocol); 3 detections a part and photograph.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np

from tasks.bike_parts.formats.detections import Detections
from tasks.bike_parts.formats.photos import Photo
from tasks.bike_parts.judging import coco
from tasks.bike_parts.judging.coco import Boxes
from tests.tasks.bike_parts.judging.oracle import dataset, judged

PHOTOS, PARTS, EACH, ABSENT = 2000, 22, 3, 0.2
REPEATS = 3  # of ours; the others take long enough to be timed once


def world(photos: int, seed: int = 0) -> tuple[list[Photo], list[str], Boxes, Detections]:
    """Detections are the truth moved and scaled by a tenth of its size, the first of each part the surest."""
    random = np.random.default_rng(seed)
    shown = [Photo(i, f"{i}.jpg", 640, 480, f"{i}") for i in range(1, photos + 1)]
    image, part = (of.ravel() for of in np.meshgrid(np.arange(1, photos + 1), np.arange(1, PARTS + 1), indexing="ij"))
    size = np.exp(random.uniform(np.log(12), np.log(200), (len(image), 2)))
    box = np.concatenate([random.uniform(0, 1, (len(image), 2)) * ([640, 480] - size), size], axis=1)
    there = random.random(len(image)) >= ABSENT
    of = np.repeat(np.arange(len(image)), EACH)
    moved = box[of] + random.normal(0, 0.1, (len(of), 4)) * np.tile(size[of], 2)
    moved[:, 2:] = np.maximum(moved[:, 2:], 1)
    score = random.beta(5, 2, len(of)) * np.tile(0.7 ** np.arange(EACH), len(image))
    states = np.full((len(of), 4), 0.25, np.float32)
    found = Detections(image[of], part[of], moved.astype(np.float32), score.astype(np.float32), states)
    return shown, [f"part{k}" for k in range(1, PARTS + 1)], Boxes(image[there], part[there], box[there]), found


def timed(side: Callable) -> tuple[list, float]:
    begin = time.perf_counter()
    found = side()
    return found, time.perf_counter() - begin


def main(tiny: bool = False) -> None:
    case = world(20 if tiny else PHOTOS)
    score = case[3].score.astype(float)
    ready = dataset(*case, score)
    sides = {
        "ours": lambda: list(coco.twelve(*case, score)[0].values()),
        "pycocotools": lambda: judged(*dataset(*case, score)),
        "pycocotools, judging alone": lambda: judged(*ready),
    }
    runs = [{name: timed(side) for name, side in sides.items()}]
    runs += [{"ours": timed(sides["ours"])} for _ in range(0 if tiny else REPEATS - 1)]
    for run in runs:
        for name, (numbers, _) in run.items():
            same = [a is b if a is None or b is None else abs(a - b) < 1e-12 for a, b in
                    zip(run["ours"][0], numbers, strict=True)]  # fmt: skip
            assert all(same), f"{name} finds something else: {numbers} for {run['ours'][0]}"
    photos, boxes, detections = len(case[0]), len(case[2].image), len(score)
    print(f"{photos} photographs, {PARTS} parts, {boxes} boxes, {detections} detections")
    ours = median(run["ours"][1] for run in runs)
    for name in list(sides)[1:]:
        theirs = runs[0][name][1]
        print(f"{ours:6.2f} s   {name:28} {theirs:6.2f} s   {theirs / ours:5.1f} x, the same 12 numbers")
    print(f"(AP {runs[0]['ours'][0][0]:.4f}, AP50 {runs[0]['ours'][0][1]:.4f})")


if __name__ == "__main__":
    main()
