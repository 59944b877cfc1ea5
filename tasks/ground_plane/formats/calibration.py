"""The calibration of one camera (tasks/yard/geometry/lens.py) as a file: MARMOT's camN.json.

    {"K": 3x3, "K_new": 3x3, "R": 3x3, "T": 3, "dist": 5, "view_id": 1, "ROI": [[u, v], ...] or null,
     "bounding_box": null, "size": [height, width]}

K and dist (OpenCV's k1, k2, p1, p2, k3) belong to the image as it was filmed; K_new to the image without distortion as
it is used here. ROI is drawn in the image without distortion that keeps K, as MARMOT shows it unless its
use_alpha_undistort is on; here it is in the pixels of K_new. T is in centimetres in the file, in metres here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tasks.yard.files import read_json
from tasks.yard.geometry.lens import Calibration, carried
from tasks.yard.step import BadInput

CM = 0.01
ROI_DIGITS = 9  # px: what is carried to K and back is the same again
KEYS = ("K", "K_new", "R", "T", "dist", "view_id", "ROI", "bounding_box", "size")
SHAPES = {"K": (3, 3), "K_new": (3, 3), "R": (3, 3), "T": (3,)}


def document(of: Calibration) -> dict[str, Any]:
    """What camN.json holds."""
    return {
        "K": of.K.tolist(), "K_new": of.K_new.tolist(), "R": of.R.tolist(), "T": (of.T / CM).tolist(),
        "dist": of.dist.tolist(), "view_id": int("".join(filter(str.isdigit, of.name)) or 0),
        "ROI": None if of.roi is None else carried(of.roi, of.K_new, of.K).tolist(), "bounding_box": None,
        "size": list(of.size),
    }  # fmt: skip


def parse(
    said: Mapping[str, Any], name: str, where: str, metres_per_unit: float = CM, alpha: bool = False
) -> Calibration:
    """`alpha`: ROI is drawn in the pixels of K_new, not of K. Raises `BadInput` that names the file and the key."""
    if missing := [key for key in KEYS if key not in said]:
        raise BadInput(f"{where}: key {missing[0]!r} is missing; a calibration has {', '.join(KEYS)}")

    def matrix(key: str, shape: tuple[int, ...] | None) -> np.ndarray:
        try:
            value = np.asarray(said[key], float)
        except (TypeError, ValueError):
            value = np.empty(0)
        value = value.ravel() if shape is None or len(shape) == 1 else value
        if (shape is not None and value.shape != shape) or not value.size or not np.isfinite(value).all():
            raise BadInput(f"{where}: {key!r} is not {' x '.join(map(str, shape or ('n',)))} finite numbers")
        return value

    found = {key: matrix(key, shape) for key, shape in SHAPES.items()}
    for key in ("K", "K_new"):
        if found[key][0, 0] <= 0 or found[key][1, 1] <= 0 or not np.allclose(found[key][2], [0, 0, 1]):
            raise BadInput(f"{where}: {key!r} is no camera matrix; expected fx, fy > 0 and [0, 0, 1] below, in px")
    if abs(np.linalg.det(found["R"]) - 1) > 1e-3 or np.abs(found["R"] @ found["R"].T - np.eye(3)).max() > 1e-3:
        raise BadInput(f"{where}: 'R' is no rotation (R R^T is not 1); mend it")
    dist = matrix("dist", None)
    if len(dist) not in (4, 5, 8, 12, 14):
        raise BadInput(f"{where}: 'dist' has {len(dist)} numbers; expected k1, k2, p1, p2, k3")
    size = matrix("size", (2,))
    if (size < 1).any() or (size % 1).any():
        raise BadInput(f"{where}: 'size' is {said['size']}; expected height, width in px")
    roi = None
    if said["ROI"]:
        try:
            roi = np.asarray(said["ROI"], float)
        except (TypeError, ValueError):
            roi = np.empty(0)
        if roi.ndim != 2 or roi.shape[0] < 3 or roi.shape[1] != 2 or not np.isfinite(roi).all():
            raise BadInput(f"{where}: 'ROI' is no polygon; expected 3 or more [u, v], or null")
        roi = np.round(roi if alpha else carried(roi, found["K"], found["K_new"]), ROI_DIGITS)
    return Calibration(
        name, found["K"], found["K_new"], found["R"], found["T"] * metres_per_unit, dist,
        (int(size[0]), int(size[1])), roi,
    )  # fmt: skip


def read(path: Path, metres_per_unit: float = CM, alpha: bool = False) -> Calibration:
    """As `parse`. Raises `BadInput` that names the file and the key."""
    try:
        said = read_json(path)
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(said, dict):
        raise BadInput(f"{path}: expected an object with the keys {', '.join(KEYS)}")
    return parse(said, path.stem.removesuffix("_new"), str(path), metres_per_unit, alpha)


def above_ground(of: Calibration, where: Path) -> None:
    """Raises `BadInput` if the camera is below the ground, or sees none of it: its world is upside down."""
    camera, (height, width) = of.camera(), of.size
    if camera.centre[2] <= 0 or np.isnan(camera.ground(np.array([[width / 2, height - 1.0]]))).any():
        raise BadInput(f"{where}: the bottom of the camera's image shows no ground below it; mend rotation and shift")
