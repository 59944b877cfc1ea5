"""The contact sheet of one search: who was asked for, and beside it the best frame of each camera.

Reads the query's image and the frames; writes the png it is told to. A frame of a camera has the best detection drawn,
and that enlarged in its corner: amber where it reaches the threshold, else grey. The border of what was found is green
where it is right, red where it is wrong, and grey where nobody knows or nothing was found; the line of text below says
whether it was right not to find the person.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from tasks.person_search.page.pictures import RIGHT, WRONG
from tasks.yard.files import replacing
from tasks.yard.layouts.images import readable
from tasks.yard.reporting.charts import COMPRESSION, FAINT, INK
from tasks.yard.reporting.film import font

FOUND, CANDIDATE, PAPER = "#e8a317", "#8b98a8", "#ffffff"
QUERY_PX, TILE_PX = (170, 300), (400, 240)  # (width, height)
INSET_SHARE, BORDER_PX, GAP_PX, TEXT_PX, COLUMNS = 0.42, 5, 12, 38, 3


def fitted(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """As large as fits, proportions kept."""
    scale = min(size[0] / image.width, size[1] / image.height)
    whole = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(whole, Image.Resampling.BICUBIC)


def upright(path: Path) -> Image.Image:
    return readable(path)


def verdict(camera: Mapping[str, Any]) -> tuple[str, str, str]:
    """(colour of the border, what is said, its colour) of a camera's best detection."""
    best, there = camera["best"], camera["there"]
    claimed = best is not None and best["above"] is not False
    if best is None:
        what = "nobody detected"
    else:
        what = {None: "the most similar", True: "found", False: "not found"}[best["above"]]
    if there is None:
        return FAINT, what, INK
    if claimed:
        other = "a thing that stands there" if best.get("standing") else "another person"
        reason = "" if best["right"] else f", but {other}" if there else f", but not here: {other}"
        ink = RIGHT if best["right"] else WRONG
        return ink, f"{'✓' if best['right'] else '✗'} {what}{reason}", ink
    if there:
        return FAINT, f"✗ {what}, but is here", WRONG
    return FAINT, f"✓ {what}, and is not here", RIGHT


def tile(camera: Mapping[str, Any], frames: Mapping[int, Path]) -> Image.Image:
    """One camera: its best frame with the box, the border, and two lines of text below."""
    inner = TILE_PX[0] - 2 * BORDER_PX, TILE_PX[1] - 2 * BORDER_PX
    border, words, ink = verdict(camera)
    image = Image.new("RGB", (TILE_PX[0], TILE_PX[1] + TEXT_PX), PAPER)
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 0, TILE_PX[0] - 1, TILE_PX[1] - 1), fill=border)
    pen.rectangle((BORDER_PX, BORDER_PX, BORDER_PX + inner[0] - 1, BORDER_PX + inner[1] - 1), fill="#11151b")
    best = camera["best"]
    label = f"{camera['unit']}{' (own camera)' if camera['own'] else ''}"
    if best is not None:
        paste_frame(image, frames[best["frame"]], best, inner)
        label += f" · {best['similarity']:.3f} · {best['spot']}"
    pen.text((0, TILE_PX[1] + 3), folded(label, TILE_PX[0], bold=True), fill=INK, font=font(11, bold=True))
    pen.text((0, TILE_PX[1] + 19), words, fill=ink, font=font(11))
    return image


def paste_frame(image: Image.Image, path: Path, best: Mapping[str, Any], inner: tuple[int, int]) -> None:
    """The frame with its box, and the person enlarged in the corner that is farther away from them."""
    whole = upright(path)
    x1, y1, x2, y2 = best["box"]
    crop = whole.crop((round(x1), round(y1), max(round(x2), round(x1) + 1), max(round(y2), round(y1) + 1)))
    frame = fitted(whole, inner)
    scale = frame.width / whole.width
    left, top = BORDER_PX + (inner[0] - frame.width) // 2, BORDER_PX + (inner[1] - frame.height) // 2
    image.paste(frame, (left, top))
    pen = ImageDraw.Draw(image)
    colour = FOUND if best["above"] is not False else CANDIDATE
    corners = (left + x1 * scale, top + y1 * scale, left + x2 * scale - 1, top + y2 * scale - 1)
    corners = (corners[0], corners[1], max(corners[2], corners[0] + 1), max(corners[3], corners[1] + 1))
    pen.rectangle(corners, outline=colour, width=3)
    near = fitted(crop, (round(inner[0] * 0.3), round(inner[1] * INSET_SHARE)))
    to_right = (x1 + x2) / 2 < whole.width / 2
    x = BORDER_PX + inner[0] - near.width - 6 if to_right else BORDER_PX + 6
    pen.rectangle((x - 2, BORDER_PX + 4, x + near.width + 1, BORDER_PX + near.height + 7), fill=colour)
    image.paste(near, (x, BORDER_PX + 6))


def sheet(path: Path, query: Path, answer: Mapping[str, Any], frames: Mapping[str, Mapping[int, Path]]) -> None:
    """`answer` as results.json has it; `frames`: {unit: {frame: image}}."""
    tiles = [tile(camera, frames[camera["unit"]]) for camera in answer["cameras"]]
    columns = min(COLUMNS, len(tiles))
    left = QUERY_PX[0] + 2 * GAP_PX
    cell = TILE_PX[0] + GAP_PX, TILE_PX[1] + TEXT_PX + GAP_PX
    height = max(-(-len(tiles) // columns) * cell[1], QUERY_PX[1] + 60)
    image = Image.new("RGB", (left + columns * cell[0], 44 + height), PAPER)
    pen = ImageDraw.Draw(image)
    pen.text((GAP_PX, 8), f"query {answer['query']}", fill=INK, font=font(14, bold=True))
    pen.text((GAP_PX, 26), folded(answer["says"], image.width - 2 * GAP_PX), fill=INK, font=font(11))
    who = fitted(upright(query), QUERY_PX)
    image.paste(who, (GAP_PX, 48))
    person = answer["person"]
    known = "person unknown" if person is None else f"person {person}, camera {answer['camera']}"
    level = "no threshold" if answer["threshold"] is None else f"threshold {answer['threshold']:.3f}"
    for line, text in enumerate((known, level)):
        pen.text((GAP_PX, 54 + who.height + 15 * line), text, fill=FAINT, font=font(11))
    for place, each in enumerate(tiles):
        image.paste(each, (left + place % columns * cell[0], 48 + place // columns * cell[1]))
    with replacing(path) as temporary:
        image.save(temporary, compress_level=COMPRESSION)


def folded(text: str, width_px: int, bold: bool = False) -> str:
    """Of what is too long for a line the first clauses; cut off with an ellipsis where not even one fits."""
    while "; " in text and font(11, bold).getlength(text) > width_px:
        text = text.rpartition("; ")[0]
    while text and font(11, bold).getlength(text) > width_px:
        text = text[:-2].rstrip("…") + "…"
    return text
