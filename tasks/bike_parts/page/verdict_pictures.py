"""The pictures of inspect: a photograph with what was found in it, by itself or as one side of a ride."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from tasks.bike_parts.page.drawing import Mark, closeup, margins, photograph
from tasks.yard.layouts.images import readable

BROKEN = ("damaged", "absent")
SHOWN_PX, QUALITY = 560, 85
CLOSE = 4  # close-ups of a photograph, or of a ride


def spaced(name: str) -> str:
    return name.replace("_", " ")


def marks_of(verdict: Mapping[str, Any], changed: Sequence[str] | None = None) -> list[Mark]:
    """Boxes of a photograph. Of a pair only what is broken is named, and what has changed in the ride stands out."""
    found = []
    for part in verdict["parts"]:
        broken = part["state"] in BROKEN
        strong = broken if changed is None else part["part"] in changed
        label = spaced(part["part"])
        if broken or strong:
            label += f" {'missing' if part['state'] == 'absent' else part['state']} {100 * part['confidence']:.0f} %"
        found.append(Mark(part["box"], part["state"], label if changed is None or broken or strong else None, strong))
    return found


def drawn(path: Path, marks: Sequence[Mark]) -> str:
    """A photograph with its marks as a data URI."""
    return uri_of(photograph(readable(path), marks, SHOWN_PX))


def drawn_pair(paths: Sequence[Path], marks: Sequence[Sequence[Mark]]) -> list[str]:
    """Two photographs at one scale, to be compared side by side."""
    images = [readable(path) for path in paths]
    needed = [margins(of, image.width) for of, image in zip(marks, images, strict=True)]
    room = max(left for left, _ in needed), max(right for _, right in needed)
    return [uri_of(photograph(image, of, SHOWN_PX, room)) for image, of in zip(images, marks, strict=True)]


def closeups(path: Path, parts: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Parts, as verdicts.json has them, large enough that a person can judge for themselves."""
    if not parts:
        return []
    image = readable(path)
    return [
        {
            "uri": uri_of(closeup(image, Mark(part["box"], part["state"], None))),
            "says": f"{spaced(part['part'])}: {part['state']}, {100 * part['confidence']:.0f} %",
        }
        for part in parts
    ]


def uri_of(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
