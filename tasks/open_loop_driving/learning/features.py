"""The expert's maps of the surroundings: a source's own, in its pack (supervision/map0, ... and vector: those of 21,
10, 4 and 2 cells are used), or those that the stage `teacher` wrote.

teacher/<route>.h5:  alpha, beta (n, 2), value (n) float32; features/0..3 (n, C, 21 | 10 | 4 | 2, ...) and
features/vector (n, V) float16; mirrored/0..3, mirrored/vector the same of the world in a mirror.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from tasks.open_loop_driving.learning.drives import Drives

NAMES = ("0", "1", "2", "3", "vector")
PLAIN, MIRRORED = "features", "mirrored"
CELLS = (21, 10, 4, 2)
HALF = 2  # bytes of a float16


@dataclass(frozen=True)
class Beside:
    """The file that holds a route's maps, and the four maps and the vector of each kind in it."""

    path: Path
    names: dict[str, list[str]]  # kind -> names of the data sets


class Features:
    """`features(frames, mirror)`: the four maps and the vector of frames, float16; zeros where there are none of the
    wanted `sizes` (channels of the maps, and of the vector; None: any).

    Held in memory if all of them fit into `drives.held_bytes`, else read when they are wanted.
    """

    def __init__(self, drives: Drives, folder: Path, sizes: tuple[int, ...] | None = None) -> None:
        self.first, self.route_of = drives.first, drives.route_of
        self.files: list[Beside] = []
        self.shapes: dict[str, tuple[int, ...]] = {}
        entries = 0
        for route, path, n in zip(drives.routes, drives.paths, np.diff(drives.first), strict=True):
            taught = folder / f"{route}.h5"
            beside, sources = Beside(path, {}), [(taught, written)] if taught.exists() else []
            for source, groups_of in [*sources, (path, own)]:
                with h5py.File(source) as file:
                    groups = groups_of(file)
                    if not groups or sizes not in (None, channels(groups)):
                        continue
                    beside = Beside(source, {kind: [of.name for of in sets] for kind, sets in groups.items()})
                    for kind, sets in groups.items():
                        for name, of in zip(NAMES, sets, strict=True):
                            self.shapes.setdefault(f"{kind}/{name}", tuple(of.shape[1:]))
                            entries += int(n) * int(np.prod(of.shape[1:]))
                    break
            self.files.append(beside)
        there = {kind: np.array([kind in of.names for of in self.files], bool) for kind in (PLAIN, MIRRORED)}
        self.there = there[PLAIN]
        self.both = {kind: flags[self.route_of] for kind, flags in there.items()}
        self.held: dict[str, np.ndarray] = {}
        if entries * HALF <= drives.held_bytes:
            every = np.arange(len(drives))
            self.held = {key: self.read(key, every) for key in self.shapes}

    def known(self, frames: np.ndarray, mirror: np.ndarray) -> np.ndarray:
        """(n) bool: which of these there are."""
        return np.where(mirror, self.both[MIRRORED][frames], self.both[PLAIN][frames])

    def read(self, key: str, frames: np.ndarray) -> np.ndarray:
        """Of one kind and name, from the files."""
        kind, name = key.split("/")
        found = np.zeros((len(frames), *self.shapes[key]), np.float16)
        for route in np.unique(self.route_of[frames]):
            beside = self.files[route]
            if kind not in beside.names:
                continue
            mine = np.flatnonzero(self.route_of[frames] == route)
            wanted, back = np.unique(frames[mine] - self.first[route], return_inverse=True)
            with h5py.File(beside.path) as file:
                of = file[beside.names[kind][NAMES.index(name)]]
                found[mine] = (of[:] if len(wanted) == len(of) else of[wanted])[back]
        return found

    def of(self, key: str, frames: np.ndarray) -> np.ndarray:
        return self.held[key][frames] if key in self.held else self.read(key, frames)

    def __call__(
        self, frames: np.ndarray, mirror: np.ndarray, which: Sequence[int] = range(len(NAMES))
    ) -> list[np.ndarray]:
        found = []
        for name in (NAMES[k] for k in which):
            values = self.of(f"{PLAIN}/{name}", frames)
            if mirror.any() and f"{MIRRORED}/{name}" in self.shapes:
                values[mirror] = self.of(f"{MIRRORED}/{name}", frames[mirror])
            found.append(values)
        return found


def channels(groups: dict[str, list[h5py.Dataset]]) -> tuple[int, ...]:
    """Of the maps, and of the vector."""
    return tuple(of.shape[1] for of in groups[PLAIN])


def written(file: h5py.File) -> dict[str, list[h5py.Dataset]]:
    """Of the teacher's file: kind -> the four maps and the vector."""
    return {kind: [file[kind][name] for name in NAMES] for kind in (PLAIN, MIRRORED) if kind in file}


def own(file: h5py.File) -> dict[str, list[h5py.Dataset]]:
    """Of a packed route whose source brings the expert's: by how many cells they have."""
    group = file.get("supervision", {})
    by_cells = {of.shape[-1]: of for name, of in group.items() if name.startswith("map") and of.ndim == 4}
    if "vector" not in group or not set(CELLS) <= set(by_cells):
        return {}
    return {PLAIN: [*(by_cells[cells] for cells in CELLS), group["vector"]]}
