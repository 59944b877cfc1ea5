"""Frames without distortion, of one size, in one file a camera; and who stands where: what networks learn from.

Reads    download/<unit>/ of the units that check_data/check.json calls usable
Writes   pack/<unit>-<cam>/frames.h5     images uint8 (F, height_px, width_px, 3) RGB
         pack/<unit>-<cam>/camera.json   {unit, camera, K, R, T, size, roi, frames, left_out: {image: why}}: the camera
                                         of the packed images, metres; row i of images is frame id frames[i]
         pack/scenes.json                {height_px, width_px, cell_m, grid: [rows, columns], scenes: {unit: {cameras,
                                         plane, frames, split, labelled, people, outside}}, left_out: {unit: why}}
Alone    python -m tasks ground_plane-pack

scenes.py reads it. One camera of one sequence is one unit of work: unchanged ones are kept, also when the cells or the
shares of the splits change. Where its lens sends each pixel is computed once a camera. Made smaller by OpenCV's
INTER_AREA, which is antialiased. An image that cannot be read to its end, or is not of the calibration's size, is left
out by name.

A sequence with several splits is cut into contiguous parts by its labelled frames, training first: neighbouring frames
are nearly the same picture.
"""

from __future__ import annotations

import io
import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np

from tasks.ground_plane.formats import calibration, sequence
from tasks.ground_plane.formats.sequence import Sequence
from tasks.ground_plane.params import Pack, Shares
from tasks.yard import fanout
from tasks.yard.files import digest, file_hash, read_json, write_json
from tasks.yard.geometry.camera import EDGE_M, Plane
from tasks.yard.geometry.lens import Calibration
from tasks.yard.layouts import images
from tasks.yard.step import BadInput, Context

log = logging.getLogger(__name__)
Accept = Callable[[fanout.FanOut], object]

VERSION = ("v110", "v110")  # fixed, so that the bytes do not depend on the library's newest format
MAX_CELLS = 4_000_000  # a small network's 65 channels of them take 1 GB a frame
NO_WHOLE_IMAGE = "not an image that can be read to its end"
Job = tuple[str, Calibration, dict[int, Path]]  # unit, camera, {frame id: image}


def decoded(path: Path, of: Calibration) -> np.ndarray | str:
    """(H, W, 3) uint8 RGB as filmed; or why it cannot be used."""
    height, width = of.size
    image = images.decoded(path)
    if image is None:
        return NO_WHOLE_IMAGE
    if image.shape[:2] != of.size:
        return f"{image.shape[1]} x {image.shape[0]} px; the calibration of {of.name} is for {width} x {height}"
    return np.ascontiguousarray(image[..., ::-1])


def flattened(frames: dict[int, Path], of: Calibration, size: tuple[int, int]) -> Iterator[np.ndarray | str]:
    """Each frame as packed, (height, width, 3) uint8 RGB, one after the other; or why it cannot be used."""
    shrinks = size[0] <= of.size[0] and size[1] <= of.size[1]
    for path in frames.values():
        image = decoded(path, of)
        if isinstance(image, str):
            yield image
            continue
        kind = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR  # enlarging, INTER_AREA is up to .3 px off
        yield cv2.resize(of.undistorted(image), (size[1], size[0]), interpolation=kind)


class Head(io.BytesIO):
    """Takes what HDF5 writes of a file, and does not grow with the images that HDF5 leaves room for."""

    def truncate(self, size: int | None = None) -> int:
        return self.tell() if size is None else size


def head(frames: int, size: tuple[int, int]) -> bytes:
    """The bytes of frames.h5 before its first image; the images are all that follows.

    HDF5 itself does not write them: on a disk that fills up it ends the process (a crash in its clean-up).
    """
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.CONTIGUOUS)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    layout.set_obj_track_times(False)
    room, written = h5py.h5s.create_simple((frames, *size, 3)), Head()
    with h5py.File(written, "w", libver=VERSION) as file:
        first = h5py.h5d.create(file.id, b"images", h5py.h5t.STD_U8LE, room, layout).get_offset()
    assert len(written.getvalue()) <= first, "HDF5 has put something behind the images"
    return written.getvalue().ljust(first, b"\0")


def write_frames(path: Path, frames: dict[int, Path], of: Calibration, size: tuple[int, int]) -> dict[int, str]:
    """Write frames.h5, contiguous, in one pass, a frame in memory at a time; returns {frame: why} of unusable ones."""
    bad: dict[int, str] = {}
    with path.open("wb") as file:
        file.seek(len(head(1, size)))
        for frame, image in zip(frames, flattened(frames, of, size), strict=True):
            if isinstance(image, str):
                bad[frame] = image
            else:
                file.write(image.tobytes())
        if len(bad) < len(frames):  # HDF5 gives nothing a place in a file
            file.seek(0)
            file.write(head(len(frames) - len(bad), size))
    return bad


