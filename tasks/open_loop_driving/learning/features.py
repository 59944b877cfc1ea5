"""The expert's maps of the surroundings: a source's own, in its pack (supervision/map0, ... and vector: those of 21,
10, 4 and 2 cells are used), or those that the stage `teacher` wrote.

teacher/<route>.h5:  alpha, beta (n, 2), value (n) float32; features/0..3 (n, C, 21 | 10 | 4 | 2, ...) and
features/vector (n, V) float16; mirrored/0..3, mirrored/vector the same of the world in a mirror.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from tasks.open_loop_driving.learning.drives import Drives

NAMES = ("0", "1", "2", "3", "vector")
PLAIN, MIRRORED = "features", "mirrored"
CELLS = (21, 10, 4, 2)


class Features:
    """`features(frames, mirror)`: the four maps and the vector of frames, float16; zeros where there are none."""

    def __init__(self, drives: Drives, folder: Path) -> None:
        self.route_of = drives.route_of
        lengths = np.diff(drives.first)
        found: dict[str, list] = {f"{kind}/{name}": [] for kind in (PLAIN, MIRRORED) for name in NAMES}
        there: dict[str, list[bool]] = {PLAIN: [], MIRRORED: []}
        for route, path in zip(drives.routes, drives.paths, strict=True):
            beside = folder / f"{route}.h5"
            with h5py.File(beside if beside.exists() else path) as file:
                groups = written(file) if beside.exists() else own(file)
                for kind, flags in there.items():
                    flags.append(kind in groups)
                    for k, name in enumerate(NAMES):
                        found[f"{kind}/{name}"].append(groups[kind][k][:] if kind in groups else None)
        self.there = np.array(there[PLAIN], bool)
        self.both = {kind: np.array(flags, bool)[self.route_of] for kind, flags in there.items()}
        self.held = {key: filled(parts, lengths) for key, parts in found.items()}

    @property
    def sizes(self) -> tuple[int, ...]:
        """Channels of the maps, and of the vector."""
        return tuple(self.held[f"{PLAIN}/{name}"].shape[1] for name in NAMES)

    def known(self, frames: np.ndarray, mirror: np.ndarray) -> np.ndarray:
        """(n) bool: which of these there are."""
        return np.where(mirror, self.both[MIRRORED][frames], self.both[PLAIN][frames])

    def __call__(
        self, frames: np.ndarray, mirror: np.ndarray, which: Sequence[int] = range(len(NAMES))
    ) -> list[np.ndarray]:
        found = []
        for name in (NAMES[k] for k in which):
            values = self.held[f"{PLAIN}/{name}"][frames]
            if mirror.any() and (turned := self.held[f"{MIRRORED}/{name}"]) is not None:
                values[mirror] = turned[frames[mirror]]
            found.append(values)
        return found


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


def filled(parts: list[np.ndarray | None], lengths: np.ndarray) -> np.ndarray | None:
    """One array of all frames, zeros where a route has none; None if none has."""
    first = next((part for part in parts if part is not None), None)
    if first is None:
        return None
    return np.concatenate(
        [np.zeros((n, *first.shape[1:]), np.float16) if part is None else part.astype(np.float16)
         for part, n in zip(parts, lengths, strict=True)]
    )  # fmt: skip
