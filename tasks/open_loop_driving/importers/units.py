"""What a source of the real world holds: recorded routes, each in a layout that is known by its folders.

    rgb_front/ ..., measurements/                    ThinkTwice; with supervision/, 3d_bbs/, bev_seg_label/, lidar/
    rgb/, measurements/, supervision/                TCP; or rgb/ below a town's packed_data.npy
    rgb/ (rgb_left/, rgb_right/), measurements/      Learning by Cheating
    anno/, camera/                                   Bench2Drive
    *.pkl with infos                                 nuPlan as VAD and UniAD have it; a scene is a route
    city_SE3_egovehicle.feather                      Argoverse 2
    route.json, frames.csv                           what the step download wrote

at the top or up to five folders below. A route is called as its folders on the way from the source.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tasks.open_loop_driving.formats import routes
from tasks.open_loop_driving.importers import av2, bench2drive, drives, nuplan, pickles, tcp_packed
from tasks.yard.files import read_json
from tasks.yard.sources import units
from tasks.yard.sources.uri import name_of, slug
from tasks.yard.step import BadInput

log = logging.getLogger(__name__)
DEPTH = 5
OWN = "routes"
SCENE_LETTERS = 8


@dataclass(frozen=True)
class Unit:
    """One route."""

    layout: str
    name: str
    path: Path
    where: str  # as a person knows it
    scene: str = ""  # of a file that holds several
    length: int | None = None  # how many of its frames the data set's index calls usable


def layout_of(folder: Path) -> str | None:
    if (folder / routes.ABOUT).is_file() and (folder / routes.FRAMES).is_file():
        return OWN
    if (folder / av2.POSES).is_file():
        return "av2"
    if bench2drive.is_clip(folder):
        return "bench2drive"
    return drives.layout_of(folder)


def _below(root: Path, depth: int = DEPTH) -> list[tuple[str, Path]]:
    """(layout, folder or file) of every route; within one none is looked for."""
    if layout := layout_of(root):
        return [(layout, root)]
    inner = sorted(path for path in root.iterdir() if path.name[0] != ".") if depth else []
    found = [("nuplan", path) for path in inner if path.suffix == ".pkl" and path.name != drives.INDEX]
    return found + [one for path in inner if path.is_dir() for one in _below(path, depth - 1)]


def _scenes(path: Path, name: str, where: str) -> list[Unit]:
    """A pickle that cannot be read is one route, which says so when it is brought."""
    try:
        found = list(nuplan.by_scene(path))
    except BadInput:
        return [Unit("nuplan", name, path, where)]
    if len(found) == 1:
        return [Unit("nuplan", name, path, where, found[0])]
    return [Unit("nuplan", f"{name}-{slug(one)[:SCENE_LETTERS]}", path, f"{where} {one}", one) for one in found]


def _lengths(root: Path, found_in: Iterable[Path]) -> dict[str, int]:
    """Of the data set's own index {town: {route's path: usable length}}: lengths by the last folder's name. It lies
    above the source, in it, or in a folder on the way to a route, one of `found_in`."""
    found: dict[str, int] = {}
    inside = {one for path in found_in for one in path.parents if one.is_relative_to(root)}
    for path in (folder / drives.INDEX for folder in sorted({root.parent, root} | inside)):
        if path.is_file():
            try:
                found |= _index(path)
            except BadInput as error:
                log.warning("the index is passed over, and cuts no route: %s", error)
    return found


def _index(path: Path) -> dict[str, int]:
    """{last folder of a route: how many of its frames are usable}. Raises `BadInput`."""
    found, said = {}, pickles.load(path)
    for routes_of in said.values() if isinstance(said, dict) else ():
        for name, length in routes_of.items() if isinstance(routes_of, dict) else ():
            try:
                found[Path(str(name)).name] = int(length)
            except (TypeError, ValueError, OverflowError):
                raise BadInput(f"{path}: the length of {name!r} is {length!r}; expected a number") from None
    return found


def plan(root: Path, uri: str) -> list[Unit]:
    """Every route below `root`. Raises `BadInput` if there is none, or if two have one name."""
    units.refuse_no_folder(root, uri)
    there, found = _below(root), dict[str, Unit]()
    lengths = _lengths(root, (path for _, path in there))
    for layout, path in there:
        parts = (path.with_suffix("") if path.is_file() else path).relative_to(root).parts
        name, where = slug("-".join(parts)) if parts else name_of(uri), units.shown(uri, root, path)
        here = _scenes(path, name, where) if layout == "nuplan" else [Unit(layout, name, path, where)]
        for unit in here:
            units.refuse_same_name(found, unit.name, unit.where)
            found[unit.name] = replace(unit, length=lengths.get(path.name))
    if not found:
        assert __doc__ is not None
        known = [line.strip() for line in __doc__.split("\n\n")[1].splitlines()]
        units.refuse_unknown(root, uri, *known)
    return list(found.values())


def bring(unit: Unit, folder: Path, hz: float | None) -> dict[str, Any]:
    """One route into `folder`; returns route.json. Raises `BadInput`."""
    if unit.layout == OWN:
        return own(unit.path, folder)
    if unit.layout == "av2":
        return av2.bring(unit.path, folder)
    if unit.layout == "nuplan":
        return nuplan.bring(unit.path, folder, unit.scene)
    if unit.layout == "bench2drive":
        return bench2drive.bring(unit.path, folder, hz)
    return drives.bring(unit.path, folder, unit.layout, hz, unit.length)


def own(path: Path, folder: Path) -> dict[str, Any]:
    """What the step wrote is a source too."""
    routes.read(path)
    for file in sorted(one for one in path.rglob("*") if one.is_file() and one.name[0] != "."):
        units.copied(file, folder / file.relative_to(path))
    return read_json(folder / routes.ABOUT)


def files_of(unit: Unit) -> list[Path]:
    """Every file that a route is made from."""
    if unit.layout == "nuplan":
        return [unit.path, *(nuplan.pictures(unit.path, unit.scene) if unit.scene else [])]
    above = [parent / drives.CALIBRATION for parent in unit.path.parents[: drives.ABOVE]]
    if tcp_packed.is_route(unit.path):
        above.append(unit.path.parent / tcp_packed.FILE)
    inner = (one for one in unit.path.rglob("*") if one.is_file() and one.name[0] != ".")
    return sorted([*inner, *(one for one in above if unit.layout in drives.FOLDERS and one.is_file())])


def known_in(found: Iterable[Unit]) -> Callable[[Path], bool]:
    """`known` by any of the routes: whatever lies in its folder; of a pickle what lies beside it."""
    folders = {unit.path if unit.path.is_dir() else unit.path.parent for unit in found}
    beside = (drives.CALIBRATION, drives.INDEX, tcp_packed.FILE)  # which measurements and supervision make needless
    return lambda path: path.name in beside or any(parent in folders for parent in path.parents)
