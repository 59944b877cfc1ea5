"""Photographs as phones and thermal cameras write them: turned by EXIF, padded, of 16 bits, under another name."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image


def saved(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def upright(width: int, height: int, seed: int = 0) -> np.ndarray:
    """(height, width, 3) BGR as shown: soft noise, its upper half much brighter."""
    found = np.random.default_rng(seed).integers(20, 60, (4, 4, 3), np.uint8)
    found = cv2.resize(found, (width, height))
    found[: height // 2] += 160
    return found


def phone(path: Path, shown: np.ndarray) -> Path:
    """Stored lying; EXIF 6 has viewers turn it a quarter clockwise."""
    exif, file = Image.Exif(), BytesIO()
    exif[0x0112] = 6
    lying = np.ascontiguousarray(np.rot90(shown, 1)[..., ::-1])
    Image.fromarray(lying).save(file, "JPEG", quality=95, exif=exif.tobytes())
    return saved(path, file.getvalue())


def deep(path: Path, shown: np.ndarray, bits: int = 16) -> Path:
    """Its grey in `bits` of 16."""
    grey = cv2.cvtColor(shown, cv2.COLOR_BGR2GRAY).astype(np.uint16)
    return saved(path, cv2.imencode(path.suffix, grey << (bits - 8))[1].tobytes())


def png_named(path: Path, shown: np.ndarray) -> Path:
    return saved(path, cv2.imencode(".png", shown)[1].tobytes())


def padded(path: Path, shown: np.ndarray) -> Path:
    return saved(path, cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes() + bytes(4096))


def motion(path: Path, shown: np.ndarray) -> Path:
    film = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 4
    return saved(path, cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes() + film)
