"""Rides and photographs to look through in the browser: each part in the colour of its state, and what has changed.

Reads   inspect/ (verdicts.json, looked/), evaluate/ and split/ (thresholds, calibration, the truth of the test split),
        the photographs: those of download/, or the folder that `inspect.photos` names
Writes  <out>.html, with all pictures inside: what was asked for, and as much else as there is room for
Alone   python -m flows view bike_parts <ride or photograph>

At the threshold of evaluate it shows what verdicts.json says; below it parts appear that were not sure enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tasks.bike_parts.formats import looked, photos
from tasks.bike_parts.importers.inspected import request
from tasks.bike_parts.judging.judge import TOLD, Judge, judge_of
from tasks.bike_parts.judging.verdicts import Seen, believed, truth_of, verdict
from tasks.bike_parts.page.drawing import legend
from tasks.bike_parts.page.verdict_page import SIDES, worst
from tasks.bike_parts.params import Line
from tasks.yard.files import read_if_there, read_json
from tasks.yard.layouts.images import readable
from tasks.yard.reporting.viewer import EMBED_MB, Album, at_most, some_of, unknown, write_page
from tasks.yard.reporting.words import rendered
from tasks.yard.step import BadInput, Context

PAGE = Path(__file__).parent / "page" / "view.html.j2"
PHOTO_PX = 720
LOWEST = 0.25  # of the threshold: the least sure part that the page knows


def items_of(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rides, those that are claimed first, then the photographs of no ride, the worst first."""
    pairs = sorted(said["pairs"], key=lambda pair: (not pair["claimed"], -pair["damaged_in_ride"], pair["name"]))
    paired = {pair[side] for pair in pairs for side in SIDES}
    alone = sorted((key for key in said["photos"] if key not in paired), key=lambda key: worst(said["photos"][key]))
    rides = [{**pair, "photos": [pair[side] for side in SIDES]} for pair in pairs]
    return rides + [
        {"name": said["photos"][key]["file"], "photos": [key], "says": said["photos"][key]["says"], "changes": []}
        for key in alone
    ]


def find(name: str, said: Mapping[str, Any], inspect: Path) -> int:
    """The place among `items_of`, by the name of a ride, or the file or key of a photograph. Raises `BadInput`."""
    names: dict[str, int] = {}
    for place, one in enumerate(items_of(said)):
        files = [said["photos"][key]["file"] for key in one["photos"]]
        for known in (one["name"], *one["photos"], *files):
            names.setdefault(known, place)
            names.setdefault(Path(known).name, place)
    if why := {**said["unusable"], **{Path(file).name: why for file, why in said["unusable"].items()}}.get(name):
        raise BadInput(f"{name}: {why}")
    if name not in names and Path(name).name in names:
        name = Path(name).name
    if name not in names:
        raise unknown(name, "ride or photograph", names, inspect)
    return names[name]


def paths_of(said: Mapping[str, Any], params: Line, data: Path, ctx: Context) -> dict[str, Path]:
    """Where each photograph lies, by its key."""
    if said["photos_from"] is None:
        return {key: data / "download" / one["file"] for key, one in said["photos"].items()}
    if params.inspect.photos is None:
        raise BadInput(
            f"{data / 'inspect'}: speaks of {said['photos_from']}, and bike_parts.inspect.photos is null now; "
            "run the line again"
        )
    return {one.key: one.path for one in request(params.inspect.photos, params.inspect.pairs, ctx.progress).photos}


def seen_in(inspect: Path) -> dict[str, dict]:
    """All that the network has seen, by the key of the photograph."""
    found: dict[str, dict] = {}
    for file in sorted(inspect.glob(f"looked/*/{looked.FILE}")):
        found |= looked.read(file.parent)
    return found


