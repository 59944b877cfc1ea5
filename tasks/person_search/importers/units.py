"""What a source of the real world holds: data sets of crops, of labelled images, and cameras to search in.

    a folder with bounding_box_train/ or bounding_box_test/     re-identification (reid_layout.py)
    a folder with a data.yaml or dataset.yaml                   detection, YOLO's layout
    a folder with *.json or annotations/*.json                  detection, COCO's layout
    cameras/<name>/*.jpg, cameras/<name>.mp4, queries/ beside   cameras
    validation_cameras/<name>/*.jpg, ....mp4, with true boxes   cameras whose people validate: nobody is searched for in
                                                                them, but how often a search errs is tried out there

at the top or up to four folders below it, any number of each. A data set is called as the first folder on the way to
it, or as the source if it is the source itself.

Where nobody learns or judges, films and folders of stills are cameras wherever they lie; see `cameras_alone`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tasks.person_search.formats import reid_layout
from tasks.person_search.importers.checks import CAMERA, QUERIES, TRUTH, VALIDATION, described, images_in
from tasks.yard.files import natural
from tasks.yard.layouts import coco, video, yolo
from tasks.yard.layouts.images import SUFFIXES as IMAGE_SUFFIXES
from tasks.yard.sources import units
from tasks.yard.sources.uri import name_of, slug
from tasks.yard.step import BadInput

CAMERAS, VALIDATION_CAMERAS = "cameras", "validation_cameras"
SUFFIXES = {"reid": "reid", "yolo": "detect", "coco": "detect"}  # of a unit's name


@dataclass(frozen=True)
class Unit:
    """One data set, or one camera."""

    layout: str  # reid, yolo, coco, camera, street
    dataset: str
    path: Path  # folder, or a camera's video
    where: str  # as a person knows it
    camera: int | None = None
    name: str | None = None  # of the camera
    queries: tuple[Path, ...] = ()
    split: str | None = None  # of a camera for validation

    @property
    def key(self) -> str:
        if self.split:
            return f"{self.dataset}-validation-{self.name}"
        if self.layout == "camera" and not self.dataset:  # a film by itself
            return str(self.name)
        return f"{self.dataset}-{SUFFIXES.get(self.layout) or f'camera-{self.name}'}"


def camera_numbers(names: list[str]) -> dict[str, int]:
    """The number that each name ends in, if they all do and no two alike; else their place, from 1."""
    ends = [re.search(r"(\d+)$", name) for name in names]
    found = [int(end[1]) for end in ends if end]
    if len(set(found)) == len(names) and min(found, default=0) > 0:
        return dict(zip(names, found, strict=True))
    return {name: place for place, name in enumerate(names, start=1)}


def cameras_in(folder: Path) -> dict[str, Path]:
    """{name: folder of frames, or video}."""
    entries = sorted(path for path in folder.glob("*") if not path.name.startswith("."))
    folders = [path for path in entries if path.is_dir() and images_in(path)]
    videos = [path for path in entries if path.is_file() and path.suffix.lower() in video.SUFFIXES]
    kept = sorted(folders + videos, key=natural)
    cameras = {slug(path.stem if path.is_file() else path.name): path for path in kept}
    if len(cameras) < len(kept):
        raise BadInput(f"{folder}: two cameras have one name; rename one of {', '.join(path.name for path in kept)}")
    return cameras


def layouts_below(root: Path) -> list[tuple[str, Path]]:
    """(layout, folder) of every data set; within one none is looked for."""
    found: list[tuple[str, Path]] = []
    datasets: set[Path] = set()
    for folder in reid_layout.folders_below(root):
        if datasets.intersection(folder.parents) or {CAMERAS, VALIDATION_CAMERAS, QUERIES} & set(
            folder.relative_to(root).parts
        ):
            continue
        if reid_layout.is_layout(folder):
            found.append(("reid", folder))
        if yolo.found([folder]):
            found.append(("yolo", folder))
        elif coco.found([folder]):
            found.append(("coco", folder))
        datasets |= {of for _, of in found[-2:]}
    return found


def dataset_names(folders: Iterable[Path], root: Path, uri: str, taken: set[str]) -> dict[Path, str]:
    """A name for each folder of a data set, none of `taken`, to which the names are added.

    It is that of the first folder on the way from the source; of the whole way where data sets share the first folder;
    and the source's own for the source itself.
    """
    ways = {folder: folder.relative_to(root).parts for folder in folders}
    share_first = Counter(way[0] for way in ways.values() if way)
    names: dict[Path, str] = {}
    for folder, way in ways.items():
        wanted = slug(way[0] if share_first[way[0]] == 1 else "-".join(way)) if way else name_of(uri)
        name, number = wanted, 1
        while name in taken:
            number += 1
            name = f"{wanted}-{number}"
        names[folder] = name
        taken.add(name)
    return names


def camera_units(home: Path, dataset: str) -> list[Unit]:
    """Every camera below `home`, each with the queries beside them; those for validation ask nobody."""
    found, queries = [], tuple(images_in(home / QUERIES))
    for folder, split, asked in ((CAMERAS, None, queries), (VALIDATION_CAMERAS, VALIDATION, ())):
        cameras = cameras_in(home / folder)
        numbers = camera_numbers(list(cameras))
        found += [
            Unit("camera", dataset, path, str(path), numbers[name], name, asked, split)
            for name, path in cameras.items()
        ]
    return found


def plan(root: Path, uri: str, taken: set[str]) -> list[Unit]:
    """Every unit below `root`; data sets are not called as one of `taken`, to which their names are added."""
    units.refuse_no_folder(root, uri)
    layouts = layouts_below(root)
    homes = [
        folder
        for folder in reid_layout.folders_below(root)
        if cameras_in(folder / CAMERAS) or cameras_in(folder / VALIDATION_CAMERAS)
    ]
    folders = dict.fromkeys([*(folder for _, folder in layouts), *homes])  # a folder may hold data of several layouts
    names = dataset_names(folders, root, uri, taken)
    found = [Unit(layout, names[folder], folder, str(folder)) for layout, folder in layouts]
    found += [unit for home in homes for unit in camera_units(home, names[home])]
    if not found:
        units.refuse_unknown(
            root, uri, "re-ID: bounding_box_train/, query/ and bounding_box_test/", f"YOLO: {yolo.WHAT}",
            f"COCO: {coco.WHAT}", "cameras: cameras/<name>/*.jpg or cameras/<name>.mp4, with queries/ beside cameras/",
        )  # fmt: skip
    return found


def loose_cameras(root: Path) -> dict[str, Path]:
    """{name: film, or folder of stills} of a source that is a film or a folder of stills, or holds some anywhere; the
    name says the way to it."""
    if root.is_file():
        return {slug(root.stem): root} if root.suffix.lower() in video.SUFFIXES else {}
    found: dict[str, Path] = {}
    for folder in reid_layout.folders_below(root):
        if QUERIES in folder.relative_to(root).parts:
            continue
        films = [path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in video.SUFFIXES]
        stills = [folder] if images_in(folder) and not films else []
        for path in sorted([*films, *stills], key=natural):
            way = [*path.relative_to(root).with_suffix("").parts] if path.is_file() else [*path.relative_to(root).parts]
            name = (
                slug("-".join(part for part in way if not part.startswith("."))) if way else slug(root.resolve().name)
            )
            if name in found:
                raise BadInput(f"{path} and {found[name]} would both be camera {name}; rename one of them")
            found[name] = path
    return found


def cameras_alone(root: Path, uri: str, taken: set[str]) -> list[Unit]:
    """Every camera below `root` to search in. Where cameras/ are laid out, these, under the names that `plan` gives
    them; else every film and every folder of stills. Data sets to learn from are no input here."""
    if not root.is_file():
        units.refuse_no_folder(root, uri)
        homes = [folder for folder in reid_layout.folders_below(root) if cameras_in(folder / CAMERAS)]
        if homes:
            return [unit for unit in plan(root, uri, taken) if unit.layout == "camera" and not unit.split]
    cameras = loose_cameras(root)
    if not cameras:
        if root.is_file():
            raise BadInput(f"{uri}: neither a film ({', '.join(video.SUFFIXES[:4])}, ...) nor an archive nor a folder")
        units.refuse_unknown(root, uri, "films: *.mp4, *.mkv, ...", "stills: a folder of *.jpg a camera")
    numbers = camera_numbers(list(cameras))
    queries = () if root.is_file() else tuple(images_in(root / QUERIES))
    return [Unit("camera", "", path, str(path), numbers[name], name, queries) for name, path in cameras.items()]


def files_of(unit: Unit) -> list[Path]:
    """Every file that a unit is made from."""
    if unit.layout == "reid":
        return [path for subset in reid_layout.SUBSETS for path in reid_layout.images_of(unit.path, subset)]
    if unit.layout == "camera":
        own = [unit.path] if unit.path.is_file() else [*images_in(unit.path), unit.path / TRUTH, unit.path / CAMERA]
        return [path for path in (*own, unit.path.with_suffix(".csv"), *unit.queries) if path.is_file()]
    if unit.layout == "yolo":
        try:
            file, content = described(unit.path)
            images = [path for mine in yolo.splits_of(file, content)[0].values() for path in mine]
            return [path for image in images for path in (image, yolo.label_file(image)) if path.is_file()] + [file]
        except BadInput:  # what is wrong with it is said when it is made
            pass
    kinds = (*IMAGE_SUFFIXES, ".txt", ".yaml", ".yml", ".json")
    shown = (path for path in unit.path.rglob("*") if not path.name.startswith("."))
    return sorted(path for path in shown if path.suffix.lower() in kinds and path.is_file())
