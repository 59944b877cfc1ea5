"""When was somebody seen where? Similarities of one query and the detections in, sightings out. Pure.

A detection whose similarity is at least the threshold may be the person. In one frame a person is once: the most
similar of them counts. Frames of a camera that lie no more than `gap_s` apart, or follow each other, are one sighting.
Of frames without times nobody knows what lies between them: each is a sighting of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sighting:
    rows: np.ndarray  # of the detections, one a frame, by frame
    best: int  # the most similar of them


def once_a_frame(frame: np.ndarray, similarity: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Of `rows` the most similar one in each frame, by rising frame; of equals the first."""
    order = rows[np.lexsort((rows, -similarity[rows], frame[rows]))]
    first = np.append(True, np.diff(frame[order]) > 0)[: len(order)]
    return order[first]


def sightings(
    frame: np.ndarray, similarity: np.ndarray, *, threshold: float, fps: float | None, gap_s: float
) -> list[Sighting]:
    """Frames (N) and similarities (N) of one camera's detections -> its sightings, by time."""
    rows = once_a_frame(frame, similarity, np.flatnonzero(similarity >= np.float32(threshold)))
    if not len(rows):
        return []
    most = 0 if fps is None else max(gap_s * fps + 1e-9, 1)
    apart = np.diff(frame[rows].astype(np.int64)) > most
    return [Sighting(mine, int(mine[similarity[mine].argmax()])) for mine in np.split(rows, np.flatnonzero(apart) + 1)]
