"""Packing and reading windows, against windows copied out into gzip files: `python -m tests.benchmarks.pack`.

The other side reads the recordings as we do and writes what the seed's script writes: every window in full, gzip-4, in
chunks as h5py guesses them. (The script itself made 180 windows/s, since it parsed the rows of every window again.)
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

import h5py
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from tasks.brake_coast import label, pack
from tasks.brake_coast.formats import windows
from tasks.brake_coast.learning import features
from tests.tasks.brake_coast import drives

RECORDINGS, ROWS = 6, 1500
REPEATS = 3
BATCH = 256


def copy_windows(frames: windows.Frames, path: Path) -> int:
    starts = windows.window_starts(frames.segment, frames.window_frames, frames.window_stride)
    index = starts[:, None] + np.arange(frames.window_frames)
    with h5py.File(path, "w") as file:
        for name in windows.WINDOWED:
            file.create_dataset(name, data=getattr(frames, name)[index], compression="gzip", compression_opts=4)
        for column, name in enumerate(frames.label_names):
            file.create_dataset(f"labels/{name}", data=frames.labels[starts + frames.window_frames - 1, column])
    return len(starts)


class CopiedWindows(Dataset):
    """One window an item, the file opened once."""

    def __init__(self, path: Path):
        self.file = h5py.File(path)

    def __len__(self) -> int:
        return len(self.file["telemetry"])

    def __getitem__(self, index: int) -> dict:
        return {name: torch.from_numpy(np.asarray(self.file[name][index])) for name in windows.WINDOWED}


def copied_batches(path: Path, batches: int, batch: int = BATCH) -> float:
    """Batches/s of a shuffled DataLoader over the copies."""
    loader = iter(DataLoader(CopiedWindows(path), batch_size=batch, shuffle=True, drop_last=True))
    begin = time.perf_counter()
    for _ in range(batches):
        next(loader)
    return batches / (time.perf_counter() - begin)


def gathered_batches(frames: windows.Frames, batches: int) -> float:
    """Batches/s of shuffled gathering from the frames, which are in memory."""
    arrays = [torch.from_numpy(getattr(frames, name)) for name in windows.WINDOWED]
    starts = torch.from_numpy(windows.window_starts(frames.segment, frames.window_frames, frames.window_stride))
    offsets = torch.arange(frames.window_frames)
    begin = time.perf_counter()
    for _ in range(batches):
        index = starts[torch.randperm(len(starts))[:BATCH], None] + offsets
        for array in arrays:
            array[index]
    return batches / (time.perf_counter() - begin)


def main(tiny: bool = False) -> None:
    count_of_rows, repeats, batches = (320, 1, 1) if tiny else (ROWS, REPEATS, 60)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for seed in range(RECORDINGS):
            table = drives.drive(count_of_rows, seed, drives.START_MS + seed * 86_400_000)
            drives.write_drive(root / "download", f"drive-{seed}", table, annotate=root / "annotate", seed=seed)
        label.run(drives.section("label"), root / "label", download=root / "download")
        upstream = {step: root / step for step in ("download", "annotate", "label")}
        for stride in (1, 5):
            params = drives.section("pack", window_stride=stride)
            rates = []
            for _ in range(repeats):
                begin = time.perf_counter()
                metrics = pack.run(params, root / "pack", **upstream)
                packed_s = time.perf_counter() - begin
                begin = time.perf_counter()
                for seed in range(RECORDINGS):
                    features.read_drive(f"drive-{seed}", *upstream.values(), params)
                read_s = time.perf_counter() - begin
                splits = {name: windows.load(root / "pack" / f"{name}.h5") for name in ("train", "val", "test")}
                begin = time.perf_counter()
                count = sum(copy_windows(frames, root / f"{name}.h5") for name, frames in splits.items())
                rates.append((count / packed_s, count / (read_s + time.perf_counter() - begin)))
            ours, other = (median(column) for column in zip(*rates, strict=True))
            size, copied = metrics["bytes"] / count, sum((root / f"{n}.h5").stat().st_size for n in splits) / count
            plain = sum(getattr(splits["val"], name)[:20].nbytes for name in windows.WINDOWED)
            print(
                f"pack, stride {stride}   {ours:9,.0f} windows/s   "
                f"gzip copies {other:9,.0f} windows/s {ours / other:7.1f} x"
            )
            print(
                f"                 {size:9,.0f} B/window    gzip copies {copied:9,.0f} B/window  {copied / size:7.1f} x"
                f"   uncompressed copies {plain:7,.0f} B/window {plain / size:5.1f} x"
            )
        batch = min(BATCH, len(windows.window_starts(splits["train"].segment, 20)) // 10) if tiny else BATCH
        speeds = [
            (gathered_batches(splits["train"], batches), copied_batches(root / "train.h5", 1, batch))
            for _ in range(repeats)
        ]
        ours, other = (median(column) for column in zip(*speeds, strict=True))
        print(f"batches of {BATCH} {ours:11,.0f} /s          DataLoader  {other:9,.2f} /s {ours / other:14,.0f} x")


if __name__ == "__main__":
    main()
