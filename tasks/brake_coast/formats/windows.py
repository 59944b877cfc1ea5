"""The file of one split: frames once; sliding windows as HDF5 virtual datasets over them.

Written by the pack step, read whole by train and evaluate, which gather windows from the frames by their start:

    frames = windows.load(Path("data/brake_coast/pack/train.h5"))
    starts = windows.window_starts(frames.segment, frames.window_frames)  # every window; the h5 lists each 5th
    batch = frames.telemetry[starts[:256, None] + np.arange(frames.window_frames)]  # (256, 20, 10)
    target = frames.labels[starts[:256] + frames.window_frames - 1]  # a window has the labels of its last frame

Any other HDF5 tool sees telemetry (N, 20, 10), detections (N, 20, 12, 6), detection_masks (N, 20, 12), labels/<name>
(N) and metadata/{start_indices, end_indices, recording} (N): window n is frames[start:end].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tasks.yard.step import BadInput

# Virtual datasets need HDF5 1.10; fixed, so that the bytes do not depend on the library's newest format.
VERSION = ("v110", "v110")
WINDOWED = ("telemetry", "detections", "detection_masks")
# Most slots are empty, so these two are packed: in chunks of whole frames, which leave a window one or two to read.
# HDF5's own chunks cut through frames, and a window then reads hundreds of them.
PACKED = ("detections", "detection_masks")
CHUNK_FRAMES = 256


@dataclass(frozen=True)
class Frames:
    """F frames in the order of recording and time. Only frames that some window can use are packed; while a file is
    written the arrays of WINDOWED may be `Stacked`."""

    telemetry: np.ndarray  # (F, 10 or 11) float32 in 0..1
    detections: np.ndarray  # (F, slots, 6) float32 in 0..1: confidence, x1, y1, x2, y2, area; zero where not masked in
    detection_masks: np.ndarray  # (F, slots) bool: the slot holds a detection
    labels: np.ndarray  # (F, L) int8: 1, 0, -1 unknown
    t_ms: np.ndarray  # (F) int64, local clock
    recording: np.ndarray  # (F) int32, index into `recordings`
    segment: np.ndarray  # (F) int32, one number per gap-free run, ascending through the file
    image_ok: np.ndarray  # (F) bool: the frame had a readable image; without one "no detection" means nothing
    label_names: list[str]
    telemetry_features: list[str]
    recordings: list[str]
    window_frames: int
    window_stride: int


@dataclass(frozen=True)
class Slots:
    """Detections of some frames as those that there are: most slots are empty, so that this is a tenth of the array."""

    masks: np.ndarray  # (F, slots) bool
    held: np.ndarray  # (n, 6) of the slots that hold one, in their order
    upto: np.ndarray  # (F + 1) how many those before a frame hold

    @classmethod
    def of(cls, detections: np.ndarray, masks: np.ndarray) -> Slots:
        return cls(masks, detections[masks], np.concatenate([[0], np.cumsum(masks.sum(axis=1))]))

    def __getitem__(self, frames: slice) -> Slots:
        begin, end, _ = frames.indices(len(self.masks))
        held = self.held[self.upto[begin] : self.upto[end]]
        return Slots(self.masks[begin:end], held, self.upto[begin : end + 1] - self.upto[begin])

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.masks.shape, self.held.shape[1])

    @property
    def dtype(self) -> np.dtype:
        return self.held.dtype

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        full = np.zeros(self.shape, dtype or self.dtype)
        full[self.masks] = self.held
        return full


@dataclass(frozen=True)
class Stacked:
    """The arrays of several recordings one after the other, never put together."""

    parts: Sequence[np.ndarray | Slots]

    @property
    def shape(self) -> tuple[int, ...]:
        return (sum(map(len, self.parts)), *self.parts[0].shape[1:])

    @property
    def dtype(self) -> np.dtype:
        return self.parts[0].dtype

    def __len__(self) -> int:
        return self.shape[0]

    def blocks(self, frames: int) -> Iterator[np.ndarray]:
        """All of it, so many frames at a time."""
        waiting: list[np.ndarray] = []
        for part in self.parts:
            first = 0
            while first < len(part):
                some = part[first : first + frames - sum(map(len, waiting))]
                waiting.append(np.asarray(some))
                first += len(some)
                if sum(map(len, waiting)) == frames:
                    yield np.concatenate(waiting)
                    waiting = []
        if waiting:
            yield np.concatenate(waiting)


ARRAYS = [field.name for field in fields(Frames) if field.type == "np.ndarray"]


def window_starts(segment: np.ndarray, length: int, stride: int = 1) -> np.ndarray:
    """Every start i, ascending, with frames i..i+length-1 in one segment, at each `stride` from the segment's begin."""
    index = np.arange(max(0, len(segment) - length + 1))
    begin = np.searchsorted(segment, segment[index], side="left")
    return index[(segment[index] == segment[index + length - 1]) & ((index - begin) % stride == 0)]


