"""Image files: is one usable, how large is it, what does it show? Decided here for every reader of every line.

An image is what its content says, whatever its name is: a PNG or WebP called .jpg is read as what it is. It is usable
if it decodes up to its end; what follows the end (blocks of zeros, the film of a motion photograph) does not matter. It
is read as shown: turned as its EXIF says, 8 bits, three channels. Transparency is passed over, colours stay as stored.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ExifTags import Base
from PIL.TiffImagePlugin import TiffImageFile

from tasks.yard.files import replacing

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")  # of files that are taken for images
JPEG_QUALITY = 95  # a second compression should add nothing to the first
DEPTHS = (10, 12, 14, 16)  # bits that cameras deliver in 16
MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # inside a scan of a JPEG every other 0xff is escaped, or a restart
TAG_BITS = 258  # of TIFF: bits per sample
SAME_SHAPE = 0.02  # a label file's size and the image's differ in shape by rounding only
BROKEN = (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError, ImportError)


class Unusable(ValueError):
    """Why a file is no image that can be used, in words that follow its name."""


@dataclass(frozen=True)
class About:
    """What an image's own header says."""

    kind: str  # JPEG, MPO (JPEG with further pictures), PNG, WEBP, BMP, TIFF
    mode: str  # as PIL calls it
    size_px: tuple[int, int]  # (width, height) as shown
    stored_px: tuple[int, int]
    turned: bool  # shown otherwise than stored
    deep: bool  # 16 bits
    end: int  # where the image ends in the file

    @property
    def plain(self) -> bool:
        """Does every program read it alike?"""
        return self.kind in ("JPEG", "MPO", "PNG") and self.mode in ("RGB", "L") and not (self.turned or self.deep)


def jpeg_end(data: bytes) -> int:
    """Where a JPEG ends. A thumbnail within it has an end of its own, and so has what follows. Raises `Unusable`."""
    at = 2
    while found := MARKER.search(data, at):
        if found[0] == b"\xff\xd9":
            return found.end()
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2])  # each other marker has its length
    raise Unusable("was cut off: it has no end")


def png_end(data: bytes) -> int:
    at = 8
    while at + 12 <= len(data):
        length, name = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        at += 12 + length
        if name == b"IEND" and at <= len(data):
            return at
    raise Unusable("was cut off: it has no end")


def orientation_of(image: Image.Image, data: bytes) -> int:
    """EXIF's, 1 to 8. PIL decodes all of a PNG to look for it; a TIFF is turned by every reader, PIL's header too."""
    if image.format == "TIFF":
        return 1
    if image.format == "PNG" and b"eXIf" not in data and b"Raw profile type exif" not in data:
        return 1
    try:
        found = image.getexif().get(Base.Orientation, 1)
    except BROKEN:
        return 1
    return found if found in range(1, 9) else 1


def is_deep(image: Image.Image, data: bytes) -> bool:
    if image.format == "PNG":
        return data[24] == 16
    if isinstance(image, TiffImageFile):
        return max(image.tag_v2.get(TAG_BITS, (8,))) == 16
    return False


def look(data: bytes) -> About:
    """Header and end, no decoding. Raises `Unusable`."""
    if not data:
        raise Unusable("is empty")
    try:
        with Image.open(io.BytesIO(data)) as image:
            orientation, (width, height) = orientation_of(image, data), image.size
            kind, mode, deep = str(image.format), image.mode, is_deep(image, data)
    except BROKEN:  # ImportError: where ultralytics is loaded too, it has PIL ask for HEIF support before giving up
        raise Unusable("is no image") from None
    if mode in ("F", "I") and not deep:
        raise Unusable("has pixels of 32 bits, of which nobody knows what is white; save it with 8 or 16")
    end = jpeg_end(data) if kind in ("JPEG", "MPO") else png_end(data) if kind == "PNG" else len(data)
    shown = (height, width) if orientation > 4 else (width, height)
    return About(kind, mode, shown, (width, height), orientation != 1, deep, end)


def bits_of(brightest: int) -> int:
    """How many of 16 bits a camera uses, by the brightest value of its pictures."""
    return next(bits for bits in DEPTHS if brightest < 1 << bits)


