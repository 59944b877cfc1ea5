"""A photograph with the parts in it: a box in the colour of its state, and what it is called in a margin beside it.

Labels stand left and right of the photograph and a thin line leads to each box, so that no label covers another one, or
what it is about, however close together the parts are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from tasks.bike_parts.formats.photos import STATES
from tasks.yard.reporting.film import BACK, INK, font

INKS: dict[str | None, str] = dict(
    zip((*STATES, None), ("#2fbf8f", "#ff7a1a", "#e879f9", "#9aa7b8", "#7aa8ff"), strict=True)
)  # told apart by the colour-blind; None: nobody knows the state
DASHED = ("absent", "occluded")  # what is not to be seen there
LINE_PX, TEXT_PX, GAP_PX = 21, 15, 8  # of a label; of its letters; around it
DASH_PX = 6
CLOSE_PX, ROOM = 200, 0.6  # of a close-up; around the box, of its longer side


@dataclass(frozen=True)
class Mark:
    box: Sequence[float]  # x, y, width, height in pixels of the photograph
    state: str | None  # of STATES; None: nobody knows
    label: str | None  # None: a box without words
    strong: bool = False  # what the picture is about


def spread(wanted: Sequence[float], low: float, high: float, step: float) -> list[float]:
    """Places in the order of `wanted` (rising), each near the one it wants, `step` apart, between `low` and `high` as
    long as there is room."""
    places: list[float] = []
    for want in wanted:
        places.append(max(want, places[-1] + step if places else low))
    limit = high
    for i in reversed(range(len(places))):
        places[i] = min(places[i], limit)
        limit = places[i] - step
    if places and places[0] < low:  # more than there is room for: from the top on
        places = [low + i * step for i in range(len(places))]
    return places


def sides(marks: Sequence[Mark], width: float) -> tuple[list[int], list[int]]:
    """Which of the marks have their label left and right of the photograph, from top to bottom; about as many each."""
    labelled = [i for i, mark in enumerate(marks) if mark.label is not None]
    across = sorted(labelled, key=lambda i: marks[i].box[0] + marks[i].box[2] / 2)
    left = sum(marks[i].box[0] + marks[i].box[2] / 2 < width / 2 for i in labelled)
    most = max(6, -(-len(labelled) // 2) + 2)
    left = min(max(left, len(labelled) - most), most)

    def down(chosen: Sequence[int]) -> list[int]:
        return sorted(chosen, key=lambda i: (marks[i].box[1] + marks[i].box[3] / 2, i))

    return down(across[:left]), down(across[left:])


def outline(pen: ImageDraw.ImageDraw, box: Sequence[float], ink: str, width: int, dashed: bool) -> None:
    """(x1, y1, x2, y2), on a dark line that shows on any ground."""
    x1, y1, x2, y2 = box
    pen.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline="#0b0e12", width=width + 2)
    if not dashed:
        pen.rectangle((x1, y1, x2, y2), outline=ink, width=width)
        return
    for start, end, fixed, level in ((x1, x2, y1, True), (x1, x2, y2, True), (y1, y2, x1, False), (y1, y2, x2, False)):
        at = start
        while at < end:
            stop = min(at + DASH_PX, end)
            pen.line((at, fixed, stop, fixed) if level else (fixed, at, fixed, stop), fill=ink, width=width)
            at += 2 * DASH_PX


def letters(mark: Mark) -> ImageFont.FreeTypeFont:
    return font(TEXT_PX, bold=mark.strong)


def margins(marks: Sequence[Mark], width: float) -> tuple[int, int]:
    """What the labels left and right of a photograph of that width need, px."""
    left, right = (
        max([0, *(round(letters(marks[i]).getlength(marks[i].label or "")) + 2 * GAP_PX for i in side)])
        for side in sides(marks, width)
    )
    return left, right


def photograph(
    image: Image.Image, marks: Sequence[Mark], width_px: int, room: tuple[int, int] | None = None
) -> Image.Image:
    """The photograph `width_px` wide with its marks; labels in margins beside it, as wide as `room` says or as they
    need."""
    scale = width_px / image.width
    height = max(1, round(image.height * scale))
    left, right = sides(marks, image.width)
    room = margins(marks, image.width) if room is None else room
    tall = max(height, max(len(left), len(right)) * LINE_PX + GAP_PX)
    shown = Image.new("RGB", (room[0] + width_px + room[1], tall), BACK)
    shown.paste(image.resize((width_px, height), Image.Resampling.BICUBIC), (room[0], 0))
    pen = ImageDraw.Draw(shown)
    boxes = [
        (room[0] + x * scale, y * scale, room[0] + (x + w) * scale, (y + h) * scale)
        for x, y, w, h in (mark.box for mark in marks)
    ]
    for i in sorted(range(len(marks)), key=lambda i: marks[i].strong):
        mark = marks[i]
        outline(pen, boxes[i], INKS[mark.state], 4 if mark.strong else 2, mark.state in DASHED)
    for side, x, anchor, end in ((left, room[0] - GAP_PX, "rm", 0), (right, room[0] + width_px + GAP_PX, "lm", 2)):
        middles = [(boxes[i][1] + boxes[i][3]) / 2 for i in side]
        for i, middle, y in zip(side, middles, spread(middles, LINE_PX / 2, tall - LINE_PX / 2, LINE_PX), strict=True):
            mark, ink = marks[i], INKS[marks[i].state]
            border = x + (GAP_PX / 2 if end == 0 else -GAP_PX / 2)
            pen.line((border, y, boxes[i][end], middle), fill=ink, width=1)
            pen.text((x, y), mark.label, font=letters(mark), fill=ink if mark.strong else INK, anchor=anchor)
    return shown


def closeup(image: Image.Image, mark: Mark, side_px: int = CLOSE_PX) -> Image.Image:
    """A part with something around it, at the photograph's own resolution or what fits, its box drawn."""
    x, y, width, height = mark.box
    side = max(width, height, 8) * (1 + ROOM)
    left, top = x + width / 2 - side / 2, y + height / 2 - side / 2
    corners = round(left), round(top), round(left + side), round(top + side)
    shown = image.crop(corners).resize((side_px, side_px), Image.Resampling.BICUBIC)  # black beyond the photograph
    scale = side_px / (corners[2] - corners[0])
    box = [(value - low) * scale for value, low in zip((x, y, x + width, y + height), corners[:2] * 2, strict=True)]
    outline(ImageDraw.Draw(shown), box, INKS[mark.state], 2, mark.state in DASHED)
    return shown


def legend() -> list[dict[str, Any]]:
    """For the page: what a colour means."""
    return [{"state": state, "ink": ink, "dashed": state in DASHED} for state, ink in INKS.items() if state]
