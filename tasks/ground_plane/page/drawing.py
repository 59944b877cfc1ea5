"""One moment of a scene as a picture: the plane from above beside what each camera sees.

On the plane the map of scores glows; a found person is a disc, green if they are there and red if not; a ring is a
person who is there, red if nobody found them. In the cameras a found person stands as a box of a grown-up's size, drawn
back through the calibration: it fits the person only if place and calibration are right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from PIL import Image, ImageDraw

from tasks.ground_plane.formats.scenes import Scene
from tasks.yard.geometry.camera import Camera, Plane
from tasks.yard.reporting.film import BACK, FAINT, INK, LIFTED, font

RIGHT, WRONG, MISSED, TRUE = "#3fb66b", "#e5484d", "#f2b544", "#e8edf3"
PERSON_M = (1.75, 0.5)  # height and width of the box that stands for a person
GAP_PX, NAME_PX = 8, 22


@dataclass(frozen=True)
class Moment:
    """What is known of one frame; places are metres in the plane."""

    scores: np.ndarray  # (rows, columns) 0..1
    found: np.ndarray  # (n, 2)
    right: np.ndarray  # (n) bool: within reach of a person who is there
    people: np.ndarray  # (m, 2)
    missed: np.ndarray  # (m) bool


def standing_box(camera: Camera, plane: Plane, xy: np.ndarray) -> tuple[float, float, float, float] | None:
    """x1, y1, x2, y2 px of a person who stands at a place of the plane (2); None where the camera does not see it."""
    height, width = PERSON_M
    x, y = plane.to_world(xy)
    ends, depth = camera.project(np.array([[x, y, 0.0], [x, y, height]]))
    if not camera.sees(ends[:1], depth[:1])[0] or depth[1] <= 0:
        return None
    half = camera.K[0, 0] * width / 2 / depth[0]
    return float(ends[:, 0].mean() - half), float(ends[:, 1].min()), float(ends[:, 0].mean() + half), float(ends[0, 1])


def places(count: int, x0: int, width: int, height: int) -> list[tuple[int, int, int, int]]:
    """x, y, width, height of each camera's tile, right of `x0`."""
    columns = max(1, math.ceil(math.sqrt(count / 1.5)))
    rows = math.ceil(count / columns)
    w, h = (width - x0) // columns, height // rows
    return [(x0 + i % columns * w, i // columns * h, w, h) for i in range(count)]


def glow_of(scene: Scene, scores: np.ndarray) -> Image.Image:
    """Scores (rows, columns) from above, y upwards, a pixel a cell; dark where no camera looks."""
    glow = matplotlib.colormaps["magma"](np.clip(scores, 0, 1))[:, :, :3]
    glow[~scene.mask] = np.array([0x17, 0x1D, 0x25]) / 255
    return Image.fromarray((255 * glow[::-1]).astype(np.uint8))


def map_of(scene: Scene, moment: Moment, size: tuple[int, int]) -> Image.Image:
    """The plane from above, y upwards, as large as fits into (width, height)."""
    rows, columns = scene.grid
    scale = min(size[0] / columns, size[1] / rows)
    shown = max(1, int(columns * scale)), max(1, int(rows * scale))
    image = glow_of(scene, moment.scores).resize(shown, Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(image)

    def at(xy: np.ndarray) -> tuple[float, float]:
        return float(xy[0]) / scene.cell_m * scale, shown[1] - float(xy[1]) / scene.cell_m * scale

    reach = 0.25 / scene.cell_m * scale
    for xy, lost in zip(moment.people, moment.missed, strict=True):
        x, y = at(xy)
        ink, thick = (MISSED, 3) if lost else (TRUE, 2)
        pen.ellipse((x - reach, y - reach, x + reach, y + reach), outline=ink, width=thick)
    for xy, right in zip(moment.found, moment.right, strict=True):
        x, y = at(xy)
        pen.ellipse((x - reach / 2, y - reach / 2, x + reach / 2, y + reach / 2), fill=RIGHT if right else WRONG)
    for view in scene.views:
        x, y = at(scene.plane.to_plane(view.camera.centre[:2]))
        x, y = min(max(x, 6), shown[0] - 6), min(max(y, 6), shown[1] - 6)
        pen.rectangle((x - 5, y - 5, x + 5, y + 5), fill="#7aa8ff")
        pen.text((min(max(x, 24), shown[0] - 24), y + 7 if y < 30 else y - 8), view.name, font=font(11), fill=INK,
                 anchor="ma" if y < 30 else "ms")  # fmt: skip
    return image


def view_of(scene: Scene, number: int, image: np.ndarray | None, moment: Moment, size: tuple[int, int]) -> Image.Image:
    """What one camera sees, the found people drawn back into it; as large as fits into (width, height)."""
    view = scene.views[number]
    height, width = view.camera.size
    scale = min(size[0] / width, size[1] / height)
    shown = max(1, round(width * scale)), max(1, round(height * scale))
    if image is None:
        blank = Image.new("RGB", shown, LIFTED)
        ImageDraw.Draw(blank).text((shown[0] / 2, shown[1] / 2), "no frame", font=font(14), fill=FAINT, anchor="mm")
        return blank
    picture = Image.fromarray(image).resize(shown, Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    for xy, right in zip(moment.found, moment.right, strict=True):
        if (box := standing_box(view.camera, scene.plane, xy)) is not None:
            pen.rectangle([(value + 0.5) * scale for value in box], outline=RIGHT if right else WRONG, width=2)
    for xy, lost in zip(moment.people, moment.missed, strict=True):
        if lost and (box := standing_box(view.camera, scene.plane, xy)) is not None:
            pen.rectangle([(value + 0.5) * scale for value in box], outline=MISSED, width=1)
    return picture


def moment_picture(
    scene: Scene, images: Sequence[np.ndarray | None], moment: Moment, words: Mapping[str, str], size: tuple[int, int],
    judged: bool = True,
) -> Image.Image:  # fmt: skip
    """Plane and cameras side by side, (width, height). `words`: the line above the plane, and the one below.

    `judged`: it is known who is there; else all that is found is drawn alike.
    """
    width, height = size
    picture = Image.new("RGB", size, BACK)
    pen = ImageDraw.Draw(picture)
    room = int(min(height - 3 * NAME_PX, 0.48 * width)) - 2 * GAP_PX
    above = map_of(scene, moment, (room, height - 3 * NAME_PX - 2 * GAP_PX))
    pen.text((GAP_PX, 6), words["above"], font=font(14, bold=True), fill=INK)
    picture.paste(above, (GAP_PX, NAME_PX + GAP_PX))
    low = NAME_PX + 2 * GAP_PX + above.height
    pen.text((GAP_PX, low), words["below"], font=font(12), fill=INK)
    x = GAP_PX
    key = ((RIGHT, "found"), (WRONG, "nobody there"), (MISSED, "missed"), (TRUE, "is there"))
    for ink, text in key if judged else key[:1]:
        pen.ellipse((x, low + 21, x + 9, low + 30), fill=ink)
        pen.text((x + 14, low + 18), text, font=font(12), fill=FAINT)
        x += 26 + int(font(12).getlength(text))
    for number, (left, top, w, h) in enumerate(places(len(scene.views), room + 2 * GAP_PX, width, height)):
        pen.text((left + 2, top + 3), scene.views[number].name, font=font(12, bold=True), fill=INK)
        seen = view_of(scene, number, images[number], moment, (w - GAP_PX, h - NAME_PX - GAP_PX))
        picture.paste(seen, (left, top + NAME_PX))
    return picture
