"""What pack/ holds, as training, validation and pictures read it: frames of several cameras over one plane.

A view is one camera of one scene. Scenes of another number of cameras stand in one batch: a view that is not there is
black and sees no cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path

import h5py
import numpy as np

from tasks.yard.files import read_json
from tasks.yard.geometry import camera as geometry
from tasks.yard.geometry.camera import Camera, Plane
from tasks.yard.step import BadInput
from tasks.yard.training.learnt import Item

SPLITS = ("train", "val", "test")
UNLABELLED = "unlabelled.json"  # of sequences that nobody has labelled, apart: a new one changes no training


@dataclass(frozen=True)
class View:
    """One camera of one scene, its images undistorted and of the packed size."""

    name: str  # cam1
    camera: Camera  # of the packed images
    path: Path  # frames.h5
    row: dict[int, int]  # frame id -> row of frames.h5; a frame that this camera lacks is not in it

    def image(self, frame: int) -> np.ndarray | None:
        """(H, W, 3) uint8 RGB; None if this camera has no such frame."""
        if frame not in self.row:
            return None
        with h5py.File(self.path) as file:
            return file["images"][self.row[frame]]


@dataclass(frozen=True)
class Scene:
    """One recording: one set of cameras that stand still."""

    name: str
    views: tuple[View, ...]  # by rising number of the camera
    plane: Plane
    cell_m: float
    grid: tuple[int, int]  # rows, columns; of all scenes the same, so that some cells may lie beyond the plane
    frames: np.ndarray  # (F) int32: frame ids, rising
    split: np.ndarray  # (F) of SPLITS
    people: tuple[np.ndarray, ...]  # of each frame (n, 3) float64: person id, x, y in the plane, metres
    labelled: np.ndarray  # (F) bool

    @cached_property
    def looked_up(self) -> tuple[np.ndarray, np.ndarray]:
        """Sampling (V, rows, columns, 2) float32 and visibility (V, rows, columns) bool of the cells' centres."""
        centres = geometry.cells(self.grid, self.cell_m)
        found = [geometry.looked_up(view.camera, self.plane, centres) for view in self.views]
        inside = self.plane.holds(centres)
        return np.stack([s for s, _ in found]), np.stack([seen & inside for _, seen in found])

    @property
    def mask(self) -> np.ndarray:
        """(rows, columns) bool: cells of the plane that a camera sees; nothing else is predicted or judged."""
        return self.looked_up[1].any(0)

    def images(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """(V, H, W, 3) uint8 RGB and (V) bool: which of them there are."""
        found = [view.image(frame) for view in self.views]
        height, width = self.views[0].camera.size
        black = np.zeros((height, width, 3), np.uint8)
        return np.stack([black if one is None else one for one in found]), np.array([one is not None for one in found])

    def rows(self, split: str) -> np.ndarray:
        """Places in `frames` of a split's labelled frames."""
        return np.flatnonzero((self.split == split) & self.labelled)


def unlabelled(pack: Path) -> list[Scene]:
    """Those that nobody has labelled, by name."""
    return load(pack, UNLABELLED) if (pack / UNLABELLED).exists() else []


def load(pack: Path, file: str = "scenes.json") -> list[Scene]:
    """All scenes, by name. Images stay on the disk."""
    about = read_json(pack / file)
    scenes = []
    for name, said in about["scenes"].items():
        views = []
        for camera in said["cameras"]:
            folder = pack / f"{name}-{camera}"
            of = read_json(folder / "camera.json")
            roi = None if of["roi"] is None else np.array(of["roi"], float)
            views.append(View(
                camera,
                Camera(np.array(of["K"]), np.array(of["R"]), np.array(of["T"]), tuple(of["size"]), roi),
                folder / "frames.h5",
                {frame: row for row, frame in enumerate(of["frames"])},
            ))  # fmt: skip
        plane = Plane(tuple(said["plane"]["origin_m"]), tuple(said["plane"]["size_m"]), said["plane"]["angle_rad"])
        people = tuple(np.array(rows, float).reshape(-1, 3) for rows in said["people"])
        scenes.append(Scene(
            name, tuple(views), plane, about["cell_m"], tuple(about["grid"]), np.array(said["frames"], np.int32),
            np.array(said["split"]), people, np.array(said["labelled"], bool),
        ))  # fmt: skip
    if not scenes:
        raise BadInput(f"{pack}: holds no scene; run ground_plane-pack")
    return scenes


def of_split(scenes: Sequence[Scene], split: str) -> list[tuple[Scene, int]]:
    """(scene, place in its frames) of every labelled frame of a split, in order."""
    return [(scene, int(row)) for scene in scenes for row in scene.rows(split)]


def tested(scenes: Sequence[Scene], guard: int) -> list[Item]:
    """One of each frame of `of_split(scenes, "test")`, with the `guard` labelled frames on either side that show nearly
    the same; fewer where today's own splits are nearer to each other."""
    found = []
    for scene in scenes:
        labelled, mine = scene.frames[scene.labelled], scene.frames[scene.rows("test")]
        others = scene.frames[np.concatenate([scene.rows("train"), scene.rows("val")])]
        step = int(np.median(np.diff(labelled))) if len(labelled) > 1 else 1
        nearest = min((int(np.abs(others - frame).min()) for frame in mine if len(others)), default=None)
        around = guard * step if nearest is None else min(guard * step, nearest - 1)
        found += [Item((scene.name,), (int(frame) - around, int(frame) + around)) for frame in mine]
    return found


def parts(scenes: Sequence[Scene]) -> list[Item]:
    """What training and validation are made from: of each scene its runs of frames, from the first to the last one."""
    found = []
    for scene in scenes:
        for split, run in groupby(np.flatnonzero(scene.labelled), key=lambda row, of=scene: of.split[row]):
            frames = scene.frames[list(run)]
            if split in ("train", "val"):
                found.append(Item((scene.name,), (int(frames[0]), int(frames[-1]))))
    return found
