"""The photographs of one unit brought into its folder, and their boxes into pixels of the pictures as shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tasks.bike_parts.formats.annotations import IMAGES, Part, Photo
from tasks.bike_parts.importers.found import Labelled
from tasks.yard.layouts import bringing, images, seen
from tasks.yard.layouts.example import SHARES
from tasks.yard.layouts.images import About


def unfit(labelled: Labelled, about: About) -> str | None:
    """Why the boxes are not of this picture."""
    if labelled.size_px == SHARES or about.size_px == labelled.size_px:
        return None
    if fault := images.wrong_shape(about, labelled.size_px):
        return fault
    if not labelled.scalable:
        (width, height), (stated_x, stated_y) = about.size_px, labelled.size_px
        return (
            f"the image is {width}x{height} and stated as {stated_x:g}x{stated_y:g}, and no relative_bounding_box "
            "tells for which of the two its boxes are; state its own size"
        )
    return None


def scaled(parts: Sequence[Part], scale: tuple[float, float]) -> tuple[Part, ...]:
    across, down = scale
    return tuple(
        Part(of.name, of.state, of.trust, (of.box[0] * across, of.box[1] * down, of.box[2] * across, of.box[3] * down))
        for of in parts
    )


def bring(
    photos: Sequence[Labelled], files: Sequence[str], groups: Sequence[str], folder: Path
) -> tuple[list[Photo], dict[str, str], list[str]]:
    """(the photographs that are usable, {name: why another is not}, remarks). Pictures are copied byte by byte, but for
    those that EXIF turns or that have 16 bits."""
    brought, left_out, pairs = [], {}, []
    counts: Counter[str] = Counter()
    for labelled, file, group in zip(photos, files, groups, strict=True):
        try:
            about = images.whole(labelled.path.read_bytes())
        except (images.Unusable, OSError) as error:
            left_out[labelled.name] = f"the image {error}"
            continue
        if why := unfit(labelled, about):
            left_out[labelled.name] = why
            continue
        width, height = about.size_px
        scale = width / labelled.size_px[0], height / labelled.size_px[1]
        counts["photographs have another size than stated: their boxes are brought to it"] += (
            labelled.size_px != SHARES and about.size_px != labelled.size_px
        )
        pairs.append((labelled.path, folder / IMAGES / file))
        parts = labelled.parts if scale == (1, 1) else scaled(labelled.parts, scale)
        brought.append(Photo(file, width, height, group, labelled.split, seen.picture(labelled.path), parts))
    done = bringing.bring(pairs)
    remarks = [f"{count} {what}" for what, count in counts.items() if count]
    return brought, left_out, [*remarks, *bringing.remarks(done)]
