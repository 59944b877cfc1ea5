"""What importers share: frames of any rate brought to two a second, files copied under the new numbers, what was left
out said by name."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from json import loads
from pathlib import Path
from typing import Any

import numpy as np

from tasks.open_loop_driving.formats import routes
from tasks.yard.sources.units import copied
from tasks.yard.step import BadInput

RATE_HZ = 2.0
NEAR = 0.05  # of a step: how far a multiple of the rate may be from 2 Hz
NAMED = 3
LEAPS = "leaps in time: the frame after each is left out, so that nothing is learnt over it"
FEW = 0.1  # of the moments: where so many lack what the others have, they are left out, and not what they lack
NUMBERED = re.compile(r"(\d+)\.(json|json\.gz|npy|png|jpe?g|laz)", re.IGNORECASE)
TOWN = re.compile(r"town[_-]?(\d{2})(hd)?", re.IGNORECASE)
VOID, FOLLOW = -1, 4  # a command that says nothing is to follow the lane


def numbered(folder: Path) -> dict[int, Path]:
    """{number: file} of 0000.json, 00093.json.gz, ... Raises `BadInput` where two have one number."""
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if match := NUMBERED.fullmatch(path.name):
            if int(match[1]) in found:
                raise BadInput(f"{path}: {found[int(match[1])].name} has the same number; leave one of the two")
            found[int(match[1])] = path
    return dict(sorted(found.items()))


def read(path: Path) -> dict[str, Any]:
    """A JSON object, packed by gzip or not. Raises `BadInput`."""
    try:
        data = path.read_bytes()
        said = loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise BadInput(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(said, dict):
        raise BadInput(f"{path}: is no JSON object")
    return said


def number(said: Mapping[str, Any], key: str, path: Path) -> float:
    """A finite number. Raises `BadInput` that names file and key."""
    value = said.get(key)
    if isinstance(value, bool | int | float) and np.isfinite(value):
        return float(value)
    raise BadInput(f"{path}: {key!r} is {'missing' if key not in said else value}; expected a number")


def gaps(there: Iterable[int], beside: Iterable[int], kind: str, digits: int = 4) -> list[str]:
    """Files of `kind` that are missing among the numbers `there`, by name, those in a row at once; where pictures
    `beside` go on before the first or after the last one, theirs too."""
    numbers, others = sorted(there), sorted(beside)
    step = max(1, int(np.median(np.diff(numbers)))) if len(numbers) > 1 else 1
    runs = [(a + step, b - step) for a, b in pairwise(numbers) if b - a >= 2 * step]
    for outside in ([n for n in others if n <= numbers[0] - step], [n for n in others if n >= numbers[-1] + step]):
        runs += [(outside[0], outside[-1])] if outside else []
    names = [[f"{n:0{digits}d}" for n in run] for run in sorted(runs)]
    return [f"{kind}/{a} is missing" if a == b else f"{kind}/{a} to {b} are missing" for a, b in names]


def evened(
    rows: dict[int, dict[str, float]], told: dict[int, dict[str, Any]], files: Mapping[int, Path]
) -> tuple[list[str], list[str]]:
    """Takes moments out of `rows` and `told`, or columns out of `rows`, so that all moments or none have pedals, and so
    of whether to brake. The files that are left out, remarks."""
    faults, remarks = [], []
    for word, keys in (("control", routes.CONTROL), ("should_brake", ("should_brake",))):
        bare = [number for number, row in rows.items() if keys[0] not in row]
        if not bare or len(bare) == len(rows):
            continue
        if len(bare) > FEW * len(rows):
            told_by = f"{len(rows) - len(bare)} of {len(rows)} moments tell it"
            remarks.append(f"{routes.WORDS[word]}: left out, as only {told_by}")
            for row in rows.values():
                for key in keys:
                    row.pop(key, None)
            continue
        for number in bare:
            key, file = next(key for key in keys if key not in told[number]), files[number]
            faults.append(f"{file.parent.name}/{file.name}: {key!r} is missing, which the others have")
            del rows[number], told[number]
    return faults, remarks


def parted(kept: dict[int, int], leaps: Mapping[int, str], kind: str, digits: int = 4) -> list[str]:
    """Takes out of `kept` the first frame after each leap {number: words}, so that no window lies over it."""
    left_out = []
    for number, words in leaps.items():
        if (after := next((old for old in kept if old >= number), None)) is not None:
            left_out.append(f"{kind}/{number:0{digits}d} {words}")
            del kept[after]
    return left_out


def command(said: Mapping[str, Any], key: str, path: Path) -> int:
    """1 to 6. Raises `BadInput` that names what there is instead."""
    value = number(said, key, path)
    if value == VOID:
        return FOLLOW
    if value not in routes.COMMANDS:
        known = ", ".join(f"{number} {name}" for number, name in routes.COMMANDS.items())
        raise BadInput(f"{path}: {key!r} is {value:g}, an unknown command; there are {known}")
    return int(value)


def sky(weather: Any) -> str | None:
    """One word for CARLA's ten numbers; a word stays as it is."""
    if not isinstance(weather, dict):
        return weather if isinstance(weather, str) else None
    numbers = {key: float(value) for key, value in weather.items() if isinstance(value, int | float)}
    sun = numbers.get("sun_altitude_angle", 45.0)
    words = ["night" if sun < 0 else "evening" if sun < 20 else ""]
    words.append(
        "rain" if numbers.get("precipitation", 0) > 30 else "fog" if numbers.get("fog_density", 0) > 40 else ""
    )
    words.append("overcast" if numbers.get("cloudiness", 0) > 60 else "")
    return re.sub(" +", " ", " ".join(words)).strip() or "day"


def town_of(path: Path) -> str:
    """By the names of its folders, the innermost first."""
    for name in reversed(path.parts):
        if match := TOWN.search(name):
            return f"town{match[1]}{(match[2] or '').lower()}"
    return "unknown"


def halved(numbers: Sequence[int], step_s: float, where: Path) -> dict[int, int]:
    """{number of a frame that is kept: its number at 2 Hz}, of frames `step_s` apart. Raises `BadInput`."""
    every = 1 / RATE_HZ / step_s
    whole = max(1, round(every))
    if abs(every / whole - 1) > NEAR:
        raise BadInput(
            f"{where}: {1 / step_s:.4g} frames a second cannot be brought to {RATE_HZ:g} by leaving some out; record "
            "at 2, 4, 10 or 20 a second"
        )
    return {n: (n - numbers[0]) // whole for n in numbers if (n - numbers[0]) % whole == 0}


def copy(files: Mapping[int, Path], kept: Mapping[int, int], folder: Path) -> list[str]:
    """Files of the frames that are kept, under their new numbers; returns the names of frames that have none."""
    for old, new in kept.items():
        if old in files:
            copied(files[old], folder / f"{new:04d}{files[old].suffix.lower()}")
    return [f"{old:04d}" for old in kept if old not in files]


def said_of(what: str, names: Iterable[str]) -> list[str]:
    """One remark that counts and names the first few; none of nothing."""
    names = list(names)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return [f"{len(names)} {what}: {', '.join(names[:NAMED])}{more}"] if names else []


def refuse_mostly(left_out: Sequence[str], n: int, where: Path) -> None:
    """Raises `BadInput` where more than half of the frames cannot be used."""
    if len(left_out) * 2 > n or len(left_out) == n:
        raise BadInput(
            f"{where}: {len(left_out)} of {n} frames cannot be used, first: {left_out[0] if left_out else ''}"
        )
