"""One moment of a drive as a picture: the cameras, the ground from above, controls as bars, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from tasks.open_loop_driving.formats.routes import COMMANDS
from tasks.open_loop_driving.page import above, inks, seen
from tasks.open_loop_driving.page.above import Window
from tasks.open_loop_driving.page.moment import Moment
from tasks.yard.reporting.film import BACK, FAINT, INK, LIFTED, font

GAP_PX, HEAD_PX, NAME_PX, ROW_PX = 8, 30, 20, 17
LABEL_PX = 86  # of the words before the bars
BARS = (("throttle", 0, 0.0), ("brake", 2, 0.0), ("steer", 1, -1.0))  # name, column of a control, least value


def size_of(height_px: int) -> tuple[int, int]:
    """Width and height of a film, both even."""
    return 2 * round(height_px * 8 / 9), 2 * round(height_px / 2)


def rows_of(layers: Sequence[str]) -> int:
    return len(layers) + 1  # and the expert


def square_px(size: tuple[int, int], layers: Sequence[str]) -> int:
    """The side of the ground's picture: what is left above the bars, at most half the width."""
    return int(min(size[1] - HEAD_PX - low_px(layers) - GAP_PX, size[0] * 0.5))


def low_px(layers: Sequence[str]) -> int:
    return NAME_PX + rows_of(layers) * ROW_PX + 2 * GAP_PX


def bars(pen: ImageDraw.ImageDraw, moment: Moment, x0: int, y0: int, width: int) -> None:
    """A column a control, a row each for the expert and every layer."""
    rows = [] if moment.expert is None else [("expert", inks.TRUTH, moment.expert)]
    layers = zip(moment.layers, inks.of_layers(moment.layers), moment.controls, strict=True)
    rows += [(inks.named(layer), ink, control) for layer, ink, control in layers]
    each = (width - LABEL_PX) / len(BARS)
    for row, (name, ink, _) in enumerate(rows):
        pen.text((x0, y0 + NAME_PX + row * ROW_PX + 1), name, font=font(11), fill=ink)
    for place, (title, column, least) in enumerate(BARS):
        left = x0 + LABEL_PX + place * each
        full = each - 54
        side = " (left, right)" if least < 0 else ""
        pen.text((left, y0 + 2), f"{title}{side}", font=font(11), fill=FAINT)
        zero = left + full * (0 - least) / (1 - least)
        for row, (_, ink, control) in enumerate(rows):
            y = y0 + NAME_PX + row * ROW_PX
            pen.rectangle((left, y + 3, left + full, y + ROW_PX - 4), fill=LIFTED)
            value = float(np.clip(control[column], least, 1))
            end = left + full * (value - least) / (1 - least)
            pen.rectangle((min(zero, end), y + 3, max(zero, end), y + ROW_PX - 4), fill=ink)
            pen.text(
                (left + full + 5, y + 1), f"{value:+.2f}" if least < 0 else f"{value:.2f}", font=font(11), fill=INK
            )


def said(moment: Moment) -> str:
    """The line above."""
    parts = [moment.route, f"{moment.time_s:.1f} s", f"{moment.speed_ms:.1f} m/s"]
    if moment.command in COMMANDS:
        parts.append(COMMANDS[moment.command])
    if moment.should_brake:
        parts.append("the expert has to brake")
    return "   ".join(parts)


def errors(moment: Moment) -> list[tuple[str, str]]:
    """What each layer's waypoints are off: ink and words."""
    steps = len(moment.driven)
    until = steps * moment.step_s
    if not steps:
        return [(FAINT, "the recording ends: how the car went on is not known")]
    told = []
    for layer, ink, off in zip(moment.layers, inks.of_layers(moment.layers), moment.errors_m[:, :steps], strict=True):
        told.append(
            (ink, f"{inks.named(layer)}: {off.mean():.2f} m mean up to {until:g} s, {off[-1]:.2f} m at {until:g} s")
        )
    return told


def legend(pen: ImageDraw.ImageDraw, moment: Moment, right: int, y: int) -> None:
    """From the right edge: what is what on the ground."""
    entries = [(inks.TRUTH, "expert"), *zip(inks.of_layers(moment.layers), map(inks.named, moment.layers), strict=True)]
    marks = [("disc", ink, text) for ink, text in entries]
    marks += [("ring", INK, "looked at")] if moment.look is not None else []
    marks += [("diamond", inks.TARGET, "target point")] if moment.target is not None else []
    x = float(right)
    for shape, ink, text in marks[::-1]:
        x -= font(12).getlength(text) + 18
        if shape == "diamond":
            pen.polygon([(x + 4.5, y + 2), (x + 9, y + 7.5), (x + 4.5, y + 13), (x, y + 7.5)], outline=ink)
        else:
            pen.ellipse((x, y + 3, x + 9, y + 12), **{"outline" if shape == "ring" else "fill": ink})
        pen.text((x + 13, y), text, font=font(12), fill=FAINT)
        x -= 10


def picture(moment: Moment, size: tuple[int, int], window: Window) -> Image.Image:
    """(width, height) of `size`; the window's size is that of `square_px`."""
    width = size[0]
    sheet = Image.new("RGB", size, BACK)
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP_PX, 7), said(moment), font=font(14, bold=True), fill=INK)
    legend(pen, moment, width - GAP_PX, 8)
    side = window.size_px
    sheet.paste(Image.fromarray(above.picture(moment, window)), (width - side - GAP_PX, HEAD_PX))
    room = width - side - 3 * GAP_PX
    if moment.cameras:
        for tile in seen.tiles(moment.cameras, GAP_PX, HEAD_PX - 4, room, side + 4, NAME_PX):
            sheet.paste(Image.fromarray(seen.picture(moment, tile)), (tile.x, tile.y))
            pen.text((tile.x, tile.y - NAME_PX + 4), tile.name, font=font(12), fill=FAINT)
    else:
        pen.text((GAP_PX, HEAD_PX + GAP_PX), "this source has no camera", font=font(12), fill=FAINT)
    low = HEAD_PX + side + GAP_PX
    bars(pen, moment, GAP_PX, low, room)
    for row, (ink, text) in enumerate(errors(moment)):
        pen.text((width - side - GAP_PX, low + NAME_PX + (row + 1) * ROW_PX), text, font=font(12), fill=ink)
    return sheet
