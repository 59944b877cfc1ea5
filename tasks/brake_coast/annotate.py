"""Boxes of the vehicles on every frame of every recording.

Reads    download/<name>/frames.zip, recording.json; train_detector/best.pt, or the weights of any YOLO detector, or of
         none, for drives without a camera
Writes   annotate/<name>/annotations.csv    one row a box: the columns of COLUMNS
         annotate/<name>/annotations.json   ROI, image size, classes, weights, counts
         annotate/quarantine.json           recordings that cannot be annotated, and why
         annotate/detector_saw.json         {recording: {split, pictures}} of those that the detector has learnt from,
                                            by their names or the bytes of their pictures; if there are any
Alone    python -m tasks brake_coast-annotate

Pixels are those of the ROI crop. `status` is ok; empty: seen, and nothing found; unreadable: not a whole image. The
last two have one row a frame with blank cells. A killed run goes on after the last block of frames it wrote.
"""

from __future__ import annotations

import csv
import fnmatch
import logging
import os
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from tasks.brake_coast.formats import recording
from tasks.brake_coast.params import Annotate
from tasks.yard.detector.look import Detector, Frame, ahead, threads
from tasks.yard.detector.network import weights_file
from tasks.yard.fanout import fan_out
from tasks.yard.files import digest, file_hash, read_json, write_json
from tasks.yard.layouts import seen
from tasks.yard.layouts.images import decoded
from tasks.yard.splits import NAMED
from tasks.yard.step import BadInput, Context

log = logging.getLogger(__name__)

COLUMNS = ["Time", "filename", "status", "class_id", "confidence", "x1", "y1", "x2", "y2", "area"]
FLUSH_FRAMES = 100  # a kill loses about so many at most


def roi_of(params: Annotate, name: str, size_px: tuple[int, int]) -> list[int]:
    """x, y, w, h of the first rule that names the recording and its image size; the whole image if none does."""
    for rule in params.roi:
        if fnmatch.fnmatchcase(name, rule.pattern) and rule.image_size_px in (None, [*size_px]):
            roi = rule.roi_px or [0, 0, *size_px]
            if roi[0] + roi[2] > size_px[0] or roi[1] + roi[3] > size_px[1]:
                raise BadInput(
                    f"{name}: ROI {roi} (x, y, w, h) of the rule for {rule.pattern!r} reaches outside its images of "
                    f"{size_px[0]} x {size_px[1]} px; mend brake_coast.annotate.roi, or give that rule an image_size_px"
                )
            return roi
    return [0, 0, *size_px]


def look(path: Path, *, model: Detector, size_px: tuple[int, int], roi_px: list[int]) -> Frame | None:
    """The ROI of an image, ready for the network; None if it cannot be read."""
    image = decoded(path)
    if image is None:
        return None
    height, width = image.shape[:2]
    if (width, height) != size_px:
        expected = f"{size_px[0]} x {size_px[1]}"
        raise BadInput(f"{path}: {width} x {height} px, but recording.json says {expected}; split the drive")
    x, y, w, h = roi_px
    return model.frame(image[y : y + h, x : x + w], model.canvas(w, h))


def see(paths: list[Path], *, model: Detector, size_px: tuple[int, int], roi_px: list[int]) -> list[np.ndarray | None]:
    """The boxes on each of the images, None where one cannot be read."""
    frames = [look(path, model=model, size_px=size_px, roi_px=roi_px) for path in paths]
    found = iter(model.detect([frame for frame in frames if frame is not None]))
    return [None if frame is None else next(found) for frame in frames]


def strongest(found: np.ndarray, limit: int) -> np.ndarray:
    """At most `limit` of the boxes (n, 6), those with the largest confidence x area, in that order."""
    weight = found[:, 4] * (found[:, 2] - found[:, 0]) * (found[:, 3] - found[:, 1])
    return found[np.argsort(-weight, kind="stable")[:limit]]


def rows(path: Path, found: np.ndarray | None) -> list[list]:
    """The lines of annotations.csv for one frame; None: unreadable."""
    frame = [path.stem, path.name]
    if found is None or not len(found):
        return [[*frame, "unreadable" if found is None else "empty", *[""] * 7]]
    table = []
    for x1, y1, x2, y2, confidence, ours in found.tolist():
        box = [f"{value:.2f}" for value in (x1, y1, x2, y2, (x2 - x1) * (y2 - y1))]
        table.append([*frame, "ok", int(ours), f"{confidence:.4f}", *box])
    return table


