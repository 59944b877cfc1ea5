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
from tests.tasks.yard import films

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
    assert video.film(path).rate == 10 and video.film(path).held_s == pytest.approx(1.2)
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
    for read in (video.film, lambda path: next(video.frames(path))):
        with pytest.raises(BadInput, match=r"film\.mp4: not a readable video"):
            read(tmp_path / "film.mp4")


def test_a_mirrored_film_is_shown_as_a_player_shows_it(tmp_path):
    for matrix, corner in ((films.MIRRORED, ("upper", "right")), (films.UPSIDE_DOWN, ("lower", "right"))):
        (_, frame), *_ = video.frames(films.turned(films.write(tmp_path / "film.mp4", np.arange(3) / 30), matrix))
        assert films.red_corner(video.pixels(frame)) == corner


def test_a_film_of_flat_pixels_is_stretched_aloud(tmp_path):
    about = video.film(films.write(tmp_path / "film.mp4", np.arange(5) / 30, shape=2))
    (_, frame), *_ = video.frames(about.path)
    assert video.pixels(frame, about.pixel_shape).shape == (64, 192, 3)
    assert about.remarks() == ["has pixels of 2:1; its pictures are stretched as they are shown"]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_the_stamps_decide_on_the_rate_and_not_the_header(tmp_path, suffix):
    stamps = np.arange(90) / 30
    about = video.film(films.write(tmp_path / f"film{suffix}", stamps.round(3), rate=1000, unit=Fraction(1, 1000)))
    assert about.rate == pytest.approx(30, rel=0.01) and about.held_s == pytest.approx(3, abs=0.01)
    np.testing.assert_allclose(about.seconds, stamps, atol=0.002)
    np.testing.assert_allclose([second for second, _ in video.frames(about.path)], stamps, atol=0.002)


def test_pauses_of_a_film_are_said_and_do_not_slow_its_rate(tmp_path):
    stamps = np.r_[np.arange(60) / 30, 9 + np.arange(60) / 30]
    about = video.film(films.write(tmp_path / "film.mp4", stamps))
    assert about.rate == pytest.approx(30, rel=0.01)
    assert about.remarks() == ["has pauses without a frame, the longest is 7.0 s"]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_film_that_was_cut_says_what_it_promised_and_what_it_holds(tmp_path, suffix):
    unit = Fraction(1, 30) if suffix == ".avi" else None
    whole = films.write(tmp_path / f"film{suffix}", np.arange(300) / 30, unit=unit)
    assert video.film(whole).remarks() == []
    about = video.film(films.cut(whole, 0.5))
    assert 2 < about.held_s < 8
    [remark] = about.remarks()
    assert remark.startswith(f"promises 10.0 s and holds {about.held_s:.1f} s") and remark.endswith(": it was cut")
    assert len([*video.frames(whole)]) == pytest.approx(len(about.seconds), abs=5)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts"])
def test_a_film_whose_stamps_begin_late_begins_at_0_and_was_not_cut(tmp_path, suffix):
    about = video.film(films.write(tmp_path / f"film{suffix}", 100 + np.arange(90) / 30))
    assert about.remarks() == [] and about.held_s == pytest.approx(3, abs=0.01)
    later = [second for second, _ in video.frames(about.path, start_s=2.0)]
    assert next(second for second, _ in video.frames(about.path)) == 0
    assert later[-1] == pytest.approx(about.seconds[-1])


def test_a_film_of_which_next_to_nothing_is_left_is_refused(tmp_path):
    path = films.cut(films.write(tmp_path / "film.mkv", np.arange(300) / 30), 0.07)
    with pytest.raises(BadInput, match=r"film\.mkv: promises 10\.0 s and holds 0\.\d s .*; fetch it anew"):
        video.film(path).remarks()


@pytest.mark.slow
def test_joined_parts_whose_stamps_begin_anew_follow_each_other(tmp_path):
    for name, first in (("a.ts", 0), ("b.ts", 90)):
        films.write(tmp_path / name, np.arange(90) / 30, first=first)
    path = tmp_path / "joined.ts"
    path.write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    about = video.film(path)
    assert about.held_s == pytest.approx(6, abs=0.05) and "fall back (1 times)" in about.remarks()[0]
    seconds, numbers = zip(*((s, films.number_in(video.pixels(frame))) for s, frame in video.frames(path)), strict=True)
    np.testing.assert_allclose(seconds, np.array(numbers) / 30, atol=0.04)
    assert len(numbers) >= 178


def test_a_bare_stream_has_no_stamps_and_says_so(tmp_path):
    about = video.film(films.write(tmp_path / "film.h264", np.arange(50) / 30))
    assert not about.stamped and about.remarks()[0].startswith("has no stamps; its frames are taken to come 25 times")
    assert [second for second, _ in video.frames(about.path)][:2] == [0, pytest.approx(1 / 25)]


def test_of_several_films_in_a_file_the_largest_is_taken_aloud(tmp_path):
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=30) for _ in range(2)]
        for stream, size in zip(streams, ((32, 32), films.SIZE), strict=True):
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(30):
            for stream in streams:
                pixels = cv2.resize(films.picture(number), (stream.width, stream.height))
                for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="bgr24")):
                    container.mux(packet)
        for stream in streams:
            for packet in stream.encode():
                container.mux(packet)
    about = video.film(path)
    assert about.remarks() == ["is one of 2 in its file, the largest; put the others in files of their own"]
    assert [films.number_in(video.pixels(frame)) for _, frame in video.frames(path)] == list(range(30))
