"""Which frames and routes can be used, and why not the others: in numbers, in words and in pictures.

Reads    download/<route>/ (formats/routes.py), download/quarantine.json
Writes   check_data/check.json     {verdict, usable: [routes], rendered, towns: {town: counts}, routes: {route: {town,
                                   frames, used: [frames], cut, unusable: {frame: [why]}, faults: [of files that
                                   download could not use, and gaps], findings, usable, why, ...}}}
         check_data/<route>.png    what each camera sees with boxes and lidar drawn into it, and both from above, of
                                   `pictures` routes
         check_data/check.html     the same for people
Alone    python -m tasks open_loop_driving-check_data

Every file is read to its end, so that all that is missing is named before anything is trained. A frame is left out if
one of the files that its route has is missing or cannot be read, or if one of its numbers is none; a route is, if too
many of its frames are, if the car goes sideways by its own yaw, or if its way contradicts its speed.
"""

from __future__ import annotations

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tasks.open_loop_driving.formats import routes
from tasks.open_loop_driving.formats.plans import BRAKE
from tasks.open_loop_driving.formats.routes import Route
from tasks.open_loop_driving.judging import fits, turned
from tasks.open_loop_driving.page import check_pictures
from tasks.open_loop_driving.params import CheckData
from tasks.yard.files import read_json, write_json, write_text
from tasks.yard.layouts import images
from tasks.yard.reporting import pages, words
from tasks.yard.step import BadInput, Context

log = logging.getLogger(__name__)

TEMPLATE = Path(__file__).parent / "page" / "check_data.html.j2"
NAMED = 5  # faults of frames that are named
TOLD = 10  # findings on the console
SIDEWAYS_RAD, SPEED_OFF = math.radians(30), 0.25
LIDAR_OFF_M, STEER_AGREES, BOXES_HIT = 0.6, 0.5, 0.3
LOOKED_AT = 5  # frames whose lidar is compared with depths and boxes
GAS = 0.1
STANDS_MPS = 0.3


def file_fault(kind: str, path: Path, route: Route) -> str | None:
    """Why a file cannot be used."""
    try:
        if kind.startswith("rgb_"):
            size, (height, width) = images.image_size(path), route.cameras[kind.removeprefix("rgb_")].size
            if size is None:
                return f"{kind}/{path.name}: {images.fault(path)}"
            if size != (width, height):
                return f"{kind}/{path.name}: has {size[0]} x {size[1]} px, its camera {width} x {height}"
        elif kind == "lidar":
            routes.lidar(path)
        elif kind == "bev":
            routes.masks(path)
        else:
            routes.plain_png(path, np.uint16 if kind.startswith("depth_") else np.uint8)
    except BadInput as error:
        return str(error).replace(f"{route.folder}/", "")
    return None


def unusable(route: Route, wanted: np.ndarray) -> dict[int, list[str]]:
    """{frame: every reason} of the frames that are to be used and cannot be."""
    found: defaultdict[int, list[str]] = defaultdict(list)
    unread = route.about.get("unread", {})
    kinds = sorted(path.name for path in route.folder.iterdir() if path.is_dir())
    for kind in kinds:
        files = route.files(kind)
        for frame in (int(frame) for frame in wanted):
            name = f"{kind}/{frame:04d}"
            absent = unread.get(name, f"{name}: is missing")
            if why := file_fault(kind, files[frame], route) if frame in files else absent:
                found[frame].append(why)
    for key, values in route.columns.items():
        for frame, value in zip(route.frames, values, strict=True):
            if not np.isfinite(value):
                found[int(frame)].append(f"{routes.FRAMES}: {key} of frame {frame} is no number; none is invented")
    for frame, command in zip(route.frames, route.columns.get("command", ()), strict=False):
        if command not in routes.COMMANDS:
            found[int(frame)].append(f"{routes.FRAMES}: command of frame {frame} is {command:g}, which is unknown")
    if "supervision" in route.sensors:
        there = set(route.supervision["frame"].tolist())
        for frame in (int(frame) for frame in wanted):
            if frame not in there:
                found[frame].append(f"{routes.SUPERVISION}: has no frame {frame}")
    return {frame: whys for frame, whys in sorted(found.items()) if frame in wanted}


