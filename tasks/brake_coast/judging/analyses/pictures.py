"""How the analyses draw: in the report's inks, one png a picture. Reads camera pictures; writes what it is told to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from PIL import Image

from tasks.yard.layouts.images import readable

MISSED, CAUGHT = "#c2410c", "#0f8a6a"
BOX = "#37e0d0"  # on photographs


def frame(
    axis: Axes, path: Path, roi_px: tuple[int, int, int, int], boxes: np.ndarray, looks: list[dict], *, cropped: bool
) -> None:
    """A camera picture with boxes (n, 4) of x1, y1, x2, y2 as shares of the detector's view, drawn in `looks`.

    Cropped to that view, or whole with its outline.
    """
    picture = readable(path)
    x, y, w, h = roi_px
    if cropped:
        picture, x, y = picture.crop((x, y, x + w, y + h)), 0, 0
    scale = min(1.0, 640 / picture.width)  # a panel has no more pixels
    picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BILINEAR)
    axis.imshow(picture, interpolation="bilinear")
    x, y, w, h = (value * scale for value in (x, y, w, h))
    if not cropped and (w, h) != picture.size:
        axis.add_patch(Rectangle((x, y), w, h, fill=False, edgecolor="white", linewidth=0.6, linestyle=(0, (3, 3))))
    for (x1, y1, x2, y2), look in zip(boxes, looks, strict=True):
        axis.add_patch(Rectangle((x + x1 * w, y + y1 * h), (x2 - x1) * w, (y2 - y1) * h, fill=False, **look))
    axis.set(xticks=[], yticks=[], xlim=(0, picture.width), ylim=(picture.height, 0))
    axis.spines[:].set_visible(False)
    axis.grid(visible=False)
