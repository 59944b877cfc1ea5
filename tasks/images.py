"""Is a file an image that can be read? A look at both of its ends, no decoding."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, UnidentifiedImageError

IMAGE_END = {".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9", ".png": b"IEND\xaeB`\x82"}
TAIL_BYTES = 64  # cameras pad files


def image_size(path: Path) -> tuple[int, int] | None:
    """(width, height) in pixels; None for a file that is empty, no image, or cut off."""
    try:
        with Image.open(path) as image, path.open("rb") as file:
            file.seek(-min(TAIL_BYTES, path.stat().st_size), 2)
            return image.size if IMAGE_END.get(path.suffix.lower(), b"") in file.read() else None
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError, ImportError):
        return None  # ImportError: where ultralytics is loaded too, it has PIL ask for HEIF support before giving up
