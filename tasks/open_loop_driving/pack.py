"""One file a route, from which networks are trained and judged: small fields and pictures once, moments as rows.

Reads    download/<route>/ of the routes and frames that check_data/check.json calls usable
Writes   pack/<route>/route.h5     see formats/pack.py, which reads it
         pack/manifest.json        {horizon, rate_hz, subset, routes: {route: {town, split, frames, windows, sha256,
                                   sensors, cameras}}, splits: {split: counts}, remarks, uneven, left_out: {route: why}}
         pack/splits.json          which routes train, validate and test, and stay so (tasks/yard/splits.py)
Alone    python -m tasks open_loop_driving-pack

Whole towns are held out; where a source has none of them, whole routes are, drawn by `seed`. A source's only route is
cut into contiguous parts with a guard between, if it is long enough for three; else all of it is test.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tasks.open_loop_driving.formats import pack as packed
from tasks.open_loop_driving.formats import routes
from tasks.open_loop_driving.formats.routes import Route
from tasks.open_loop_driving.learning.splits import chosen, parts_of, split_routes
from tasks.open_loop_driving.params import Pack
from tasks.yard import fanout, splits
from tasks.yard.files import digest, file_hash, folder_hash, read_json, write_json
from tasks.yard.splits import SPLITS
from tasks.yard.step import BadInput, Context

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A route, or a part of one."""

    folder: Path
    frames: tuple[int, ...]  # numbers of those that are packed


def size_of(picture: tuple[int, int], params: Pack) -> tuple[int, int]:
    return params.height_px or picture[0], params.width_px or picture[1]


def resized(picture: np.ndarray, size: tuple[int, int], nearest: bool = False) -> np.ndarray:
    """Classes and depths by the nearest pixel: a mean of two of them is a third that is not there."""
    if picture.shape[:2] == size:
        return picture
    shrinks = size[0] <= picture.shape[0] and size[1] <= picture.shape[1]
    kind = cv2.INTER_NEAREST_EXACT if nearest else cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(picture, (size[1], size[0]), interpolation=kind)


def brightest(masks: np.ndarray, side: int | None) -> np.ndarray:
    """Masks (15, h, w) of which each block of pixels becomes its brightest one: thin lines stay, and so do levels."""
    if side is None or masks.shape[1] == side:
        return masks
    if masks.shape[1] % side or masks.shape[1] != masks.shape[2]:
        raise BadInput(
            f"open_loop_driving.pack.bev_px = {side}: masks of {masks.shape[1]} x {masks.shape[2]} px are not "
            "divided into so many blocks; take a divisor, or null"
        )
    by = masks.shape[1] // side
    rows = np.maximum.reduce([masks[:, i::by] for i in range(by)])  # a max over axes of a block takes 20 times as long
    return np.maximum.reduce([rows[:, :, i::by] for i in range(by)])


def large(route: Route, frames: tuple[int, ...], params: Pack) -> Iterator[packed.Frame]:
    """What is large of each frame, as packed. Raises `BadInput`."""
    kinds = {
        kind: {camera: route.files(f"{kind}_{camera}") for camera in route.cameras} for kind in ("rgb", "depth", "seg")
    }
    bev, lidar = route.files("bev"), route.files("lidar")
    sizes = {name: size_of(camera.size, params) for name, camera in route.cameras.items()}
    none = np.empty((0, len(routes.BOX_COLUMNS) - 2))
    for frame in frames:
        images = {
            name: resized(routes.picture(files[frame]), sizes[name]) for name, files in kinds["rgb"].items() if files
        }
        depth, seg = (
            {name: resized(routes.plain_png(files[frame], of), sizes[name], nearest=True)
             for name, files in kinds[kind].items() if files}
            for kind, of in (("depth", np.uint16), ("seg", np.uint8))
        )  # fmt: skip
        boxes, ids = route.boxes.get(frame, (none, [])) if "boxes" in route.sensors else (None, [])
        yield packed.Frame(
            images, depth, seg, routes.lidar(lidar[frame]) if lidar else None,
            brightest(routes.masks(bev[frame]), params.bev_px) if bev else None, boxes, ids,
        )  # fmt: skip


def columns_of(route: Route, rows: np.ndarray, horizon: int) -> dict[str, np.ndarray]:
    """Of pack.SMALL, what there is."""
    said = {key: values[rows] for key, values in route.columns.items()}
    found = {"frame": said["frame"], "time_s": said["time_s"], "pose": route.pose[rows], "speed_ms": said["speed_ms"]}
    if "control" in route.sensors:
        found["control"] = np.column_stack([said[key] for key in routes.CONTROL])
    if "target" in route.sensors:
        found["target"] = np.column_stack([said[key] for key in routes.TARGET])
    if "command" in said:
        found["command"] = said["command"].astype(np.int64)
    if "should_brake" in said:
        found["should_brake"] = said["should_brake"].astype(bool)
    return found | {"windows": packed.windows(said["frame"], horizon)}


