"""Who was seen where, to look through in the browser: pick a query, move the threshold, see each sighting.

Reads   search/ (search.json, <query>/results.{json,csv}), index/, download/<unit>/frames/ and queries, evaluate/ and
        calibrate/ (how similar strangers are)
Writes  <out>.html, with all pictures inside: the query that was asked for, and as many others as there is room for
Alone   python -m flows view person_search <query>

Sightings are those of the step `search`, at any threshold down to the least similar detection that results.csv lists.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.person_search.formats import cameras
from tasks.person_search.formats.cameras import Indexed
from tasks.person_search.importers.queries import Query
from tasks.person_search.judging import calibration, strangers
from tasks.person_search.judging.answers import Yard, is_right, together
from tasks.person_search.judging.leader import leader_of
from tasks.person_search.page.ranked_crops import cut
from tasks.person_search.params import Line
from tasks.yard.files import read_if_there, read_json
from tasks.yard.layouts.images import image_size, readable
from tasks.yard.reporting.viewer import EMBED_MB, Album, at_most, some_of, unknown, write_page
from tasks.yard.reporting.words import rendered
from tasks.yard.step import BadInput, Context

PAGE = Path(__file__).parent / "page" / "view.html.j2"
CROP_PX, FRAME_PX = (110, 200), (640, 480)
SHOWN = 40  # of the detections that results.csv lists, with a picture
FRAMES = 12  # of them with their whole frame
STEPS = 60  # places at which the page knows what strangers would give


def find(name: str, search: Path) -> tuple[str, dict[str, Any]]:
    """(the query's key, search.json). Raises `BadInput` that names the nearest ones."""
    about = read_if_there(search / "search.json")
    if not about:
        raise BadInput(f"{search}: nobody has been searched for; run the line first: python -m flows run person_search")
    if about["empty"]:
        raise BadInput(f"{search}: {about['empty']}")
    asked = Path(name)  # the image itself will do, too
    for key in (asked.name, asked.stem):
        if key in about["queries"]:
            return key, about
    raise unknown(asked.name, "query", about["queries"], search)


def yard_of(data: Path, about: dict[str, Any]) -> Yard:
    """All detections, with what is known of strangers, as `search` has it."""
    index = data / "index"
    if read_if_there(index / "index.json").get("cameras", {}).keys() != set(about["cameras"]):
        raise BadInput(f"{data / 'search'}: other cameras than {index} has; run the line again")
    indexed = cameras.read_index(index, data / "download")
    known = calibration.read(data / "calibrate" / calibration.FILE)
    told = known.strangers or leader_of(data / "evaluate").strangers or strangers.in_frames(indexed)
    return together(indexed, told, known)


def row_of(one: Indexed, frame: int, box: Sequence[float]) -> int:
    """The detection that a line of results.csv speaks of; its box has two decimals there."""
    mine = np.flatnonzero(one.rows["frame"] == frame)
    return int(mine[np.abs(one.rows["box"][mine] - box).max(axis=1).argmin()])


def hits_of(folder: Path, query: Query, yard: Yard) -> list[dict[str, Any]]:
    """The lines of results.csv with what the truth says of each."""
    units = {one.camera.unit: one for one in yard.indexed}
    found = []
    with (folder / "results.csv").open(encoding="utf-8", newline="") as lines:
        for line in csv.DictReader(lines):
            one, frame = units[line["unit"]], int(line["frame"])
            box = [float(line[side]) for side in ("x1", "y1", "x2", "y2")]
            found.append({
                "unit": line["unit"], "frame": frame, "time_s": one.camera.time_s(frame), "box": box,
                "similarity": float(line["similarity"]), "spot": one.camera.spot(frame),
                "confidence": float(line["confidence"]), "right": is_right(one, query, row_of(one, frame, box)),
            })  # fmt: skip
    return found


def picture_of(query: Query, download: Path) -> Path:
    return download / query.shown if query.dataset is not None else Path(query.shown)


def asked_in(folder: Path, key: str) -> tuple[Query, dict[str, Any]]:
    answer = read_json(folder / "results.json")
    shown = answer["image"]
    return Query(key, Path(shown), shown, answer["dataset"], answer["person"], answer["camera"]), answer


def chances(hits: Sequence[dict[str, Any]], threshold: float | None, yard: Yard) -> list[list[float | None]]:
    """[similarity, detections of strangers that reach it, share of searches for nobody that find one] by rising
    similarity."""
    values = [hit["similarity"] for hit in hits] + ([] if threshold is None else [threshold])
    if not values:
        return []
    levels = np.linspace(min(values), max(max(values), 1.0), STEPS)
    if threshold is not None:
        levels = np.union1d(levels, [threshold])  # there it says what the search says
    return [[round(float(s), 6), yard.expected_false(s), yard.by_chance(float(s))] for s in levels]


def query_of(key: str, data: Path, yard: Yard) -> tuple[Query, dict[str, Any]]:
    """What the page knows of one query, but for its pictures."""
    folder = data / "search" / key
    query, answer = asked_in(folder, key)
    hits = hits_of(folder, query, yard)
    known = [camera for camera in answer["cameras"] if camera["there"] is not None]
    return query, {
        "key": key, "says": answer["says"], "person": answer["person"], "threshold": answer["threshold"],
        "own": [camera["unit"] for camera in answer["cameras"] if camera["own"]],
        "there": [camera["unit"] for camera in known if camera["there"]] if known else None,
        "hits": hits, "chances": chances(hits, answer["threshold"], yard), "image": None,
    }  # fmt: skip


def with_pictures(query: Query, told: dict[str, Any], yard: Yard, download: Path, album: Album) -> None:
    """Puts the query's picture, the crops and the frames in, the most similar first."""
    path = picture_of(query, download)
    told["image"] = album.put(path, lambda: at_most(readable(path), *CROP_PX))
    units = {one.camera.unit: one.camera for one in yard.indexed}
    for place, hit in enumerate(told["hits"]):
        file, hit["crop"], hit["whole"] = units[hit["unit"]].files[hit["frame"]], None, None
        if place < SHOWN:
            hit["crop"] = album.put(
                (file, *hit["box"]), lambda f=file, h=hit: at_most(cut(readable(f), h["box"]), *CROP_PX)
            )
        if place < FRAMES:
            hit["whole"] = album.put(file, lambda f=file: at_most(readable(f), *FRAME_PX))
            hit["size"] = image_size(file)


def write(
    name: str, out: Path, params: Line, data: Path, ctx: Context = Context(), embed_mb: float = EMBED_MB
) -> list[str]:
    """The page that opens at query `name` of the line whose folders lie in `data`. Returns what a person should know of
    it."""
    key, about = find(name, data / "search")
    yard, album = yard_of(data, about), Album(embed_mb)
    shown, left_out = [], []
    for other in ctx.progress([key, *(k for k in about["queries"] if k != key)], desc="queries", unit="query"):
        if album.full:
            left_out.append(other)
            continue
        query, told = query_of(other, data, yard)
        with_pictures(query, told, yard, data / "download", album)
        shown.append(told)
    notes = album.notes()
    if left_out:
        of = f"{len(left_out):,} of {len(about['queries']):,}"
        notes.append(f"{of} queries are left out: {some_of(left_out)}; name one to see it.")
    if about["threshold"] is None:
        notes.append(f"No threshold came with the search: {about['threshold_from']}. The slider starts at the best.")
    if (strangers := yard.strangers) is not None:
        notes.append(f"How similar strangers are: {strangers.of}.")
    layouts = [read_json(one.camera.folder / "unit.json").get("layout") for one in yard.indexed]
    if world := rendered(layouts, "cameras"):
        notes.append(world)
    page = {
        "title": f"{key}: person_search", "notes": notes, "pictures": album.uris, "gap_s": params.search.gap_s,
        "fps": {one.camera.unit: one.camera.fps for one in yard.indexed}, "detections": len(yard.embedding),
        "queries": shown,
    }  # fmt: skip
    write_page(out, PAGE, page=page)
    return notes
