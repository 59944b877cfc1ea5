"""Frames of films: their times, from where they are read, how they are turned, and files that are no film."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tasks.yard.layouts import video
from tasks.yard.step import BadInput

STAMPS_MS = [0, 40, 80, 120, 400, 440, 1000, 1040]  # of a camera that let frames out
QUARTER_TURN = (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)  # an MP4's display matrix: clockwise


def write_film(path: Path, stamps_ms: list[int] = STAMPS_MS) -> Path:
    """Frame i is 20 + 10 i bright, and its upper left corner is white."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1", "g": "4"})
        stream.width, stream.height, stream.pix_fmt, stream.time_base = 64, 48, "yuv420p", Fraction(1, 1000)
        stream.codec_context.time_base = Fraction(1, 1000)
        for i, stamp in enumerate(stamps_ms):
            pixels = np.full((48, 64, 3), 20 + 10 * i, np.uint8)
            pixels[:16, :16] = 255
            frame = av.VideoFrame.from_ndarray(pixels, format="bgr24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def turned(path: Path) -> Path:
    """As a phone writes a film that it took upright: the pixels lie, and the header says how to show them."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in QUARTER_TURN)
    path.write_bytes(data)
    return path


def test_frames_have_the_times_of_their_stamps(tmp_path):
    film = write_film(tmp_path / "film.mp4")
    seconds, frames = zip(*video.frames(film), strict=True)
    np.testing.assert_allclose(seconds, np.array(STAMPS_MS) / 1000, atol=0.001)
    levels = [video.pixels(frame)[24:, 24:].mean() for frame in frames]
    np.testing.assert_allclose(np.array(levels) - levels[0], 10 * np.arange(len(STAMPS_MS)), atol=4)
    later = [second for second, _ in video.frames(film, start_s=1.0)]
    assert 0 < later[0] <= 1.0 and later[-1] == seconds[-1]  # from a key frame on


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_frames_of_an_even_film_are_those_that_opencv_reads(tmp_path, suffix):
    path = tmp_path / f"film{suffix}"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (64, 48))
    rng = np.random.default_rng(0)
    for _ in range(12):
        writer.write(cv2.resize(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8), (64, 48)))
    writer.release()
    capture, expected = cv2.VideoCapture(str(path)), []
    while capture.grab():
        expected.append(capture.retrieve()[1])
    seconds, frames = zip(*video.frames(path), strict=True)
    assert video.frame_rate(path) == 10 and video.duration_s(path) == pytest.approx(1.2)
    assert np.allclose(seconds, np.arange(12) / 10)
    np.testing.assert_array_equal([video.pixels(frame) for frame in frames], expected)


def test_a_film_is_turned_as_it_is_shown(tmp_path):
    (_, frame), *_ = video.frames(turned(write_film(tmp_path / "film.mp4")))
    pixels = video.pixels(frame)
    assert pixels.shape == (64, 48, 3)
    assert pixels[:12, -12:].mean() > 240 and pixels[:12, :12].mean() < 40  # a quarter clockwise
    shown = cv2.VideoCapture(str(tmp_path / "film.mp4")).read()[1]
    assert shown.shape == pixels.shape and np.abs(shown.astype(int) - pixels).max() <= 3


def test_what_is_no_film_is_named(tmp_path):
    (tmp_path / "film.mp4").write_bytes(b"\0" * 1000)
    for read in (video.duration_s, video.frame_rate, lambda path: next(video.frames(path))):
        with pytest.raises(BadInput, match=r"film\.mp4: not a readable video"):
            read(tmp_path / "film.mp4")
