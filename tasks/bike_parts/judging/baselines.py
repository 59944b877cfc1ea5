"""What memory of the training photographs, or a look at another photograph, is worth: judged as networks are.

mean_box         every part where it lies on average, in whatever state it is on average
majority_state   what the leader finds, each part in the state it has most often
blind            what the leader finds in the photograph of another bike
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tasks.bike_parts.formats.detections import Detections
from tasks.bike_parts.formats.photos import NOT_LABELLED, STATES, Photos

MEAN_BOX, MAJORITY, BLIND = "mean_box", "majority_state", "blind"
WHAT = {
    MEAN_BOX: "each part at the mean of its boxes in training, as sure as it is often there; sees no photograph",
    MAJORITY: "the leader's boxes, each part in the state it has most often in training",
    BLIND: "what the leader finds in the photograph of another bike",
}


def sizes(photos: Photos) -> dict[int, tuple[int, int]]:
    return {photo.id: (photo.width, photo.height) for photo in photos.photos}


def shares(train: Photos) -> np.ndarray:
    """(K, 4) how often each part is in each state; of a part whose states nobody labelled: intact."""
    found = np.zeros((len(train.parts), len(STATES)))
    known = train.state != NOT_LABELLED
    np.add.at(found, (train.part[known] - 1, train.state[known]), 1)
    found[found.sum(1) == 0, 0] = 1
    return found / found.sum(1, keepdims=True)


def mean_box(train: Photos, of: Photos) -> Detections:
    """Boxes are means of shares of width and height; a score is how often the part is labelled in a photograph."""
    about, size = sizes(train), sizes(of)
    edges = np.array([about[photo] for photo in train.photo.tolist()], float).reshape(-1, 2)
    share = train.box / np.tile(edges, 2)
    there = [k for k in range(1, len(train.parts) + 1) if (train.part == k).any()]
    means = {k: share[train.part == k].mean(0) for k in there}
    often = {k: len(np.unique(train.photo[train.part == k])) / len(train.photos) for k in there}
    states = shares(train)
    ids = [photo.id for photo in of.photos]
    order = sorted(there, key=lambda k: -often[k])
    return Detections(
        np.repeat(np.array(ids, np.int64), len(order)),
        np.tile(np.array(order, np.int64), len(ids)),
        np.array([means[k] * np.tile(size[photo], 2) for photo in ids for k in order], np.float32).reshape(-1, 4),
        np.tile(np.array([often[k] for k in order], np.float32), len(ids)),
        np.tile(states[np.array(order, int) - 1].astype(np.float32), (len(ids), 1)).reshape(-1, len(STATES)),
    )


def majority(train: Photos) -> np.ndarray:
    """(K) the state that each part has most often; of equals the first of STATES."""
    return shares(train).argmax(1)


def with_majority(train: Photos, found: Detections) -> Detections:
    told = np.eye(len(STATES), dtype=np.float32)[majority(train)[found.part - 1]]
    return replace(found, states=told.reshape(-1, len(STATES)))


def others(groups: list[str], seed: int) -> np.ndarray | None:
    """(n) for each photograph the place of one of another group; None where there is one group.

    Groups stand in a random order, one behind the other, and are moved on by the size of the largest: nobody meets
    their own, but where one group has more than half of all.
    """
    names, number = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        return None
    random = np.random.default_rng(seed)
    order = np.lexsort((random.random(len(number)), random.permutation(len(names))[number]))
    found = np.empty(len(number), int)
    found[order] = np.roll(order, -int(np.bincount(number).max()))
    for place in np.flatnonzero(number[found] == number):
        found[place] = random.choice(np.flatnonzero(number != number[place]))
    return found


def blind(of: Photos, found: Detections, seed: int) -> Detections | None:
    """Detections of another bike's photograph, in shares of width and height; None where all are of one bike."""
    other = others([photo.group for photo in of.photos], seed)
    if other is None:
        return None
    rows = {photo.id: np.flatnonzero(found.image == photo.id) for photo in of.photos}
    parts = []
    for photo, place in zip(of.photos, other.tolist(), strict=True):
        source = of.photos[place]
        mine = rows[source.id]
        scale = np.tile([photo.width / source.width, photo.height / source.height], 2)
        parts.append((np.full(len(mine), photo.id), mine, (found.box[mine] * scale).astype(np.float32)))
    image, taken, box = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Detections(image, found.part[taken], box, found.score[taken], found.states[taken])
