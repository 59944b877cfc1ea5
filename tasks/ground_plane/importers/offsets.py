"""Which annotation belongs to which image, where two folders number the same frames.

MultiviewX's generator numbers annotations from 1 and images from 0; copies of it number both alike. Nothing in a file
says which, so the two sets of numbers are compared: right is what joins more. Where two ways join as many the pictures
decide (tasks/ground_plane/judging/moments.py), and if they do not tell, a person.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from tasks.ground_plane.judging.moments import Evidence, joined, step_of
from tasks.yard.step import BadInput

PARAM = "ground_plane.download.annotation_offset"


def chosen(
    images: Collection[int], annotations: Collection[int], usual: tuple[int, ...], where: Path,
    by_pictures: Callable[[int, int], Evidence],
) -> tuple[int, str, list[str]]:  # fmt: skip
    """(offset, what it is known by, what is to be said): image i belongs to annotation i + offset.

    `usual`: those that copies of the data set are known to have; another one, by a frame, has to join more than each of
    them. `by_pictures(a, b)`: how much better images fit with offset a than with b. Raises `BadInput` if none can be
    told from another.
    """
    labels = set(annotations)
    step = step_of(labels)
    counts = {offset: joined(images, labels, offset) for offset in usual}
    most = max(counts.values())
    if not most:
        return usual[-1], "numbers", []
    for offset in (step, -step):
        more = joined(images, labels, offset)
        if offset not in counts and more > most:
            return offset, "numbers", [
                f"image i is joined to annotation i + {offset}".replace("+ -", "- ")
                + f", which joins {more} frames and equal numbers {counts.get(0, most)}; {PARAM} decides otherwise"
            ]  # fmt: skip
    best = [offset for offset, count in counts.items() if count == most]
    ends = {min(labels) - min(images), max(labels) - max(images)}
    further = max(ends, key=lambda offset: joined(images, labels, offset))
    if (more := joined(images, labels, further)) > most:  # or a part of the images lacks: the numbers do not tell
        found = by_pictures(best[0], further)
        if not (found.clear or found.against):
            raise BadInput(
                f"{where}: {len(labels)} annotations, {min(labels)} to {max(labels)}, and images {min(images)} to "
                f"{max(images)}: annotation i + {further} of image i joins {more} frames, i + {best[0]} joins {most}; "
                f"the pictures do not tell. Set {PARAM} to {further} or {best[0]}"
            )
        right = best[0] if found.clear else further
        return right, "pictures", [
            f"image i is joined to annotation i + {right}: the pictures fit it better than i + "
            f"{further if found.clear else best[0]}; {PARAM} decides otherwise"
        ]  # fmt: skip
    if len(best) == 1:
        return best[0], "numbers", []
    one, other = best[:2]
    found = by_pictures(one, other)
    if not (found.clear or found.against):
        raise BadInput(
            f"{where}: {len(labels)} annotations, {min(labels)} to {max(labels)}, and images {min(images)} to "
            f"{max(images)} belong together in two ways that join {most} frames each, annotation i + {one} or "
            f"i + {other} to image i; the pictures do not tell. Set {PARAM} to {one} or {other}"
        )
    right = one if found.clear else other
    return right, "pictures", [
        f"image i is joined to annotation i + {right}: offsets of {one} and {other} join {most} frames each, and the "
        f"pictures fit {right} better; {PARAM} decides otherwise"
    ]  # fmt: skip


def renumbered(annotations: Mapping[int, Path], offset: int) -> tuple[dict[int, Path], list[str]]:
    """({frame: annotation}, what is to be said of those before the first frame, which have no number there)."""
    frames = {number - offset: path for number, path in annotations.items() if number >= offset}
    early = [path for number, path in annotations.items() if number < offset]
    return frames, [f"{path.parent.name}/{path.name}: belongs to no image: left out" for path in early]