def parts_of(seen: Seen, judge: Judge, truth: Mapping[str, str]) -> list[dict[str, Any]]:
    """As verdicts.json has them, from a lower threshold on, with the score that it is compared with."""
    kept = believed(seen, LOWEST * judge.believe, judge.several)
    told = verdict(judge.calibrated(kept), judge.parts, bool(judge.learnt))["parts"]
    return [
        {**one, "raw": round(float(raw), 5), "truth": truth.get(one["part"])}
        for one, raw in zip(told, kept.score, strict=True)
    ]


def photos_of(
    keys: list[str], said: Mapping[str, Any], paths: Mapping[str, Path], seen: Mapping[str, dict], judge: Judge,
    truths: Mapping[str, Mapping[str, str]], album: Album,
) -> Iterator[tuple[str, dict[str, Any]]]:  # fmt: skip
    for key in keys:
        one, truth = said["photos"][key], truths.get(key, {})
        parts = parts_of(looked.seen_of(seen[key]), judge, truth) if key in seen else []
        path = paths.get(key, Path(one["file"]))
        yield key, {
            "file": one["file"], "size": [one["width"], one["height"]], "says": one["says"], "parts": parts,
            "image": album.put(path, lambda path=path: at_most(readable(path), PHOTO_PX, PHOTO_PX)),
        }  # fmt: skip


def truths_of(said: Mapping[str, Any], split: Path) -> dict[str, dict[str, str]]:
    """{photograph: {part: state}} where somebody has labelled them."""
    if said["photos_from"] is not None:
        return {}
    test = photos.read(split, "test")
    ids = {photo.name: photo.id for photo in test.photos}
    return {key: truth_of(test, ids[one["file"]]) for key, one in said["photos"].items() if one["file"] in ids}


def write(
    name: str, out: Path, params: Line, data: Path, ctx: Context = Context(), embed_mb: float = EMBED_MB
) -> list[str]:
    """The page that opens at `name` of the line in `data`. Returns what a person should know of it."""
    said = read_if_there(data / "inspect" / "verdicts.json")
    if not said:
        raise BadInput(
            f"{data / 'inspect'}: nothing has been looked at; run the line first: python -m flows run bike_parts"
        )
    place, items = find(name, said, data / "inspect"), items_of(said)
    judge = judge_of(data / "evaluate", photos.read(data / "split", "train"))
    if judge.network != said["network"]:
        raise BadInput(f"{data / 'inspect'}: made by {said['network']}, and {judge.network} leads now; run it again")
    paths, seen = paths_of(said, params, data, ctx), seen_in(data / "inspect")
    truths, album = truths_of(said, data / "split"), Album(embed_mb)
    shown: list[dict[str, Any]] = []
    held: dict[str, dict[str, Any]] = {}
    left_out: list[str] = []
    for one in ctx.progress([items[place], *items[:place], *items[place + 1 :]], desc="rides", unit="ride"):
        if album.full:
            left_out.append(one["name"])
            continue
        shown.append(one)
        held |= photos_of(one["photos"], said, paths, seen, judge, truths, album)
    notes = [*said["remarks"], *album.notes("photographs")]
    if left_out:
        of = f"{len(left_out):,} of {len(items):,}"
        notes.append(f"{of} rides and photographs are left out: {some_of(left_out)}; name one to see it.")
    if said["unusable"]:
        notes.append(f"{len(said['unusable']):,} files are no photographs: {some_of(said['unusable'])}.")
    units = [read_json(file) for file in sorted((data / "download").glob("*/unit.json"))]
    if said["photos_from"] is None and (
        world := rendered(("bikes" if unit["rendered"] else "photographs" for unit in units), "batches")
    ):
        notes.append(world)
    page = {
        "title": f"{items[place]['name']}: bike_parts", "notes": notes, "pictures": album.uris, "items": shown,
        "photos": held, "believe": judge.believe, "lowest": LOWEST * judge.believe, "claim": judge.claim,
        "least": min([of["probability"] for one in shown for of in one["changes"]], default=TOLD), "inks": legend(),
    }  # fmt: skip
    write_page(out, PAGE, page=page)
    return notes