def pack_route(job: Job, folder: Path, *, params: Pack) -> dict[str, Any]:
    """route.h5 of a route; returns what the manifest says of it."""
    route = routes.read(job.folder)
    rows = np.flatnonzero(np.isin(route.frames, job.frames))
    cameras = {
        name: camera.resized(*size_of(camera.size, params)) for name, camera in route.cameras.items()
        if route.files(f"rgb_{name}")
    }  # fmt: skip
    about = route.about
    head = packed.Head(about["town"], about["source"], about["rate_hz"], about["origin"], cameras, route.sensors)
    supervision = None
    if "supervision" in route.sensors:
        said = route.supervision
        place = {int(frame): row for row, frame in enumerate(said["frame"])}
        mine = [place[int(frame)] for frame in route.frames[rows]]
        supervision = {key: values[mine] for key, values in said.items() if key != "frame"}
    columns = columns_of(route, rows, params.horizon)
    packed.write(folder / packed.FILE, head, columns, large(route, job.frames, params), supervision)
    return {
        "town": about["town"], "frames": len(rows), "windows": len(columns["windows"]), "sensors": list(route.sensors),
        "cameras": list(cameras), "rate_hz": about["rate_hz"], "rendered": about["rendered"],
        "sha256": file_hash(folder / packed.FILE),
    }  # fmt: skip


def room_for(jobs: Mapping[str, Job], params: Pack, out: Path) -> None:
    """Raises `BadInput` before anything is written: HDF5 ends the process on a disk that fills up."""
    needed = 0
    for job in jobs.values():
        sizes = [size_of(camera.size, params) for camera in routes.read(job.folder).cameras.values()]
        needed += len(job.frames) * sum(6 * height * width for height, width in sizes)
    out.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(out).free
    if needed > free:
        raise BadInput(
            f"{out}: no room for {needed / 1e6:.0f} MB of routes ({free / 1e6:.0f} MB are free); free some, or lower "
            "open_loop_driving.pack.height_px and width_px"
        )


def counts(found: Mapping[str, Mapping[str, Any]], of: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Of every split its routes, frames, windows and towns."""
    said = {}
    for split in SPLITS:
        mine = [summary for name, summary in found.items() if of[name] == split]
        said[split] = {
            "routes": len(mine), "frames": sum(one["frames"] for one in mine),
            "windows": sum(one["windows"] for one in mine), "towns": sorted({one["town"] for one in mine}),
        }  # fmt: skip
    return said


def uneven(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What of cameras and lidar some routes have and others lack: said before anything is trained."""
    has = {name: {*(f"camera {camera!r}" for camera in one["cameras"]), *({"lidar"} & {*one["sensors"]})}
           for name, one in found.items()}  # fmt: skip
    said = []
    for what in sorted(set().union(*has.values())):
        if lack := [name for name, of in has.items() if what not in of]:
            few = f"{len(lack)} of {len(has)} routes have no {what}, the first is {lack[0]}"
            said.append(f"{few}; a network that sees through it does without them, and train says which")
    return said


def run(params: Pack, out: Path, ctx: Context = Context(), *, download: Path, check_data: Path) -> dict[str, float]:
    """Returns routes, frames and windows, of each split and in all."""
    checked = read_json(check_data / "check.json")
    usable = {name: checked["routes"][name] for name in checked["usable"]}
    if not usable:
        raise BadInput(f"{check_data}: no route can be used; it says why")
    parts, remarks = parts_of({name: said["used"] for name, said in usable.items()}, params)
    towns = {part: usable[name]["town"] for part, (name, _) in parts.items()}
    known = splits.known(out, params.splits)
    of, more = split_routes(towns, parts, known, params)
    remarks += more
    taken, left_out = chosen({part: (towns[part], len(frames)) for part, (_, frames) in parts.items()}, of, params)
    jobs = {part: Job(download / parts[part][0], tuple(parts[part][1])) for part in taken}
    prints = {
        part: digest(
            folder_hash(job.folder),
            job.frames,
            params.height_px,
            params.width_px,
            params.bev_px,
            params.horizon,
            ctx.code,
        )
        for part, job in jobs.items()
    }
    room_for(jobs, params, out)

    def accept(fan: fanout.FanOut) -> None:
        if not any(summary["windows"] for summary in fan.summaries.values()):
            why = "".join(f"\n  {name}: {reason}" for name, reason in fan.quarantined.items())
            raise BadInput(
                f"{download}: no route has {params.horizon + 2} frames in a row; lower open_loop_driving.pack.horizon, "
                f"or bring longer ones{why}"
            )

    fan = fanout.fan_out(partial(pack_route, params=params), jobs, prints, out, ctx, accept=accept)
    left_out |= fan.quarantined
    members = {part: [part] for part in of}
    manifest = splits.manifest(of.items(), known, members)
    splits.write(out, manifest)
    remarks += splits.moved(known, of.items())
    differ = uneven(fan.summaries)
    for remark in remarks + differ:
        log.warning("%s", remark)
    said = counts(fan.summaries, of)
    kept = ("town", "frames", "windows", "sha256", "sensors", "cameras")
    found = {name: {"split": of[name], **{key: mine[key] for key in kept}} for name, mine in fan.summaries.items()}
    rates = sorted({mine["rate_hz"] for mine in fan.summaries.values()})
    write_json(out / packed.MANIFEST, {
        "horizon": params.horizon, "rate_hz": rates[0], "subset": params.subset, "routes": found, "splits": said,
        "rendered": any(mine["rendered"] for mine in fan.summaries.values()), "remarks": remarks, "uneven": differ,
        "left_out": left_out,
    })  # fmt: skip
    metrics: dict[str, float] = {
        "routes": len(found), "left_out": len(left_out), "frames": sum(mine["frames"] for mine in found.values()),
        "windows": sum(mine["windows"] for mine in found.values()),
    }  # fmt: skip
    for split in SPLITS:
        metrics |= {f"{split}_routes": said[split]["routes"], f"{split}_windows": said[split]["windows"]}
    return metrics
