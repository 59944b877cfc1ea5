"""TCP's towns whose small fields its tools/gen_data.py has packed into one file, so that the folders of the routes need
hold pictures alone:

    packed_data.npy                  {field: list over the moments of all routes}, one after the other
    <route>/rgb/NNNN.png             front_img ends with these three names, and tells route and number

Of each moment it has what measurements/ and supervision/ say of it, but not whether to brake; x and y have changed
places. Of a route's last four moments it has the poses alone, as what is ahead of others: they are left out.
"""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from tasks.open_loop_driving.importers import pickles
from tasks.yard.step import BadInput

FILE = "packed_data.npy"
AHEAD = 4  # moments
LAST = f"the last {AHEAD} moments are left out: {FILE} has their poses alone"
MEASURED = {
    "x": "input_y", "y": "input_x", "theta": "input_theta", "speed": "speed", "x_target": "y_target",
    "y_target": "x_target", "target_command": "target_command",
}  # fmt: skip  # of a measurement: the field
SUPERVISED = {
    "action": "action", "action_mu": "action_mu", "action_sigma": "action_sigma", "value": "value",
    "features": "feature", "only_ap_brake": "only_ap_brake",
}  # fmt: skip
HISTORIES = ("front_img", "input_x", "input_y", "input_theta")  # lists that end with the moment itself
Told = dict[str, dict[int, dict[str, Any]]]  # measurements, supervision: number: what a file of it would say


def is_route(folder: Path) -> bool:
    return (folder / "rgb").is_dir() and not (folder / "measurements").is_dir() and (folder.parent / FILE).is_file()


def read(folder: Path) -> Told:
    """Of one route. Raises `BadInput`."""
    file = folder.parent / FILE
    town = _town(file, file.stat().st_mtime_ns)
    if isinstance(town, BadInput):
        raise town
    if (found := town.get(folder.name)) is None:
        raise BadInput(f"{file}: has no moment of {folder.name}; bring its measurements/, or take its folder away")
    return found


@lru_cache(maxsize=1)  # of a town with its routes one after the other
def _town(file: Path, changed_ns: int) -> dict[str, Told] | BadInput:
    try:
        return _of_town(file)
    except BadInput as error:  # kept as well: each route asks
        return error


def _of_town(file: Path) -> dict[str, Told]:
    said = pickles.load(file)
    wanted = {"front_img", *MEASURED.values(), *SUPERVISED.values()}
    if not isinstance(said, dict) or (missing := sorted(wanted - said.keys())):
        raise BadInput(f"{file}: {f'field {missing[0]!r} is missing' if isinstance(said, dict) else 'is no dict'}")
    count = len(said["front_img"])
    if odd := [field for field in sorted(wanted) if len(said[field]) != count]:
        raise BadInput(f"{file}: {odd[0]!r} is of {len(said[odd[0]])} moments, front_img of {count}; pack it anew")
    found: dict[str, Told] = defaultdict(lambda: {"measurements": {}, "supervision": {}})
    for row in range(count):
        try:
            moment = {field: said[field][row][-1] if field in HISTORIES else said[field][row] for field in wanted}
            picture = PurePosixPath(moment["front_img"])
            route, number = found[picture.parts[-3]], int(picture.stem)
        except (TypeError, IndexError, KeyError, ValueError) as error:
            raise BadInput(f"{file}: moment {row}: {error!r}; front_img ends with <route>/rgb/NNNN.png") from None
        for kind, fields in (("measurements", MEASURED), ("supervision", SUPERVISED)):
            route[kind][number] = {key: plain(moment[field]) for key, field in fields.items()}
    return dict(found)


def plain(value: Any) -> Any:
    """A number of numpy's as Python has it, which a JSON file would have."""
    return value.item() if getattr(value, "ndim", None) == 0 else value
