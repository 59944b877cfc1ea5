"""What a source of the real world holds: sequences of calibrated cameras.

    a folder with 0-calibration/calibs/ or 1-annotation/        MARMOT's data root (sequence.py)
    a folder with Image_subsets/, annotations_positions/        WILDTRACK, if its calibrations are of CVLab1..4 and
        or calibrations/extrinsic/                              IDIAP1..3; MultiviewX, if they are of Camera1..6

at the top or up to four folders below it, any number of each. A sequence is called as its folders on the way from the
source, or as the source if it is the source itself. A MARMOT root with labels for both of its parts is two sequences,
<name>-train and <name>-val; any other is one, to be cut into parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tasks.ground_plane.formats import sequence
from tasks.ground_plane.importers import wildtrack
from tasks.yard.sources import units
from tasks.yard.sources.uri import name_of, slug
from tasks.yard.step import BadInput

DEPTH = 4
WHOLE = ("train", "val", "test")
SPLITS_OF_PART = {"train": ("train", "val"), "val": ("test",)}  # of a root that has both


@dataclass(frozen=True)
class Unit:
    """One sequence."""

    layout: str  # plaza, marmot, wildtrack, multiviewx
    name: str
    path: Path
    where: str  # as a person knows it
    part: str = "train"  # of a MARMOT root
    splits: tuple[str, ...] = WHOLE


def layout_of(folder: Path) -> str | None:
    if (folder / sequence.CALIBS).is_dir() or (folder / sequence.ANNOTATION).is_dir():
        return "marmot"
    return wildtrack.layout_of(folder)


def layouts_below(root: Path, depth: int = DEPTH) -> list[tuple[str, Path]]:
    """(layout, folder) of every sequence; within one none is looked for."""
    if layout := layout_of(root):
        return [(layout, root)]
    inner = sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".") if depth else []
    return [found for folder in inner for found in layouts_below(folder, depth - 1)]


def marmot_units(folder: Path, name: str) -> list[Unit]:
    """Both parts where both have labels; else the one that has, or the one with images. Its own scene.json decides."""
    if (folder / sequence.SCENE).is_file():
        try:
            _, splits, said = sequence.described(folder / sequence.SCENE)
            return [Unit("marmot", name, folder, str(folder), said["part"], splits)]
        except BadInput:  # what is wrong with it is said when it is brought
            return [Unit("marmot", name, folder, str(folder))]
    labelled = [part for part in sequence.PARTS if any((folder / sequence.LABELS / part).glob("*.json"))]
    if len(labelled) == 2:
        return [Unit("marmot", f"{name}-{part}", folder, str(folder), part, SPLITS_OF_PART[part]) for part in labelled]
    filmed = [part for part in (*labelled, *sequence.PARTS) if (folder / sequence.ANNOTATION / part).is_dir()]
    return [Unit("marmot", name, folder, str(folder), *filmed[:1])]


def plan(root: Path, uri: str) -> list[Unit]:
    """Every sequence below `root`. Raises `BadInput` if there is none, or if two have one name."""
    units.refuse_no_folder(root, uri)
    found: dict[str, Unit] = {}
    for layout, folder in layouts_below(root):
        parts = folder.relative_to(root).parts
        name = slug("-".join(parts)) if parts else name_of(uri)
        here = marmot_units(folder, name) if layout == "marmot" else [Unit(layout, name, folder, str(folder))]
        for unit in here:
            units.refuse_same_name(found, unit.name, unit.where)
            found[unit.name] = unit
    if not found:
        units.refuse_unknown(
            root, uri,
            f"MARMOT: {sequence.CALIBS}/camN.json and {sequence.ANNOTATION}/train/camN/camN_<frame>.png, "
            f"{sequence.LABELS}/train/<annotator>_<frame>.json",
            "WILDTRACK, MultiviewX: Image_subsets/C<N>/<frame>.png, annotations_positions/<frame>.json, "
            "calibrations/extrinsic/extr_<camera>.xml",
        )  # fmt: skip
    return list(found.values())


def files_of(unit: Unit) -> list[Path]:
    """Every file that a sequence is made from."""
    if unit.layout == "marmot":
        inner = [sequence.CALIBS, sequence.ANNOTATION / unit.part, sequence.LABELS / unit.part]
        files = [path for folder in inner for path in (unit.path / folder).rglob("*")] + [unit.path / sequence.SCENE]
    else:
        files = [path for folder in wildtrack.FOLDERS for path in (unit.path / folder).rglob("*")]
    return sorted(path for path in files if path.is_file() and path.name[0] != ".")


def known_in(found: Iterable[Unit]) -> Callable[[Path], bool]:
    """`known` by any of the units; a file is only asked of those whose folder it is in."""
    units_of: dict[Path, list[Unit]] = {}
    for unit in found:
        units_of.setdefault(unit.path, []).append(unit)
    return lambda path: any(known(unit, path) for folder in path.parents for unit in units_of.get(folder, ()))


def known(unit: Unit, path: Path) -> bool:
    """Is a file of the source called as something that the layout has? (Labels of another name are refused.)"""
    if not path.is_relative_to(unit.path):
        return False
    inner = path.relative_to(unit.path)
    if unit.layout == "marmot":
        calibration = inner.parent == sequence.CALIBS and sequence.CALIBRATION.fullmatch(path.name)
        label = inner.is_relative_to(sequence.LABELS) and path.suffix.lower() == ".json"
        image = inner.is_relative_to(sequence.ANNOTATION) and sequence.FRAME.fullmatch(path.name)
        return bool(calibration or label or image or inner == Path(sequence.SCENE))
    if inner.parts[0] == wildtrack.IMAGES:
        return bool(len(inner.parts) == 3 and wildtrack.IMAGE.fullmatch(path.name))
    return inner.parts[0] in wildtrack.FOLDERS and path.suffix.lower() in (".json", ".xml")
