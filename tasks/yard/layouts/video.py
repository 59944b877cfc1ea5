"""A film's frames with their times: seconds from its first frame, by the stamps in the file, turned as it is shown.

What the header says of rate and duration is compared with the stamps of the frames, which decide.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, partial
from pathlib import Path

import av
import cv2
import numpy as np

from tasks.yard.step import BadInput

SUFFIXES = (
    ".mp4", ".mov", ".m4v", ".mkv", ".avi", ".webm", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".wmv", ".asf", ".flv",
    ".3gp", ".ogv", ".mjpeg", ".mjpg", ".h264", ".264", ".h265", ".hevc",
)  # fmt: skip
DURATION = re.compile(r"(\d+):(\d\d):(\d\d\.\d+)")  # as Matroska's tags say it
LOST_S = 1.0  # a film that ends so much earlier than it promises was cut; encoders round by less
LEAST_SHARE = 0.1  # of what it promises that a film has to hold
SAME_RATE = 0.01  # a stated rate is believed if the stamps say the same, but for their rounding
FALL_S = 1.0  # stamps that fall back by more begin anew: parts of a film that were joined
PAUSE_S = 2.0  # shorter steps between two frames are not worth a word
SQUARE = 0.02  # pixels of other proportions are stretched


@dataclass(frozen=True)
class Film:
    """What the stamps in a film say, and what its header says."""

    path: Path
    seconds: np.ndarray  # of each frame from the first, ascending
    begin_s: float  # the first frame's own stamp
    stamped: bool  # else the times are by the stated rate
    falls: int  # times that the stamps fall back
    stated_rate: float  # frames a second; 0: says nothing
    promised_s: float  # 0: says nothing
    promised_frames: int  # 0: says nothing
    pixel_shape: float  # width of a pixel as shown, over its height
    others: int  # further films in the file

    @property
    def rate(self) -> float:
        """Frames a second while it films: pauses, and stretches where frames were let out, do not count."""
        steps = np.diff(self.seconds)
        if not len(steps):
            return self.stated_rate or 1.0
        usual = steps[steps <= 1.5 * np.median(steps)]
        found = len(usual) / float(usual.sum())
        return self.stated_rate if abs(self.stated_rate / found - 1) < SAME_RATE else found

    @property
    def held_s(self) -> float:
        """To the end of its last frame."""
        return float(self.seconds[-1] + 1 / self.rate)

    def remarks(self) -> list[str]:
        """What is odd about it. Raises `BadInput` for one of which next to nothing is left."""
        said, longest_s = [], float(np.diff(self.seconds).max(initial=0))
        if not self.stamped:
            said.append(f"has no stamps; its frames are taken to come {self.stated_rate:g} times a second, as it says")
        elif abs(self.stated_rate / self.rate - 1) >= SAME_RATE:
            said.append(f"says {self.stated_rate:g} frames a second, its stamps {self.rate:.4g}; the stamps are taken")
        if self.others:
            said.append(f"is one of {1 + self.others} in its file, the largest; put the others in files of their own")
        if self.falls:
            said.append(f"has stamps that fall back ({self.falls} times); it is taken to go on without a pause there")
        if longest_s > max(PAUSE_S, 3 / self.rate):
            said.append(f"has pauses without a frame, the longest is {longest_s:.1f} s")
        if self.pixel_shape != 1:
            said.append(f"has pixels of {self.pixel_shape:.3g}:1; its pictures are stretched as they are shown")
        missing = self.promised_frames - len(self.seconds)
        if self.promised_s - self.held_s > LOST_S or missing > LOST_S * self.rate:
            frames = f"{len(self.seconds)}{f' of {self.promised_frames}' if self.promised_frames else ''} frames"
            text = f"promises {max(self.promised_s, self.promised_frames / self.rate):.1f} s and holds "
            text += f"{self.held_s:.1f} s ({frames}): it was cut"
            if self.held_s < LEAST_SHARE * self.promised_s:
                raise BadInput(f"{self.path}: {text}; fetch it anew, or remux it with `ffmpeg -i in -c copy out.mp4`")
            said.append(text)
        return said


def films_in(container: av.container.InputContainer) -> list[av.VideoStream]:
    """The largest first, of equals the first; a dashcam's thumbnail is a stream too, and no film."""
    films = [one for one in container.streams.video if not one.disposition & av.stream.Disposition.attached_pic]
    return sorted(films, key=lambda stream: -(stream.width * stream.height))


