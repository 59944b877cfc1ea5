"""One sequence of frames of one set of still cameras, as download/<unit>/ holds it: a MARMOT data root of one part.

    scene.json                                           splits, part, plane, layout, where, annotation_offset,
                                                         use_alpha_undistort
    0-calibration/calibs/camN.json                       calibration.py
    1-annotation/<part>/camN/camN_<frame id>.png|jpg     as filmed
    1-annotation/labels/<part>/<annotator>_<frame id>.json    labels.py

Frames of several cameras and labels belong together by their frame id. All lengths in the files are centimetres but
the plane's, which are metres.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tasks.ground_plane.formats import calibration, labels
from tasks.ground_plane.formats.calibration import CM
from tasks.yard.files import read_json
from tasks.yard.geometry.camera import Plane
from tasks.yard.geometry.lens import Calibration
from tasks.yard.layouts.images import SUFFIXES
from tasks.yard.step import BadInput

CALIBS, ANNOTATION, SCENE = Path("0-calibration/calibs"), Path("1-annotation"), "scene.json"
LABELS = ANNOTATION / "labels"
PARTS = ("train", "val")
MIN_PLANE_M, MAX_PLANE_M = 0.5, 500.0
SPLITS = (("train",), ("val",), ("test",), ("train", "val"), ("train", "val", "test"))
IMAGE_SUFFIXES = "|".join(map(re.escape, SUFFIXES))
CAMERA = re.compile(r"cam(\d{1,6})")
CALIBRATION = re.compile(r"cam(\d{1,6})(_new)?\.json")
FRAME = re.compile(rf"cam(\d{{1,6}})_(\d{{1,9}})({IMAGE_SUFFIXES})", re.IGNORECASE)


@dataclass(frozen=True)
class Sequence:
    name: str
    folder: Path
    calibrations: dict[str, Calibration]  # by rising number of the camera; so is the next
    frames: dict[str, dict[int, Path]]  # {camN: {frame id: image}}; empty for a camera without images
    labels: dict[int, Path]
    plane: Plane
    splits: tuple[str, ...]  # with several it is cut into contiguous parts
    part: str
    layout: str
    where: str
    use_alpha_undistort: bool = False  # its source's regions of interest were read in the pixels of K_new
    annotation_offset: int | None = None  # of its source's numbers: image i was given annotation i + this

    @cached_property
    def frame_ids(self) -> list[int]:
        """Those that any camera has, rising."""
        return sorted({frame for mine in self.frames.values() for frame in mine})

    @cached_property
    def joined(self) -> list[int]:
        """Frames that any camera has and that are labelled, rising."""
        return [frame for frame in self.frame_ids if frame in self.labels]

    def people(self, frame: int) -> np.ndarray:
        """(n, 3) float64: person id, X, Y in world metres; none for a frame without label. Raises `BadInput`."""
        if frame not in self.labels:
            return np.empty((0, 3))
        return labels.read(self.labels[frame]).people * [1, CM, CM]

    def boxes(self, frame: int) -> dict[str, np.ndarray]:
        """{camN: (n, 5) person id, x1, y1, x2, y2 in px as filmed}; {} where the label has not one box for each
        camera."""
        label = labels.read(self.labels[frame]) if frame in self.labels else None
        if label is None or label.boxes.shape[1] != len(self.calibrations):
            return {}
        found = {}
        for view, camera in enumerate(self.calibrations):
            seen = np.isfinite(label.boxes[:, view]).all(1)
            found[camera] = np.column_stack([label.people[seen, 0], label.boxes[seen, view]])
        return found


def scene_document(plane: Plane, splits: tuple[str, ...], part: str, layout: str, where: str) -> dict[str, Any]:
    """What scene.json holds."""
    said = {"origin_m": list(plane.origin_m), "size_m": list(plane.size_m), "angle_rad": plane.angle_rad}
    return {"splits": list(splits), "part": part, "plane": said, "layout": layout, "where": where}


def plane_of(said: Any, where: str) -> Plane:
    """Of scene.json's `plane`. Raises `BadInput` that names the file and the key."""
    found = {}
    for key, length in (("origin_m", 2), ("size_m", 2), ("angle_rad", 1)):
        try:
            found[key] = np.asarray(said[key], float).reshape(length)
        except (KeyError, TypeError, ValueError):
            found[key] = np.array([np.nan])
        if not np.isfinite(found[key]).all() or (key == "size_m" and (found[key] <= 0).any()):
            raise BadInput(f"{where}: 'plane' needs {key!r}: {'two numbers' if length == 2 else 'a number'}, in metres")
    if found["size_m"].max() > MAX_PLANE_M or found["size_m"].min() < MIN_PLANE_M:
        size = " x ".join(f"{side:g}" for side in found["size_m"])
        raise BadInput(
            f"{where}: 'size_m' of 'plane' is {size} m; expected {MIN_PLANE_M:g} to {MAX_PLANE_M:g}, in metres, not cm"
        )
    origin, size = (tuple(map(float, found[key])) for key in ("origin_m", "size_m"))
    return Plane(origin, size, float(found["angle_rad"][0]))


