"""What detect leaves of one network: detections.h5, for each of the splits val and test.

<split>/image     int64 (n)        id of the photograph in <split>_coco.json; the photographs in order, the surest first
<split>/part      int64 (n)        1..K
<split>/box       float32 (n, 4)   x, y, width, height in pixels of the photograph
<split>/score     float32 (n)      that this is the box of the part, in whatever state; an absent part has one too
<split>/states    float32 (n, 4)   probabilities: intact, damaged, absent, occluded
<split>/oracle/annotation  int64 (m)        id of each annotation in <split>_coco.json
<split>/oracle/states      float32 (m, 4)   what the state head says of the true box: errors of the detector left out
<split>/again/...            the five columns and off, float32 (r): a second look at photographs of rides, where both
                             photographs expect each part; see judging/layout.py. Not there: without rides to learn from

That a part is there, which protocols without absent parts ask for, is `presence`: score x (1 - states[absent]).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np

from tasks.bike_parts.formats.photos import ABSENT, STATES, Photos
from tasks.yard.files import replacing
from tasks.yard.step import BadInput

FILE = "detections.h5"
VERSION = ("v110", "v110")  # the bytes do not depend on the library's newest format


@dataclass(frozen=True)
class Detections:
    """See the module docstring for the shapes."""

    image: np.ndarray
    part: np.ndarray
    box: np.ndarray
    score: np.ndarray
    states: np.ndarray

    @property
    def presence(self) -> np.ndarray:
        """(n) that the part is there."""
        return self.score * (1 - self.states[:, ABSENT])


@dataclass(frozen=True)
class Second(Detections):
    """The second look."""

    off: np.ndarray


@dataclass(frozen=True)
class Oracle:
    annotation: np.ndarray
    states: np.ndarray


def judgeable(photos: Photos, found: Detections) -> Detections:
    """Without detections of parts that are doubted in their photograph and have no other box in it: nobody knows
    whether they are right."""
    doubted = {(photo.id, part) for photo in photos.photos for part in photo.doubted}
    doubted -= set(zip(photos.photo.tolist(), photos.part.tolist(), strict=True))
    if not doubted:
        return found
    pairs = zip(found.image.tolist(), found.part.tolist(), strict=True)
    keep = np.array([pair not in doubted for pair in pairs], bool)
    return Detections(*(getattr(found, field.name)[keep] for field in fields(Detections)))


def gathered(images: np.ndarray, found: Sequence[Any]) -> Detections:
    """`found`: part, box, score and states of what there is in each of the photographs `images` (m)."""
    shapes = {"part": (), "box": (4,), "score": (), "states": (len(STATES),)}
    columns = {
        name: np.concatenate([np.empty((0, *shape), np.float32), *(getattr(of, name) for of in found)])
        for name, shape in shapes.items()
    }
    columns["part"] = columns["part"].astype(np.int64)
    return Detections(np.repeat(images, [len(of.part) for of in found]), **columns)


def write(
    path: Path, found: Mapping[str, tuple[Detections, Oracle]], again: Mapping[str, Second] = MappingProxyType({})
) -> None:
    with replacing(path) as temporary, h5py.File(temporary, "w", libver=VERSION) as file:
        for split, (detections, oracle) in found.items():
            more = [(f"{split}/again", again[split])] if split in again else []
            for place, of in ((split, detections), (f"{split}/oracle", oracle), *more):
                for field in fields(of):
                    file.create_dataset(f"{place}/{field.name}", data=getattr(of, field.name), track_times=False)


def read(path: Path, split: str) -> tuple[Detections, Oracle]:
    """Raises `BadInput` where there is no such file, or another."""
    try:
        with h5py.File(path) as file:
            detections = Detections(*(file[f"{split}/{field.name}"][:] for field in fields(Detections)))
            return detections, Oracle(*(file[f"{split}/oracle/{field.name}"][:] for field in fields(Oracle)))
    except (OSError, KeyError) as error:
        raise BadInput(f"{path}: not a file of bike_parts-detect ({error}); run it again") from None


def read_again(path: Path, split: str) -> Second | None:
    """None where there was no second look. Raises `BadInput` where there is no such file, or another."""
    try:
        with h5py.File(path) as file:
            if f"{split}/again" not in file:
                return None
            return Second(*(file[f"{split}/again/{field.name}"][:] for field in fields(Second)))
    except (OSError, KeyError) as error:
        raise BadInput(f"{path}: not a file of bike_parts-detect ({error}); run it again") from None
