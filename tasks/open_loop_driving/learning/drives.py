"""The packed routes as columns over one row of frames, held in memory or read when they are wanted.

    drives = Drives(Path("data/open_loop_driving/pack"), ("train",))
    drives.column("speed_ms")                        # (frames), small: always held
    drives.images(["front", "back"])(frames)         # (n, cameras, h, w, 3) uint8

A frame is known by its place in this row; `windows` are those that training and judging use: the one before and the
next `horizon` are usable too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np

from tasks.open_loop_driving.formats import pack as packed
from tasks.yard.step import BadInput

HELD_BYTES = 3_000_000_000  # of one kind of column: what needs more is read for each batch
Reader = Callable[[np.ndarray], np.ndarray]


class Drives:
    def __init__(
        self, pack: Path, splits: Sequence[str], held_bytes: int = HELD_BYTES, keep: Sequence[str] | None = None
    ) -> None:
        """`keep`: of these routes only. Raises `BadInput` if the pack cannot be read."""
        self.pack, self.splits, self.held_bytes = pack, splits, held_bytes
        self.manifest = packed.manifest(pack)
        said = self.manifest["routes"]
        self.routes = [name for name, of in said.items() if of["split"] in splits and of["windows"]]
        self.routes = [name for name in self.routes if keep is None or name in keep]
        self.said = [said[name] for name in self.routes]
        self.paths = [packed.path(pack, name) for name in self.routes]
        self.horizon, self.rate_hz = int(self.manifest["horizon"]), float(self.manifest["rate_hz"])
        counts, windows, self.attrs = [], [], []
        for path in self.paths:
            try:
                with h5py.File(path) as file:
                    counts.append(len(file["frame"]))
                    windows.append(file["windows"][:])
                    self.attrs.append({"cameras": json.loads(file.attrs["cameras"]), "has": self._names(file)})
            except (OSError, KeyError) as error:
                raise BadInput(f"{path}: cannot be read ({error}); run open_loop_driving-pack again") from None
        self.first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.windows = np.concatenate([[], *(w + a for w, a in zip(windows, self.first, strict=False))]).astype(
            np.int64
        )
        self.route_of = np.repeat(np.arange(len(counts)), counts)

    def only(self, which: np.ndarray) -> Drives:
        """Of the routes where `which` (routes) bool."""
        keep = [name for name, of in zip(self.routes, which, strict=True) if of]
        return Drives(self.pack, self.splits, self.held_bytes, keep)

    @staticmethod
    def _names(file: h5py.File) -> set[str]:
        found: set[str] = set()
        file.visit(found.add)
        return found

    def __len__(self) -> int:
        return int(self.first[-1])

    def has(self, name: str) -> np.ndarray:
        """(routes) bool: which of them have this column."""
        return np.array([name in of["has"] for of in self.attrs], bool)

    def column(self, name: str, fill: float = np.nan, width: tuple[int, ...] = ()) -> np.ndarray:
        """A small column of all frames; `fill` where a route lacks it, so `width` wide if all do."""
        parts: list[np.ndarray | None] = []
        for path, there in zip(self.paths, self.has(name), strict=True):
            with h5py.File(path) as file:
                parts.append(file[name][:] if there else None)
        shape = next((part.shape[1:] for part in parts if part is not None), width)
        lengths = np.diff(self.first)
        return np.concatenate(
            [np.full((n, *shape), fill) if part is None else part for part, n in zip(parts, lengths, strict=True)]
            or [np.empty(0)]
        )

    def rows(self, names: Sequence[str]) -> Reader:
        """Of a column of arrays (or several of one shape, stacked behind the frames): frames (n) -> (n[, names], ...).
        A route that lacks it gives zeros: ask `has`."""
        shapes = {self._shape(path, name) for path, of in zip(self.paths, self.attrs, strict=True) for name in names
                  if name in of["has"]}  # fmt: skip
        if not shapes:
            raise BadInput(f"{self.pack}: no route has {', '.join(names)}")
        if len(shapes) > 1:
            raise BadInput(
                f"{self.pack}: {names[0]} has {len(shapes)} shapes in its routes, {sorted(map(str, shapes))}; "
                "pack them to one size"
            )
        shape, dtype = next(iter(shapes))
        read = self._reader(names, shape, np.dtype(dtype))
        if len(self) * len(names) * int(np.prod(shape)) * np.dtype(dtype).itemsize > self.held_bytes:
            return read
        held = read(np.arange(len(self)))
        return lambda frames: held[frames]

    @staticmethod
    def _shape(path: Path, name: str) -> tuple:
        with h5py.File(path) as file:
            return tuple(file[name].shape[1:]), file[name].dtype.str

    def _reader(self, names: Sequence[str], shape: tuple, dtype: np.dtype) -> Reader:
        def read(frames: np.ndarray) -> np.ndarray:
            found = np.zeros((len(frames), len(names), *shape), dtype)
            for route in np.unique(self.route_of[frames]):
                mine = np.flatnonzero(self.route_of[frames] == route)
                wanted, back = np.unique(frames[mine] - self.first[route], return_inverse=True)
                with h5py.File(self.paths[route]) as file:
                    for k, name in enumerate(names):
                        if name in self.attrs[route]["has"]:
                            whole = len(wanted) == len(file[name])
                            found[mine, k] = (file[name][:] if whole else file[name][wanted])[back]
            return found if len(names) > 1 else found[:, 0]

        return read

    def lidar(self) -> Callable[[np.ndarray], list[np.ndarray]]:
        """frames (n) -> points (m, 4) of each; of a route without lidar none."""
        starts = [self._offsets(path, there) for path, there in zip(self.paths, self.has("lidar/points"), strict=True)]
        held: dict[int, np.ndarray] = {}
        if sum(int(of[-1]) for of in starts) * 16 <= self.held_bytes:
            for route, path in enumerate(self.paths):
                if starts[route][-1]:
                    with h5py.File(path) as file:
                        held[route] = file["lidar/points"][:]

        def read(frames: np.ndarray) -> list[np.ndarray]:
            found = []
            for frame in frames:
                route = self.route_of[frame]
                a, b = starts[route][frame - self.first[route] :][:2]
                if route in held:
                    found.append(held[route][a:b])
                elif a == b:
                    found.append(np.empty((0, 4), np.float32))
                else:
                    with h5py.File(self.paths[route]) as file:
                        found.append(file["lidar/points"][a:b])
            return found

        return read

    def _offsets(self, path: Path, there: bool) -> np.ndarray:
        with h5py.File(path) as file:
            return file["lidar/offsets"][:] if there else np.zeros(len(file["frame"]) + 1, np.int64)
