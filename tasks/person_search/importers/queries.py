"""Whom to find: images of one person each, from the units of download/ or from a place that a user names."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.person_search.formats import cameras, reid_layout
from tasks.person_search.importers.checks import QUERIES, images_in
from tasks.yard import saying
from tasks.yard.files import file_hash, read_json
from tasks.yard.layouts.images import SUFFIXES as IMAGE_SUFFIXES
from tasks.yard.layouts.images import image_size, picture
from tasks.yard.sources.uri import slug
from tasks.yard.step import BadInput

log = logging.getLogger(__name__)
TAKEN = ("queries.csv", "search.json")  # files beside the queries' folders in search/


@dataclass(frozen=True)
class Query:
    key: str  # names its folder in search/
    path: Path
    shown: str  # as a person knows the image
    dataset: str | None  # of its camera; None for a user's own image
    person: int | None  # None: nobody knows who it is
    camera: int | None


def who_and_where(path: Path) -> tuple[int | None, int | None]:
    """Person and camera by Market's names; (None, None) for any other name."""
    found = reid_layout.NAME.fullmatch(path.stem)
    if not found:
        return None, None
    person, camera = int(found[1]), int(found[2])
    return (person if person > reid_layout.DISTRACTOR else None), camera


def keyed(found: Iterable[tuple[Path, str, str | None]]) -> list[Query]:
    """(image, as it is known, dataset) -> queries, each with a key of its own, by rising key."""
    queries: dict[str, Query] = {}
    for path, shown, dataset in found:
        person, camera = who_and_where(path) if dataset is not None else (None, None)
        base = slug(path.stem, "query")
        key = base if base not in queries or dataset is None else f"{slug(dataset, 'query')}-{base}"
        number = 2
        while key in queries or key in TAKEN:
            key, number = f"{base}-{number}", number + 1
        queries[key] = Query(key, path, shown, dataset, person, camera)
    return [queries[key] for key in sorted(queries)]


def own(place: Path) -> list[Query]:
    """An image, or all images of a folder. Raises `BadInput` where there is none."""
    if place.is_file() and (place.suffix.lower() in IMAGE_SUFFIXES or image_size(place)):
        return keyed([(place, str(place), None)])
    if not place.is_dir():
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise BadInput(
            f"{place}: neither a folder nor an image ({kinds}); give one as person_search.search.queries or --query"
        )
    images = images_in(place)
    if not images:
        raise BadInput(f"{place}: holds no image of whom to find; put some in, each of one person and cropped to them")
    return keyed((path, str(path), None) for path in images)


def several(places: Iterable[Path]) -> list[Query]:
    """The images at several places. Raises `BadInput` for a place where there is none."""
    found = dict.fromkeys(query.path for place in places for query in own(place))
    return keyed((path, str(path), None) for path in found)


def of_units(download: Path) -> list[Query]:
    """The images in queries/ of every camera; one that several cameras of a data set hold is one query."""
    images: dict[tuple[str, str, str], tuple[Path, str, str]] = {}
    for unit in cameras.units_with_frames(download).values():
        dataset = read_json(unit / "unit.json")["dataset"]
        for path in images_in(unit / QUERIES):
            shown = path.relative_to(download).as_posix()
            images.setdefault((dataset, path.name, file_hash(path)), (path, shown, dataset))
    return keyed(images.values())


def crop_of(query: Query, config: Mapping) -> np.ndarray | None:
    """As the network takes it; upright, as a phone means it. None if it cannot be read."""
    image = picture(query.path)
    return None if image is None else cameras.shrunk(image, config)


def wide(queries: Iterable[Query]) -> list[str]:
    """Those that are wider than tall: hardly one person, cropped, but all of the image is what is looked for."""
    found = []
    for query in queries:
        width, height = image_size(query.path) or (0, 0)  # `read` names what cannot be read
        if width > height:
            log.warning("%s: %d x %d px; expected one person, cropped to them", query.shown, width, height)
            found.append(query.shown)
    return found


def read(queries: Iterable[Query], config: Mapping) -> tuple[list[Query], np.ndarray, list[str]]:
    """(those that can be read, their crops (Q, H, W, 3), the others). Raises `BadInput` if none can."""
    crops = [(query, crop_of(query, config)) for query in queries]
    kept = [(query, crop) for query, crop in crops if crop is not None]
    bad = [query.shown for query, crop in crops if crop is None]
    saying.few(log, [f"{name}: cannot be read as an image, left out" for name in bad], "cannot be read")
    if bad and not kept:
        raise BadInput(f"{', '.join(bad[:3])}: of {len(bad)} images of whom to find none can be read; give others")
    shape = (0, config["height_px"], config["width_px"], 3)
    stacked = np.stack([crop for _, crop in kept]) if kept else np.empty(shape, np.uint8)
    return [query for query, _ in kept], stacked, bad
