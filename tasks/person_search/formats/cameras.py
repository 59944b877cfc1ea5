"""Cameras to search in, what the index step has found in each, and the crops that a network is shown.

A camera is a unit of download/ with the part `frames`. Index keeps a folder for each:

    detections.h5    frame int32 (N), box float32 (N, 4), confidence float32 (N), embedding float32 (N, D); by frame,
                     the most confident first
    oracle.h5        of the true boxes, where truth.csv tells them: frame int32 (M), identity int32 (M), box float32
                     (M, 4), embedding float32 (M, D), found uint8 (M): 1 where a detection took the box at IoU 0.5
    camera.json      dataset, camera, name, fps, counts, unreadable frames

A frame is the number in its file's name; its time is that over fps, where the source says a rate: stills have none. A
box is x1, y1, x2, y2 in pixels, an embedding has length 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from tasks.person_search.formats import reid_layout
from tasks.person_search.importers.checks import CAMERA, TRUTH, images_in, read_camera, read_truth
from tasks.yard.files import read_json, replacing
from tasks.yard.step import BadInput

VERSION = ("v110", "v110")  # as in pack: the bytes do not depend on the library's newest format
Columns = Mapping[str, tuple[type, tuple[int, ...]]]  # {name: (type, shape of a row)}


@dataclass(frozen=True)
class Camera:
    unit: str
    folder: Path  # below download/
    dataset: str
    number: int
    name: str
    fps: float | None  # None: these frames have no times
    film: str | None = None  # the file that the frames were taken from
    original_names: Mapping[str, str] = field(default_factory=dict)  # of frames that the source calls otherwise

    def time_s(self, frame: int) -> float | None:
        return None if self.fps is None else round(frame / self.fps, 3)

    def file_of(self, frame: int) -> str:
        """The file of the source that shows this frame: the film, or the still by its own name."""
        if self.film is not None:
            return self.film
        return self.original_names.get(self.files[frame].name, self.files[frame].name)

    def spot(self, frame: int) -> str:
        """A frame as a person finds it in the source: by its name or number, and by its time where it has one."""
        when = "" if self.fps is None else f"{frame / self.fps:.1f} s"
        if self.film is not None:
            return f"{when} of {self.film}"
        name = self.original_names.get(self.files[frame].name, f"frame {frame}")
        return f"{name}, {when}" if when else name

    @cached_property
    def files(self) -> dict[int, Path]:
        return self.frames()

    def frames(self) -> dict[int, Path]:
        """{number: image} by rising number. Raises `BadInput` for a name that is no number."""
        found: dict[int, Path] = {}
        for path in images_in(self.folder / "frames"):
            if not path.stem.isdigit():
                raise BadInput(f"{path}: a frame is called by its number, such as 000012.jpg; rename it")
            if int(path.stem) in found:
                raise BadInput(f"{path}: {found[int(path.stem)].name} is frame {int(path.stem)} too; keep one of them")
            found[int(path.stem)] = path
        return dict(sorted(found.items()))


@dataclass(frozen=True)
class Truth:
    """The true boxes in one frame."""

    identity: np.ndarray  # (M) int32, below 0: nobody who is known
    box: np.ndarray  # (M, 4) float32


NOBODY = Truth(np.empty(0, np.int32), np.empty((0, 4), np.float32))


def units_with_frames(download: Path, part: str = "frames") -> dict[str, Path]:
    """{unit: folder} of the cameras to search in, or of those for `validation`, by name."""
    said = {path.parent.name: path.parent for path in sorted(download.glob("*/unit.json"))}
    return {name: folder for name, folder in said.items() if part in read_json(folder / "unit.json")["parts"]}


def shown_in(folders: Iterable[Path]) -> set[str]:
    """Whom the true boxes of some cameras name: "<data set>:<person>" of each."""
    found = set()
    for folder in folders:
        dataset = read_json(folder / "unit.json")["dataset"]
        numbers = {int(path.stem) for path in images_in(folder / "frames")}
        rows = read_truth(folder / TRUTH, numbers)
        found |= {reid_layout.key_of(dataset, pid) for _, pid, _ in rows if pid > 0}
    return found


def camera_of(folder: Path) -> Camera:
    """Raises `BadInput` where camera.json does not say which camera it is."""
    said = read_camera(folder / CAMERA, {"name": folder.name})
    dataset, written = read_json(folder / "unit.json")["dataset"], read_json(folder / CAMERA)
    return Camera(
        folder.name, folder, dataset, said["camera"], said["name"], said["fps"], written.get("film"),
        written.get("original_names", {}),
    )  # fmt: skip


def truth_of(folder: Path, frames: Iterable[int]) -> dict[int, Truth] | None:
    """{frame: true boxes}; None where nobody told them. Raises `BadInput` that names the line."""
    file = folder / TRUTH
    if not file.is_file():
        return None
    rows: dict[int, list] = {}
    for frame, pid, box in read_truth(file, set(frames)):
        rows.setdefault(frame, []).append((pid, box))
    return {
        frame: Truth(np.array([pid for pid, _ in mine], np.int32), np.array([box for _, box in mine], np.float32))
        for frame, mine in rows.items()
    }


def shrunk(image: Image.Image, config: Mapping) -> np.ndarray:
    """A crop as the pack step makes one: (height_px, width_px, 3) uint8 RGB, by PIL's antialiased bilinear filter."""
    size = config["width_px"], config["height_px"]
    return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BILINEAR))


