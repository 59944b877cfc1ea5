"""Frames without distortion, of one size, in one file a camera; and who stands where: what networks learn from.

Reads    download/<unit>/ of the units that check_data/check.json calls usable
Writes   pack/<unit>-<cam>/frames.h5     images uint8 (F, height_px, width_px, 3) RGB
         pack/<unit>-<cam>/camera.json   {unit, camera, K, R, T, size, roi, frames, left_out: {image: why}}: the camera
                                         of the packed images, metres; row i of images is frame id frames[i]
         pack/scenes.json                {height_px, width_px, cell_m, grid: [rows, columns], scenes: {unit: {cameras,
                                         plane, frames, split, labelled, people, outside}}, left_out: {unit: why}};
                                         the split of a frame that is in none is guard
         pack/unlabelled.json            the same of units that nobody has labelled, for detect alone; if there are any
         pack/splits.json                which sequences, or parts and frames of one, are in each split
Alone    python -m tasks ground_plane-pack

scenes.py reads it. One camera of one sequence is one unit of work: unchanged ones are kept, also when the cells or the
shares of the splits change. Where its lens sends each pixel is computed once a camera. Made smaller by OpenCV's
INTER_AREA, which is antialiased. An image that cannot be read to its end, or is not of the calibration's size, is left
out by name.

A sequence with several splits is cut into contiguous parts by its labelled frames, training first, with a guard between
(learning/splits.py), as between the two parts of one root (learning/parts.py). What was packed before stays in its
split, as splits.json says (tasks/yard/splits.py). A frame to train on of which every picture is also one of validation
or test is left out.
"""

from __future__ import annotations

import io
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np

from tasks.ground_plane.formats import calibration, sequence
from tasks.ground_plane.formats.scenes import UNLABELLED
from tasks.ground_plane.formats.sequence import Sequence
from tasks.ground_plane.learning import parts
from tasks.ground_plane.learning.splits import GUARD, frame_name, of_frames
from tasks.ground_plane.params import Pack
from tasks.yard import fanout, saying, splits
from tasks.yard.files import digest, file_hash, read_json, write_json
from tasks.yard.geometry.camera import EDGE_M, Plane
from tasks.yard.geometry.lens import Calibration
from tasks.yard.layouts import images
from tasks.yard.splits import SPLITS
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


def fingerprint(of: Calibration, frames: dict[int, Path], hashes: dict[Path, str], params: Pack, code: str) -> str:
    hashes = [(frame, hashes[path]) for frame, path in frames.items()]
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


def splits_of(
    found: Sequence, frames: list[int], labelled: list[bool], params: Pack, known: Mapping[str, str]
) -> list[str]:
    """The split of each frame. `known`: of sequences, and of frames of those that were cut. Raises `BadInput`."""
    if not found.splits:  # nobody has labelled it
        return [GUARD] * len(frames)
    before = [known.get(frame_name(found.name, frame)) for frame in frames]
    whole = known.get(found.name)
    if whole is not None and not any(before) and len(found.splits) > 1:
        return [whole] * len(frames)
    chosen, guard = of_frames(labelled, before, found.splits, params.shares, params.guard_frames)
    if len(found.splits) > 1:
        lost = sum(of == GUARD and ours for of, ours in zip(chosen, labelled, strict=True))
        short = f", as it is too short for ground_plane.pack.guard_frames = {params.guard_frames}"
        log.info(
            "%s is cut into %s: %d of its %d labelled frames are left out, %d on each border%s", found.name,
            " and ".join(found.splits), lost, sum(labelled), guard, short if guard < params.guard_frames else "",
        )  # fmt: skip
    return chosen


def scene(found: Sequence, cameras: dict[str, dict], params: Pack, known: Mapping[str, str]) -> dict[str, Any]:
    """What scenes.json says of a unit. `cameras`: what `pack_camera` returned. Raises `BadInput` if it is too short."""
    frames = sorted({frame for camera in cameras.values() for frame in camera["frames"]})
    people: list[list] = []
    labelled, outside = [], 0
    for frame in frames:
        mine, lost = [], 0
        readable = frame in found.labels
        if readable:
            try:
                mine, lost = people_of(found, frame)
            except BadInput as error:
                log.warning("%s: frame %d is taken as not labelled: %s", found.name, frame, error)
                readable = False
        people.append(mine)
        labelled.append(readable)
        outside += lost
    split = splits_of(found, frames, labelled, params, known)
    plane = fitting(found.plane, params.cell_m)
    return {
        "cameras": list(cameras),
        "plane": {"origin_m": list(plane.origin_m), "size_m": list(plane.size_m), "angle_rad": plane.angle_rad},
        "frames": frames, "labelled": labelled, "people": people,
        "split": split, "outside": outside,
    }  # fmt: skip


