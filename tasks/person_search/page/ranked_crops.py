"""The most similar people of one search as a picture: each once, cut out of their frame, with where and when.

One person who walks by is detected in many frames. Of detections of one camera that are one walker, near in time and
place and alike, the most similar stands for all of them; `times` says how many these are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from tasks.person_search.judging.strangers import shown
from tasks.person_search.page.search_pictures import CANDIDATE, FOUND, GAP_PX, PAPER, QUERY_PX, fitted, folded, upright
from tasks.yard.files import replacing
from tasks.yard.reporting.charts import FAINT, INK
from tasks.yard.reporting.film import font

MOST, COLUMNS = 18, 6
CROP_PX, TEXT_PX, BORDER_PX = (132, 232), 70, 4  # (width, height)
JITTER, HEIGHTS_A_SECOND = 0.3, 0.9  # of a box; of a walker, whose 1.4 m a second are so many of their heights
SAME_SHARE = 0.02  # of the pairs of strangers that are as alike as two pictures of one walker


@dataclass(frozen=True)
class Place:
    """One detection: where it is, and in which seconds; None of a still without a time."""

    camera: int
    second: float | None
    box: np.ndarray  # (4) px
    embedding: np.ndarray  # (D)


def one_walker(one: Place, other: Place, gap_s: float, alike: float | None) -> bool:
    if one.camera != other.camera or one.second is None or other.second is None:
        return False
    if alike is not None and one.embedding @ other.embedding < alike:
        return False
    apart_s = abs(one.second - other.second)
    way = np.hypot(*((one.box[:2] + one.box[2:] - other.box[:2] - other.box[2:]) / 2))
    height = max(one.box[3] - one.box[1], other.box[3] - other.box[1])
    return 0 < apart_s <= gap_s and bool(way <= (JITTER + HEIGHTS_A_SECOND * apart_s) * height)


def walkers(places: Sequence[Place], gap_s: float, alike: float | None, most: int = MOST) -> list[list[int]]:
    """Detections in the order of their ranks -> of each walker theirs, the most similar first: a chain in time, one a
    frame. `alike`: the least cosine of two pictures of one walker; None: not known."""
    found: list[list[int]] = []
    for place, one in enumerate(places):
        mine = next(
            (
                held
                for held in found
                if any(one_walker(one, places[i], gap_s, alike) for i in held)
                and all((places[i].camera, places[i].second) != (one.camera, one.second) for i in held)
            ),
            None,
        )
        if mine is not None:
            mine.append(place)
        elif len(found) < most:
            found.append([place])
    return found


def cut(image: Image.Image, box: Sequence[float]) -> Image.Image:
    """The person, with a tenth of the height around them."""
    x1, y1, x2, y2 = box
    margin = 0.1 * (y2 - y1)
    low = max(0, round(x1 - margin)), max(0, round(y1 - margin))
    high = min(image.width, round(x2 + margin)), min(image.height, round(y2 + margin))
    return image.crop((*low, max(high[0], low[0] + 1), max(high[1], low[1] + 1)))


def tile(rank: int, hit: dict[str, Any], frame: Image.Image) -> Image.Image:
    """`hit`: path, box, similarity, above (None: no threshold), camera, spot, times, expected_false."""
    size = CROP_PX[0] + 2 * BORDER_PX, CROP_PX[1] + 2 * BORDER_PX
    image = Image.new("RGB", (size[0], size[1] + TEXT_PX), PAPER)
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 0, size[0] - 1, size[1] - 1), fill=FOUND if hit["above"] else CANDIDATE)
    pen.rectangle((BORDER_PX, BORDER_PX, size[0] - BORDER_PX - 1, size[1] - BORDER_PX - 1), fill="#11151b")
    person = fitted(cut(frame, hit["box"]), CROP_PX)
    image.paste(person, (BORDER_PX + (CROP_PX[0] - person.width) // 2, BORDER_PX + (CROP_PX[1] - person.height) // 2))
    lines = [f"{rank}. {hit['similarity']:.3f}", hit["camera"], hit["spot"]]
    if hit["times"] > 1:
        lines[1] += f" · {hit['times']} times"
    if hit["expected_false"] is not None:
        lines.append(f"{shown(hit['expected_false'])} by chance")
    for nth, line in enumerate(lines):
        ink = INK if nth == 0 else FAINT
        pen.text((0, size[1] + 3 + 16 * nth), folded(line, size[0], nth == 0), fill=ink, font=font(11, nth == 0))
    return image


def write(path: Path, query: Path, name: str, says: str, hits: Sequence[dict[str, Any]]) -> None:
    """Nobody at all gives a picture that says so."""
    tiles: dict[int, Image.Image] = {}
    for path_of in dict.fromkeys(hit["path"] for hit in hits):  # a frame that shows several is decoded once
        frame = upright(path_of)
        tiles |= {nth: tile(nth + 1, hit, frame) for nth, hit in enumerate(hits) if hit["path"] == path_of}
    left = QUERY_PX[0] + 2 * GAP_PX
    cell = CROP_PX[0] + 2 * BORDER_PX + GAP_PX, CROP_PX[1] + 2 * BORDER_PX + TEXT_PX + GAP_PX
    rows = max(1, -(-len(tiles) // COLUMNS))
    height = max(rows * cell[1], QUERY_PX[1] + 30)
    image = Image.new("RGB", (left + COLUMNS * cell[0], 48 + height), PAPER)
    pen = ImageDraw.Draw(image)
    pen.text((GAP_PX, 8), f"who looks most like {name}", fill=INK, font=font(14, bold=True))
    pen.text((GAP_PX, 27), folded(says, image.width - 2 * GAP_PX), fill=INK, font=font(11))
    image.paste(fitted(upright(query), QUERY_PX), (GAP_PX, 52))
    for place, each in tiles.items():
        image.paste(each, (left + place % COLUMNS * cell[0], 52 + place // COLUMNS * cell[1]))
    with replacing(path) as temporary:
        image.save(temporary, "JPEG", quality=90)
