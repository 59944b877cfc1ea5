"""What detect leaves: model_evaluation.hdf5, N frames and M detections in the order of the frames.

evaluation/NbDetection         int32 (N+1)           detections before each frame, and of all
evaluation/Detections          float32 (M, 2)        x, y on the plane, metres; of a frame the surest first
evaluation/DetectionsConf      float32 (M)           0..1
evaluation/AppearanceFeatures  float32 (M, V*D + C)  what each of V views has at the place, in the order of the
                                                     scene's cameras, 0 where it does not see it; then the ground's
evaluation/Scene               int32 (N)             place in its attribute `scenes`
evaluation/Frame               int32 (N)             frame id
evaluation/Split               uint8 (N)             1 val, 2 test, 0 of a sequence that nobody has labelled
heatmaps/pred_0                float32 (N, rows, columns)  score of each cell
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np

from tasks.yard.files import replacing
from tasks.yard.step import BadInput

FILE = "model_evaluation.hdf5"
VERSION = ("v110", "v110")  # as in pack: the bytes do not depend on the library's newest format
UNSPLIT, VAL, TEST = 0, 1, 2
SPLITS = {"val": VAL, "test": TEST}
HOMES = {
    "evaluation/Detections": "xy", "evaluation/DetectionsConf": "confidence",
    "evaluation/AppearanceFeatures": "appearance", "heatmaps/pred_0": "scores",
}  # fmt: skip
Place = tuple[str, int, int]  # scene, frame id, split


@dataclass(frozen=True)
class Detected:
    """One frame of model_evaluation.hdf5, without the appearance."""

    scene: str
    frame: int  # id
    split: int
    xy: np.ndarray  # (n, 2) metres on the plane, the surest first
    confidence: np.ndarray  # (n)
    scores: np.ndarray | None  # (rows, columns); None if it was not asked for


def read_detections(path: Path, maps: bool = True) -> list[Detected]:
    """All frames, in order, with heatmaps or without. Raises `BadInput` where there is no such file, or another."""
    names = ("NbDetection", "Detections", "DetectionsConf", "Scene", "Frame", "Split")
    try:
        with h5py.File(path) as file:
            ends, xy, confidence, scene, frame, split = (file[f"evaluation/{name}"][:] for name in names)
            scene_names = [str(name) for name in file["evaluation/Scene"].attrs["scenes"]]
            scores = file["heatmaps/pred_0"][:] if maps else [None] * len(frame)
    except (OSError, KeyError) as error:
        raise BadInput(f"{path}: not a file of ground_plane-detect ({error}); run it again") from None
    return [
        Detected(scene_names[scene[i]], int(frame[i]), int(split[i]), xy[a:b], confidence[a:b], scores[i])
        for i, (a, b) in enumerate(pairwise(ends))
    ]


def column(files: Iterable[Path], name: str) -> Iterator[np.ndarray]:
    """One column of each block; the others are not read, and one block at a time."""
    for file in files:
        with np.load(file) as block:
            yield block[name]


def write_detections(path: Path, frames: Sequence[Place], blocks: Sequence[Path], grid: tuple[int, int]) -> np.ndarray:
    """The blocks of detect, in one file; returns how many detections each frame has."""
    count = np.concatenate([np.empty(0, np.int32), *column(blocks, "count")])
    names = list(dict.fromkeys(scene for scene, _, _ in frames))
    per_frame = {
        "NbDetection": np.concatenate([[0], np.cumsum(count)]).astype(np.int32),
        "Scene": np.array([names.index(scene) for scene, _, _ in frames], np.int32),
        "Frame": np.array([frame for _, frame, _ in frames], np.int32),
        "Split": np.array([split for _, _, split in frames], np.uint8),
    }
    blank = {"xy": (0, 2), "confidence": (0,), "appearance": (0, 0), "scores": (0, *grid)}
    with replacing(path) as temporary, h5py.File(temporary, "w", libver=VERSION) as file:
        for name, values in per_frame.items():
            file.create_dataset(f"evaluation/{name}", data=values, track_times=False)
        file["evaluation/Scene"].attrs["scenes"] = names or [""]
        file["evaluation/Split"].attrs["splits"] = "0 none, 1 val, 2 test"
        for home, name in HOMES.items():
            shape = next(column(blocks, name)).shape if blocks else blank[name]
            rows = len(frames) if name == "scores" else int(count.sum())
            held = file.create_dataset(home, (rows, *shape[1:]), np.float32, track_times=False)
            start = 0
            for values in column(blocks, name):
                held[start : start + len(values)] = values
                start += len(values)
    return count
