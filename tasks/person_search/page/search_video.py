"""A search as a film: the cameras side by side, every detection drawn, the found person marked with their similarity.

Reads the frames and the query's image; writes the mp4 it is told to, H.264 in yuv420p, which every browser plays, and
beside it as a jpg the moment in which most cameras show the person. All cameras begin together, at their first frame,
and run at their own speed, stills without times one after the other; of a long recording the stretch is shown in which
the person is in most frames. Where it is known who is who, a wrong one is marked in red.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from tasks.person_search.judging.sightings import once_a_frame
from tasks.person_search.page.search_pictures import fitted, upright
from tasks.yard.files import replacing
from tasks.yard.reporting import film
from tasks.yard.reporting.film import BACK, FAINT, INK, LIFTED, font

SIZE, PANEL_PX, NAME_PX, GAP_PX = (1280, 720), 220, 22, 6
OTHER, FOUND, WRONG = "#b4c0cc", "#f2b544", "#e5484d"
STILL = ".jpg"  # of the picture beside a film
SLIDES_FPS = 2.0  # of stills without times
NAME_LETTERS = 24  # of a still's name
SURE = 0.25  # confidence from which on somebody who is not searched for gets a box
FASTEST_FPS = 15  # frames a second of the film at most; a camera's own are left out then


@dataclass(frozen=True)
class Track:
    """One camera, its detections by frame, and how similar each is to the query."""

    name: str
    fps: float | None  # None: stills without times
    frames: Mapping[int, Path]
    frame: np.ndarray  # (N)
    box: np.ndarray  # (N, 4) px
    similarity: np.ndarray  # (N)
    confidence: np.ndarray | None = None  # (N); None: not known
    called: Callable[[int], str] = str  # what the source calls a frame
    right: Callable[[int], bool | None] = lambda _row: None  # is this detection the person? None: nobody knows

    @cached_property
    def numbers(self) -> np.ndarray:
        return np.array(list(self.frames))

    def surely(self, row: int) -> bool:
        """Is this a person? What hardly is one is searched too, but would cover the picture with boxes."""
        return self.confidence is None or bool(self.confidence[row] >= SURE)

    @property
    def pace(self) -> float:
        return self.fps or SLIDES_FPS

    def place(self, frames: np.ndarray) -> np.ndarray:
        """How many frames after the first: by their numbers, which stand for times, or by their order."""
        return np.searchsorted(self.numbers, frames) if self.fps is None else frames - self.numbers[0]

    @property
    def seconds(self) -> float:
        return (int(self.place(self.numbers[-1:])[0]) + 1) / self.pace

    def found(self, threshold: float | None) -> np.ndarray:
        """Detections that may be the person, one a frame."""
        if threshold is None:
            return np.empty(0, np.int64)
        return once_a_frame(self.frame, self.similarity, np.flatnonzero(self.similarity >= np.float32(threshold)))

    def at(self, second: float) -> int | None:
        """The number of the frame that is shown at a moment: the last one there is; None after the end."""
        places, now = self.place(self.numbers), math.floor(second * self.pace + 1e-6)
        return None if now > places[-1] else int(self.numbers[np.searchsorted(places, now, side="right") - 1])

    def caption(self, number: int) -> str:
        """When, or of a still without a time which one; the end of a long name tells files apart."""
        if self.fps is not None:
            return f"{self.place(np.array([number]))[0] / self.fps:6.1f} s"
        return self.called(number)[-NAME_LETTERS:]


def stretch(tracks: Sequence[Track], threshold: float | None, seconds: float) -> tuple[float, float]:
    """[begin, end] in seconds: at most so long, with the most frames that show the person, the earliest of equals."""
    longest = max(track.seconds for track in tracks)
    if longest <= seconds:
        return 0.0, longest
    moments = [track.place(track.frame[track.found(threshold)]) / track.pace for track in tracks]
    seen = np.sort(np.concatenate(moments))
    begins = np.clip(np.append(0.0, seen - 1), 0, longest - seconds)  # a second before: one sees them come
    counts = np.searchsorted(seen, begins + seconds) - np.searchsorted(seen, begins)
    begin = float(begins[np.lexsort((begins, -counts))[0]])
    return begin, begin + seconds


def grid(count: int) -> list[tuple[int, int, int, int]]:
    """x, y, width, height of each camera's place right of the panel."""
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    width, height = (SIZE[0] - PANEL_PX) // columns, SIZE[1] // rows
    return [(PANEL_PX + i % columns * width, i // columns * height, width, height) for i in range(count)]


def draw_camera(
    image: Image.Image, track: Track, number: int | None, place: tuple[int, int, int, int], found: Mapping[int, int]
) -> None:
    """`found`: {frame: detection that may be the person}."""
    x0, y0, width, height = place
    pen = ImageDraw.Draw(image)
    hit = found.get(number)
    second = "" if number is None else track.caption(number)
    ink = INK if hit is None else WRONG if track.right(hit) is False else FOUND
    pen.text((x0 + GAP_PX, y0 + 4), track.name, font=font(13, bold=True), fill=ink)
    pen.text((x0 + width - GAP_PX, y0 + 4), second, font=font(12), fill=FAINT, anchor="ra")
    room = width - 2 * GAP_PX, height - NAME_PX - GAP_PX
    pen.rectangle((x0 + GAP_PX, y0 + NAME_PX, x0 + GAP_PX + room[0] - 1, y0 + NAME_PX + room[1] - 1), fill=LIFTED)
    picture = None if number is None else opened(track.frames[number])
    if picture is None:
        words = "over" if number is None else "cannot be read"
        pen.text((x0 + width / 2, y0 + height / 2), words, font=font(14), fill=FAINT, anchor="mm")
        return
    frame = fitted(picture, room)
    scale = frame.width / picture.width
    left, top = x0 + GAP_PX + (room[0] - frame.width) // 2, y0 + NAME_PX + (room[1] - frame.height) // 2
    image.paste(frame, (left, top))
    mine = range(*np.searchsorted(track.frame, [number, number + 1]))
    for row in [row for row in mine if row != hit and track.surely(row)] + ([] if hit is None else [hit]):
        x1, y1, x2, y2 = (float(value) * scale for value in track.box[row])
        corners = left + x1, top + y1, left + max(x2, x1 + 1), top + max(y2, y1 + 1)
        pen.rectangle(corners, outline=ink if row == hit else OTHER, width=3 if row == hit else 1)
        if row == hit:
            label, size = f"{track.similarity[row]:.2f}", font(13, bold=True)
            span = size.getlength(label) + 8
            at_x = min(max(corners[0] - 1, left), left + frame.width - span)
            at_y = corners[1] - 18 if corners[1] - 18 >= top else min(corners[3] + 1, top + frame.height - 18)
            pen.rectangle((at_x, at_y, at_x + span, at_y + 17), fill=ink)
            pen.text((at_x + 4, at_y + 1), label, font=size, fill=BACK)
    if hit is not None:
        edge = x0 + GAP_PX - 2, y0 + NAME_PX - 2, x0 + GAP_PX + room[0] + 1, y0 + NAME_PX + room[1] + 1
        pen.rectangle(edge, outline=ink, width=2)


def opened(path: Path) -> Image.Image | None:
    try:
        return upright(path)
    except (OSError, SyntaxError, ImportError):  # the last: see tasks/yard/layouts/images.py
        return None  # the index step named it


def panel(query: Path, answer: Mapping[str, Any], threshold: float | None) -> Image.Image:
    """The left side: whom to find, and the cameras in which they were found."""
    image = Image.new("RGB", (PANEL_PX, SIZE[1]), BACK)
    pen = ImageDraw.Draw(image)
    pen.text((12, 12), "find this person", font=font(15, bold=True), fill=INK)
    who = fitted(upright(query), (PANEL_PX - 24, 300))
    image.paste(who, (12, 40))
    y = 52 + who.height
    level = ["no threshold"] if answer["threshold"] is None else []
    if threshold is not None:
        level.append(f"marked from {threshold:.3f} on" if level else f"similarity of {threshold:.3f} or more")
    for text in (answer["query"][:28], *level):
        pen.text((12, y), text, font=font(12), fill=FAINT)
        y += 18
    y += 10
    seen = answer["sightings"]
    units = {one["unit"] for one in seen}
    wrong = {one["unit"] for one in answer["cameras"] if one["unit"] in units and one["best"]["right"] is False}
    nobody = "ranked only" if answer["threshold"] is None else "not found"
    heading = f"found in {len(units - wrong)} of {len(answer['cameras'])} cameras" if seen else nobody
    pen.text((12, y), heading, font=font(14, bold=True), fill=FOUND if units - wrong else INK)
    if wrong:
        y += 18
        pen.text((12, y), f"in {len(wrong)} another person", font=font(12), fill=WRONG)
    for one in seen[: max(0, (SIZE[1] - y - 30) // 18)]:
        y += 18
        best = one["best"]
        when = best["file"][-14:] if one["from_s"] is None else f"{one['from_s']:.1f} to {one['to_s']:.1f} s"
        line = f"{one['name'][:13]}  {when}  {best['similarity']:.2f}"
        pen.text((12, y + 6), line, font=font(11), fill=WRONG if best["right"] is False else INK)
    return image


def pictures(
    query: Path, answer: Mapping[str, Any], tracks: Sequence[Track], threshold: float | None, moments: Sequence[float]
) -> Iterator[Image.Image]:
    """One picture a moment; a camera is drawn anew only when its frame changes."""
    image = Image.new("RGB", SIZE, BACK)
    image.paste(panel(query, answer, threshold), (0, 0))
    found = [{int(track.frame[row]): int(row) for row in track.found(threshold)} for track in tracks]
    places, before = grid(len(tracks)), [-1] * len(tracks)
    for second in moments:
        for i, (track, place) in enumerate(zip(tracks, places, strict=True)):
            number = track.at(second)
            if number != before[i]:
                image.paste(BACK, (place[0], place[1], place[0] + place[2], place[1] + place[3]))
                draw_camera(image, track, number, place, found[i])
                before[i] = number
        yield image


def fullest(tracks: Sequence[Track], threshold: float | None, moments: Sequence[float]) -> int:
    """The moment in which most cameras show the person, rightly as far as anybody knows; of equals the most similar."""
    found = [
        {int(track.frame[row]): float(track.similarity[row]) for row in track.found(threshold)
         if track.right(row) is not False}
        for track in tracks
    ]  # fmt: skip

    def rank(place: int) -> tuple[int, float]:
        shown = [of.get(track.at(moments[place])) for track, of in zip(tracks, found, strict=True)]
        known = [similarity for similarity in shown if similarity is not None]
        return len(known), sum(known)

    return max(range(len(moments)), key=rank)


def write(
    path: Path,
    query: Path,
    answer: Mapping[str, Any],
    tracks: Sequence[Track],
    threshold: float | None,
    seconds: float,
    progress: Callable = lambda items, **_: items,
) -> None:
    """Encode it at the speed of the fastest camera; keep the moment that `fullest` names as a jpg."""
    fps = Fraction(min(max(track.pace for track in tracks), FASTEST_FPS)).limit_denominator(1000)
    begin, end = stretch(tracks, threshold, seconds)
    moments = [begin + i / float(fps) for i in range(max(1, math.floor((end - begin) * float(fps) + 1e-6)))]
    drawn, still = pictures(query, answer, tracks, threshold, moments), fullest(tracks, threshold, moments)

    def watched() -> Iterator[Image.Image]:
        for place, picture in enumerate(progress(drawn, total=len(moments), desc="video", unit="frame")):
            if place == still:
                with replacing(path.with_suffix(STILL)) as temporary:
                    picture.save(temporary, "JPEG", quality=85)
            yield picture

    film.write(path, watched(), SIZE, fps)
