"""Which recordings a source folder gives: the drives found in it, whole or cut into pieces, each with its own name."""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from types import ModuleType

import numpy as np

from tasks.brake_coast.formats import recording
from tasks.brake_coast.importers import carla, carobd, checks, native, video
from tasks.brake_coast.importers.resample import Reading
from tasks.brake_coast.params import Download
from tasks.yard.layouts import groups
from tasks.yard.sources.dates import head
from tasks.yard.sources.units import walked
from tasks.yard.step import BadInput

log = logging.getLogger(__name__)

LAYOUTS: dict[str, ModuleType] = {"native": native, "carla": carla, "carobd": carobd, "video": video}
PIECES = 5  # of a source of too few drives: three splits, and not one drive each
SHORTEST_PIECE_S = 25.0  # a window (10 s), the longest horizon (5 s), and as much again to slide over


@dataclass(frozen=True)
class Drive:
    """One recording to make: a drive, or the piece of one whose times lie in `span_ms`."""

    name: str
    layout: str
    path: Path
    where: str  # path inside the source, for people
    group: str
    span_ms: tuple[int, int] | None = None  # first and last millisecond
    piece: tuple[int, int] | None = None  # (number from 1, of how many)
    hz: float | None = None  # of a CARLA drive: download.carla_hz

    @property
    def importer(self) -> ModuleType:
        return LAYOUTS[self.layout]

    def read(self) -> Reading:
        return self.importer.read(self.path, self.hz) if self.hz is not None else self.importer.read(self.path)


def group_of(name: str) -> str:
    """The day that a name holds, else the film that it is a chapter of, else the name (yard/layouts/groups.py)."""
    return groups.day_of(name) or groups.film_of(name) or name


def groups_of(names: Iterable[str]) -> dict[str, str]:
    """As `group_of`; days whose films follow each other over midnight are one."""
    known = list(names)
    trips = groups.trips(known)
    return {name: trips.get(name) or group_of(name) for name in known}


def of_world(name: str, path: Path) -> Drive:
    """A recording of the highway world."""
    return Drive(name, "synth", path, name, group=group_of(name))


def _walk(root: Path, layouts: dict[str, ModuleType]) -> Iterator[tuple[str, Path]]:
    """(layout, path) of every drive. Hidden folders, unfinished `*.part` and what is in a drive are passed over."""
    if root.is_file():
        for name, layout in layouts.items():
            yield from ((name, path) for path in layout.drives(root.parent, [root.name]))
        return
    for here, below, names in walked(root):
        below[:] = [name for name in below if not name.endswith(".part")]
        for name, layout in layouts.items():
            found = layout.drives(here, sorted(names))
            yield from ((name, path) for path in found)
            if here in found:
                below.clear()
                break


def find(root: Path, layout: str) -> list[Drive]:
    """The drives in a folder, in a stable order. `layout` is one of LAYOUTS, or auto for every one."""
    found = list(_walk(root, LAYOUTS if layout == "auto" else {layout: LAYOUTS[layout]}))
    if not found:
        inside = sorted(p.name for p in (root.iterdir() if root.is_dir() else [root]) if p.name[0] != ".")[:8]
        raise BadInput(
            f"{root}: no recording of the layout {layout if layout != 'auto' else ' or '.join(LAYOUTS)} in it; "
            f"it holds {', '.join(inside) or 'nothing'}"
        )
    wheres = [(kind, path, str(path.relative_to(root)) if path != root else path.name) for kind, path in found]
    stems = Counter(_stem(kind, path) for kind, path, _ in wheres)
    drives = []
    for kind, path, where in wheres:
        name = _stem(kind, path)
        if stems[name] > 1:
            name = re.sub(r"[^\w.-]+", "_", where)
        name = name if "-" in name else f"{kind}-{name}"
        drives.append(Drive(name, kind, path, where, group=name))
    group = groups_of(drive.name for drive in drives)
    return [replace(drive, group=group[drive.name]) for drive in drives]


def _stem(kind: str, path: Path) -> str:
    name = path.stem if kind in ("carobd", "video") else path.resolve().name
    return re.sub(r"[^\w.-]+", "_", name).lstrip(".") or "drive"


