"""Image files. Can one be read? A look at both of its ends, no decoding. And how they are written."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from tasks.yard.files import replacing

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


def is_whole(data: bytes) -> bool:
    """Is this a JPEG or PNG file up to its end? OpenCV decodes one that was cut, without complaint, and fills it up."""
    if not data.startswith(b"\xff\xd8"):
        return data.startswith(b"\x89PNG") and data[-8:-4] == b"IEND"
    at = 2  # pass over the segments before the first scan: an embedded thumbnail has an end marker of its own
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != b"\xda":
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return data.rfind(b"\xff\xd9", at) > at  # inside a scan every 0xff is escaped


def write_image(path: Path, picture: np.ndarray, jpeg_quality: int | None = None) -> None:
    """(H, W, 3) BGR uint8 in the format that the path's suffix names; `jpeg_quality` 0 to 100."""
    options = [] if jpeg_quality is None else [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality]
    encoded = cv2.imencode(path.suffix, picture, options)[1]
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())
