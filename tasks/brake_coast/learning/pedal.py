"""Where the accelerator pedal of a car rests and how far it travels: what "released" means, once for each car.

Both are properties of a car. So they are estimated over all pieces of a drive, and over all drives of a source that
agree on where the pedal rests; where they do not, they are of several cars, and that is said. A drive in which the
pedal never rests takes the one car of its folder, or of the source, unless its replies contradict that.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from tasks.brake_coast.formats import recording
from tasks.brake_coast.params import Label
from tasks.yard import memo
from tasks.yard.step import attempt

log = logging.getLogger(__name__)

# The pedal at its stop shows one or two neighbouring codes of a one-byte reply. A code is 100/255 = 0.39 % wide, 0.58 %
# where 14..82 % is stretched to 0..100 %, so two codes fit into 0.8 %.
STOP_WIDTH_PCT = 0.8
STOP_SHARE = 0.01  # of the replies: a glitch is rarer, and any drive rests its foot for 1 % of the time
STOP_REPLIES = 5


@dataclass(frozen=True)
class Pedal:
    """Where the pedal of a car counts as released: below `yes_below_pct`; not from `no_from_pct` on; unknown
    between."""

    rest_pct: float | None
    travel_pct: float | None
    yes_below_pct: float
    no_from_pct: float


def resting_level(pedal_pct: np.ndarray, highest_pct: float) -> float | None:
    """The reply of the released pedal in %, or None if it cannot be told from these replies (NaN: missing).

    The stop is the lowest level that 1 % of the replies (at least 5) share within 0.8 %; the few below are glitches.
    A mechanical stop is a spike; a foot that never leaves the pedal gives a lower edge that rises smoothly. So the
    level has to hold more than 3 times the replies of the two widths above it (true of fewer than 1 % of smooth random
    drives and of 99.7 % of drives with 2 to 7 releases of 2 s), and it may not be above `highest_pct`.
    """
    return Levels.of(pedal_pct[np.isfinite(pedal_pct)]).rest_pct(highest_pct)


@dataclass(frozen=True)
class Levels:
    """Replies as their different values, rising, and how often there is each: a sensor knows a few hundred of them, so
    that those of many drives are joined and looked at as fast as those of one."""

    values: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, *replies: np.ndarray) -> Levels:
        return cls(*np.unique(np.concatenate([np.empty(0), *replies]), return_counts=True))

    def with_(self, replies: np.ndarray) -> Levels:
        more = Levels.of(replies)
        values, place = np.unique(np.concatenate([self.values, more.values]), return_inverse=True)
        counts = np.bincount(place, weights=np.concatenate([self.counts, more.counts]), minlength=len(values))
        return Levels(values, counts.astype(int))

    def rest_pct(self, highest_pct: float) -> float | None:
        """See `resting_level`."""
        upto = np.concatenate([[0], np.cumsum(self.counts)])  # of the replies in order, how many are of lower values

        def below(level: np.ndarray | float) -> np.ndarray | int:
            return upto[np.searchsorted(self.values, level, side="right")]

        within = below(self.values + STOP_WIDTH_PCT) - upto[:-1]
        common = np.flatnonzero(within >= max(STOP_REPLIES, STOP_SHARE * upto[-1]))
        if not len(common):
            return None
        lowest = common[0]
        first, last = upto[lowest], upto[lowest] + within[lowest]
        middle = np.searchsorted(upto, [(first + last - 1) // 2, (first + last) // 2], side="right") - 1
        level = float(self.values[middle].mean())
        above = below(self.values[lowest] + 3 * STOP_WIDTH_PCT) - last
        return level if within[lowest] > 3 * above and level <= highest_pct else None


def pedal_of(pedal_pct: np.ndarray, params: Label, rest_pct: float | None = None) -> Pedal:
    """The pedal of one car from all its replies; `rest_pct` is where it rests, if that is known from more than these.

    The threshold is a share of the pedal's travel, so where that is not 0..100 % of the sensor the reply is mapped. A
    reply that rests at 0 has been mapped by the car or the recorder: its travel is 100. A raw sensor rests higher and
    uses little of its range: the carOBD car rests at 16.08 % and gives full load 20 % above that. There the travel ends
    at the highest level that 5 replies reach (7.5 % of the whole sensor would call half of its accelerating coasting),
    in whole percents: 7.5 % of half a percent is a tenth of a code, so one more drive seldom changes the labels of all.
    If the rest is unknown it may be anywhere from 0 to `pedal_rest_max_pct`, and what depends on where stays unknown.
    """
    rest = params.pedal_rest_pct if params.pedal_rest_pct is not None else rest_pct
    if rest is None:
        rest = resting_level(pedal_pct, params.pedal_rest_max_pct)
    if rest is None:
        return Pedal(None, None, STOP_WIDTH_PCT, params.pedal_rest_max_pct + params.coast_threshold_pct)
    replies = np.sort(pedal_pct[np.isfinite(pedal_pct)])
    travel = params.pedal_travel_pct
    if travel is None:
        mapped = rest <= STOP_WIDTH_PCT or len(replies) < STOP_REPLIES
        travel = 100.0 if mapped else float(max(1, round(replies[-STOP_REPLIES] - rest)))
    threshold = rest + max(STOP_WIDTH_PCT, params.coast_threshold_pct / 100 * travel)
    return Pedal(rest, travel, threshold, threshold)


@dataclass(frozen=True)
class Drive:
    """All pieces of one drive: its folder in the source, the names of its recordings, and every reply in %."""

    place: str
    names: list[str]
    replies: np.ndarray


def pedals(folders: Mapping[str, Path], params: Label, marks: Mapping[str, str] | None = None) -> dict[str, Pedal]:
    """The pedal of every recording, by its name. `marks`: of each recording what changes with its telemetry and the
    code; those that are as before are not read again."""
    found: dict[str, Pedal] = {}
    for drives in _drives_by_layout(folders, marks or dict.fromkeys(folders, "")):
        for drive, pedal in zip(drives, of_drives(drives, params), strict=True):
            found |= dict.fromkeys(drive.names, pedal)
    return found


def of_known(pedal: Pedal, cars: Sequence[Pedal]) -> Pedal:
    """That of the known car whose pedal rests where this one does: its travel is told by more drives."""
    for car in cars:
        if None not in (car.rest_pct, pedal.rest_pct) and abs(car.rest_pct - pedal.rest_pct) <= STOP_WIDTH_PCT:
            return car
    return pedal


def _drives_by_layout(folders: Mapping[str, Path], marks: Mapping[str, str]) -> list[list[Drive]]:
    """A recording that cannot be read has no replies here; labelling it says what is wrong."""
    layouts: dict[str, dict[str, list[str]]] = {}
    places: dict[str, str] = {}
    for name, folder in folders.items():
        read = attempt(recording.description, folder)
        about = read if isinstance(read, dict) else {}
        where = str(about.get("source") or name)
        drive = where if about.get("piece") else name
        places[drive] = str(PurePosixPath(where).parent)
        layouts.setdefault(str(about.get("layout")), {}).setdefault(drive, []).append(name)
    keys = {str(folder.absolute()): name for name, folder in folders.items()}
    said = memo.remembered(
        "pedal",
        {key: marks[name] for key, name in keys.items()},
        lambda todo: [_said(folders[keys[key]]) for key in todo],
    )
    known = {}
    for key, one in said.items():
        if one:
            values, counts = one
            known[keys[key]] = np.repeat(np.array(values, np.float64), np.array(counts, np.int64))
    return [
        [
            Drive(places[drive], names, np.concatenate([np.empty(0), *(known[n] for n in names if n in known)]))
            for drive, names in drives.items()
        ]
        for drives in layouts.values()
    ]


def _said(folder: Path) -> list[list] | None:
    """[the replies of a recording, how often there is each]; None if it cannot be read."""
    replies = attempt(_replies, folder)
    if isinstance(replies, Exception):
        return None
    levels = Levels.of(replies)
    return [levels.values.tolist(), levels.counts.tolist()]


def _replies(folder: Path) -> np.ndarray:
    values = recording.read_telemetry(folder).rows["pedal_pct"].to_numpy(np.float64)
    return values[np.isfinite(values)]


def _rests(drives: list[Drive], params: Label) -> list[float | None]:
    """Where the pedal of each drive rests; if no drive of a folder shows it alone, as all of them together show it."""
    if params.pedal_rest_pct is not None:
        return [params.pedal_rest_pct] * len(drives)
    highest = params.pedal_rest_max_pct
    rests = [resting_level(drive.replies, highest) for drive in drives]
    places: dict[str, list[int]] = {}
    for k, drive in enumerate(drives):
        places.setdefault(drive.place, []).append(k)
    for here in places.values():
        if all(rests[k] is None for k in here):
            rest = resting_level(np.concatenate([drives[k].replies for k in here]), highest)
            for k in here if rest is not None else ():
                rests[k] = None if _contradicts(drives[k].replies, rest) else rest
    return rests


def of_drives(drives: list[Drive], params: Label) -> list[Pedal]:
    """The pedal of each drive of one layout."""
    rests = _rests(drives, params)
    cars: list[list[int]] = []  # numbers of their drives
    for k in sorted((k for k, rest in enumerate(rests) if rest is not None), key=lambda k: rests[k]):
        if cars and rests[k] - rests[cars[-1][0]] <= STOP_WIDTH_PCT:
            cars[-1].append(k)
        else:
            cars.append([k])
    if len(cars) > 1:
        levels = "; ".join(f"at {rests[car[0]]:.1f} % in {_some([drives[k] for k in car])}" for car in cars)
        log.warning("the pedal rests %s: taken for %d cars; set pedal_rest_pct if they are one", levels, len(cars))
    found = [pedal_of(drive.replies, params) for drive in drives]
    level = [float(np.median([rests[k] for k in car])) for car in cars]
    joined = [list(car) for car in cars]
    places = [{drives[k].place for k in car} for car in cars]
    of_car = [Levels.of(*(drives[k].replies for k in car)) for car in cars]
    restless: dict[str, list[Drive]] = {}  # why nothing could be said of them
    for k, drive in enumerate(drives):
        if rests[k] is None and len(drive.replies):
            here = [c for c in range(len(cars)) if drive.place in places[c]] or list(range(len(cars)))
            if len(here) == 1 and _agrees(drive.replies, of_car[here[0]], level[here[0]], params):
                joined[here[0]].append(k)
            else:
                why = "and it may be of any of these cars" if len(here) > 1 else "so some coast labels stay unknown"
                restless.setdefault(why, []).append(drive)
    for why, several in restless.items():
        log.warning("%s: the pedal never rests, %s; set pedal_rest_pct", _some(several), why)
    for rest, members in zip(level, joined, strict=True):
        pedal = pedal_of(np.concatenate([drives[k].replies for k in members]), params, rest)
        for k in members:
            found[k] = pedal
    return found


def _contradicts(replies: np.ndarray, rest_pct: float) -> bool:
    """Has a drive more replies below a car's rest than glitches can be?"""
    return int((replies < rest_pct - STOP_WIDTH_PCT).sum()) >= max(STOP_REPLIES, STOP_SHARE * len(replies))


def _agrees(replies: np.ndarray, of_car: Levels, rest_pct: float, params: Label) -> bool:
    """Can a drive that shows no rest be of this car? It does not contradict that, and with the replies of the car that
    rest is still seen: one short drive in which chance looks like a stop does not decide."""
    if _contradicts(replies, rest_pct):
        return False
    together = of_car.with_(replies).rest_pct(params.pedal_rest_max_pct)
    return together is not None and abs(together - rest_pct) <= STOP_WIDTH_PCT


def _some(drives: list[Drive]) -> str:
    names = sorted(name for drive in drives for name in drive.names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
