"""Do labels belong to the moments of their images? Said by the pictures alone.

Cameras stand still, people move: what differs from a camera's median picture is people. Of two labels the one of an
image's moment has its people where the image differs. Where the two say the same, nothing is learnt, so only the pixels
are compared on which one of them has somebody and the other nobody.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from tasks.yard.geometry.lens import Calibration
from tasks.yard.layouts.images import decoded

FRAMES = 24  # of a sequence that are looked at, evenly spread
CAMERAS = 4  # the same of its cameras
MIN_FRAMES = 4  # a median of fewer is no background
WIDTH_PX = 320  # of the pictures that are compared
PERSON_M = (0.5, 1.7)  # width and height
STRONG = 48.0  # levels of 255 from the background; more than this says no more
MIN_PIXELS = 6  # on which two labels must differ in a picture
MIN_PICTURES = 8  # in which they do
# Of 36 sequences of the plaza and of MultiviewX right labels are 2 to 50 standard errors ahead of a neighbour's, in the
# middle 12; none is behind.
CLEAR = 4.5  # standard errors
CLEAR_LEVELS = 1.5


@dataclass(frozen=True)
class Evidence:
    """How much better one way to join labels to images is than another, by the pictures."""

    pictures: int  # in which the two differ
    levels: float  # how much more images differ from the background where only the first has somebody
    errors: float  # the same in standard errors

    @property
    def clear(self) -> bool:
        return self.pictures >= MIN_PICTURES and self.errors >= CLEAR and self.levels >= CLEAR_LEVELS

    @property
    def against(self) -> bool:
        """Is the first clearly worse?"""
        return Evidence(self.pictures, -self.levels, -self.errors).clear

    def document(self) -> dict[str, float]:
        return {"pictures": self.pictures, "levels": round(self.levels, 2), "standard_errors": round(self.errors, 2)}


def spread(values: Sequence, count: int) -> list:
    """So many of them, evenly spread, the first and the last among them."""
    if len(values) <= count:
        return list(values)
    return [values[i] for i in np.linspace(0, len(values) - 1, count).round().astype(int)]


def small(path: Path, size: tuple[int, int]) -> np.ndarray | None:
    """(h, w, 3) uint8; None if it cannot be read."""
    image = decoded(path)
    return None if image is None else cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)


def foreground(paths: Mapping[int, Path], size: tuple[int, int]) -> dict[int, np.ndarray]:
    """{frame: (h, w) how far it is from the median of all of them, up to STRONG}."""
    read = {frame: small(path, size) for frame, path in paths.items()}
    found = {frame: image for frame, image in read.items() if image is not None}
    if len(found) < MIN_FRAMES:
        return {}
    median = np.median(np.stack(list(found.values())), axis=0)
    return {f: np.minimum(np.abs(image - median).max(-1), STRONG).astype(np.float32) for f, image in found.items()}


def people_mask(of: Calibration, places: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w) bool: where people at `places` (n, 2), world metres, are seen, as upright rectangles."""
    mask = np.zeros(size, np.uint8)
    wide, high = PERSON_M
    flat = np.column_stack([places, np.zeros(len(places))])
    camera = of.camera()
    (feet, depth), (heads, above) = camera.project(flat), camera.project(np.add(flat, [0, 0, high]))
    seen = (depth > 0.2) & (above > 0.2) & (np.abs(feet) < 10 * max(of.size)).all(1) & (np.abs(heads) < 1e5).all(1)
    if not seen.any():
        return mask.astype(bool)
    scale = size[1] / of.size[1]
    half = of.K[0, 0] * wide / 2 / depth[seen]
    ends = np.column_stack([of.as_filmed(feet[seen]), of.as_filmed(heads[seen]), half]) * scale
    for u, v, head_u, head_v, half_px in ends:
        if max(abs(u), abs(v), abs(head_u), abs(head_v)) < 1e5:
            corners = [(u - half_px, v), (u + half_px, v), (head_u + half_px, head_v), (head_u - half_px, head_v)]
            cv2.fillConvexPoly(mask, np.array(corners).round().astype(np.int32), 1)
    return mask.astype(bool)


def compared(
    cameras: Mapping[str, Calibration],
    images: Mapping[str, Mapping[int, Path]],
    places: Mapping[int, np.ndarray],
    this: int,
    others: Sequence[int],
) -> dict[int, Evidence]:
    """{other: how much better image f fits label f + other than label f + this}, of each of `others`.

    `images`: {camera: {frame: image as filmed}}; `places`: {label: (n, 2) world metres of its people}.
    """
    frames = sorted({frame for mine in images.values() for frame in mine if frame + this in places})
    frames = spread(frames, FRAMES)
    scores: dict[int, list[float]] = {other: [] for other in others}
    for name in spread([name for name in cameras if images.get(name)], CAMERAS):
        of = cameras[name]
        width = min(WIDTH_PX, of.size[1])
        size = max(1, round(of.size[0] * width / of.size[1])), width
        seen = foreground({frame: images[name][frame] for frame in frames if frame in images[name]}, size)
        for frame, differs in seen.items():
            mine = people_mask(of, places[frame + this], size)
            for other in others:
                if frame + other not in places:
                    continue
                theirs = people_mask(of, places[frame + other], size)
                only_theirs, only_mine = theirs & ~mine, mine & ~theirs
                if min(only_theirs.sum(), only_mine.sum()) >= MIN_PIXELS:
                    scores[other].append(float(differs[only_theirs].mean() - differs[only_mine].mean()))
    return {other: evidence(values) for other, values in scores.items()}


def step_of(ids: Iterable[int]) -> int:
    """What frame ids most often rise by; 1 of fewer than two."""
    gaps = np.diff(sorted(ids))
    return int(np.bincount(gaps).argmax()) if len(gaps) and gaps.max() < 1e6 else 1


def joined(frames: Iterable[int], labels: Collection[int], offset: int) -> int:
    """How many frames have a label if that of frame f is label f + offset."""
    return sum(frame + offset in labels for frame in frames)


def evidence(values: Sequence[float]) -> Evidence:
    """Of one difference a picture."""
    if len(values) < 2:
        return Evidence(len(values), 0.0, 0.0)
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))
    return Evidence(len(values), mean, mean / max(error, 1e-6))