@contextmanager
def opened(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """The file and its largest video stream. Raises `BadInput` if there is none."""
    try:
        container = av.open(str(path))
    except av.FFmpegError as error:
        raise BadInput(f"{path}: not a readable video ({error.strerror}); make it an mp4 (H.264) anew") from None
    with container:
        if not (films := films_in(container)):
            raise BadInput(f"{path}: no video in it")
        yield container, films[0]


def unit_of(stream: av.VideoStream) -> Fraction:
    """Seconds that a stamp counts."""
    return stream.time_base or Fraction(1)


def stamps_of(container: av.container.InputContainer, stream: av.VideoStream) -> tuple[list[np.ndarray], int]:
    """(the rising stamps of each joined part, in the stream's unit; how many frames have none). Nothing is decoded."""
    parts: list[list[int]] = [[]]
    without, last, fall = 0, None, FALL_S / unit_of(stream)
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.InvalidDataError:
            continue
        except av.FFmpegError:  # it breaks off
            packet = None
        if packet is None:
            return [np.unique(np.array(part, np.int64)) for part in parts if part], without
        if not packet.size or packet.is_discard:
            continue
        if packet.pts is None:
            without += 1
            continue
        order = packet.pts if packet.dts is None else packet.dts
        if last is not None and order < last - fall:
            parts.append([])
        parts[-1].append(packet.pts)
        last = order


def promised_s(container: av.container.InputContainer, stream: av.VideoStream, begin_s: float) -> float:
    """The duration of the pictures, as the header says; 0 if it does not.

    That of a whole Matroska file is that of the sound too, and counts from 0 where the first stamp is `begin_s`.
    """
    if stream.duration is not None:
        return float(stream.duration * unit_of(stream))
    told = container.duration / av.time_base if container.duration else 0.0
    if tag := DURATION.fullmatch(stream.metadata.get("DURATION", "")):
        told = 3600 * int(tag[1]) + 60 * int(tag[2]) + float(tag[3])
    return told - begin_s if 0 < begin_s < told else told


def film(path: Path) -> Film:
    """Raises `BadInput` for what is no film, or holds no frame."""
    try:
        state = path.stat()
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None
    return read_film(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=64)
def read_film(path: Path, *_: int) -> Film:
    with opened(path) as (container, stream):
        rate, shape = float(stream.guessed_rate or stream.average_rate or 0), float(stream.sample_aspect_ratio or 1)
        unit = float(unit_of(stream))
        # An AVI's duration is that of what is there; of a film with an edit list more frames are stored than shown.
        frames = stream.frames if container.format.name == "avi" else 0
        bare = stream.start_time is None  # a stream without a container: what stamps it has are by its stated rate
        others = len(films_in(container)) - 1
        parts, without = stamps_of(container, stream)
        begin_s = float(parts[0][0] * unit) if parts else 0.0
        promised = promised_s(container, stream, begin_s)
    count = without + sum(map(len, parts))
    if not count:
        raise BadInput(f"{path}: holds no frame that can be read")
    shape = shape if abs(shape - 1) > SQUARE and 0.25 <= shape <= 4 else 1.0
    made = partial(
        Film, path, stated_rate=rate, promised_s=promised, promised_frames=frames, pixel_shape=shape, others=others
    )
    if bare or count - without < max(without, min(count, 2)):  # of several frames all have one stamp, or none
        if not rate:
            raise BadInput(f"{path}: says nothing of its frame rate, and has no stamps; make it an mp4 (H.264) anew")
        return made(np.arange(count) / rate, 0.0, False, 0)
    step = float(np.median(np.concatenate([np.diff(part) for part in parts]))) if count > len(parts) else 0.0
    seconds, end = [], 0.0
    for part in parts:
        seconds.append((part - part[0]) * unit + end)
        end = float(seconds[-1][-1]) + step * unit
    return made(np.concatenate(seconds), begin_s, True, len(parts) - 1)


def frames(path: Path, start_s: float = 0.0) -> Iterator[tuple[float, av.VideoFrame]]:
    """(seconds from the first frame, frame) from the last key frame before `start_s` on.

    What cannot be decoded is passed over; a film that breaks off gives the frames up to there.
    """
    about = film(path)
    with opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        if start_s > 0 and about.stamped and not about.falls:
            container.seek(int((about.begin_s + start_s) / unit_of(stream)), stream=stream)
        step, second, shift = 1 / about.rate, None, -about.begin_s
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
                decoded = packet.decode() if packet is not None else []
            except av.InvalidDataError:
                continue
            except av.FFmpegError:
                return
            if packet is None:
                return
            for frame in decoded:
                if not about.stamped or frame.time is None:
                    second = 0.0 if second is None else second + step
                elif second is not None and frame.time + shift < second - FALL_S:
                    shift, second = second + step - frame.time, second + step
                else:
                    second = frame.time + shift
                yield second, frame


def turn_of(frame: av.VideoFrame) -> np.ndarray | None:
    """(2, 2): x, y as stored -> as shown; None where nothing is to be turned."""
    try:
        told = frame.side_data["DISPLAYMATRIX"]
    except KeyError:
        return None
    return np.frombuffer(bytes(told), np.int32).reshape(3, 3)[:2, :2].T


def pixels(frame: av.VideoFrame, pixel_shape: float = 1.0) -> np.ndarray:
    """(height, width, 3) uint8 BGR as shown: turned or mirrored as the film says, its pixels made square."""
    found: np.ndarray = frame.to_ndarray(format="bgr24")
    if pixel_shape != 1:
        height, width = found.shape[:2]
        size = (round(width * pixel_shape), height) if pixel_shape > 1 else (width, round(height / pixel_shape))
        found = cv2.resize(found, size, interpolation=cv2.INTER_LINEAR)
    turn = turn_of(frame)
    if turn is not None:
        across, down = turn
        if abs(across[1]) > abs(across[0]):  # what went down goes across
            found, across, down = found.transpose(1, 0, 2), across[::-1], down[::-1]
        found = found[:, ::-1] if across[0] < 0 else found
        found = found[::-1] if down[1] < 0 else found
    return np.ascontiguousarray(found)