def looked_at(used: list[int]) -> list[int]:
    return used[:: max(1, len(used) // LOOKED_AT)][:LOOKED_AT]


def turned_cameras(route: Route, used: list[int]) -> dict[str, str]:
    """{camera: in words where it looks instead} of those whose depth contradicts lidar or boxes."""
    lidar, found = route.files("lidar"), {}
    places = {
        frame: turned.places_of(
            routes.lidar(lidar[frame]) if frame in lidar else None,
            route.boxes[frame][0] if frame in route.boxes else None,
        )
        for frame in looked_at(used)
    }
    for name, camera in route.cameras.items():
        files = route.files(f"depth_{name}")
        seen = [turned.Seen(routes.plain_png(files[f], np.uint16), places[f]) for f in places if f in files]
        if off := turned.found(camera, seen):
            found[name] = off.words
    return found


def lidar_fits(route: Route, used: list[int]) -> dict[str, Any]:
    """The lidar beside the depth of each camera, and beside the boxes."""
    lidar = route.files("lidar")
    off: dict[str, list[float]] = {}
    near, hit = 0, 0
    for frame in looked_at(used) if lidar else ():
        points = routes.lidar(lidar[frame])
        for name, camera in route.cameras.items():
            if frame in (files := route.files(f"depth_{name}")):
                away = fits.lidar_off_m(camera, routes.plain_png(files[frame], np.uint16), points)
                off.setdefault(name, []).extend([] if away is None else [away])
        if frame in route.boxes:
            counts = fits.share_with_points(route.boxes[frame][0], points)
            near, hit = near + counts[0], hit + counts[1]
    return {
        "lidar_off_m": {name: float(np.median(values)) if values else None for name, values in off.items()},
        "boxes_near": near, "boxes_with_points": hit,
    }  # fmt: skip


def actions(route: Route, rows: np.ndarray) -> dict[str, Any]:
    """Shares of what the driver did, of the frames that are used."""
    said = {key: values[rows] for key, values in route.columns.items()}
    found: dict[str, Any] = {
        "speed_ms": float(said["speed_ms"].mean()),
        "stands": float((said["speed_ms"] < STANDS_MPS).mean()),
    }
    if "brake" in said:
        found |= {
            "brakes": float((said["brake"] > BRAKE).mean()), "gas": float((said["throttle"] > GAS).mean()),
            "steers": float((np.abs(said["steer"]) > fits.STEERED).mean()),
        }  # fmt: skip
    if "should_brake" in said:
        found["should_brake"] = float((said["should_brake"] > 0).mean())
    return found


def findings_of(route: Route, said: Mapping[str, Any], lost: Mapping[int, list[str]]) -> list[str]:
    """What a person should look at, though it ends nothing."""
    whys = [why for of in lost.values() for why in of]
    more = len(whys) - NAMED
    found = whys[:NAMED] + ([f"{more} more cost frames, all of them in check.json"] if more > 0 else [])
    for name, away in said["lidar_off_m"].items():
        if away is not None and away > LIDAR_OFF_M:
            found.append(
                f"camera {name}: lidar and depth are {away:.1f} m apart (median); is its calibration another's?"
            )
    found += [f"camera {name}: {text}" for name, text in said["turned"].items()]
    if said["boxes_near"] >= NAMED and said["boxes_with_points"] < BOXES_HIT * said["boxes_near"]:
        found.append(
            f"{said['boxes_with_points']} of {said['boxes_near']} cars near by have a point of the lidar: are both in "
            "one frame?"
        )
    if said["steer_agrees"] is not None and said["steer_agrees"] < STEER_AGREES:
        found.append(f"steer and turn agree in {said['steer_agrees']:.0%} of the moments: right should be positive")
    return found + list(route.about["remarks"])


def why_not(
    used: list[int], wanted: int, lost: Mapping[int, list[str]], said: Mapping[str, Any], params: CheckData
) -> str | None:
    """Why a whole route cannot be used."""
    first = next((whys[0] for whys in lost.values()), "it is cut to nothing")
    if not used or len(lost) > params.max_missing_share * wanted:
        return f"{len(lost)} of {wanted} frames cannot be used, the first: {first}"
    if said["heading_off_rad"] is not None and said["heading_off_rad"] > SIDEWAYS_RAD:
        degrees = math.degrees(said["heading_off_rad"])
        return (
            f"the car goes {degrees:.0f} degrees off where its yaw points (median): x, y and yaw are not in one frame"
        )
    if said["speed_ratio"] is not None and abs(said["speed_ratio"] - 1) > SPEED_OFF:
        return f"its way is {said['speed_ratio']:.2f} times what its speed says (median): mend unit or rate"
    return None


def examined(work: tuple[str, bool], *, download: Path, params: CheckData, out: Path) -> dict[str, Any]:
    """What check.json says of a route, which is drawn if asked. Raises `BadInput` if it cannot be read."""
    name, drawn = work
    route = routes.read(download / name)
    wanted = route.frames[route.frames < route.about["usable"]]
    lost = unusable(route, wanted)
    used = [int(frame) for frame in wanted if int(frame) not in lost]
    rows = np.flatnonzero(np.isin(route.frames, used))
    said = {
        "heading_off_rad": fits.heading_off_rad(route), "speed_ratio": fits.speed_ratio(route),
        "steer_agrees": fits.steer_agrees(route), **lidar_fits(route, used),
        "turned": turned_cameras(route, used),
    }  # fmt: skip
    why = why_not(used, len(wanted), lost, said, params)
    boxes = Counter(
        routes.CLASSES[int(kind)] for frame in used if frame in route.boxes for kind in route.boxes[frame][0][:, 0]
    )
    if drawn and used:
        check_pictures.draw(out / f"{name}.png", route, used)
    return {
        "town": route.about["town"], "layout": route.about["layout"], "rendered": route.about["rendered"],
        "frames": len(route.frames), "used": used, "cut": route.about["cut"],
        "unusable": {str(frame): whys for frame, whys in lost.items()}, "faults": route.about.get("faults", []),
        "cameras": list(route.cameras), "sensors": list(route.sensors), "weather": route.about.get("weather"),
        "commands": fits.counts_of(route.columns.get("command", np.empty(0))[rows], routes.COMMANDS)
        if "command" in route.columns else {},
        "actions": actions(route, rows) if used else {}, "boxes": dict(sorted(boxes.items())), **said,
        "findings": findings_of(route, said, lost), "usable": why is None, "why": why,
    }  # fmt: skip


def refused(reason: str) -> dict[str, Any]:
    """The same of a route that cannot be read."""
    return {
        "town": None, "layout": None, "rendered": False, "frames": 0, "used": [], "cut": None, "unusable": {},
        "faults": [], "cameras": [], "sensors": [], "weather": None, "commands": {}, "actions": {}, "boxes": {},
        "heading_off_rad": None, "speed_ratio": None, "steer_agrees": None, "lidar_off_m": {}, "boxes_near": 0,
        "boxes_with_points": 0, "turned": {}, "findings": [reason], "usable": False, "why": reason,
    }  # fmt: skip


def by_town(found: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of the routes that can be used: sums, and shares by their frames."""
    towns: dict[str, dict[str, Any]] = {}
    for name in sorted({one["town"] for one in found.values() if one["usable"]}):
        mine = [one for one in found.values() if one["usable"] and one["town"] == name]
        frames = np.array([len(one["used"]) for one in mine])
        commands: Counter[str] = Counter()
        for one in mine:
            commands.update(one["commands"])
        keys = sorted(set.intersection(*(set(one["actions"]) for one in mine)))
        towns[name] = {
            "routes": len(mine), "frames": sum(one["frames"] for one in mine), "used": int(frames.sum()),
            "cut": sum(one["cut"] is not None for one in mine), "commands": dict(sorted(commands.items())),
            "weather": dict(sorted(Counter(one["weather"] for one in mine if one["weather"]).items())),
            **{key: float(np.average([one["actions"][key] for one in mine], weights=frames)) for key in keys},
        }  # fmt: skip
    return towns


def verdict(found: Mapping[str, Mapping[str, Any]], towns: Mapping[str, Mapping[str, Any]]) -> str:
    """A paragraph for a person."""
    good = [one for one in found.values() if one["usable"]]
    used, frames = sum(len(one["used"]) for one in good), sum(one["frames"] for one in good)
    lost = sum(len(one["unusable"]) for one in good)
    said = [
        f"{len(good)} of {words.counted(len(found), 'route', 'routes')} can be used, of "
        f"{words.counted(len(towns), 'town', 'towns')}: {used:,} of {words.counted(frames, 'frame', 'frames')}."
    ]
    if cut := sum(one["cut"] is not None for one in good):
        said.append(f"{words.counted(cut, 'route ends', 'routes end')} early, as the drive went wrong.")
    if lost:
        said.append(f"{words.counted(lost, 'frame is', 'frames are')} left out, by a file or a number.")
    off = [away for one in good for away in one["lidar_off_m"].values() if away is not None]
    if off:
        said.append(f"Lidar and cameras fit to {max(off):.2f} m (the worst median).")
    return " ".join(said)


def page(found: Mapping[str, dict[str, Any]], towns: Mapping[str, Any], said: str, out: Path) -> str:
    shown = {path.stem: pages.photo_uri(path, 1500) for path in sorted(out.glob("*.png"))}
    layouts = [one["layout"] for one in found.values()]
    commands = [name for name in routes.COMMANDS.values() if any(name in one["commands"] for one in towns.values())]
    return pages.render(TEMPLATE, {
        "verdict": said, "towns": towns, "routes": found, "shown": shown, "commands": commands,
        "sensors": routes.WORDS, "colours": check_pictures.COLOURS, "rendered": words.rendered(layouts, "routes"),
    })  # fmt: skip


def run(params: CheckData, out: Path, ctx: Context = Context(), *, download: Path) -> dict[str, float]:
    """Returns routes and frames, in all and usable, and the number of findings. Raises `BadInput` if none is usable."""
    out.mkdir(parents=True, exist_ok=True)
    names = sorted(path.parent.name for path in download.glob(f"*/{routes.ABOUT}"))
    places = np.linspace(0, len(names) - 1, min(params.pictures, len(names))).round().astype(int)
    drawn = {names[place] for place in places}
    work = [(name, name in drawn) for name in names]
    found: dict[str, dict[str, Any]] = {}
    results = ctx.map(partial(examined, download=download, params=params, out=out), work, names=names)
    for index, result in ctx.progress(results, total=len(names), desc="check_data", unit="route"):
        if isinstance(result, BadInput):
            result = refused(str(result).replace(f"{download}/", ""))
        elif isinstance(result, Exception):
            raise result
        found[names[index]] = result
    if (download / "quarantine.json").exists():
        found |= {name: refused(why) for name, why in read_json(download / "quarantine.json").items()}
    found = dict(sorted(found.items()))
    towns, usable = by_town(found), [name for name, one in found.items() if one["usable"]]
    said = verdict(found, towns)
    rendered = [one["rendered"] for one in found.values()]
    write_json(out / "check.json", {
        "verdict": said, "usable": usable, "rendered": any(rendered), "towns": towns, "routes": found,
    })  # fmt: skip
    write_text(out / "check.html", page(found, towns, said, out))
    log.info("%s", said)
    lines = [f"cannot use {name}: {one['why']}" for name, one in found.items() if not one["usable"]]
    lines += [f"{name}: {line}" for name in usable for line in found[name]["findings"]]
    for line in lines[:TOLD]:
        log.warning("%s", line)
    if len(lines) > TOLD:
        log.warning("%d more in %s", len(lines) - TOLD, out / "check.json")
    if not usable:
        first = next((f"{name}: {found[name]['why']}" for name in found), "there is none")
        raise BadInput(f"{download}: no route can be used; {first}")
    good = [found[name] for name in usable]
    return {
        "routes": len(found), "usable": len(usable), "frames": sum(one["frames"] for one in good),
        "used": sum(len(one["used"]) for one in good), "lost": sum(len(one["unusable"]) for one in good),
        "cut": sum(one["cut"] is not None for one in good), "towns": len(towns),
        "findings": sum(len(one["findings"]) for one in found.values()),
    }  # fmt: skip
