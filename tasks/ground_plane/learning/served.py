"""What MLflow serves of this line: moments seen by calibrated cameras in, who stands where out.

    {"inputs": {
        "images": (n, cameras)       base64 of an image each, undistorted, as large as the network was trained on
        "K": (cameras, 3, 3), "R": (cameras, 3, 3), "T": (cameras, 3)     x_camera = R X + T, pixel = K x_camera / depth
                                     of these images, lengths in metres, the ground at Z = 0
        "roi": (cameras, corners, 2) polygon u, v in px where people may stand; the image's corners: anywhere
        "plane": (5)                 corner x, y in the world, width, height in m, angle of its width to X in radians
    }}

answers {"predictions": {"moment": (found) place in n, "x_m", "y_m" on the plane, "world_x_m", "world_y_m",
"confidence"}}, of a moment the surest first: the rows of detections.csv that `apply` writes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tasks.ground_plane.formats import scenes
from tasks.ground_plane.formats.scenes import Scene, View
from tasks.ground_plane.learning.network import fits, load_network, on_its_grid, scores_of
from tasks.ground_plane.learning.peaks import FLOOR, peaks
from tasks.ground_plane.params import Decode
from tasks.yard import serving
from tasks.yard.geometry.camera import Camera, Plane
from tasks.yard.step import BadInput

COLUMNS = ("moment", "x_m", "y_m", "world_x_m", "world_y_m", "confidence")


class Served:
    def __init__(self, path: str):
        self.network, self.config, scores = load_network(Path(path))
        self.size = self.config["height_px"], self.config["width_px"]
        self.decode = Decode.model_validate(self.config["decode"])
        self.threshold = FLOOR if scores["threshold"] is None else scores["threshold"]

    @torch.inference_mode()
    def predict(self, inputs: dict[str, np.ndarray], params: dict | None = None) -> dict[str, np.ndarray]:
        """Raises `BadInput` where something lacks, or the network cannot look through so many cameras."""
        scene = self.scene(inputs)
        images = serving.of_size(inputs["images"], "images", *self.size)
        if len(images) % len(scene.views) or not len(images):
            raise BadInput(f"{len(images)} images of {len(scene.views)} cameras; a moment needs one of each")
        sampling, visible = (torch.from_numpy(array)[None] for array in scene.looked_up)
        rows = []
        for moment, seen in enumerate(images.reshape(-1, len(scene.views), *self.size, 3)):
            scores = scores_of(self.network, self.config, torch.from_numpy(seen)[None], sampling, visible)[0].numpy()
            for xy, confidence in zip(*peaks(scores, scene.mask, scene.cell_m, self.decode, self.threshold),
                                      strict=True):  # fmt: skip
                rows.append([moment, *xy, *scene.plane.to_world(xy), confidence])
        found = np.array(rows, float).reshape(-1, len(COLUMNS)).T
        return {name: column.astype(int if name == "moment" else float)
                for name, column in zip(COLUMNS, found, strict=True)}  # fmt: skip

    def scene(self, inputs: dict[str, np.ndarray]) -> Scene:
        K, R, T, roi = (np.asarray(inputs[name], float) for name in ("K", "R", "T", "roi"))
        plane = np.asarray(inputs["plane"], float)
        if len({len(K), len(R), len(T), len(roi)}) != 1 or K.shape[1:] != (3, 3) or R.shape[1:] != (3, 3):
            raise BadInput(f"K {K.shape}, R {R.shape}, T {T.shape}, roi {roi.shape}: expected one of each a camera")
        if plane.shape != (5,) or not (plane[2:4] > 0).all():
            raise BadInput(f"plane: expected corner x, y, width, height, angle in metres and radians; it is {plane}")
        cameras = [Camera(*of, self.size, region) for *of, region in zip(K, R, T, roi, strict=True)]
        views = tuple(View(f"cam{i + 1}", camera, Path(), {}) for i, camera in enumerate(cameras))
        ground = Plane((plane[0], plane[1]), (plane[2], plane[3]), plane[4])
        cell_m = self.config["cell_m"]
        nobody = np.empty(0, np.int32), np.empty(0, str), (), np.empty(0, bool)
        scene = Scene("the request", views, ground, cell_m, ground.grid(cell_m), *nobody)
        fits(self.config, scene)
        scene = on_its_grid(self.config, scene)
        if not scene.mask.any():
            raise BadInput("no camera sees any of the plane; mend K, R and T, or the plane")
        return scene


def corners(size: tuple[int, int]) -> list[list[float]]:
    """The polygon of a whole image."""
    height, width = size
    return [[-0.5, -0.5], [width - 0.5, -0.5], [width - 0.5, height - 0.5], [-0.5, height - 0.5]]


def request(scene: Scene, frames: list[int]) -> dict[str, np.ndarray]:
    """Moments of a packed scene as they are asked for."""
    size = scene.views[0].camera.size
    of = [view.camera for view in scene.views]
    shown = [scene.images(frame)[0] for frame in frames]
    regions = [corners(size) if camera.roi is None else camera.roi.tolist() for camera in of]
    most = max(map(len, regions))
    return {
        "images": np.array([[serving.text_of(image) for image in images] for images in shown]),
        "K": np.array([camera.K for camera in of], float), "R": np.array([camera.R for camera in of], float),
        "T": np.array([camera.T for camera in of], float),
        "roi": np.array([region + region[-1:] * (most - len(region)) for region in regions], float),
        "plane": np.array([*scene.plane.origin_m, *scene.plane.size_m, scene.plane.angle_rad], float),
    }  # fmt: skip


def example(pack: Path) -> dict[str, np.ndarray]:
    """The first moment of the pack."""
    scene = scenes.load(pack)[0]
    return request(scene, [int(scene.frames[0])])


def _load_pyfunc(path: str) -> Served:
    """The name that MLflow looks for in a loader module."""
    return Served(path)
