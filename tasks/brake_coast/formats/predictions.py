"""The probabilities that `evaluate` judged: a file a test drive, a row a window, a column "<run>/<task>".

    evaluate/predictions/<recording>.csv   Time, t_ms of the window's last frame, <run>/<task> with six decimals

Whoever needs probabilities of test windows reads them here; only what no file holds (other drives, other checkpoints,
other runtimes) is predicted anew, by `learning/inference.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.brake_coast.formats.recording import format_time
from tasks.brake_coast.formats.windows import Frames
from tasks.yard.files import write_table
from tasks.yard.step import BadInput

FOLDER = "predictions"
Probabilities = Mapping[str, np.ndarray]  # "<run>/<task>" -> (N)


def rounded(probabilities: np.ndarray) -> np.ndarray:
    """As the files hold them: thresholds are chosen among these, and alarms raised by them."""
    return np.round(probabilities.astype(float), 6)


def column(run: str, task: str) -> str:
    return f"{run}/{task}"


def run_and_task(name: str) -> tuple[str, str]:
    """The inverse of `column`."""
    run, _, task = name.rpartition("/")
    return run, task


def written(evaluate: Path) -> dict[str, Path]:
    """{recording: its file}, by name."""
    return {path.stem: path for path in sorted((evaluate / FOLDER).glob("*.csv"))}


def table_of(frames: Frames, ends: np.ndarray, probabilities: Probabilities) -> pd.DataFrame:
    """Time, t_ms and the columns of the windows that end on the frames `ends`."""
    t_ms = frames.t_ms[ends]
    digits = 1 if not np.any(t_ms % 100) else 3
    return pd.DataFrame({"Time": [format_time(int(t), digits) for t in t_ms], "t_ms": t_ms, **probabilities})


def write(evaluate: Path, frames: Frames, ends: np.ndarray, probabilities: Probabilities) -> None:
    """Of the windows that end on the frames `ends`; files of other recordings than these frames have are removed."""
    recording, table = frames.recording[ends], table_of(frames, ends, probabilities)
    for index in np.unique(recording):
        write_table(evaluate / FOLDER / f"{frames.recordings[index]}.csv", table[recording == index])
    for name, path in written(evaluate).items():
        if name not in frames.recordings:
            path.unlink()  # of an earlier split


def read(evaluate: Path, recording: str) -> pd.DataFrame | None:
    """t_ms and the columns of probabilities; None if the recording is not among those that were judged."""
    path = evaluate / FOLDER / f"{recording}.csv"
    return pd.read_csv(path).drop(columns="Time") if path.exists() else None


def read_all(evaluate: Path, frames: Frames, ends: np.ndarray) -> pd.DataFrame:
    """A row a window that ends on one of `ends`, in that order. Raises `BadInput` if the files are of other windows."""
    names = [frames.recordings[index] for index in np.unique(frames.recording[ends])]
    tables = [read(evaluate, name) for name in names]
    if any(t is None for t in tables) or not np.array_equal(_stamps(tables), frames.t_ms[ends]):
        raise BadInput(f"{evaluate / FOLDER} is not of the test drives of pack: run brake_coast-evaluate again")
    return pd.concat(tables, ignore_index=True)


def _stamps(tables: Iterable[pd.DataFrame]) -> np.ndarray:
    return np.concatenate([np.empty(0, int), *(table["t_ms"] for table in tables)])