def cut(drive: Drive, guard_s: float, *, pieces: int | None = None, piece_s: float | None = None) -> list[Drive]:
    """Equal pieces of a drive with `guard_s` left out between two: so many, or of about `piece_s`; a short one stays.

    Only gap-free runs of rows that a window fits into count, so that no piece is empty: neither a pause nor a row with
    a wrong date makes a drive longer. A piece is its own group: with a guard of a window and the longest horizon,
    nothing that the examples of one piece saw is seen by those of another. Car, driver and day stay the same, so a test
    on it is easier than on a new drive.
    """
    try:
        t_ms = recording.parse_times(drive.read().table["Time"]).dropna().to_numpy(np.int64)
    except Exception:
        return [drive]  # making it will say what is wrong with it
    every_ms = np.sort(t_ms)
    t_ms, driven_ms = gap_free(t_ms)
    if not len(t_ms):
        return [drive]
    total_s = float(driven_ms[-1]) / 1000
    if piece_s is not None:
        pieces = max(1, round((total_s + guard_s) / (piece_s + guard_s)))
    pieces = min(pieces, math.floor((total_s + guard_s) / (SHORTEST_PIECE_S + guard_s)))
    if pieces < 2:
        return [drive]
    length_ms = 1000 * (total_s - guard_s * (pieces - 1)) / pieces
    begins = [k * (length_ms + 1000 * guard_s) for k in range(pieces)]
    spans = [stamps(t_ms, driven_ms, begin, begin + length_ms) for begin in begins]
    # The few rows before the first run and after the last one stay with them, if they are of the same hours.
    trip = np.cumsum(np.diff(every_ms, prepend=every_ms[:1]) > checks.PAUSE_MS)
    first, last = (trip[np.searchsorted(every_ms, at)] for at in (t_ms[0], t_ms[-1]))
    spans[0] = int(every_ms[trip == first][0]), spans[0][1]
    spans[-1] = spans[-1][0], max(spans[-1][1], int(every_ms[trip == last][-1]))
    rows, kept = len(every_ms), sum(int(((every_ms >= first) & (every_ms <= last)).sum()) for first, last in spans)
    log.info(
        "%s: %d pieces of %.0f s, %g s apart; %d of %d rows are in none: between two, or in runs shorter than a window",
        drive.where, pieces, length_ms / 1000, guard_s, rows - kept, rows,
    )  # fmt: skip
    digits = len(str(pieces))
    return [
        replace(
            drive,
            name=(name := f"{drive.name}-{k:0{digits}}"),
            group=name,
            span_ms=span,
            piece=(k, pieces),
        )
        for k, span in enumerate(spans, 1)
    ]


def gap_free(t_ms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The stamps in ascending order that lie in gap-free runs long enough for a window, and for each how many
    milliseconds of such runs lie before it."""
    t_ms = np.unique(t_ms)
    run = np.cumsum(np.diff(t_ms, prepend=t_ms[:1]) > checks.MAX_GAP_MS)
    long_enough = np.bincount(run, minlength=1)[run] >= checks.RUN_ROWS
    t_ms, run = t_ms[long_enough], run[long_enough]
    step_ms = np.diff(t_ms, prepend=t_ms[:1])
    return t_ms, np.cumsum(np.where(np.diff(run, prepend=run[:1]) == 0, step_ms, 0))


def stamps(t_ms: np.ndarray, driven_ms: np.ndarray, begin_ms: float, end_ms: float) -> tuple[int, int]:
    """First and last millisecond of the rows between two places on the way that `driven_ms` measures."""
    first = int(np.searchsorted(driven_ms, begin_ms - 0.5))
    last = int(np.searchsorted(driven_ms, end_ms + 0.5, side="right")) - 1
    return round(t_ms[first] - (driven_ms[first] - begin_ms)), round(t_ms[last] + (end_ms - driven_ms[last]))


def first_day(drive: Drive) -> date | None:
    """The first date in its telemetry."""
    try:
        return head(drive.importer.telemetry_file(drive.path)) if drive.layout in ("native", "carobd") else None
    except BadInput:  # making it will say what is wrong with it
        return None


def plan(root: Path, params: Download, drives: list[Drive] | None = None) -> dict[str, Drive]:
    """The recordings to make, by name; of these drives of the source, else of all that `find` finds."""
    drives = find(root, params.layout) if drives is None else drives
    drives = [replace(d, hz=params.carla_hz if d.layout == "carla" else None) for d in drives]
    if params.piece_minutes is not None:
        drives = [piece for d in drives for piece in cut(d, params.guard_s, piece_s=60 * params.piece_minutes)]
    elif len(drives) < params.min_recordings:
        whole, pieces = drives, math.ceil(PIECES / len(drives))
        drives = [piece for d in whole for piece in cut(d, params.guard_s, pieces=pieces)]
        if len(drives) > len(whole):
            log.info("too few drives (%d): cut into %d recordings, %g s apart", len(whole), len(drives), params.guard_s)
    wheres: dict[str, list[str]] = {}
    for drive in drives:
        wheres.setdefault(drive.name, []).append(drive.where)
    for name, same in wheres.items():
        if len(same) > 1:
            raise BadInput(f"{root}: {' and '.join(same)} would both be the recording {name}; rename one of them")
    return {drive.name: drive for drive in drives}
