"""Are all labels of a sequence a frame late or early? By the pictures (moments.py), and by the numbers of both."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tasks.ground_plane.formats.sequence import Sequence
from tasks.ground_plane.judging.moments import Evidence, compared, joined, step_of


def numbered_apart(found: Sequence, shifts: Mapping[int, Evidence]) -> str | None:
    """Are labels without an image and images without a label one finding: numbers that differ by a frame? None where
    the pictures fit the numbers as they are."""
    for shift, evidence in shifts.items():
        joins = joined(found.frame_ids, found.labels, shift)
        if joins > len(found.joined) and not evidence.against:
            return (
                f"images {found.frame_ids[0]} to {found.frame_ids[-1]}, labels {min(found.labels)} to "
                f"{max(found.labels)}: as they are {len(found.joined)} frames have a label, and {joins} if labels are "
                f"numbered {by(-shift)}: {fix(found, shift)}"
            )
    return None


def by(shift: int) -> str:
    return f"{abs(shift)} {'more' if shift > 0 else 'less'}"


def fix(found: Sequence, shift: int) -> str:
    """What to do if image i fits label i + shift."""
    if found.annotation_offset is not None:
        return f"set ground_plane.download.annotation_offset to {found.annotation_offset + shift}"
    return f"number the labels {by(-shift)}, or the images {by(shift)}"


def label_shifts(
    found: Sequence, usable: Mapping[str, list[int]], people: Mapping[int, np.ndarray]
) -> dict[int, Evidence]:
    """{frame ids from one frame to the next or the last: how much better images fit the label that far from theirs}."""
    images = {name: {frame: found.frames[name][frame] for frame in frames} for name, frames in usable.items()}
    step = step_of(found.labels)
    places = {frame: who[:, 1:] for frame, who in people.items()}
    return compared(found.calibrations, images, places, 0, (step, -step))


def shifted(found: Sequence, shifts: Mapping[int, Evidence]) -> str | None:
    """Why the labels are of other frames than they say; None if nothing shows that."""
    clear = {shift: evidence for shift, evidence in shifts.items() if evidence.clear}
    if not clear:
        return None
    shift = max(clear, key=lambda shift: clear[shift].errors)
    return (
        f"the labels are a frame {'late' if shift > 0 else 'early'}: the image of frame i shows people where label "
        f"i {'+' if shift > 0 else '-'} {abs(shift)} has them, in {clear[shift].pictures} pictures by "
        f"{clear[shift].errors:.0f} standard errors; {fix(found, shift)}"
    )
