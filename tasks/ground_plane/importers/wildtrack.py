"""WILDTRACK and MultiviewX: one layout, with another grid, other names of the cameras and another unit.

    Image_subsets/C<N>/<frame>.png|jpg        camera N, without distortion
    annotations_positions/<frame>.json        [{personID, positionID, views: [{viewNum, xmin, ymin, xmax, ymax}]}]
    calibrations/extrinsic/extr_<camera>.xml, calibrations/intrinsic_zero|intrinsic/intr_<camera>.xml

A positionID counts the cells of a grid of 2.5 cm; viewNum counts the cameras from 0, and a box of -1 is of nobody
seen. MultiviewX has a left-handed world (Unity's): seen from above it is a mirror image, and by its calibrations all
that is filmed lies behind the cameras. Its Y is turned round here, Y = 16 m - Y, which puts the cameras above the
ground and the people before them. Which annotation belongs to which image, offsets.py says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np

from tasks.ground_plane.formats import calibration, labels, sequence
from tasks.ground_plane.formats.calibration import CM
from tasks.ground_plane.importers import frames, offsets
from tasks.ground_plane.judging import moments
from tasks.yard.files import read_json, write_json
from tasks.yard.geometry.camera import Plane
from tasks.yard.geometry.lens import Calibration
from tasks.yard.step import BadInput

IMAGES, ANNOTATIONS, CALIBRATIONS = FOLDERS = ("Image_subsets", "annotations_positions", "calibrations")
CELL_M = 0.025
XML_BYTES = 1 << 16  # a calibration has 1 kB
IMAGE = re.compile(rf"(\d{{1,9}})({sequence.IMAGE_SUFFIXES})", re.IGNORECASE)
ANNOTATION = re.compile(r"(\d{1,9})\.json", re.IGNORECASE)
FOLDER = re.compile(r"C(\d{1,3})")
NO_BEND_PX = 0.01  # coefficients that move no pixel farther are rounding of the calibration
NOBODY = [-1, -1, -1, -1]
CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class Layout:
    name: str
    cameras: tuple[str, ...]  # of C1, C2, ... in the names of the calibrations
    intrinsic: str  # folder
    metres_per_unit: float  # of tvec
    grid: tuple[int, int]  # cells along X and Y
    origin_m: tuple[float, float]
    cell_of: Callable[[int], tuple[int, int]]  # positionID -> cells along X and Y
    offsets: tuple[int, ...]  # of an annotation's number from its image's, as copies of it have
    left_handed: bool

    @property
    def plane(self) -> Plane:
        return Plane(self.origin_m, (self.grid[0] * CELL_M, self.grid[1] * CELL_M))

    def place_cm(self, position: int) -> tuple[float, float]:
        """World X, Y in cm."""
        x, y = self.cell_of(position)
        y = self.grid[1] - y if self.left_handed else y
        return tuple(round((o + cell * CELL_M) / CM, 6) for o, cell in zip(self.origin_m, (x, y), strict=True))

    def right_handed(self, R: np.ndarray, T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """R (3, 3) and T (3) in metres of the calibration -> those of the world in which `place_cm` is."""
        if not self.left_handed:
            return R, T
        return -R @ np.diag([1.0, -1.0, 1.0]), -(T + R[:, 1] * self.grid[1] * CELL_M)  # of -x_camera: from behind


WILDTRACK = Layout(
    "wildtrack", (*(f"CVLab{n}" for n in range(1, 5)), *(f"IDIAP{n}" for n in range(1, 4))), "intrinsic_zero",
    CM, (480, 1440), (-3.0, -9.0), lambda position: (position % 480, position // 480), (0,), False,
)  # fmt: skip
MULTIVIEWX = Layout(
    "multiviewx", tuple(f"Camera{n}" for n in range(1, 7)), "intrinsic",
    1.0, (1000, 640), (0.0, 0.0), lambda position: (position % 1000, position // 1000), (1, 0), True,
)  # fmt: skip
LAYOUTS = {layout.name: layout for layout in (WILDTRACK, MULTIVIEWX)}


def layout_of(folder: Path) -> str | None:
    """Which of the two a folder holds, None if neither; without any calibration it is taken for WILDTRACK."""
    if not any((folder / name).is_dir() for name in (IMAGES, ANNOTATIONS, f"{CALIBRATIONS}/extrinsic")):
        return None
    names = {path.name for path in (folder / CALIBRATIONS).glob("*/*.xml")}
    return "multiviewx" if any(name.startswith(("extr_Camera", "intr_Camera")) for name in names) else "wildtrack"


def xml_numbers(path: Path, key: str, counts: tuple[int, ...]) -> np.ndarray | None:
    """The numbers of a node of OpenCV's XML, one of `counts` of them: a matrix, in text or in base64, or bare text, as
    OpenCV reads it. None without such a node. Raises `BadInput`."""
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
        if len(data) > XML_BYTES or "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise BadInput(f"{path}: no calibration: larger than {XML_BYTES} bytes, or it defines entities of its own")
        if ElementTree.fromstring(text).find(key) is None:
            return None
    except (OSError, UnicodeDecodeError, ElementTree.ParseError) as error:
        raise BadInput(f"{path}: cannot be read as XML ({error})") from None
    found = np.empty(0)
    try:
        store = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
        node = store.getNode(key)
        matrix = node.mat() if node.isMap() else None
        node = node.getNode("data") if node.isMap() else node
        if matrix is not None:
            found = np.asarray(matrix, float).ravel()
        elif node.isSeq() and all(node.at(i).isReal() or node.at(i).isInt() for i in range(node.size())):
            found = np.array([node.at(i).real() for i in range(node.size())])
        store.release()
    except (cv2.error, SystemError, ValueError):
        pass
    if len(found) not in counts or not np.isfinite(found).all():
        raise BadInput(f"{path}: {key!r} is not {' or '.join(map(str, counts))} finite numbers, as OpenCV reads it")
    return found


def needed(path: Path, key: str, count: int) -> np.ndarray:
    found = xml_numbers(path, key, (count,))
    if found is None:
        raise BadInput(f"{path}: key {key!r} is missing")
    return found


def bends(K: np.ndarray, dist: np.ndarray, size: tuple[int, int]) -> bool:
    """Does distortion move a corner or an edge of the image by more than `NO_BEND_PX`?"""
    height, width = size
    v, u = (grid.ravel() for grid in np.meshgrid([0, height / 2, height - 1], [0, width / 2, width - 1]))
    rays = np.column_stack([u, v, np.ones(len(u))]) @ np.linalg.inv(K).T
    filmed, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), K, dist)
    return bool(np.abs(filmed.reshape(-1, 2) - np.column_stack([u, v])).max() > NO_BEND_PX)


def calibration_files(root: Path, layout: Layout) -> dict[int, tuple[Path, Path]]:
    """{N: (extrinsic, intrinsic)} of the cameras that have one of them. Raises `BadInput` if the other is not there."""
    found = {}
    for number, name in enumerate(layout.cameras, start=1):
        both = (
            root / CALIBRATIONS / "extrinsic" / f"extr_{name}.xml",
            root / CALIBRATIONS / layout.intrinsic / f"intr_{name}.xml",
        )
        there = [path for path in both if path.is_file()]
        if len(there) == 1:
            lacking = both[1] if there[0] == both[0] else both[0]
            raise BadInput(f"{lacking}: is missing, but {there[0]} is there; a camera needs both")
        if there:
            found[number] = both
    return found


def calibrated(number: int, files: tuple[Path, Path], layout: Layout, size: tuple[int, int]) -> Calibration:
    """Of one camera whose images are (height, width)."""
    extrinsic, intrinsic = files
    R, _ = cv2.Rodrigues(needed(extrinsic, "rvec", 3))
    K = needed(intrinsic, "camera_matrix", 9).reshape(3, 3)
    if abs(np.linalg.det(K)) < 1e-6:
        raise BadInput(f"{intrinsic}: 'camera_matrix' cannot be inverted")
    dist = xml_numbers(intrinsic, "distortion_coefficients", (4, 5, 8, 12, 14))
    if dist is None or not bends(K, dist, size):
        dist = np.zeros(5)
    R, T = layout.right_handed(R, needed(extrinsic, "tvec", 3) * layout.metres_per_unit)
    found = Calibration(f"cam{number}", K, K, R, T, dist, size, None)
    calibration.above_ground(found, extrinsic)
    return found


def label_of(path: Path, frame: int, layout: Layout, cameras: list[int]) -> list:
    """What the frame's label holds. Raises `BadInput` that names file, frame and person."""
    where = f"{path}: frame {frame}"
    try:
        said = read_json(path)
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{where}: cannot be read as JSON ({error}); mend or remove it") from None
    if not isinstance(said, list) or not all(isinstance(one, dict) for one in said):
        raise BadInput(f"{where}: expected a list of {{personID, positionID, views}}")
    people, boxes = [], []
    for place, one in enumerate(said):
        for key in ("personID", "positionID"):
            if type(one.get(key)) is not int or not 0 <= one[key] < 2**31:
                raise BadInput(f"{where}: person {place}: {key!r} is {one.get(key)}; expected a whole number")
        try:
            seen = {view["viewNum"] + 1: [float(view[key]) for key in CORNERS] for view in one["views"]}
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            needs = f"'views' needs viewNum, {', '.join(CORNERS)} ({error!r})"
            raise BadInput(f"{where}: person {place}: {needs}") from None
        if not all(np.isfinite(box).all() for box in seen.values()):
            raise BadInput(f"{where}: person {place}: a box is not of finite numbers")
        people.append((one["personID"], *layout.place_cm(one["positionID"])))
        boxes.append([seen.get(number, NOBODY) for number in cameras])
    return labels.document(people, boxes, len(cameras))


