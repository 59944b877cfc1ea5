"""Frames of all scenes as one set that training draws from: images held on the device as bytes, or read when they are
wanted; cameras as matrices, so that any place of the ground can be looked up there.

    frames = Frames(scenes.of_split(scenes.load(pack), "train"), "cpu")
    batch = frames(torch.tensor([3, 1, 4]))

Places are metres on the plane from its *middle* here, so that float32 is exact to 0.001 px and a turn is about the
middle. A view that is not there, for a scene has fewer or a camera lacks the frame, is black and sees nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import h5py
import numpy as np
import torch
from torch import Tensor

from tasks.ground_plane.formats.scenes import Scene, View
from tasks.yard.geometry import camera as geometry
from tasks.yard.geometry.camera import Camera

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB in 0..1
HELD_BYTES = 2_000_000_000  # images that need more are read for each batch


@dataclass(frozen=True)
class Batch:
    """B frames of V views; all on the device."""

    images: Tensor  # (B, V, H, W, 3) uint8
    there: Tensor  # (B, V) bool
    ground: Tensor  # (B, V, 3, 3) place x, y, 1 -> u, v in -1..1 times the depth, and the depth in metres
    regions: Tensor | None  # (B, V, H, W) bool: where people may stand; None: anywhere
    cells: Tensor  # (B, rows, columns, 2) the places of the centres of the cells
    size: Tensor  # (B, 2) width, height of the plane in metres
    people: Tensor  # (B, P, 2) places
    real: Tensor  # (B, P) bool: which of them there are


@cache
def constant(values: tuple, device: torch.device) -> Tensor:
    """On the device once and for all: a step that copies from the host could not be captured in a CUDA graph."""
    return torch.tensor(values, device=device)


def normalised(images: Tensor, mean: Sequence[float] = MEAN, std: Sequence[float] = STD) -> Tensor:
    """(..., H, W, 3) uint8 -> (..., 3, H, W) float32 as the networks want it, channels last in memory."""
    mean, std = (constant(tuple(values), images.device) * 255 for values in (mean, std))
    return ((images - mean) / std).movedim(-1, -3)


def ground_matrix(scene: Scene, camera: Camera) -> np.ndarray:
    """(3, 3) float64: a place from the middle of the plane -> what `Batch.ground` says."""
    height, width = camera.size
    place = np.eye(3)
    place[:2, :2], place[:2, 2] = scene.plane.axes, scene.plane.to_world(np.array(scene.plane.size_m) / 2)
    edges = np.array([[2 / width, 0, 1 / width - 1], [0, 2 / height, 1 / height - 1], [0, 0, 1]])
    return edges @ camera.homography() @ place


def region(camera: Camera) -> np.ndarray:
    """(H, W) bool: the pixels that the camera's region of interest touches."""
    if camera.roi is None:
        return np.ones(camera.size, bool)
    drawn = np.zeros(camera.size, np.uint8)
    polygon = np.round(np.asarray(camera.roi, float) * 256).astype(np.int32)
    return cv2.fillPoly(drawn, [polygon], 1, shift=8).astype(bool)


class Frames:
    """`frames(ids)`: ids (B) int64 -> Batch. Frame i is `work[i]`, (scene, place in its frames)."""

    def __init__(
        self, work: Sequence[tuple[Scene, int]], device: torch.device | str, held_bytes: int = HELD_BYTES
    ) -> None:
        self.device = torch.device(device)
        self.scenes = list({scene.name: scene for scene, _ in work}.values())
        self.views = max(len(scene.views) for scene in self.scenes)
        self.image_size = self.scenes[0].views[0].camera.size
        self.sources: list[tuple[View, int]] = []  # view, row in its file
        number = {scene.name: i for i, scene in enumerate(self.scenes)}
        most = max([1, *(len(scene.people[row]) for scene, row in work)])
        of, rows = np.zeros(len(work), np.int64), np.full((len(work), self.views), -1)
        people, real = np.zeros((len(work), most, 2), np.float32), np.zeros((len(work), most), bool)
        for i, (scene, row) in enumerate(work):
            of[i] = number[scene.name]
            found = scene.people[row][:, 1:] - np.array(scene.plane.size_m) / 2
            people[i, : len(found)], real[i, : len(found)] = found, True
            for v, view in enumerate(scene.views):
                if (frame := int(scene.frames[row])) in view.row:
                    rows[i, v] = len(self.sources)
                    self.sources.append((view, view.row[frame]))
        ground = np.zeros((len(self.scenes), self.views, 3, 3), np.float32)
        regions = np.zeros((len(self.scenes), self.views, *self.image_size), bool)
        for i, scene in enumerate(self.scenes):
            for v, view in enumerate(scene.views):
                ground[i, v], regions[i, v] = ground_matrix(scene, view.camera), region(view.camera)
        cells = [geometry.cells(scene.grid, scene.cell_m) - np.array(scene.plane.size_m) / 2 for scene in self.scenes]
        whole = all(view.camera.roi is None for scene in self.scenes for view in scene.views)
        self.rows, self.of, self.people, self.real = map(self.put, (rows, of, people, real))
        self.ground, self.regions = self.put(ground), None if whole else self.put(regions)
        self.cells = self.put(np.stack(cells).astype(np.float32))
        self.size = self.put(np.array([scene.plane.size_m for scene in self.scenes], np.float32))
        self.held = None
        if len(self.sources) * np.prod(self.image_size) * 3 <= held_bytes:
            self.held = self.put(self.read(np.arange(len(self.sources))))

    def __len__(self) -> int:
        return len(self.of)

    def put(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self.device)

    def read(self, places: np.ndarray) -> np.ndarray:
        """Images (n, H, W, 3) of `sources`, each file opened once."""
        images = np.empty((len(places), *self.image_size, 3), np.uint8)
        by_file: dict[str, list[int]] = {}
        for i, place in enumerate(places):
            by_file.setdefault(str(self.sources[place][0].path), []).append(i)
        for path, wanted in by_file.items():
            with h5py.File(path) as file:
                for i in wanted:
                    file["images"].read_direct(images, np.s_[self.sources[places[i]][1]], np.s_[i])
        return images

    def __call__(self, ids: Tensor) -> Batch:
        rows, of = self.rows[ids], self.of[ids]
        there, places = rows >= 0, rows.clamp(min=0).flatten()
        images = self.put(self.read(places.cpu().numpy())) if self.held is None else self.held.index_select(0, places)
        images = images.view(*rows.shape, *self.image_size, 3) * there[..., None, None, None]
        regions = None if self.regions is None else self.regions[of]
        return Batch(
            images, there, self.ground[of], regions, self.cells[of], self.size[of], self.people[ids], self.real[ids]
        )
