"""Pictures of ThinkTwice's recorder made straight, as its authors do: CARLA's lens bends what a pinhole has straight
by 50 of 1600 pixels at 70 degrees aside and by less than 3 up to 60. They measured the numbers with a chessboard.

Depths and classes are bent alike, and take the nearest pixel. Where the straight picture shows what the bent one did
not, it is black, and depth and class are 0: not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from tasks.open_loop_driving.formats import routes
from tasks.open_loop_driving.formats.calibration import Camera
from tasks.yard.files import replacing
from tasks.yard.step import BadInput

SIZE = 900, 1600  # height, width that the numbers are for; others of this shape are scaled
BENT = np.array([[214.35935394, 0, 800], [0, 214.35935394, 450], [0, 0, 1]])
STRAIGHT = np.array([[304.14395142, 0, 788.25758876], [0, 221.49429321, 449.78972161], [0, 0, 1]])
FOV_DEG = 150.0  # of CARLA's camera whose pictures are bent so
LENS = np.array([0.00888296, -0.00130899, 0.00012061, -0.00338673, 0.00028834])  # k1, k2, p1, p2, k3 of OpenCV


def scaled(K: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """For pictures of this size, and counted from a pixel's edge; the numbers, as OpenCV's, count from its middle."""
    middle = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    return np.diag([size[1] / SIZE[1], size[0] / SIZE[0], 1.0]) @ middle @ K


def opencv(K: np.ndarray) -> np.ndarray:
    return np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]]) @ K


def known(size: tuple[int, int]) -> bool:
    """Are the numbers for pictures of this shape?"""
    return abs(size[1] / size[0] * SIZE[0] / SIZE[1] - 1) < 0.01


def maps(size: tuple[int, int], onto: tuple[int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Where in the bent picture, of this size, each pixel of the straight one lies, which is as large or of size
    `onto`."""
    height, width = onto or size
    return cv2.initUndistortRectifyMap(
        opencv(scaled(BENT, size)), LENS, None, opencv(scaled(STRAIGHT, (height, width))), (width, height), cv2.CV_32FC1
    )


def bent_size(camera: Camera) -> tuple[int, int] | None:
    """Height and width of what ThinkTwice's recorder takes, if this is its camera made straight; None of others."""
    if not np.allclose(camera.K, scaled(STRAIGHT, camera.size), rtol=0.01):
        return None
    return round(camera.size[1] * SIZE[0] / SIZE[1]), camera.size[1]


def straight(picture: np.ndarray, onto: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    kind = cv2.INTER_LINEAR if picture.ndim == 3 else cv2.INTER_NEAREST
    return cv2.remap(picture, *onto, interpolation=kind, borderMode=cv2.BORDER_CONSTANT, borderValue=0)


def straighten(folder: Path, cameras: Mapping[str, Camera]) -> dict[str, Camera]:
    """Every picture of a brought route in its place; returns the cameras as they are then. One that cannot be read
    stays as it is: check_data names it."""
    found = {}
    for name, camera in cameras.items():
        onto = maps(camera.size)
        for kind in ("rgb", "seg", "depth"):
            for path in sorted((folder / f"{kind}_{name}").glob("*")):
                _one(path, kind, onto, camera.size)
        found[name] = replace(camera, K=scaled(STRAIGHT, camera.size))
    return found


def _one(path: Path, kind: str, onto: tuple[np.ndarray, np.ndarray], size: tuple[int, int]) -> None:
    try:
        if kind == "rgb":
            picture = routes.picture(path)[..., ::-1]
        else:
            picture = routes.plain_png(path, np.uint16 if kind == "depth" else np.uint8)
    except BadInput:
        return
    if picture.shape[:2] != size:
        return
    data = cv2.imencode(".png", straight(np.ascontiguousarray(picture), onto), routes.FAST)[1].tobytes()
    new = path.with_suffix(".png")
    with replacing(new) as temporary:
        temporary.write_bytes(data)
    if new != path:
        path.unlink()