def annotate_recording(
    folder: Path,
    out: Path,
    *,
    params: Annotate,
    model: Detector | None,
    weights_sha256: str | None,
    ctx: Context,
) -> dict:
    """Annotate one drive; the summary is what annotations.json holds."""
    images = list(recording.images(folder).values())
    if images and model is None:
        raise BadInput(
            f"{folder.name}: {len(images)} pictures, and no detector to look at them; give "
            f"brake_coast.annotate.weights a file, or null to train one, instead of {Annotate.NO_DETECTOR}"
        )
    about = recording.description(folder)
    size_px = (about["image_width_px"], about["image_height_px"])
    roi_px = roi_of(params, folder.name, size_px) if images else None
    table, mark = out / "annotations.csv", out / ".written.json"
    # What a killed run had written and counted. It stopped at a whole batch, so that the batches after it are the same.
    written = read_json(mark) if mark.exists() else {"frames": 0, "bytes": 0, "counts": {}}
    counts, start = Counter(written["counts"]), written["frames"]
    batches = [images[first : first + params.batch] for first in range(start, len(images), params.batch)]
    flush_batches = -(-FLUSH_FRAMES // params.batch)
    bar = ctx.progress(total=len(images), initial=start, desc=folder.name, unit="image", leave=False)
    with threads(params.threads) as pool, bar, table.open("a", newline="", encoding="utf-8") as file:
        file.truncate(written["bytes"])
        writer = csv.writer(file, lineterminator="\n")
        if not written["bytes"]:
            writer.writerow(COLUMNS)
        seen = ahead(partial(see, model=model, size_px=size_px, roi_px=roi_px), batches, pool)
        for number, (batch, results) in enumerate(zip(batches, seen, strict=True), 1):
            for path, found in zip(batch, results, strict=True):
                kept = None
                if found is not None:
                    kept = strongest(found, params.max_detections)
                    counts.update(boxes=len(kept), boxes_beyond_limit=len(found) - len(kept))
                lines = rows(path, kept)
                writer.writerows(lines)
                counts.update({"frames": 1, lines[0][COLUMNS.index("status")]: 1})
            bar.update(len(batch))
            if number % flush_batches == 0:
                file.flush()
                os.fsync(file.fileno())
                frames = start + number * params.batch
                write_json(mark, {"frames": min(frames, len(images)), "bytes": file.tell(), "counts": counts})
    mark.unlink(missing_ok=True)
    summary = {
        **{key: counts[key] for key in ("frames", "ok", "empty", "unreadable", "boxes", "boxes_beyond_limit")},
        "roi_px": roi_px,
        "image_width_px": size_px[0],
        "image_height_px": size_px[1],
        "classes": list(params.confidence),
        "weights_sha256": weights_sha256,
    }
    write_json(out / "annotations.json", summary)
    return summary


def seen_before(folders: Mapping[str, Path], detector: Path) -> dict[str, dict]:
    """{recording: the split it was in and how many of its pictures} of those that the detector has learnt from."""
    learnt_from, found = seen.read(detector), {}
    for name, folder in folders.items():
        about = recording.description(folder)
        names = {name, about["group"]}
        if about.get("layout") != "synth" and about.get("source"):
            file = Path(about["source"]).name  # what others call a film, or its frames: trip.mp4, trip_mp4
            names |= {file, file.replace(".", "_")}
        split, pictures = learnt_from.of_drive(sorted(names), recording.images(folder).values())
        if split:
            found[name] = {"split": split, "pictures": pictures}
    return found


def detector_of(params: Annotate, train_detector: Path) -> tuple[Path, Detector] | None:
    """The weights that the params name, or those that were trained, and their detector; None where none is wanted."""
    if params.weights == Annotate.NO_DETECTOR:
        return None
    weights = weights_file(params.weights or train_detector / "best.pt")
    how = {"imgsz": params.imgsz, "iou": params.iou, "device": params.device}
    return weights, Detector(weights, params.classes, params.confidence, **how)


def read_of(folder: Path) -> list[Path]:
    return [folder]


def run(
    params: Annotate, out: Path, ctx: Context = Context(), *, download: Path, train_detector: Path
) -> dict[str, float]:
    """Returns counts of frames by status and of boxes."""
    weights, model = detector_of(params, train_detector) or (None, None)
    sha256 = weights and file_hash(weights)
    settings = digest(params.model_dump(exclude={"weights", "threads"}), sha256, ctx.code)
    folders = recording.recordings(download)
    fingerprints = {}
    for name, folder in folders.items():
        fingerprints[name] = digest(settings, recording.description(folder), recording.pictures_digest(folder))
    work = partial(annotate_recording, params=params, model=model, weights_sha256=sha256, ctx=ctx)
    done = fan_out(work, folders, fingerprints, out, ctx, parallel=False, needs=read_of)
    if not done.summaries:
        raise BadInput(f"{download}: no recording could be annotated; {out / 'quarantine.json'} says why")
    saw = seen_before(folders, weights.parent) if weights else {}
    if saw:
        log.warning("the detector has learnt from %d of the recordings: %s", len(saw), ", ".join(sorted(saw)[:NAMED]))
        write_json(out / seen.SAW, saw)
    else:
        (out / seen.SAW).unlink(missing_ok=True)
    keys = ("frames", "ok", "empty", "unreadable", "boxes", "boxes_beyond_limit")
    totals = {key: sum(summary[key] for summary in done.summaries.values()) for key in keys}
    if model and not totals["frames"] and not done.quarantined:
        log.warning(
            "no recording has a picture: with brake_coast.annotate.weights=%s no detector is trained for them",
            Annotate.NO_DETECTOR,
        )
    return {"recordings": len(done.summaries), "quarantined": len(done.quarantined), **totals}
