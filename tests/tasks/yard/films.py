"""Small films: each frame shows its number and has a stamp of its own; and what phones and power cuts do to them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

QUARTER_TURN = (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)  # an MP4's display matrix: clockwise
UPSIDE_DOWN = (-(1 << 16), 0, 0, 0, -(1 << 16), 0, 0, 0, 1 << 30)
MIRRORED = (-(1 << 16), 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
BITS, SIZE = 12, (96, 64)


def picture(number: int) -> np.ndarray:
    """(64, 96, 3): red at the upper left, the number as black and white blocks in the middle."""
    found = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
    found[:16, :24] = (0, 0, 255)
    for bit in range(BITS):
        found[24:40, 8 * bit : 8 * bit + 8] = 255 if number >> bit & 1 else 0
    return found


def number_in(shown: np.ndarray) -> int:
    return sum(1 << bit for bit in range(BITS) if shown[28:36, 8 * bit + 2 : 8 * bit + 6].mean() > 127)


def red_corner(shown: np.ndarray) -> tuple[str, str]:
    """Where the red block is."""
    found = np.argwhere((shown[..., 2] > 150) & (shown[..., 1] < 90)).mean(0)
    return ("upper" if found[0] < shown.shape[0] / 2 else "lower"), (
        "left" if found[1] < shown.shape[1] / 2 else "right"
    )


def write(path: Path, stamps_s, *, first: int = 0, rate: int = 30, unit: Fraction | None = None, shape=None) -> Path:
    """Frame i is shown at stamps_s[i] and is called first + i. The header states `rate` frames a second.

    `shape`: width of a pixel over its height.
    """
    unit = unit or Fraction(1, 90_000)
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"movflags": "+faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=options) as container:
        codec = "mpeg4" if path.suffix == ".avi" else "libx264"
        stream = container.add_stream(codec, rate=rate, options={"crf": "10", "g": "15", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.time_base = unit
        if shape is not None:
            stream.codec_context.sample_aspect_ratio = stream.sample_aspect_ratio = Fraction(shape)
        for i, second in enumerate(stamps_s):
            frame = av.VideoFrame.from_ndarray(picture(first + i), format="bgr24")
            frame.pts, frame.time_base = round(second / unit), unit
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def turned(path: Path, matrix: tuple[int, ...] = QUARTER_TURN) -> Path:
    """As a phone writes a film: the pixels lie, and the header says how to show them."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(data)
    return path


def cut(path: Path, share: float = 0.5) -> Path:
    """As a power cut or a broken download leaves it."""
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    return path
