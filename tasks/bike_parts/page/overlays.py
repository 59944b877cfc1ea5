"""Photographs with their boxes, coloured by state, as sheets of tiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from tasks.bike_parts.formats.annotations import Part
from tasks.bike_parts.formats.photos import ABSENT, DAMAGED, INTACT, NOT_LABELLED, OCCLUDED
from tasks.yard.files import replacing
from tasks.yard.layouts import images
from tasks.yard.reporting.film import BACK, INK, font

COLOURS = {
    INTACT: "#3fb66b", DAMAGED: "#e5484d", ABSENT: "#7aa8ff", OCCLUDED: "#f2b544", NOT_LABELLED: "#c77dff",
}  # fmt: skip
TILE_PX, NAME_PX, GAP_PX = 480, 22, 6
DASH_PX = 6
LABEL_PX = 11
NAMED = 12  # of more parts only those that are not intact have their name beside them
Box = tuple[float, float, float, float]  # x, y, width, height


def dashed(pen: ImageDraw.ImageDraw, corners: Box, ink: str, width: int = 2) -> None:
    """A rectangle x1, y1, x2, y2 of dashes: of what is not there."""
    x1, y1, x2, y2 = corners
    for a, b in (((x1, y1), (x2, y1)), ((x2, y1), (x2, y2)), ((x2, y2), (x1, y2)), ((x1, y2), (x1, y1))):
        length = math.dist(a, b)
        for k in range(0, int(length / DASH_PX) + 1, 2):
            ends = [min(k * DASH_PX, length), min((k + 1) * DASH_PX, length)]
            at = [(a[0] + (b[0] - a[0]) * e / (length or 1), a[1] + (b[1] - a[1]) * e / (length or 1)) for e in ends]
            pen.line(at, fill=ink, width=width)


def drawn(pen: ImageDraw.ImageDraw, part: Part, scale: float, name: bool) -> None:
    x, y, width, height = (value * scale for value in part.box)
    corners, ink = (x, y, x + width, y + height), COLOURS[part.state]
    if part.state == ABSENT:
        dashed(pen, corners, ink)
    else:
        pen.rectangle(corners, outline=ink, width=2)
    if name:
        text = part.name.replace("_", " ")
        room = pen.im.size[0] - font(LABEL_PX).getlength(text) - 4
        pen.text(
            (max(2.0, min(x + 2, room)), max(0.0, y - LABEL_PX - 4)),
            text,
            font=font(LABEL_PX),
            fill=ink,
            stroke_width=2,
            stroke_fill=BACK,
        )


def tile(
    path: Path, parts: Sequence[Part], words: str, window: Box | None = None, usual: Box | None = None
) -> Image.Image:
    """A photograph, or a window of it, with boxes; `usual`: a dashed box to compare with."""
    whole = images.readable(path)
    x0, y0, width, height = window or (0.0, 0.0, float(whole.width), float(whole.height))
    scale = TILE_PX / max(width, height)
    shown = max(1, round(width * scale)), max(1, round(height * scale))
    box = (round(x0), round(y0), round(x0 + width), round(y0 + height))
    view = whole.crop(box).resize(shown, Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.BOX)
    pen = ImageDraw.Draw(view)

    def moved(of: Box) -> Box:
        return of[0] - x0, of[1] - y0, of[2], of[3]

    for part in parts:
        named = part.state != INTACT or len(parts) <= NAMED  # 22 names hide the bike
        drawn(pen, Part(part.name, part.state, part.trust, moved(part.box)), scale, named)
    if usual is not None:
        x, y, w, h = (value * scale for value in moved(usual))
        pen.rectangle((x, y, x + w, y + h), outline=BACK, width=3)  # dashes are seen on white too
        dashed(pen, (x + 1, y + 1, x + w - 1, y + h - 1), INK, 1)
    picture = Image.new("RGB", (TILE_PX, TILE_PX + NAME_PX), BACK)
    pen = ImageDraw.Draw(picture)
    pen.text((4, NAME_PX / 2), words[:68], font=font(12), fill=INK, anchor="lm")
    picture.paste(view, ((TILE_PX - shown[0]) // 2, NAME_PX))
    return picture.crop((0, 0, TILE_PX, NAME_PX + shown[1]))


def sheet(path: Path, tiles: Sequence[Image.Image]) -> None:
    """Tiles side by side, three in a row at most."""
    columns = min(3, len(tiles))
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    heights = [max(of.height for of in row) for row in rows]
    picture = Image.new(
        "RGB", (columns * (TILE_PX + GAP_PX) - GAP_PX, sum(heights) + GAP_PX * (len(rows) - 1)), BACK
    )  # fmt: skip
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for i, of in enumerate(row):
            picture.paste(of, (i * (TILE_PX + GAP_PX), top))
        top += height + GAP_PX
    with replacing(path) as temporary:
        picture.save(temporary, "PNG", compress_level=3)
