"""The photographs that somebody wants to have looked at, and which of them are of one bike before and after a ride.

They come from a folder (and the folders in it), an archive, a single image or a URI of `tasks/yard/sources/local.py`.
Two are a pair if they lie in one folder and are called <name>_before and <name>_after, or if a table says so:
pairs.csv beside them, or any file that the param names, with the columns before and after; other columns do not matter.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tasks.yard.files import natural
from tasks.yard.layouts.images import SUFFIXES, image_size
from tasks.yard.sources import uri as source_uri
from tasks.yard.sources.local import local
from tasks.yard.sources.units import passed_over, walked
from tasks.yard.sources.uri import slug
from tasks.yard.step import BadInput, suggestion

TABLE = "pairs.csv"
TURN = re.compile(r"(?P<ride>.*?)[ _.-]*(?P<turn>before|after)", re.IGNORECASE)
COLUMNS = ("before", "after")
KINDS = "jpg, png, bmp, webp, tif"


@dataclass(frozen=True)
class Asked:
    key: str  # names the photograph in all that is written
    path: Path
    name: str  # below the folder that was given


@dataclass(frozen=True)
class Pair:
    name: str
    before: str  # key of a photograph
    after: str


@dataclass(frozen=True)
class Request:
    photos: list[Asked]
    pairs: list[Pair]
    remarks: list[str]


def keyed(found: Sequence[tuple[str, Path]]) -> list[Asked]:
    """(name, path) -> photographs in that order, each with a key that is a file name and its own."""
    taken: set[str] = set()
    photos = []
    for name, path in found:
        base = slug(str(Path(name).with_suffix("")), "photo")
        key, number = base, 2
        while key.lower() in taken:  # some disks take A.jpg and a.jpg for one
            key, number = f"{base}-{number}", number + 1
        taken.add(key.lower())
        photos.append(Asked(key, path, name))
    return photos


def images_below(root: Path) -> list[tuple[str, Path]]:
    """(name below it, path) of every file whose name is that of an image, in the order of the numbers in the names."""
    found = [folder / name for folder, _, names in walked(root) for name in names]
    found = [path for path in found if path.suffix.lower() in SUFFIXES]
    return [(path.relative_to(root).as_posix(), path) for path in sorted(found, key=natural)]


def turn_of(name: str) -> tuple[str, str] | None:
    """(ride with its folder, before or after) of a photograph's name; None where it says neither."""
    place = Path(name)
    found = TURN.fullmatch(place.stem)
    return found and (str(place.with_name(found["ride"] or "-")).lower(), found["turn"].lower())


def paired_by_name(photos: Sequence[Asked]) -> tuple[list[Pair], list[str]]:
    """Pairs in the order of the photographs, and what stands in the way of others."""
    rides: dict[str, dict[str, list[Asked]]] = {}
    for photo in photos:
        if turn := turn_of(photo.name):
            rides.setdefault(turn[0], {"before": [], "after": []})[turn[1]].append(photo)
    pairs, remarks = [], []
    taken: set[str] = set()
    for sides in rides.values():
        before, after = sides["before"], sides["after"]
        if len(before) == len(after) == 1:
            found = TURN.fullmatch(Path(after[0].name).stem)
            name = str(Path(after[0].name).with_name(found["ride"] or "ride")) if found else after[0].key
            name = name if name not in taken else f"{name}, {Path(after[0].name).name}"  # ride_after.jpg, after.jpg
            taken.add(name)
            pairs.append(Pair(name, before[0].key, after[0].key))
        elif len(before) > 1 or len(after) > 1:
            names = ", ".join(photo.name for photo in (*before, *after))
            remarks.append(
                f"{names}: more than one photograph before or after one ride, so none of them is compared; "
                f"say in {TABLE} (columns before, after) which belong together"
            )
        else:
            alone, other = (before[0], "after") if before else (after[0], "before")
            remarks.append(f"{alone.name}: there is no photograph {other} that ride; it is looked at, not compared")
    return pairs, remarks


