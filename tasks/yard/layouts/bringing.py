"""Images brought from a source: byte by byte, so that equal files stay equal, but for those that programs would read in
different ways. Those are written anew as they are shown: turned by their EXIF, or of 16 bits. How many is returned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from tasks.yard.files import replacing
from tasks.yard.layouts import images
from tasks.yard.layouts.images import JPEG_QUALITY, Unusable
from tasks.yard.sources.units import copied

LOSSY = (".jpg", ".jpeg")
DEEP = (".png", ".tif", ".tiff")  # of pictures that may have 16 bits


def look(path: Path) -> images.About | None:
    try:
        return images.look(path.read_bytes())
    except Unusable:
        return None


def unlike(path: Path, label_px: tuple[float, float]) -> str | None:
    """What is wrong if labels are for (width, height) of another shape than an image is shown in."""
    about = look(path)
    return images.wrong_shape(about, label_px) if about else None


def bits_in_use(deep: Iterable[Path]) -> int:
    """Of 16 bits, over all pictures of a camera or data set: one scale for all, so that none flickers."""
    brightest = 0
    for path in deep:
        try:
            brightest = max(brightest, int(images.deep_pixels(path.read_bytes()).max()))
        except Unusable:
            continue
    return images.bits_of(brightest)


def anew(source: Path, target: Path, bits: int | None = None) -> None:
    """As shown, in 8 bits; a JPEG as a JPEG. Raises `Unusable`."""
    shown = images.pixels(source.read_bytes(), bits)
    suffix = target.suffix.lower()
    with replacing(target) as temporary:
        temporary.write_bytes(images.encoded(shown, suffix, JPEG_QUALITY if suffix in LOSSY else None))


def bits_of_deep(paths: Iterable[Path]) -> int | None:
    """`bits_in_use` of those of 16 bits; None if there are none."""
    able = (path for path in paths if path.suffix.lower() in DEEP)
    deep = [path for path in able if (about := look(path)) and about.deep]
    return bits_in_use(deep) if deep else None


def remarks(done: Mapping[str, int]) -> list[str]:
    """What `bring` did, for people."""
    found = []
    if turned := done.get("turned_as_shown"):
        found.append(f"{turned} images are turned as their EXIF says, and written anew")
    if deep := done.get("brought_to_8_bits"):
        used = f", {done['bits_in_use']} of them in use," if "bits_in_use" in done else ""
        found.append(f"{deep} images of 16 bits{used} are brought to 8")
    return found


def bring(pairs: Iterable[tuple[Path, Path]], *, jpeg: bool = False) -> dict[str, int]:
    """Bring each (source, target); returns what was done to some, counted.

    With `jpeg` what is no JPEG becomes one. What cannot be used is brought as it is: the checks name it. What an
    interrupted run brought already is kept.
    """
    found = [(source, target, look(source)) for source, target in pairs]
    turned = [source for source, _, about in found if about and about.turned]
    deep = [source for source, _, about in found if about and about.deep]
    bits = bits_in_use(deep) if deep else None
    for source, target, about in found:
        as_it_is = about is None or not (about.turned or about.deep)
        if as_it_is and not (jpeg and about and about.kind not in ("JPEG", "MPO")):
            copied(source, target)
        elif not target.exists():
            try:
                anew(source, target, bits)
            except Unusable:
                copied(source, target)
    done = {"turned_as_shown": len(turned), "brought_to_8_bits": len(deep), "bits_in_use": bits or 0}
    return {what: number for what, number in done.items() if number}