def load(path: Path) -> Frames:
    """Raises `BadInput` if `path` is not a split that the pack step wrote."""
    try:
        with h5py.File(path) as file:
            frames = file["frames"]
            return Frames(
                **{name: frames[name][:] for name in ARRAYS},
                label_names=list(frames["labels"].attrs["names"]),
                telemetry_features=list(file.attrs["telemetry_features"]),
                recordings=list(file.attrs["recordings"]),
                window_frames=int(file.attrs["sequence_length"]),
                window_stride=int(file.attrs["sequence_stride"]),
            )
    except (OSError, KeyError) as error:
        raise BadInput(f"{path}: not a split written by brake_coast-pack ({error}); run that step again") from None


@dataclass(frozen=True)
class Split:
    """One held-out file and the start of every window that fits into it."""

    frames: Frames

    @cached_property
    def starts(self) -> np.ndarray:
        return window_starts(self.frames.segment, self.frames.window_frames)

    @property
    def ends(self) -> np.ndarray:
        return self.starts + self.frames.window_frames - 1

    def labels(self, name: str) -> np.ndarray:
        """(N) 1, 0 or -1 for unknown, of each window's last frame."""
        return self.frames.labels[self.ends, self.frames.label_names.index(name)]


def file_image(frames: Frames) -> bytes:
    """The whole file as bytes, the same ones for the same frames.

    Made in memory, so that a full disk meets a plain write, which fails with a reason: inside HDF5 it fails once more
    when the half-written file is closed.
    """
    starts = window_starts(frames.segment, frames.window_frames, frames.window_stride)
    ends = starts + frames.window_frames
    with h5py.File("image", "w", driver="core", backing_store=False, libver=VERSION) as file:
        file.attrs["num_sequences"] = len(starts)
        file.attrs["sequence_length"] = frames.window_frames
        file.attrs["sequence_stride"] = frames.window_stride
        file.attrs["max_detections"] = frames.detections.shape[1]
        file.attrs["telemetry_dim"] = frames.telemetry.shape[1]
        file.attrs["detection_dim_per_box"] = frames.detections.shape[2]
        file.attrs["telemetry_features"] = frames.telemetry_features
        file.attrs["recordings"] = frames.recordings
        for name in ARRAYS:
            values = getattr(frames, name)
            layout: dict = {}
            if name in PACKED and len(values):
                layout = {
                    "chunks": (min(CHUNK_FRAMES, len(values)), *values.shape[1:]),
                    "compression": "gzip",
                    "shuffle": True,
                }
            _create(file, f"frames/{name}", values, layout)
        file["frames/labels"].attrs["names"] = frames.label_names
        for name in WINDOWED:
            _create_windows(file, name, starts, frames)
        for index, name in enumerate(frames.label_names):
            file.create_dataset(f"labels/{name}", data=frames.labels[ends - 1, index], track_times=False)
        for name, values in (("start_indices", starts), ("end_indices", ends), ("recording", frames.recording[starts])):
            file.create_dataset(f"metadata/{name}", data=values, track_times=False)
        file.flush()
        return file.id.get_file_image()


def _create(file: h5py.File, name: str, values: np.ndarray | Stacked, layout: dict) -> None:
    """The same bytes in one piece and block by block: the blocks are those of the chunks."""
    if not isinstance(values, Stacked):
        file.create_dataset(name, data=values, track_times=False, **layout)
        return
    made = file.create_dataset(name, shape=values.shape, dtype=values.dtype, track_times=False, **layout)
    first = 0
    for block in values.blocks(CHUNK_FRAMES):
        assert np.isfinite(block).all()
        made[first : first + len(block)] = block
        first += len(block)


def _create_windows(file: h5py.File, name: str, starts: np.ndarray, frames: Frames) -> None:
    """Dataset `name` (N, T, ...): its slice [:, k] shows the frames starts + k, one mapping a segment.

    One mapping for all segments (a union of hyperslabs) would be fewer, but HDF5 then takes seconds to open the file,
    where it takes none. "." is this file, whatever its name is.
    """
    source = file[f"frames/{name}"]
    length, inner = frames.window_frames, source.shape[1:]
    firsts, counts = np.unique(frames.segment[starts], return_index=True, return_counts=True)[1:]
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.VIRTUAL)
    plist.set_obj_track_times(False)
    ones, zeros = (1,) * len(inner), (0,) * len(inner)
    here, there = h5py.h5s.create_simple((len(starts), length, *inner)), h5py.h5s.create_simple(source.shape)
    for offset in range(length):
        for first, count in zip(firsts.tolist(), counts.tolist(), strict=True):
            frame = int(starts[first]) + offset
            there.select_hyperslab((frame, *zeros), (count, *ones), (frames.window_stride, *ones), (1, *inner))
            here.select_hyperslab((first, offset, *zeros), (1, 1, *ones), None, (count, 1, *inner))
            plist.set_virtual(here, b".", source.name.encode(), there)
    here.select_all()
    h5py.h5d.create(file.id, name.encode(), source.id.get_type(), here, plist)
