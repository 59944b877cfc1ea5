"""What a source of the real world holds: data sets of labelled photographs, cut into batches.

    a folder with a JSON file of photographs and their parts     DelftBikes' layout (delft.py)
    a folder with a data.yaml or dataset.yaml                    YOLO's layout (yolo.py)
    a folder with *.json or annotations/*.json                   COCO's layout (coco.py)

at the top or up to four folders below it, any number of each; within one none is looked for. A data set is called as
its folders on the way from the source, or as the source if it is the source itself.

A unit is a batch of its photographs. Which one a photograph is in, its own name says, without what tells before from
after: the two of a ride lie in one folder. So another photograph more leaves all batches but one as they are; only
where there are twice as many are they cut anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from tasks.bike_parts.importers import coco, delft, together, yolo
from tasks.bike_parts.importers.found import Found, Labelled
from tasks.bike_parts.params import Download
from tasks.yard.fanout import as_bad_input
from tasks.yard.files import digest
from tasks.yard.sources import dates, units
from tasks.yard.sources.uri import name_of, slug
from tasks.yard.step import BadInput

DEPTH = 4
BATCH = 250  # photographs, at most: one damaged batch costs no more
READERS: dict[str, ModuleType] = {"delft": delft, "yolo": yolo, "coco": coco}


@dataclass(frozen=True)
class Unit:
    """Some photographs of one data set."""

    layout: str  # bikes, delft, yolo, coco
    dataset: str
    name: str
    path: Path  # of the data set
    where: str  # as a person knows it
    photos: tuple[Labelled, ...] = ()
    files: tuple[str, ...] = ()  # what each of them is called in the unit
    groups: tuple[str, ...] = ()
    fault: str | None = None  # why nothing of the data set can be used
    home: str | None = None  # the data set that this one is a batch of


@dataclass
class Dataset:
    """What was found in one, beside its units."""

    layout: str
    where: str
    found: Found = field(default_factory=Found)
    units: list[Unit] = field(default_factory=list)
    path: Path = Path()
    photos: list[Labelled] = field(default_factory=list)  # of every day, in `found` only those that are asked for
    dates: dict[str, Any] = field(default_factory=dict)  # which days were


def layouts_below(root: Path, depth: int = DEPTH, within: tuple[Path, ...] = ()) -> list[tuple[str, Path]]:
    """(layout, folder) of every data set. A link to a folder that it lies `within` is none."""
    within = (*within, root.resolve())
    for layout, reader in READERS.items():
        if reader.found(root):
            return [(layout, root)]
    inner = sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".") if depth else []
    inner = [folder for folder in inner if folder.resolve() not in within]
    return [found for folder in inner for found in layouts_below(folder, depth - 1, within)]


def batch_of(name: str, batches: int) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % batches


def batches_for(photos: int) -> int:
    """A power of two, so that one more photograph does not cut all of them anew."""
    count = 1
    while photos > BATCH * count:
        count *= 2
    return count


def files_named(photos: Iterable[Labelled]) -> dict[str, str]:
    """{path in the data set: what the photograph is called here}: its own name where no other has that."""
    paths = [photo.name for photo in photos]
    names = [Path(path).name for path in paths]
    lower = [name.lower() for name in names]
    return {
        path: name if lower.count(name.lower()) == 1 else path.replace("/", "__")
        for path, name in zip(paths, names, strict=True)
    }


def cut(
    layout: str, dataset: str, path: Path, where: str, found: Found, params: Download, batches: int | None = None
) -> list[Unit]:
    """The batches of a data set; None: as many as it needs."""
    files = files_named(found.photos)
    stems = {photo.name: Path(files[photo.name]).stem for photo in found.photos}
    said = {stems[photo.name]: photo.group for photo in found.photos if photo.group}
    group_of, remarks = together.groups(stems.values(), params.group_by, said)
    found.remarks += remarks
    count = batches or batches_for(len(found.photos))
    parts: dict[int, list[Labelled]] = {}
    for photo in sorted(found.photos, key=lambda photo: photo.name):
        ride = together.pair_of(stems[photo.name]).lower()
        parts.setdefault(batch_of(ride, count), []).append(photo)
    return [
        Unit(
            layout, dataset, dataset if count == 1 else f"{dataset}-{number:03d}", path, where, tuple(mine),
            tuple(files[photo.name] for photo in mine), tuple(group_of[stems[photo.name]] for photo in mine),
            home=found.dataset,
        )
        for number, mine in sorted(parts.items())
    ]  # fmt: skip


def days_of(dataset: Dataset) -> list[dates.Dated]:
    return dates.days(dataset.photos, dataset.path, lambda photo: [photo.path])


def dataset_of(layout: str, folder: Path, name: str, where: str, params: Download) -> Dataset:
    """A data set that cannot be read is one unit with a fault, so that the others go on."""
    made = Dataset(layout, where, path=folder)
    try:
        made.found = READERS[layout].read(folder, params.parts, params)
        if not made.found.photos:
            first = next(iter(made.found.broken.items()), None)
            why = f"{len(made.found.broken)} entries, first {first[0]}: {first[1]}" if first else "no photograph in it"
            raise BadInput(f"{folder}: none of its photographs can be used ({why})")
        made.photos = made.found.photos
        if params.dates is not None:
            made.found.photos, made.dates = dates.chosen(
                made.photos, days_of(made), params.dates, where, ("photograph", "photographs")
            )
        made.units = cut(layout, name, folder, where, made.found, params) if made.found.photos else []
    except Exception as error:
        made.units = [Unit(layout, name, name, folder, where, fault=str(as_bad_input(error, where)))]
    return made


def plan(root: Path, uri: str, params: Download) -> dict[str, Dataset]:
    """Every data set below `root`. Raises `BadInput` if there is none, or if two have one name."""
    units.refuse_no_folder(root, uri)
    found: dict[str, Dataset] = {}
    for layout, folder in layouts_below(root):
        parts = folder.relative_to(root).parts
        name = slug("-".join(parts)) if parts else name_of(uri)
        where = units.shown(uri, root, folder)
        if name in found:
            raise BadInput(f"{where} and {found[name].where} are both called {name}; rename one of them")
        found[name] = dataset_of(layout, folder, name, where, params)
    if not found:
        layouts = (
            f"{name}: {reader.WHAT}"
            for name, reader in zip(("DelftBikes", "YOLO", "COCO"), READERS.values(), strict=True)
        )
        units.refuse_unknown(root, uri, *layouts)
    return found


def files_of(unit: Unit) -> list[Path]:
    """Every picture of a unit; its labels are part of the unit itself."""
    return [photo.path for photo in unit.photos]


def labels_digest(unit: Unit) -> str:
    return digest(unit.layout, unit.dataset, unit.where, unit.files, unit.groups, unit.fault, unit.home,
                  [[photo.name, photo.size_px, photo.split, photo.scalable, [vars(part) for part in photo.parts]]
                   for photo in unit.photos])  # fmt: skip
