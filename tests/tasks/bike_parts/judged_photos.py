"""What evaluate reads, without a network: labelled boxes in the layout of split, and detections that are the truth with
so much noise, in the layout of detect. No photograph is needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tasks.bike_parts.formats import detections, photos
from tasks.bike_parts.formats.detections import Detections, Oracle
from tasks.bike_parts.formats.photos import Photo, Photos
from tests.tasks.bike_parts.tiny_photos import section

PARTS = ["bell", "chain", "lock", "saddle"]
SIZES = ((192, 160), (96, 80))  # width, height
SHARES = (0.55, 0.15, 0.2, 0.1)
FIRST = {"train": 1, "val": 10_001, "test": 20_001}


def labelled(split: str, bikes: int, seed: int = 0, changes: float = 0.15, shares=SHARES) -> Photos:
    """Each bike before and after one ride; every part in a state, some worse after it."""
    random = np.random.default_rng([seed, FIRST[split]])
    shown, rows = [], []
    for bike in range(bikes):
        states = random.choice(4, size=len(PARTS), p=shares)
        for turn in ("before", "after"):
            if turn == "after":
                states = np.where((states == 0) & (random.random(len(PARTS)) < changes), random.integers(1, 3), states)
            width, height = SIZES[bike % 2]
            number = FIRST[split] + len(shown)
            name = f"unit/images/{split}{bike}_0_{turn}.jpg"
            shown.append(Photo(number, name, width, height, f"{split}-bike{bike}"))
            for part, state in enumerate(states, 1):
                size = random.uniform(0.15, 0.4, 2) * (width, height)
                corner = random.uniform(0, 1, 2) * ((width, height) - size)
                rows.append((number * 10 + part, number, part, [*corner, *size], int(state), 1.0))
    columns = [np.array(list(of)) for of in zip(*rows, strict=True)]
    return Photos(PARTS, shown, *columns)


def seen(
    of: Photos, seed: int = 0, lost: float = 0.1, wrong: float = 0.2, shift: float = 0.1, false: float = 0.3
) -> tuple[Detections, Oracle]:
    """`lost`: share of boxes that are not found; `wrong`: of states that are told wrong; `shift`: of a box's size;
    `false`: boxes a photograph where nothing is. With 0 of all it is the truth."""
    random = np.random.default_rng([seed, len(of.id), 7])
    count = len(of.id)
    true = np.where(of.state >= 0, of.state, 0)
    told = np.where(random.random(count) < wrong, random.integers(0, 4, count), true)
    states = np.full((count, 4), 0.05) + np.eye(4)[told] * 0.8
    moved = of.box + random.normal(0, 1, (count, 4)) * shift * np.tile(of.box[:, 2:], 2)
    moved[:, 2:] = np.maximum(moved[:, 2:], 1)
    keep = random.random(count) >= lost
    score = random.uniform(0.4, 1, count)
    more = int(false * len(of.photos))
    ids = np.array([photo.id for photo in of.photos])
    image = np.concatenate([of.photo[keep], random.choice(ids, more) if more else ids[:0]])
    found = Detections(
        image,
        np.concatenate([of.part[keep], random.integers(1, len(of.parts) + 1, more)]),
        np.concatenate([moved[keep], random.uniform(1, 40, (more, 4))]).astype(np.float32),
        np.concatenate([score[keep], random.uniform(0, 0.7, more)]).astype(np.float32),
        np.concatenate([states[keep], np.full((more, 4), 0.25)]).astype(np.float32),
    )
    order = np.lexsort((-found.score, found.image))
    return ordered(found, order), Oracle(of.id, states.astype(np.float32))


def ordered(found: Detections, order: np.ndarray) -> Detections:
    return Detections(found.image[order], found.part[order], found.box[order], found.score[order], found.states[order])


def write(root: Path, networks: dict[str, dict], splits: dict[str, Photos] | None = None) -> Path:
    """split/ and detect/<network>/ ({name: {} or what `seen` takes, by split if it has `val` or `test`})."""
    splits = splits or {"train": labelled("train", 20), "val": labelled("val", 16), "test": labelled("test", 16)}
    for split, of in splits.items():
        photos.write(root / "split", split, of)
    for name, noise in networks.items():
        by_split = noise if {"val", "test"} & noise.keys() else dict.fromkeys(("val", "test"), noise)
        found = {split: seen(splits[split], **by_split.get(split, {})) for split in ("val", "test")}
        (root / "detect" / name).mkdir(parents=True, exist_ok=True)
        detections.write(root / "detect" / name / detections.FILE, found)
    return root


def unlabelled(of: Photos) -> Photos:
    return replace(of, state=np.full(len(of.id), photos.NOT_LABELLED))


def evaluate(root: Path, out: str = "evaluate", replicates: int = 100, **params) -> tuple[dict, dict]:
    """(what the step returns, details.json)"""
    from tasks.bike_parts import evaluate as step
    from tasks.yard.files import read_json
    from tests.tasks.yard.shared import reporting

    networks = {folder.name: folder for folder in sorted((root / "detect").iterdir())}
    flat = step.run(
        section("evaluate", **params), root / out, split=root / "split", detect=networks,
        reporting_params=reporting(bootstrap_replicates=replicates),
    )  # fmt: skip
    return flat, read_json(root / out / "details.json")