def crops_of(image: np.ndarray, boxes: np.ndarray, config: Mapping) -> np.ndarray:
    """BGR image, boxes (N, 4) in its pixels -> (N, height_px, width_px, 3) uint8 RGB, edges at the nearest pixel."""
    height, width = image.shape[:2]
    found = np.empty((len(boxes), config["height_px"], config["width_px"], 3), np.uint8)
    low = np.clip(np.rint(boxes[:, :2]), 0, [width - 1, height - 1]).astype(int)
    high = np.clip(np.rint(boxes[:, 2:]), low + 1, [width, height]).astype(int)
    for i, ((x1, y1), (x2, y2)) in enumerate(zip(low, high, strict=True)):
        found[i] = shrunk(Image.fromarray(np.ascontiguousarray(image[y1:y2, x1:x2, ::-1])), config)
    return found


def detection_columns(embedding: int) -> Columns:
    return {
        "frame": (np.int32, ()), "box": (np.float32, (4,)), "confidence": (np.float32, ()),
        "embedding": (np.float32, (embedding,)),
    }  # fmt: skip


def oracle_columns(embedding: int) -> Columns:
    return {
        "frame": (np.int32, ()), "identity": (np.int32, ()), "box": (np.float32, (4,)),
        "embedding": (np.float32, (embedding,)), "found": (np.uint8, ()),
    }  # fmt: skip


def write_rows(path: Path, columns: Columns, blocks: Sequence[Path], prefix: str = "") -> int:
    """The rows of .npz files, whose columns are called `prefix` + name, one file after the other. Returns how many.

    No more than one file is in memory.
    """

    def column(file: Path, name: str) -> np.ndarray:
        with np.load(file) as block:  # reads no other column
            return block[prefix + name]

    ends = np.cumsum([0, *(len(column(file, "frame")) for file in blocks)])
    with replacing(path) as temporary, h5py.File(temporary, "w", libver=VERSION) as file:
        for name, (kind, shape) in columns.items():
            rows = file.create_dataset(name, (ends[-1], *shape), kind, track_times=False)
            for block, start, end in zip(blocks, ends[:-1], ends[1:], strict=True):
                if end > start:
                    rows[start:end] = column(block, name)
    return int(ends[-1])


def read_rows(path: Path) -> dict[str, np.ndarray]:
    """All columns of detections.h5 or oracle.h5. Raises `BadInput` if it is none."""
    try:
        with h5py.File(path) as file:
            return {name: values[:] for name, values in file.items()}
    except OSError as error:
        raise BadInput(f"{path}: not written by person_search-index ({error}); run it again") from None


@dataclass(frozen=True)
class Indexed:
    """One camera as the index step left it."""

    camera: Camera
    rows: dict[str, np.ndarray]  # detections.h5
    oracle: dict[str, np.ndarray] | None  # oracle.h5


def read_index(index: Path, download: Path) -> list[Indexed]:
    """Every camera that the index step has, by name."""
    return read_cameras(read_json(index / "index.json")["cameras"], index, download)


def read_cameras(units: Iterable[str], index: Path, download: Path) -> list[Indexed]:
    found = []
    for unit in sorted(units):
        oracle = index / unit / "oracle.h5"
        rows = read_rows(index / unit / "detections.h5")
        found.append(Indexed(camera_of(download / unit), rows, read_rows(oracle) if oracle.is_file() else None))
    return found