def pack_camera(job: Job, folder: Path, *, size: tuple[int, int]) -> dict[str, Any]:
    """frames.h5 and camera.json of one camera of one unit. Raises `BadInput` if none of its images can be used."""
    unit, of, frames = job
    bad = write_frames(folder / "frames.h5", frames, of, size)
    good = [frame for frame in frames if frame not in bad]
    if not good:
        first = next((f"; {frames[frame].name}: {why}" for frame, why in bad.items()), "")
        raise BadInput(f"{unit}: {of.name} has no image that can be used{first}")
    camera = of.camera().resized(*size)
    left_out = {frames[frame].name: why for frame, why in bad.items()}
    write_json(folder / "camera.json", {
        "unit": unit, "camera": of.name, "K": camera.K.tolist(), "R": camera.R.tolist(), "T": camera.T.tolist(),
        "size": list(size), "roi": None if camera.roi is None else camera.roi.tolist(), "frames": good,
        "left_out": left_out,
    })  # fmt: skip
    return {"frames": good, "left_out": left_out}


def fingerprint(of: Calibration, frames: dict[int, Path], params: Pack, code: str) -> str:
    hashes = [(frame, file_hash(path)) for frame, path in frames.items()]
    return digest(calibration.document(of), hashes, params.height_px, params.width_px, code)


def room_for(jobs: dict[str, Job], fingerprints: dict[str, str], params: Pack, out: Path) -> None:
    """Raises `BadInput` before anything is written."""
    todo = [key for key in jobs if not kept(out / key / fanout.DONE, fingerprints[key])]
    needed = sum(len(jobs[key][2]) for key in todo) * params.height_px * params.width_px * 3
    free = shutil.disk_usage(out).free
    if needed > free:
        raise BadInput(f"{out}: no room for {needed / 1e6:.0f} MB of frames ({free / 1e6:.0f} MB are free); free some")


def kept(done: Path, made_from: str) -> bool:
    return done.exists() and read_json(done)["fingerprint"] == made_from


def cut(labelled: int, splits: tuple[str, ...], shares: Shares) -> list[int]:
    """How many labelled frames each split has, in its order: one at least, all but train by their shares.

    Raises `BadInput` where there are fewer frames than splits.
    """
    if labelled < len(splits):
        raise BadInput(f"{labelled} labelled frames cannot be cut into {' and '.join(splits)}; label more")
    if len(splits) == 1:
        return [labelled]
    counts = [max(1, round(getattr(shares, split) * labelled)) for split in splits[1:]]
    while sum(counts) >= labelled:  # few frames, large shares: training has one too
        counts[counts.index(max(counts))] -= 1
    return [labelled - sum(counts), *counts]


def split_of(labelled: list[bool], counts: list[int], splits: tuple[str, ...]) -> list[str]:
    """The split of each frame; one without a label is in that of the labelled one before it."""
    place = np.maximum(np.cumsum(labelled) - 1, 0)  # among the labelled ones
    return [splits[part] for part in np.searchsorted(np.cumsum(counts), place, side="right")]


def people_of(found: Sequence, frame: int) -> tuple[list[list[float]], int]:
    """([person, x, y in the plane], how many others are outside of it)."""
    people = found.people(frame)
    xy = found.plane.to_plane(people[:, 1:])
    inside = found.plane.holds(xy)
    # The edge is the plane's, and of its last cell, whatever rounding says.
    kept_xy = np.clip(xy[inside], 0.0, np.subtract(found.plane.size_m, EDGE_M))
    rows = [[int(who), float(x), float(y)] for who, (x, y) in zip(people[inside, 0], kept_xy, strict=True)]
    return rows, int((~inside).sum())


def fitting(plane: Plane, cell_m: float) -> Plane:
    """The plane, if it can be divided into such cells. Raises `BadInput` where they are too many, or too large."""
    rows, columns = plane.grid(cell_m)
    size = " x ".join(f"{side:g}" for side in plane.size_m)
    if rows * columns > MAX_CELLS:
        raise BadInput(
            f"a plane of {size} m has {rows * columns:,} cells of {cell_m:g} m, more than {MAX_CELLS:,}; raise "
            f"ground_plane.pack.cell_m, or mend 'plane' in {sequence.SCENE}"
        )
    if cell_m / 2 > min(plane.size_m):
        raise BadInput(
            f"a cell of {cell_m:g} m has its centre outside a plane of {size} m; lower ground_plane.pack.cell_m"
        )
    return plane