def deep_pixels(data: bytes) -> np.ndarray:
    """(H, W, 3) uint16 BGR as stored. Raises `Unusable`."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    found = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if found is None or found.dtype != np.uint16:
        raise Unusable("has 16 bits and cannot be decoded; save it as PNG anew")
    return found


def whole(data: bytes) -> About:
    """Decodes it, a JPEG at an eighth of its size: all is read, and least is computed. Raises `Unusable`."""
    about = look(data)
    if about.deep:
        deep_pixels(data)
        return about
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.draft("RGB", (1, 1))
            image.load()
    except BROKEN as error:
        raise Unusable(f"cannot be decoded ({error})") from None
    return about


def pixels(data: bytes, bits: int | None = None) -> np.ndarray:
    """(H, W, 3) uint8 BGR as shown. Raises `Unusable`.

    Of the 16 bits of a picture `bits` are in use, by default as many as its own brightest value needs.
    """
    about = look(data)
    if about.plain and about.kind != "PNG":  # OpenCV decodes to the same values in half the time
        found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if found is not None:
            return found
    try:
        with Image.open(io.BytesIO(data)) as image:
            stored: Image.Image = image
            if about.deep:
                orientation, deep = orientation_of(image, data), deep_pixels(data)
                shift = (bits or bits_of(int(deep.max()))) - 8
                stored = Image.fromarray((deep[..., ::-1] >> shift).clip(max=255).astype(np.uint8))
                stored.getexif()[Base.Orientation] = orientation
            shown = ImageOps.exif_transpose(stored) if about.turned else stored
            return np.ascontiguousarray(np.asarray(shown.convert("RGB"))[..., ::-1])
    except BROKEN as error:
        raise Unusable(f"cannot be decoded ({error})") from None


def fault(path: Path) -> str | None:
    """Why an image cannot be used; None if it can."""
    try:
        whole(path.read_bytes())
    except (Unusable, OSError) as error:
        return str(error)
    return None


def image_size(path: Path) -> tuple[int, int] | None:
    """(width, height) in pixels as shown; None for a file that is no usable image."""
    try:
        return whole(path.read_bytes()).size_px
    except (Unusable, OSError):
        return None


def decoded(path: Path) -> np.ndarray | None:
    """(H, W, 3) uint8 BGR as shown; None for a file that is no usable image."""
    try:
        return pixels(path.read_bytes())
    except (Unusable, OSError):
        return None


def picture(path: Path) -> Image.Image | None:
    """As `decoded`, for PIL."""
    found = decoded(path)
    return None if found is None else Image.fromarray(found[..., ::-1])


def readable(path: Path) -> Image.Image:
    """As `picture`, of an image that was read before. Raises `OSError` if it no longer can be."""
    found = picture(path)
    if found is None:
        raise OSError(f"{path}: an image that was usable before, and {fault(path) or 'now is not'}")
    return found


def wrong_shape(about: About, label_px: tuple[float, float]) -> str | None:
    """What is wrong if labels are for (width, height) of another shape than that shown; any scale is fine."""
    (width, height), (theirs_x, theirs_y) = about.size_px, label_px
    if abs(width * theirs_y / (height * theirs_x) - 1) <= SAME_SHAPE:
        return None
    labels = f"its labels are for {theirs_x:g}x{theirs_y:g}"
    if about.stored_px != about.size_px:
        return f"its EXIF turns the image to {width}x{height}, {labels}, as it is stored; label it as it is shown"
    return f"the image is {width}x{height}, {labels}"


def for_trainer(data: bytes) -> tuple[str, bytes]:
    """(suffix, content) of an image for programs that decide on their own: as it is, without what follows its end, if
    they all read it alike; else as a PNG. Raises `Unusable`."""
    about = look(data)
    if about.plain:
        return (".png" if about.kind == "PNG" else ".jpg"), data if about.kind == "MPO" else data[: about.end]
    return ".png", encoded(pixels(data), ".png")


def encoded(picture: np.ndarray, suffix: str, jpeg_quality: int | None = None) -> bytes:
    options = [] if jpeg_quality is None else [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality]
    return cv2.imencode(suffix, picture, options)[1].tobytes()


def write_image(path: Path, picture: np.ndarray, jpeg_quality: int | None = None) -> None:
    """(H, W, 3) BGR uint8 in the format that the path's suffix names; `jpeg_quality` 0 to 100."""
    with replacing(path) as temporary:
        temporary.write_bytes(encoded(picture, path.suffix, jpeg_quality))
