"""Images of one camera under the names of the line's layout; what cannot be used is left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tasks.yard.layouts import bringing, images
from tasks.yard.layouts.images import image_size
from tasks.yard.step import BadInput


def matched(calibrated: Mapping[int, Path], filmed: Mapping[int, Path], nowhere: Path) -> None:
    """Raises `BadInput` for a camera with a calibration and no folder of images, or the other way round."""
    for number, path in filmed.items():
        if number not in calibrated:
            raise BadInput(f"{path}: images of a camera without a calibration; add that, or remove the folder")
    for number, path in calibrated.items():
        if number not in filmed:
            raise BadInput(f"{path}: a calibration without images in {nowhere}; add them, or remove the file")


def first_size(frames: Mapping[int, Path], folder: Path) -> tuple[int, int]:
    """(height, width) of the first image that can be read."""
    for path in frames.values():
        if size := image_size(path):
            return size[1], size[0]
    raise BadInput(f"{folder}: holds {len(frames)} images <frame>.png or .jpg, and none that can be read")


def unfit(path: Path, size: tuple[int, int]) -> str | None:
    """Why an image is of no use to a camera whose calibration is for (height, width)."""
    try:
        about = images.whole(path.read_bytes())
    except images.Unusable as error:
        return f"cannot be used, it {error}"
    (width, height), wanted = about.size_px, (size[1], size[0])
    if about.size_px == wanted:
        return None
    turned = ", as its EXIF turns it" if about.stored_px != about.size_px else ""
    return f"is {width}x{height} px{turned}, its calibration {wanted[0]}x{wanted[1]}"


def bring(
    camera: str, frames: Mapping[int, Path], target: Path, size: tuple[int, int], source: Path
) -> tuple[list[str], list[str]]:
    """Brings {frame id: image} to camN_<frame id>. Returns what is to be said of those that were left out (cut off, or
    of another size than the calibration's (height, width)) and of those that were written anew."""
    left_out, pairs = [], []
    for frame, path in frames.items():
        if why := unfit(path, size):
            left_out.append(f"{path.relative_to(source)}: frame {frame}: {why}: left out")
            continue
        pairs.append((path, target / f"{camera}_{frame}{path.suffix.lower()}"))
    if len(left_out) == len(frames):
        first = f"{source / left_out[0]}" if left_out else f"{source}: {camera} has no image"
        raise BadInput(f"{first}; no image of {camera} can be used")
    return left_out, [f"{camera}: {remark}" for remark in bringing.remarks(bringing.bring(pairs))]


def labels_that_can_be_read(labels: Sequence[Callable[[], None]], source: Path) -> list[str]:
    """Brings each label by its function; returns what is to be said of those that were left out, whose frames are then
    not labelled. Raises their `BadInput` if none can be read."""
    left_out = []
    for bring_label in labels:
        try:
            bring_label()
        except BadInput as error:
            left_out.append(f"{str(error).replace(f'{source}/', '')}: left out")
            if len(left_out) == len(labels):
                raise
    return left_out
