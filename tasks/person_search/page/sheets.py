"""Contact sheets of data: people by camera or in a row, and images with their boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from tasks.yard.files import replacing
from tasks.yard.layouts import images

CROP, SCENE = (48, 96), (320, 240)  # (width, height) in px of one picture on a sheet
LABEL_PX, GAP_PX, TEXT_PX = 170, 4, 14
WHITE, INK, BOX = "#ffffff", "#222222", "#d3264a"


def opened(picture: Path | Image.Image) -> Image.Image | None:
    """None for a file that cannot be read."""
    if isinstance(picture, Image.Image):
        return picture
    return images.picture(picture)


def save(sheet: Image.Image, path: Path) -> None:
    with replacing(path) as temporary:
        sheet.save(temporary)


def people(path: Path, rows: Mapping[str, Sequence[Path | Image.Image | None]], columns: Sequence[str] = ()) -> None:
    """A labelled row of crops for each person; a place stays empty for None. Nothing is written without rows."""
    path.unlink(missing_ok=True)
    if not rows:
        return
    width, height = CROP[0] + GAP_PX, CROP[1] + GAP_PX
    most = max(len(crops) for crops in rows.values())
    sheet = Image.new("RGB", (LABEL_PX + most * width, TEXT_PX + len(rows) * height), WHITE)
    draw = ImageDraw.Draw(sheet)
    for place, name in enumerate(columns):
        draw.text((LABEL_PX + place * width, 1), name, INK)
    for row, (label, crops) in enumerate(rows.items()):
        draw.text((GAP_PX, TEXT_PX + row * height + CROP[1] // 2 - 6), label, INK)
        for place, crop in enumerate(crops):
            image = opened(crop) if crop is not None else None
            if image is not None:
                resized = image.resize(CROP, Image.Resampling.BICUBIC)
                sheet.paste(resized, (LABEL_PX + place * width, TEXT_PX + row * height))
    save(sheet, path)


def scenes(path: Path, shown: Mapping[str, tuple[Path, Sequence[Sequence[float]]]], columns: int = 3) -> None:
    """{caption: (image, boxes as corners in shares of it)}; nothing is written without images."""
    path.unlink(missing_ok=True)
    if not shown:
        return
    width, height = SCENE[0] + GAP_PX, SCENE[1] + GAP_PX + TEXT_PX
    columns = min(columns, len(shown))
    sheet = Image.new("RGB", (columns * width, -(-len(shown) // columns) * height), WHITE)
    for place, (caption, (file, boxes)) in enumerate(shown.items()):
        x, y = place % columns * width, place // columns * height
        ImageDraw.Draw(sheet).text((x + 2, y + 1), caption[-52:], INK)
        image = opened(file)
        if image is None:
            continue
        image.thumbnail(SCENE)
        draw = ImageDraw.Draw(image)
        for x1, y1, x2, y2 in boxes:
            low, high = (x1 * image.width, y1 * image.height), (x2 * image.width - 1, y2 * image.height - 1)
            draw.rectangle([low, (max(low[0], high[0]), max(low[1], high[1]))], outline=BOX, width=2)
        sheet.paste(image, (x, y + TEXT_PX))
    save(sheet, path)
