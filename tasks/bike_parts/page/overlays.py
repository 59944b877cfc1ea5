"""Photographs with their boxes, coloured by state, as sheets of tiles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from tasks.bike_parts.formats.annotations import Part
from tasks.bike_parts.formats.photos import INTACT, STATES
from tasks.bike_parts.page.drawing import DASHED, INKS, outline
from tasks.yard.files import replacing
from tasks.yard.layouts import images
from tasks.yard.reporting.film import BACK, INK, font

TILE_PX, NAME_PX, GAP_PX = 480, 22, 6
LABEL_PX = 11
NAMED = 12  # of more parts only those that are not intact have their name beside them
Box = tuple[float, float, float, float]  # x, y, width, height


def name_of(state: int) -> str | None:
    """Of STATES; None: not labelled."""
    return STATES[state] if state >= 0 else None


def drawn(pen: ImageDraw.ImageDraw, part: Part, scale: float, name: bool) -> None:
    x, y, width, height = (value * scale for value in part.box)
    state = name_of(part.state)
    ink = INKS[state]
    outline(pen, (x, y, x + width, y + height), ink, 2, state in DASHED)
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
        outline(pen, (x, y, x + w, y + h), INK, 1, True)
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