def scene(found: Sequence, cameras: dict[str, dict], params: Pack) -> dict[str, Any]:
    """What scenes.json says of a unit. `cameras`: what `pack_camera` returned. Raises `BadInput` if it is too short."""
    frames = sorted({frame for camera in cameras.values() for frame in camera["frames"]})
    people: list[list] = []
    labelled, outside = [], 0
    for frame in frames:
        mine, lost = [], 0
        known = frame in found.labels
        if known:
            try:
                mine, lost = people_of(found, frame)
            except BadInput as error:
                log.warning("%s: frame %d is taken as not labelled: %s", found.name, frame, error)
                known = False
        people.append(mine)
        labelled.append(known)
        outside += lost
    counts = cut(sum(labelled), found.splits, params.shares)
    plane = fitting(found.plane, params.cell_m)
    return {
        "cameras": list(cameras),
        "plane": {"origin_m": list(plane.origin_m), "size_m": list(plane.size_m), "angle_rad": plane.angle_rad},
        "frames": frames, "labelled": labelled, "people": people,
        "split": split_of(labelled, counts, found.splits), "outside": outside,
    }  # fmt: skip


def made(jobs: dict[str, Job], params: Pack, out: Path, ctx: Context, accept: Accept) -> fanout.FanOut:
    """Every camera's folder. Raises `BadInput` where the disk is full."""
    prints = {key: fingerprint(of, frames, params, ctx.code) for key, (_, of, frames) in jobs.items()}
    out.mkdir(parents=True, exist_ok=True)
    room_for(jobs, prints, params, out)
    work = partial(pack_camera, size=(params.height_px, params.width_px))
    return fanout.fan_out(work, jobs, prints, out, ctx, accept=accept)


def run(params: Pack, out: Path, ctx: Context = Context(), *, download: Path, check_data: Path) -> dict[str, float]:
    """Returns scenes, cameras, images, and per split the labelled frames and people; what was left out."""
    checked = read_json(check_data / "check.json")
    units = {
        name: replace(sequence.read(download / name), splits=tuple(checked["units"][name]["splits"]))
        for name in checked["usable"]
    }
    jobs = {
        f"{name}-{camera}": (name, found.calibrations[camera], frames)
        for name, found in units.items()
        for camera, frames in found.frames.items()
        if frames
    }
    scenes: dict[str, dict[str, Any]] = {}
    left_out: dict[str, str] = {}

    def accept(fan: fanout.FanOut) -> None:
        """Raises `BadInput` if nothing can be packed, before cameras of a run before are replaced."""
        for name, found in units.items():
            cameras = {c: fan.summaries[f"{name}-{c}"] for c in found.calibrations if f"{name}-{c}" in fan.summaries}
            try:
                if not cameras:
                    broken = sorted((key, why) for key, why in fan.quarantined.items() if jobs[key][0] == name)
                    raise BadInput("; ".join(why for _, why in broken))
                scenes[name] = scene(found, cameras, params)
            except BadInput as error:
                log.warning("left out %s: %s", name, error)
                left_out[name] = str(error)
        if not scenes:
            reasons = "".join(f"\n  {name}: {why}" for name, why in left_out.items())
            raise BadInput(f"{download}: no sequence can be packed{reasons or ': check_data found none usable'}")

    fan = made(jobs, params, out, ctx, accept)
    for key, summary in fan.summaries.items():
        for image, why in summary["left_out"].items():
            log.warning("left out %s of %s: %s", image, key, why)
    grids = [units[name].plane.grid(params.cell_m) for name in scenes]
    write_json(out / "scenes.json", {
        "height_px": params.height_px, "width_px": params.width_px, "cell_m": params.cell_m,
        "grid": [max(rows) for rows in zip(*grids, strict=True)], "scenes": scenes, "left_out": left_out,
    })  # fmt: skip
    metrics: dict[str, float] = {
        "scenes": len(scenes), "cameras": sum(len(said["cameras"]) for said in scenes.values()),
        "images": sum(len(s["frames"]) for s in fan.summaries.values()),
        "outside": sum(said["outside"] for said in scenes.values()),
        "left_out": len(left_out) + len(fan.quarantined) + sum(len(s["left_out"]) for s in fan.summaries.values()),
    }  # fmt: skip
    for split in sequence.SPLITS[-1]:
        rows = [
            people
            for said in scenes.values()
            for people, part, known in zip(said["people"], said["split"], said["labelled"], strict=True)
            if known and part == split
        ]
        metrics |= {f"{split}_frames": len(rows), f"{split}_people": sum(map(len, rows))}
    return metrics