def rows_of(table: Path) -> list[dict[str, str]]:
    """Raises `BadInput` for a file that is no table with these columns."""
    try:
        text = table.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{table}: cannot be read as a table ({error}); save it as CSV in UTF-8") from None
    head = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=head.count))
    names = {(name or "").strip().lower(): name for name in reader.fieldnames or []}
    if missing := [column for column in COLUMNS if column not in names]:
        raise BadInput(f"{table}: has no column {missing[0]!r}; its first line has to name before and after")
    return [{column: (row[names[column]] or "").strip() for column in COLUMNS} for row in reader]


def paired_by_table(table: Path, photos: Sequence[Asked]) -> tuple[list[Pair], list[str]]:
    """Rows that name a photograph that is not there are left out by number. Raises `BadInput` if no row is left."""
    by_name = {photo.name: photo for photo in photos}
    by_file: dict[str, Asked | None] = {}
    for photo in photos:
        file = Path(photo.name).name
        by_file[file] = None if file in by_file else photo  # of two folders: the table has to say which

    def of(name: str) -> Asked | None:
        return by_name.get(Path(name).as_posix()) or by_file.get(name)

    pairs: list[Pair] = []
    remarks: list[str] = []
    taken: set[str] = set()
    for number, row in enumerate(rows_of(table), 2):
        before, after = of(row["before"]), of(row["after"])
        if before is None or after is None:
            wrong = row["before"] if before is None else row["after"]
            why = f"no photograph {wrong!r}; {suggestion(wrong, list(by_name)[:200])}"
        elif before.key == after.key:
            why = f"{before.name} is both before and after"
        else:
            stem = Path(after.name).stem
            found = TURN.fullmatch(stem)
            base = str(Path(after.name).with_name((found and found["ride"]) or stem))
            name = base if base not in taken else f"{base}, row {number}"
            taken.add(name)
            pairs.append(Pair(name, before.key, after.key))
            continue
        remarks.append(f"{table.name}, row {number}: {why}; the row is left out")
    if not pairs:
        raise BadInput("; ".join([f"{table}: names no pair of photographs", *remarks[:3]]))
    return pairs, remarks


def request(uri: str, table: str | None, progress: Callable[..., Any] = tqdm) -> Request:
    """The photographs behind a URI. Raises `BadInput` where there is none."""
    shown = source_uri.redacted(uri)
    if source_uri.scheme(uri) == "synth":
        raise BadInput(f"{shown}: a world is no folder of photographs; null looks at those of the test split")
    root = local(uri, progress=progress)
    left: Mapping = {}
    own = None  # a table that lies in the folder
    if root.is_file():
        found = [(root.name, root)] if root.suffix.lower() in SUFFIXES or image_size(root) else []
    else:
        found = images_below(root)
        used = {path for _, path in found} | {root / TABLE}
        left = passed_over(root, lambda path: path in used or (table is not None and path.name == Path(table).name))
        own = root / TABLE if (root / TABLE).is_file() else None
    remarks = []
    if left:
        kinds = ", ".join(f"{count} {kind}" for kind, count in left["kinds"].items())
        remarks.append(f"Passed over, as they are called otherwise than images ({KINDS}): {kinds}; {left['first'][0]}.")
    if not found:
        raise BadInput(f"{shown}: holds no photograph ({KINDS}){'. ' + remarks[0] if remarks else '; it is empty'}")
    photos = keyed(found)
    rows = own if table is None else Path(table).expanduser()
    if rows is not None:
        pairs, said = paired_by_table(rows, photos)
    else:
        pairs, said = paired_by_name(photos)
    return Request(photos, pairs, [*remarks, *said])


def of_test(download: Path, names: Sequence[str]) -> Request:
    """The photographs of the test split, by their names below download/; what has no partner needs no remark there."""
    photos = keyed([(name, download / name) for name in names])
    return Request(photos, paired_by_name(photos)[0], [])