def without_copies(scenes: dict[str, dict[str, Any]], pictures: Mapping[tuple[str, int], list[str]]) -> list[str]:
    """Takes frames out of training of which every picture is also one of validation or test, whatever sequence that is
    in; returns a remark. `pictures`: (unit, frame) -> hashes of what its cameras show."""
    places: dict[tuple[str, ...], list[tuple[int, str, int]]] = {}
    for unit, said in scenes.items():
        for place, (frame, split) in enumerate(zip(said["frames"], said["split"], strict=True)):
            if split in SPLITS:
                key = tuple(sorted(pictures[unit, frame]))
                places.setdefault(key, []).append((SPLITS.index(split), unit, place))
    lost = []
    for same in places.values():
        last = max(split for split, _, _ in same)
        for split, unit, place in same:
            if split < last:
                scenes[unit]["split"][place] = GUARD
                lost.append(f"frame {scenes[unit]['frames'][place]} of {unit}")
    if not lost:
        return []
    return [f"{len(lost)} frames are left out, as other splits hold the same pictures, first {lost[0]}"]


def manifest_of(scenes: Mapping[str, Mapping[str, Any]], known: Mapping[str, str]) -> dict[str, Any]:
    """splits.json: a sequence of one split is a group, of others each part is one, made of its frames."""
    today: list[tuple[str, str]] = []
    members: dict[str, list[str]] = {}
    for unit, said in scenes.items():
        parts = [split for split in SPLITS if split in said["split"]]
        if len(parts) == 1 and GUARD not in said["split"]:
            today.append((unit, parts[0]))
            continue
        for split in parts:
            mine = [f for f, of, ours in zip(said["frames"], said["split"], said["labelled"], strict=True)
                    if of == split and ours]  # fmt: skip
            today.append((f"{unit}/{split}", split))
            members[f"{unit}/{split}"] = [frame_name(unit, frame) for frame in mine]
    return splits.manifest(today, known, members)


def made(
    jobs: dict[str, Job], hashes: dict[Path, str], params: Pack, out: Path, ctx: Context, accept: Accept
) -> fanout.FanOut:
    """Every camera's folder. Raises `BadInput` where the disk is full."""
    prints = {key: fingerprint(of, frames, hashes, params, ctx.code) for key, (_, of, frames) in jobs.items()}
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
    units, known = parts.as_before(units, splits.known(out, params.splits))
    hashes = {path: file_hash(path) for _, _, frames in jobs.values() for path in frames.values()}
    pictures: dict[tuple[str, int], list[str]] = {}
    for unit, _, frames in jobs.values():
        for frame, path in frames.items():
            pictures.setdefault((unit, frame), []).append(hashes[path])

    def accept(fan: fanout.FanOut) -> None:
        """Raises `BadInput` if nothing can be packed, before cameras of a run before are replaced."""
        for name, found in units.items():
            cameras = {c: fan.summaries[f"{name}-{c}"] for c in found.calibrations if f"{name}-{c}" in fan.summaries}
            try:
                if not cameras:
                    broken = sorted((key, why) for key, why in fan.quarantined.items() if jobs[key][0] == name)
                    raise BadInput("; ".join(why for _, why in broken))
                scenes[name] = scene(found, cameras, params, known)
            except BadInput as error:
                log.warning("left out %s: %s", name, error)
                left_out[name] = str(error)
        if not scenes:
            reasons = "".join(f"\n  {name}: {why}" for name, why in left_out.items())
            raise BadInput(f"{download}: no sequence can be packed{reasons or ': check_data found none usable'}")

    fan = made(jobs, hashes, params, out, ctx, accept)
    remarks = parts.apart(scenes, units, known, params.guard_frames)
    remarks += without_copies(scenes, pictures)
    manifest = manifest_of(scenes, known)
    remarks += splits.moved(known, [(group, split) for split in SPLITS for group in manifest[split]])
    for remark in remarks:
        log.warning("%s", remark)
    for key, summary in fan.summaries.items():
        lines = [f"left out {image} of {key}: {why}" for image, why in summary["left_out"].items()]
        saying.few(log, lines, f"of {key} are left out")
    bare = {name: said for name, said in scenes.items() if not units[name].splits}
    scenes = {name: said for name, said in scenes.items() if name not in bare}

    def document(of: Mapping[str, Any]) -> dict[str, Any]:
        grids = [units[name].plane.grid(params.cell_m) for name in of]
        return {
            "height_px": params.height_px, "width_px": params.width_px, "cell_m": params.cell_m,
            "grid": [max(rows) for rows in zip(*grids, strict=True)], "scenes": of,
        }  # fmt: skip

    if not scenes:
        raise BadInput(f"{download}: no labelled sequence can be packed{''.join(f'; {w}' for w in left_out.values())}")
    told = {"left_out": left_out, **({"split_remarks": remarks} if remarks else {})}
    write_json(out / "scenes.json", {**document(scenes), **told})
    (out / UNLABELLED).unlink(missing_ok=True)
    if bare:
        write_json(out / UNLABELLED, document(bare))
    splits.write(out, manifest)
    metrics: dict[str, float] = {
        "scenes": len(scenes), "unlabelled": len(bare),
        "cameras": sum(len(said["cameras"]) for said in scenes.values()),
        "images": sum(len(s["frames"]) for s in fan.summaries.values()),
        "outside": sum(said["outside"] for said in scenes.values()),
        "guard_frames": sum(said["split"].count(GUARD) for said in scenes.values()),
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
