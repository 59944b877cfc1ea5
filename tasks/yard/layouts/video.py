"""A film's frames with their times: seconds from its first frame, by the stamps in the file, turned as it is shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np

from tasks.yard.step import BadInput

SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".avi", ".webm")


@contextmanager
def opened(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """The file and its first video stream. Raises `BadInput` if there is none."""
    try:
        container = av.open(str(path))
    except av.FFmpegError as error:
        raise BadInput(f"{path}: not a readable video ({error.strerror}); make it an mp4 (H.264) anew") from None
    with container:
        if not container.streams.video:
            raise BadInput(f"{path}: no video in it")
        yield container, container.streams.video[0]


def duration_s(path: Path) -> float:
    with opened(path) as (container, stream):
        if stream.duration is not None:
            return float(stream.duration * stream.time_base)
        if container.duration is not None:
            return container.duration / av.time_base
    raise BadInput(f"{path}: says nothing of its duration; remux it with `ffmpeg -i in -c copy out.mp4`")


def frame_rate(path: Path) -> float:
    """Frames a second, as the file says or its stamps suggest."""
    with opened(path) as (_, stream):
        rate = stream.guessed_rate or stream.average_rate
    if not rate:
        raise BadInput(f"{path}: says nothing of its frame rate; make it an mp4 (H.264) anew")
    return float(rate)


def frames(path: Path, start_s: float = 0.0) -> Iterator[tuple[float, av.VideoFrame]]:
    """(seconds from the first frame, frame) from the last key frame before `start_s` on.

    What cannot be decoded is passed over; a film that breaks off gives the frames up to there.
    """
    with opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        begin_s = float((stream.start_time or 0) * stream.time_base)
        if start_s > 0:
            container.seek(int((begin_s + start_s) / stream.time_base), stream=stream)
        rate, second = float(stream.guessed_rate or 1), start_s  # for the frames of a file without stamps
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
                second = second + 1 / rate if frame.time is None else frame.time - begin_s
                yield second, frame


def pixels(frame: av.VideoFrame) -> np.ndarray:
    """(height, width, 3) uint8 BGR; a film that a phone took upright is upright."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="bgr24"), frame.rotation // 90))