def files_in(folder: Path, pattern: re.Pattern) -> dict[int, Path]:
    """{number: file}, rising. Raises `BadInput` for two of one number, such as 5.png and 0005.jpg."""
    found: dict[int, Path] = {}
    for frame, path in sequence.numbered(folder, pattern):
        if (other := found.setdefault(frame, path)) != path:
            raise BadInput(f"{other} and {path} are of one frame; remove one of them")
    return found


def places_of(annotations: Mapping[int, Path], layout: Layout) -> dict[int, np.ndarray]:
    """{annotation: (n, 2) world metres of its people}, of those that can be read."""
    found = {}
    for number, path in annotations.items():
        with suppress(BadInput):
            said = label_of(path, number, layout, [])
            found[number] = np.array([row[3:5] for row in said[1:]], float).reshape(-1, 2) * CM
    return found


def bring(source: Path, layout: Layout, splits: tuple[str, ...], folder: Path, offset: int | None = None) -> dict:
    """Make the unit's folder but for where it is from; returns what is to be said about it. Raises `BadInput`.

    `offset`: that of the annotations' numbers from the images'; None: found.
    """
    files = calibration_files(source, layout)
    folders = dict(sequence.numbered(source / IMAGES, FOLDER))
    if not files:
        example = f"extrinsic/extr_{layout.cameras[0]}.xml and {layout.intrinsic}/intr_{layout.cameras[0]}.xml"
        raise BadInput(f"{source / CALIBRATIONS}: holds no calibration; {layout.name} has {example}")
    if not folders:
        raise BadInput(f"{source / IMAGES}: holds no folder of images; {layout.name} has C1 to C{len(layout.cameras)}")
    frames.matched({number: both[0] for number, both in files.items()}, folders, source / IMAGES)
    part, left_out, remarks, cameras, filmed = "train", [], [], {}, {}
    for number, both in files.items():
        here = files_in(folders[number], IMAGE)
        found = calibrated(number, both, layout, frames.first_size(here, folders[number]))
        write_json(folder / sequence.CALIBS / f"{found.name}.json", calibration.document(found))
        images = folder / sequence.ANNOTATION / part / found.name
        bad, said = frames.bring(found.name, here, images, found.size, source)
        left_out, remarks = left_out + bad, remarks + said
        cameras[found.name], filmed[found.name] = found, here
    annotations = files_in(source / ANNOTATIONS, ANNOTATION)

    def by_pictures(one: int, other: int) -> moments.Evidence:
        return moments.compared(cameras, filmed, places_of(annotations, layout), other, [one])[one]

    known_by = "params"
    if offset is None and not annotations:
        offset, known_by = 0, "nothing, there are none"
    elif offset is None:
        ids = {frame for mine in filmed.values() for frame in mine}
        where = source / ANNOTATIONS
        offset, known_by, said = offsets.chosen(ids, annotations, layout.offsets, where, by_pictures)
        remarks += said

    def bring_label(frame: int, path: Path) -> None:
        target = folder / sequence.LABELS / part / f"{layout.name}_{frame}.json"
        write_json(target, label_of(path, frame, layout, list(files)))

    labelled, early = offsets.renumbered(annotations, offset)
    left_out += early
    left_out += frames.labels_that_can_be_read([partial(bring_label, *one) for one in labelled.items()], source)
    said = sequence.scene_document(layout.plane, splits, part, layout.name, str(source))
    write_json(folder / sequence.SCENE, {**said, "annotation_offset": offset})
    return {
        "left_out": left_out, "image_0_has_annotation": offset, "annotation_offset_by": known_by, "remarks": remarks,
    }  # fmt: skip
