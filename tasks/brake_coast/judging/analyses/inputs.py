"""What every analysis is handed: the folders of the steps before it, and what several of them read there, read once.

Reads    pack/{val,test}.h5, evaluate/details.json, evaluate/predictions/*.csv; what is asked for of download/<name>
         and annotate/<name>
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.brake_coast.formats import predictions, recording, windows
from tasks.brake_coast.formats.windows import Split
from tasks.brake_coast.judging.runs import BASELINES, leader, ranked_runs
from tasks.yard.files import read_json
from tasks.yard.step import BadInput

NEAR = 0.15  # of the picture's width


@dataclass(frozen=True)
class Inputs:
    """The folders, and their content as far as it is asked for."""

    download: Path
    annotate: Path
    pack: Path
    train: dict[str, Path]
    evaluate: Path

    @cached_property
    def details(self) -> dict[str, dict[str, dict]]:
        """evaluate's details.json, baselines first, then each network with its blind versions above it."""
        path = self.evaluate / "details.json"
        if not path.exists():
            raise BadInput(f"{path}: no such file; run brake_coast-evaluate first")
        details = read_json(path)
        return {run: details[run] for run in ranked_runs(details)}

    @property
    def runs(self) -> list[str]:
        """The networks that were judged."""
        return [run for run in self.details if run not in BASELINES]

    @property
    def leader(self) -> str:
        """The best of them by validation, as in the report."""
        return leader(self.details)

    def checkpoint(self, run: str) -> Path:
        path = self.train.get(run, Path(run)) / "best.pt"
        if not path.exists():
            raise BadInput(
                f"{path}: no such checkpoint, but {run} is in {self.evaluate}: run brake_coast-evaluate again"
            )
        return path

    @cached_property
    def val(self) -> Split:
        return Split(windows.load(self.pack / "val.h5"))

    @cached_property
    def test(self) -> Split:
        return Split(windows.load(self.pack / "test.h5"))

    @cached_property
    def _predictions(self) -> pd.DataFrame:
        return predictions.read_all(self.evaluate, self.test.frames, self.test.ends)

    def probabilities(self, run: str, task: str) -> np.ndarray:
        """(N) of the test windows, as evaluate judged them."""
        return self._predictions[predictions.column(run, task)].to_numpy()

    @cached_property
    def _stamped(self) -> dict[str, dict[int, Path]]:
        return {}

    def image(self, frame: int) -> Path | None:
        """The picture of a frame of the test split, None where there is none that can be read."""
        frames = self.test.frames
        if not frames.image_ok[frame]:
            return None
        name = frames.recordings[frames.recording[frame]]
        if name not in self._stamped:
            paths = recording.images(self.download / name)
            t_ms = recording.parse_times(pd.Series(list(paths), dtype=str))
            self._stamped[name] = {int(t): path for t, path in zip(t_ms, paths.values(), strict=True) if pd.notna(t)}
        return self._stamped[name].get(int(frames.t_ms[frame]))

    def roi_px(self, frame: int) -> tuple[int, int, int, int] | None:
        """x, y, width, height of what the detector saw of a frame of the test split: boxes are shares of it."""
        return _roi_px(
            self.annotate / self.test.frames.recordings[self.test.frames.recording[frame]] / "annotations.json"
        )


@cache
def _roi_px(path: Path) -> tuple[int, int, int, int] | None:
    roi = read_json(path).get("roi_px") if path.exists() else None
    return tuple(roi) if roi else None


def horizon_s(task: str) -> int:
    """'brake_onset_3s' -> 3; 'braking' -> 0."""
    ahead = re.fullmatch(r".*_(\d+)s", task)
    return int(ahead[1]) if ahead else 0


def car_ahead(boxes: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Slot of the tallest box near the middle, -1 where there is none.

    boxes (N, S, 6) of confidence, x1, y1, x2, y2, area; mask (N, S) -> (N). A car is 1.8 m wide, a lane 3.5 m: what is
    in our own lane lies within about its own width, wherever the road is straight; NEAR keeps out lorries beside us.
    """
    x1, y1, x2, y2 = (boxes[..., k] for k in (1, 2, 3, 4))
    central = mask & (np.abs((x1 + x2) / 2 - 0.5) < np.minimum(x2 - x1, NEAR))
    height = np.where(central, y2 - y1, -1.0)
    return np.where(central.any(axis=-1), height.argmax(axis=-1), -1)
