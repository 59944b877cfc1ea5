"""A line's page: a template beside its report step, the look that all pages share, nothing fetched from anywhere."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

MEDIA = {".png": "image/png", ".jpg": "image/jpeg", ".mp4": "video/mp4"}


def data_uri(path: Path) -> str:
    return f"data:{MEDIA[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"


def photo_uri(path: Path, width_px: int) -> str:
    """A picture of photographs as JPEG, at most so wide: a sixth of the PNG that lies in the step's folder."""
    with Image.open(path) as image:
        image = image.convert("RGB")
    image.thumbnail((width_px, 4 * width_px))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85, subsampling=0)
    return f"data:{MEDIA['.jpg']};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def environment(template: Path) -> jinja2.Environment:
    """For a template that may say {% include "page.css" %}; its filters: number, percent, best."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, Path(__file__).parent]), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters |= {
        "number": lambda value, digits=3: "\N{EN DASH}" if value is None else f"{value:,.{digits}f}",
        "percent": lambda value, digits=1: (
            "\N{EN DASH}" if value is None else f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%"
        ),
        "best": lambda values, low=False: (min if low else max)((v for v in values if v is not None), default=None),
    }
    return made


def markdown(cells: list[list[str]]) -> str:
    """Rows of text, the first of them the heading, as a table that reads well unrendered too."""
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def render(template: Path, page: dict[str, Any]) -> str:
    return environment(template).get_template(template.name).render(page)
