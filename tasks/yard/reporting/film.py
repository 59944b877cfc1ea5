"""Films and the words in them: H.264 in yuv420p, which every browser plays."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import matplotlib
from PIL import Image, ImageFont

from tasks.yard.files import replacing

BACK, LIFTED, INK, FAINT = "#0e1217", "#171d25", "#e8edf3", "#8b98a8"  # the dark paper of all films, and its inks


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font of the charts, which matplotlib brings along."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


# One thread: the bytes depend on how many there are. No tree of macroblocks: it reads memory that nobody has written,
# and equal pictures gave other bytes now and then. At 26 a film is as near to its pictures as at 25 with the tree, and
# 14 % larger.
H264 = {"crf": "26", "preset": "veryfast", "threads": "1", "x264-params": "mbtree=0"}


def write(path: Path, pictures: Iterable[Image.Image], size: tuple[int, int], fps: float | Fraction) -> None:
    """Encode pictures of one (width, height), both even. Equal pictures give equal bytes."""
    rate = Fraction(fps).limit_denominator(1000)
    with replacing(path) as temporary, av.open(str(temporary), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate, options=H264)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
