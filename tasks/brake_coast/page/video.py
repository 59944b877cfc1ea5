"""A stretch of a drive as an mp4: camera with boxes, speed, pedals and what the model predicts, over time.

Reads the pictures of the `Stretch` that `report` and `apply` hand over. Writes H.264 in yuv420p, which every browser
plays.

The time line below is drawn once by matplotlib; each frame only dims what has not been driven yet and redraws camera
and gauges with PIL, at about 60 frames a second on one core.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from tasks.brake_coast.formats import recording
from tasks.brake_coast.judging.runs import family
from tasks.yard.files import read_if_there
from tasks.yard.layouts.images import readable
from tasks.yard.reporting import film
from tasks.yard.reporting.film import BACK, FAINT, INK, LIFTED, font

SIZE = (1280, 720)
CAMERA = (0, 0, 712, 400)  # x, y, width, height
GAUGES, TIMELINE = (712, 0, 568, 400), (0, 400, 1280, 320)
GAUGES_ALONE, TIMELINE_ALONE = (860, 0, 420, 720), (0, 0, 860, 720)  # a drive without a camera
LEFT, RIGHT, TOP, BOTTOM = 58, 64, 20, 36  # margins of the time line
LINE = "#2a333f"
BRAKE, COAST, BOX, SPEED = "#ff5d5d", "#f2b544", "#4fd1c5", "#7aa8ff"
SHADES = {
    "brake": (BRAKE, "#ff9d8a", "#ffc7b8", "#d98a8a", "#b36b6b"),
    "coast": (COAST, "#f7d48d", "#fbe9c6", "#c9a05a", "#9c7b45"),
}


@dataclass(frozen=True)
class Stretch:
    """Consecutive frames of one recording.

    rows: Time, t_ms, speed_kmh, pedal_pct, braking, coasting (1, 0, -1 unknown) and a column per task of probabilities;
    if it is known, one more, `<task>_alarm`, that is 1 where an alarm is raised.
    images, boxes: by Time; boxes are (n, 5) of confidence, x1, y1, x2, y2 in pixels of the whole image.
    begin_ms: when the drive began, from which the time line counts; None: with the first row.
    """

    recording: str
    run: str
    rows: pd.DataFrame
    thresholds: dict[str, float | None]
    images: dict[str, Path]
    boxes: dict[str, np.ndarray]
    roi_px: Sequence[int] | None = None
    begin_ms: int | None = None


def camera_of(
    name: str, times: pd.Series, download: Path, annotate: Path
) -> tuple[dict[str, Path], dict[str, np.ndarray], list[int] | None]:
    """Images, boxes and ROI of a recording, as a `Stretch` of the frames of these times wants them."""
    about, boxes, images = read_if_there(annotate / name / "annotations.json"), {}, recording.images(download / name)
    if about.get("roi_px"):
        x, y = about["roi_px"][:2]
        found = pd.read_csv(annotate / name / "annotations.csv", dtype={"Time": str})
        unreadable = set(found.loc[found["status"] == "unreadable", "Time"])
        images = {time: path for time, path in images.items() if time not in unreadable}
        found = found[(found["status"] == "ok") & found["Time"].isin(times)].reset_index(drop=True)
        corners = found[["confidence", "x1", "y1", "x2", "y2"]].to_numpy(float) + np.array([0, x, y, x, y])
        boxes = {time: corners[index] for time, index in found.groupby("Time").indices.items()}
    return images, boxes, about.get("roi_px")


def busiest(rows: pd.DataFrame, frames: int) -> slice:
    """The `frames` rows of one segment with the most brake onsets (then the most braking, then the earliest).

    Where no brake was ever seen, coasting stands for it.
    """
    state = rows["braking"] if (rows["braking"] == 1).any() else rows["coasting"]
    onset = (state == 1) & (state.shift() == 0) & (rows["segment"] == rows["segment"].shift())
    best, best_score = slice(0, 0), None
    for _, index in rows.groupby("segment", sort=True).indices.items():
        length = min(frames, len(index))
        # An onset in the first tenth shows nothing of what came before it: it does not count.
        count = np.cumsum(np.append(0, onset.to_numpy()[index]))
        begins = np.arange(len(index) - length + 1)
        found = count[begins + length] - count[np.minimum(begins + length // 10, len(index))]
        on = np.cumsum(np.append(0, (state == 1).to_numpy()[index]))
        key = np.lexsort((begins, -(on[begins + length] - on[begins]), -found))[0]
        score = (found[key], length)
        if best_score is None or score > best_score:
            best, best_score = slice(int(index[key]), int(index[key]) + length), score
    return best


def colours(tasks: Sequence[str]) -> dict[str, str]:
    """Brake tasks in reds, coast tasks in ambers, lighter with the horizon."""
    count = {"brake": 0, "coast": 0}
    chosen = {}
    for task in tasks:
        shades = SHADES[family(task)]
        chosen[task] = shades[count[family(task)] % len(shades)]
        count[family(task)] += 1
    return chosen


def spans(on: np.ndarray) -> list[tuple[int, int]]:
    """[first, last] index of each run of True."""
    edge = np.diff(np.concatenate([[0], on.astype(int), [0]]))
    return list(zip(np.flatnonzero(edge == 1), np.flatnonzero(edge == -1) - 1, strict=True))


def timeline(stretch: Stretch, box: tuple[int, int, int, int]) -> tuple[Image.Image, np.ndarray]:
    """The whole stretch as one picture, and the x pixel of each frame in it."""
    rows, tasks, shade = stretch.rows, list(stretch.thresholds), colours(list(stretch.thresholds))
    begin_ms = rows["t_ms"].iloc[0] if stretch.begin_ms is None else stretch.begin_ms
    t, raised = (rows["t_ms"].to_numpy() - begin_ms) / 1000, False
    families = [f for f in ("brake", "coast") if any(family(task) == f for task in tasks)]
    figure = Figure(figsize=(box[2] / 100, box[3] / 100), dpi=100, facecolor=BACK)
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(1 + len(families), 1, sharex=True, squeeze=False)[:, 0]
    sides = {"left": LEFT / box[2], "right": 1 - RIGHT / box[2], "top": 1 - TOP / box[3], "bottom": BOTTOM / box[3]}
    figure.subplots_adjust(**sides, hspace=0.16)
    for axis in axes:
        axis.set_facecolor(LIFTED)
        axis.tick_params(colors=FAINT, labelsize=8, length=0)
        axis.spines[:].set_visible(False)
        axis.grid(axis="y", color=LINE, linewidth=0.6)
        for state, colour, alpha in (("coasting", COAST, 0.10), ("braking", BRAKE, 0.28)):
            for first, last in spans(rows[state].to_numpy() == 1):
                axis.axvspan(t[first] - 0.25, t[last] + 0.25, color=colour, alpha=alpha, linewidth=0)
    axes[0].plot(t, rows["speed_kmh"], color=SPEED, linewidth=1.6)
    axes[0].set_ylabel("km/h", color=SPEED, fontsize=8)
    pedal = axes[0].twinx()
    pedal.fill_between(t, rows["pedal_pct"], color=INK, alpha=0.16, linewidth=0)
    pedal.set_ylim(0, 100)
    pedal.tick_params(colors=FAINT, labelsize=8, length=0)
    pedal.set_ylabel("pedal %", color=FAINT, fontsize=8)
    pedal.spines[:].set_visible(False)
    for axis, name in zip(axes[1:], families, strict=True):
        mine = [task for task in tasks if family(task) == name]
        top = max(0.05, rows[mine].max().max(), *(stretch.thresholds[task] or 0 for task in mine))
        for task in mine:
            axis.plot(t, rows[task], color=shade[task], linewidth=1.5, label=task)
            if f"{task}_alarm" in rows:
                alarm, raised = (rows[f"{task}_alarm"] == 1).to_numpy(), True
                axis.plot(t[alarm], rows[task][alarm], "v", color=shade[task], markersize=5, clip_on=False)
            if stretch.thresholds[task] is not None:
                axis.axhline(stretch.thresholds[task], color=shade[task], linewidth=0.8, linestyle=(0, (4, 3)))
        axis.set_ylim(0, 1.3 * top)  # room for the names above the curves
        axis.set_ylabel(f"P({name})", color=FAINT, fontsize=8)
        named = {"labelcolor": "linecolor", "handlelength": 0, "frameon": False, "borderpad": 0.1}
        axis.legend(loc="upper left", fontsize=7.5, ncols=5, **named)
    axes[-1].set_xlim(t[0], max(t[-1], t[0] + 1))
    key = "seconds     shaded: braking (red), pedal released (amber)     dashed: alarm threshold"
    key += "     triangle: alarm" if raised else ""
    axes[-1].set_xlabel(key, color=FAINT, fontsize=8, labelpad=2)
    canvas.draw()
    x_px = axes[0].transData.transform(np.column_stack([t, np.zeros_like(t)]))[:, 0]
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()), x_px


def draw_camera(image: Image.Image, stretch: Stretch, time: str, box: tuple[int, int, int, int]) -> None:
    x0, y0, width, height = box
    picture = readable(stretch.images[time])
    scale = min(width / picture.width, height / picture.height)
    size = round(picture.width * scale), round(picture.height * scale)
    x0, y0 = x0 + (width - size[0]) // 2, y0 + (height - size[1]) // 2
    picture = picture.resize(size, Image.Resampling.BILINEAR)
    if stretch.roi_px is not None:  # what lies outside of it the detector does not see
        x, y, w, h = (round(value * scale) for value in stretch.roi_px)
        seen = picture.crop((x, y, min(x + w, size[0]), min(y + h, size[1])))
        picture = Image.blend(picture, Image.new("RGB", size, BACK), 0.5)
        picture.paste(seen, (x, y))
    image.paste(picture, (x0, y0))
    draw = ImageDraw.Draw(image)
    for confidence, *corners in stretch.boxes.get(time, ()):
        x1, y1, x2, y2 = np.array(corners) * scale + [x0, y0, x0, y0]
        draw.rectangle((x1, y1, x2, y2), outline=BOX, width=2)
        if x2 - x1 >= 44:  # smaller boxes would drown in their text
            draw.rectangle((x1, y1 - 15, x1 + 33, y1), fill=BOX)
            draw.text((x1 + 4, y1 - 14), f"{confidence:.2f}", font=font(11), fill=BACK)


def bar(draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float], share: float, colour: str) -> None:
    x, y, width, height = box
    draw.rectangle((x, y, x + width, y + height), fill=LINE)
    if np.isfinite(share) and share > 0:
        draw.rectangle((x, y, x + width * min(share, 1), y + height), fill=colour)


def shortened(text: str, room: float, draw: ImageDraw.ImageDraw) -> str:
    """Its end, if all of it is wider than the room: of a path that is what tells files apart."""
    cut = text
    while cut and draw.textlength(cut if cut == text else f"\N{HORIZONTAL ELLIPSIS}{cut}", font(13)) > room:
        cut = cut[1:]
    return text if cut == text else f"\N{HORIZONTAL ELLIPSIS}{cut}"


def draw_gauges(draw: ImageDraw.ImageDraw, stretch: Stretch, row: dict, box: tuple[int, int, int, int]) -> None:
    x, y, width = box[0] + 28, box[1] + 24, box[2] - 56
    draw.text((x, y), row["Time"], font=font(13), fill=FAINT)
    room = width - draw.textlength(row["Time"], font(13)) - 16
    draw.text((x + width, y), shortened(stretch.run, room, draw), font=font(13), fill=FAINT, anchor="ra")
    y += 30
    speed = f"{row['speed_kmh']:.0f}" if np.isfinite(row["speed_kmh"]) else "-"
    draw.text((x, y), speed, font=font(46, bold=True), fill=INK)
    draw.text((x + 8 + draw.textlength(speed, font(46, bold=True)), y + 26), "km/h", font=font(15), fill=FAINT)
    braking = row["braking"]
    lamp = {1: (BRAKE, "BRAKE", BACK), 0: (LIFTED, "brake off", FAINT)}.get(braking, (LIFTED, "brake unknown", FAINT))
    draw.rounded_rectangle((x + width - 150, y + 8, x + width, y + 46), radius=4, fill=lamp[0], outline=LINE)
    draw.text((x + width - 75, y + 27), lamp[1], font=font(15, bold=braking == 1), fill=lamp[2], anchor="mm")
    y += 72
    draw.text((x, y), "pedal", font=font(15), fill=FAINT)
    bar(draw, (x + 110, y + 3, width - 190, 12), row["pedal_pct"] / 100, COAST if row["coasting"] == 1 else INK)
    text = "-" if not np.isfinite(row["pedal_pct"]) else f"{row['pedal_pct']:.0f} %"
    draw.text((x + width, y), text, font=font(15), fill=INK, anchor="ra")
    y += 40
    step = min(42, (box[1] + box[3] - y - 16) / max(len(stretch.thresholds), 1))
    for task, colour in colours(list(stretch.thresholds)).items():
        p, threshold = row[task], stretch.thresholds[task]
        already = row["braking" if family(task) == "brake" else "coasting"] == 1  # of that nobody has to be told
        alarm = threshold is not None and p >= threshold and not already
        draw.text((x, y), task, font=font(15, bold=alarm), fill=colour if alarm else FAINT)
        bar(draw, (x + 110, y + 3, width - 190, 12), p, colour if alarm else "#5c6978")
        if threshold is not None:
            at = x + 110 + (width - 190) * threshold
            draw.line((at, y - 2, at, y + 20), fill=INK, width=2)
        text = f"{p:.2f}" if np.isfinite(p) else "-"
        draw.text((x + width, y), text, font=font(15, bold=alarm), fill=INK, anchor="ra")
        y += step


def frames(stretch: Stretch):
    """One PIL image per row of the stretch."""
    seen = any(time in stretch.images for time in stretch.rows["Time"])
    gauges, place = (GAUGES, TIMELINE) if seen else (GAUGES_ALONE, TIMELINE_ALONE)
    chart, x_px = timeline(stretch, place)
    dimmed = Image.blend(chart, Image.new("RGB", chart.size, BACK), 0.62)
    for row, now in zip(stretch.rows.to_dict("records"), np.rint(x_px).astype(int).tolist(), strict=True):
        image = Image.new("RGB", SIZE, BACK)
        image.paste(chart, place[:2])
        image.paste(dimmed.crop((now, 0, place[2] - RIGHT, place[3] - BOTTOM)), (place[0] + now, place[1]))
        draw = ImageDraw.Draw(image)
        x, top, bottom = place[0] + now, place[1] + TOP - 4, place[1] + place[3] - BOTTOM + 2
        draw.line((x, top, x, bottom), fill=INK, width=2)
        if row["Time"] in stretch.images:
            draw_camera(image, stretch, row["Time"], CAMERA)
        draw_gauges(draw, stretch, row, gauges)
        yield image


def write(stretch: Stretch, path: Path, fps: int, progress=lambda items, **_: items) -> Image.Image:
    """Encode the stretch and return the frame of its first alarm before an onset, or the middle one, as its picture."""
    shown, kept = still(stretch), []

    def watched() -> Iterator[Image.Image]:
        for i, image in enumerate(progress(frames(stretch), total=len(stretch.rows), desc="video", unit="frame")):
            if i == shown:
                kept.append(image)
            yield image

    film.write(path, watched(), SIZE, fps)
    return kept[0]


def write_whole(stretch: Stretch, path: Path, fps: int, page_frames: int) -> None:
    """Encode a drive from end to end; its time line is turned like a page every `page_frames` frames."""
    pages = -(-len(stretch.rows) // page_frames)
    length = -(-len(stretch.rows) // pages)  # pages of equal length: a last one of two frames shows nothing
    parts = [stretch.rows.iloc[i : i + length].reset_index(drop=True) for i in range(0, len(stretch.rows), length)]
    whole = replace(stretch, begin_ms=int(stretch.rows["t_ms"].iloc[0]))
    film.write(path, (image for rows in parts for image in frames(replace(whole, rows=rows))), SIZE, fps)


def still(stretch: Stretch) -> int:
    """The frame worth a picture: the driver not braking yet, a brake task's score farthest above its threshold."""
    rows = stretch.rows
    over = [rows[t] - level for t, level in stretch.thresholds.items() if family(t) == "brake" and level is not None]
    if not over:
        return len(rows) // 2
    score = np.max(over, axis=0)
    soon = (rows["braking"] == 1).iloc[::-1].rolling(7, min_periods=1).max().iloc[::-1].to_numpy() == 1
    score = np.where((rows["braking"] == 0) & soon & np.isfinite(score), score, -np.inf)
    return int(np.argmax(score)) if np.isfinite(score).any() else len(rows) // 2