def described(path: Path) -> tuple[Plane, tuple[str, ...], Mapping[str, Any]]:
    """Plane, splits and all of a scene.json."""
    try:
        said = read_json(path)
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(said, dict):
        raise BadInput(f"{path}: expected an object with splits, part and plane")
    splits = tuple(said["splits"]) if isinstance(said.get("splits"), list) else ()
    if splits not in SPLITS:
        raise BadInput(f"{path}: 'splits' is {said.get('splits')}; expected one of {[list(some) for some in SPLITS]}")
    if said.get("part") not in PARTS:
        raise BadInput(f"{path}: 'part' is {said.get('part')}; expected train or val, the folder in {ANNOTATION}")
    return plane_of(said.get("plane"), str(path)), splits, said


def numbered(folder: Path, pattern: re.Pattern) -> list[tuple[int, Path]]:
    """(the pattern's first number, entry) of a folder, rising: cam2 before cam10."""
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    found = [(pattern.fullmatch(path.name), path) for path in entries]
    return sorted((int(match[1]), path) for match, path in found if match)


def calibration_files(folder: Path) -> dict[int, Path]:
    """{number of the camera: camN_new.json where there is one, else camN.json}, rising."""
    found: dict[int, Path] = {}
    for number, path in numbered(folder, CALIBRATION):
        other = found.get(number)
        newer = path.stem.endswith("_new")
        if other is not None and newer == other.stem.endswith("_new"):
            raise BadInput(f"{other} and {path} are of one camera; remove one of them")
        if other is None or newer:
            found[number] = path
    return found


def camera_folders(folder: Path) -> dict[int, Path]:
    """{number of the camera: its folder of images}, rising."""
    found: dict[int, Path] = {}
    for number, path in numbered(folder, CAMERA):
        if path.is_dir() and found.setdefault(number, path) != path:
            raise BadInput(f"{found[number]} and {path} are of one camera; remove one of them")
    return found


def frame_files(folder: Path) -> dict[int, Path]:
    """{frame id: image camN_<frame id>} of one camera, rising."""
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        match = FRAME.fullmatch(path.name)
        if match and (other := found.setdefault(int(match[2]), path)) != path:
            raise BadInput(f"{other} and {path} are of one frame; remove one of them")
    return dict(sorted(found.items()))


def read(folder: Path) -> Sequence:
    """Raises `BadInput` that names the file and what is wrong with it; labels are read when asked for."""
    plane, splits, said = described(folder / SCENE)
    files = calibration_files(folder / CALIBS)
    calibrations = {f"cam{number}": calibration.read(path) for number, path in files.items()}
    if not calibrations:
        raise BadInput(f"{folder / CALIBS}: holds no camN.json")
    folders = {f"cam{number}": path for number, path in camera_folders(folder / ANNOTATION / said["part"]).items()}
    if alone := [camera for camera in folders if camera not in calibrations]:
        raise BadInput(f"{folders[alone[0]]}: has no {CALIBS / alone[0]}.json; add it or remove the images")
    return Sequence(
        folder.name, folder, calibrations,
        {camera: frame_files(folders[camera]) if camera in folders else {} for camera in calibrations},
        labels.chosen(folder / LABELS / said["part"])[0], plane, splits, said["part"],
        str(said.get("layout", "marmot")), str(said.get("where", folder)),
        bool(said.get("use_alpha_undistort", False)), said.get("annotation_offset"),
    )  # fmt: skip
