"""Windows of telemetry and detections with their labels, split by day or trip, as the files that training reads.

Reads    download/<name>/{telemetry.csv,recording.json}, annotate/<name>/annotations.{csv,json}, label/<name>/labels.csv
         annotate/detector_saw.json: a drive that the detector was trained or validated on is in the same split here
Writes   pack/{train,val,test}.h5 (laid out as windows.py says), pack/dataset_config.json
         pack/splits.json: which days or trips, and which recordings of them, are in each split (tasks/yard/splits.py)
Alone    python -m tasks brake_coast-pack

How a recording becomes features is said in features.py. No recording is in two splits, nor is a day or trip if there
are three of them; labels never look past their recording, so no second is shared either. What was packed before stays
in its split.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tasks.brake_coast import label
from tasks.brake_coast.formats import recording, windows
from tasks.brake_coast.learning import origins, splits
from tasks.brake_coast.learning.belonging import apart, groups_of, members_of, names_of
from tasks.brake_coast.learning.features import DETECTION_FEATURES, Drive, features, read_drive
from tasks.brake_coast.params import Pack
from tasks.yard import saying
from tasks.yard import splits as yard_splits
from tasks.yard.fanout import as_bad_input
from tasks.yard.files import FULL_DISK, read_if_there, replacing, write_json
from tasks.yard.layouts import seen
from tasks.yard.step import BadInput, Context

log = logging.getLogger(__name__)
NAMES = label.NAMES


def joined(drives: list[Drive], params: Pack) -> windows.Frames:
    """The frames of the drives, put together."""
    frames = stacked(drives, params)
    whole = {name: np.concatenate([getattr(d, name) for d in drives]) for name in windows.WINDOWED}
    return replace(frames, **whole)


def stacked(drives: list[Drive], params: Pack) -> windows.Frames:
    """As `joined`, but what is large stays where it is, in the drives."""
    offsets = np.cumsum([0, *(int(d.segment[-1]) + 1 for d in drives[:-1])])
    segments = [d.segment + offset for d, offset in zip(drives, offsets, strict=True)]
    small = ("labels", "t_ms", "image_ok")
    return windows.Frames(
        **{name: windows.Stacked([getattr(d, name) for d in drives]) for name in windows.WINDOWED},
        **{name: np.concatenate([getattr(d, name) for d in drives]) for name in small},
        recording=np.repeat(np.arange(len(drives), dtype=np.int32), [len(d.t_ms) for d in drives]),
        segment=np.concatenate(segments).astype(np.int32),
        label_names=label.NAMES,
        telemetry_features=features(params),
        recordings=[d.name for d in drives],
        window_frames=params.window_frames,
        window_stride=params.window_stride,
    )


def statistics(frames: windows.Frames, drives: list[Drive]) -> dict:
    """What a split holds; label counts are of the windows that the h5 lists."""
    starts = windows.window_starts(frames.segment, frames.window_frames, frames.window_stride)
    last = frames.labels[starts + frames.window_frames - 1]
    counts: dict[str, int] = {}
    for drive in drives:
        for key, n in drive.counts.items():
            counts[key] = counts.get(key, 0) + n
    return {
        "num_sequences": len(starts),
        "num_sequences_stride_1": len(windows.window_starts(frames.segment, frames.window_frames)),
        "segments": int(frames.segment[-1]) + 1,
        "image_ok_share": round(float(frames.image_ok.mean()), 6),
        "detections_per_frame": round(sum(int(drive.detection_masks.sum()) for drive in drives) / len(frames.t_ms), 4),
        "labels": {name: label.tally(last[:, index]) for index, name in enumerate(frames.label_names)},
        "counts": counts,
    }


def too_few(drives: list[Drive], different: int) -> str:
    """What can be done with fewer recordings than there are splits, and what is missing."""
    if not drives:
        return "0 usable recordings, three splits need three or more"
    names = ", ".join(drive.name for drive in drives)
    which = f"{names} is" if len(drives) == 1 else f"{names} are"
    return (
        f"{different} usable recordings that differ, three splits need three or more: {which} annotated and labelled, "
        "but cannot be trained on alone. `python -m flows view brake_coast "
        f"{drives[0].name}` plays it with what a network trained before predicts. To train, add drives to "
        "brake_coast.download.source, or leave min_recordings at 3 so that a long drive is cut into pieces"
    )


def assign(
    drives: list[Drive], params: Pack, known: Mapping[str, str], in_detector: Mapping[str, str], reasons: str
) -> tuple[list[str], list[str], float, list[str]]:
    """Group and split of each drive, the error, and what is to be said; sizes and rates are of windows at every frame.

    `known`: the splits of groups and drives that had one before. `in_detector`: of drives that the detector has.
    """
    groups = groups_of(drives, params.window_frames, known) if drives else []
    if len(set(groups)) < len(splits.SPLITS):
        raise BadInput(too_few(drives, len(set(groups))) + reasons)
    future = len(label.FUTURE)
    ends = [windows.window_starts(d.segment, params.window_frames) + params.window_frames - 1 for d in drives]
    last = [d.labels[end, :future] for d, end in zip(drives, ends, strict=True)]
    positives = np.array([(values == 1).sum(axis=0) for values in last])
    labelled = np.array([(values >= 0).sum(axis=0) for values in last])
    sizes = np.array([len(end) for end in ends])
    shares = [getattr(params.shares, name) for name in splits.SPLITS]
    kept, remarks = yard_splits.kept(known, names_of(groups, drives))
    for group, mine in members_of(groups, drives).items():
        if learnt := [in_detector[name] for name in mine if name in in_detector]:
            kept[group] = yard_splits.first_of([*learnt, kept.get(group, learnt[0])])
    chosen, error = splits.assign(groups, sizes, positives, labelled, shares, params.seed, kept)
    if kept:
        for split in splits.SPLITS:
            mine = np.array([choice == split for choice in chosen])
            lacks = (positives.sum(axis=0) > 0) & (positives[mine].sum(axis=0) == 0)
            for task in (name for name, lacking in zip(label.FUTURE, lacks, strict=True) if lacking and mine.any()):
                remarks.append(f"{split} has no positive of {task}, and drives keep the split that they had before")
    return groups, chosen, error, remarks


def write(out: Path, images: Iterable[tuple[str, bytes]], jsons: Callable[[], dict[str, dict]]) -> int:
    """All files or none: they get their names once all of them are on the disk. Each image is asked for when the one
    before it is written, and `jsons` after them. Returns the bytes of the images."""
    size_b = 0
    try:
        with ExitStack() as stack:
            for split, image in images:
                size_b += len(image)
                stack.enter_context(replacing(out / f"{split}.h5")).write_bytes(image)
                del image
            for name, said in jsons().items():
                write_json(stack.enter_context(replacing(out / name)), said)
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        size = f"{size_b / 1e6:.1f} MB"
        raise BadInput(
            f"{out}: no room for {size} ({error.strerror}); free some space. Nothing half-written is left"
        ) from None
    return size_b


def run(
    params: Pack, out: Path, ctx: Context = Context(), *, download: Path, annotate: Path, label: Path
) -> dict[str, float]:
    """Returns per split the windows, frames and brake and coast rates, and what saturated or was left out."""
    drives, left_out = [], {}
    for name in ctx.progress(sorted(recording.recordings(download)), desc="pack", unit="recording"):
        missing = [step.name for step in (annotate, label) if not (step / name).is_dir()]
        try:
            if missing:
                raise BadInput(f"nothing from {' and '.join(missing)}; see quarantine.json there")
            drive = read_drive(name, download, annotate, label, params)
            slots = windows.Slots.of(drive.detections, drive.detection_masks)
            drives.append(replace(drive, detections=slots))  # of all drives together they are too large
        except Exception as fault:
            error = as_bad_input(fault, name)
            left_out[name] = str(error)
            for step in (download, annotate, label):  # where the project lies is nobody's business in an output
                left_out[name] = left_out[name].replace(str(step), step.name)
    reasons = "".join(f"\n  left out {name}: {reason}" for name, reason in left_out.items())
    saw = read_if_there(annotate / seen.SAW)
    known = yard_splits.known(out, params.splits)
    saying.few(log, [f"left out {name}: {why}" for name, why in left_out.items()], "are left out")
    why = "is not tested on: the detector has learnt from it"
    saying.few(log, [f"{name} {why} ({of['pictures']} pictures)" for name, of in saw.items()], "are not tested on")
    in_detector = {name: of["split"] for name, of in saw.items()}
    groups, chosen, error, remarks = assign(drives, params, known, in_detector, reasons)
    for remark in remarks:
        log.warning("%s; %s", remark, yard_splits.how_to_redraw(out))
    yard_splits.refuse_empty(chosen, out, f"{len(saw)} drives are what the detector has learnt from" if saw else "")
    of_day: dict[str, set[str]] = {}
    for drive, split in zip(drives, chosen, strict=True):
        of_day.setdefault(drive.group, set()).add(split)
    torn = sorted(day for day, mine in of_day.items() if len(mine) > 1)
    if torn:
        drives, lost = apart(drives, chosen, params.guard_s, params.window_frames)
        log.warning(
            "fewer than three days or trips: the recordings of %s are split one by one; %d frames beside another split "
            "are left out (brake_coast.pack.guard_s = %g)", ", ".join(torn), lost, params.guard_s,
        )  # fmt: skip
    manifest = yard_splits.manifest(zip(groups, chosen, strict=True), known, members_of(groups, drives))

    per_split: dict[str, dict] = {}
    metrics = {"recordings": len(drives), "left_out": len(left_out), "split_error": error}

    def images() -> Iterator[tuple[str, bytes]]:
        for split in splits.SPLITS:
            members = [drive for drive, choice in zip(drives, chosen, strict=True) if choice == split]
            frames = stacked(members, params)
            held = statistics(frames, members)
            absent = {drive.name: drive.absent for drive in members if drive.absent}
            pieces = {drive.name for drive in members if recording.description(download / drive.name).get("piece")}
            per_split[split] = {
                "recordings": frames.recordings,
                "groups": sorted({group for group, choice in zip(groups, chosen, strict=True) if choice == split}),
                "origins": {
                    drive.name: origins.origin(
                        drive.name,
                        {group} if split == "test" and drive.group in torn else {drive.group, group},
                        drive.name in pieces,
                    )
                    for drive, group, choice in zip(drives, groups, chosen, strict=True)
                    if choice == split
                },
                "absent_sensors": absent,
                "statistics": held,
            }
            metrics.update({f"{split}_windows": held["num_sequences"], f"{split}_frames": held["counts"]["frames"]})
            for task, counts in held["labels"].items():
                unknown = counts["unknown"] / held["num_sequences"] if held["num_sequences"] else None
                metrics.update({f"{split}_{task}_unknown_share": unknown} if unknown is not None else {})
                metrics.update({f"{split}_{task}_rate": counts["rate"]} if counts["rate"] is not None else {})
            yield split, windows.file_image(frames)

    def config() -> dict[str, Any]:
        return {
            "sequence_length": params.window_frames,
            "sequence_stride": params.window_stride,
            "max_detections": params.max_detections,
            "telemetry_features": features(params),
            "telemetry_dim": len(features(params)),
            "telemetry_ranges": params.ranges.model_dump(),
            "detection_features": DETECTION_FEATURES,
            "detection_dim_per_box": len(DETECTION_FEATURES),
            "detection_order": "area, largest first",
            "label_names": NAMES,
            "random_seed": params.seed,
            "split_error": round(error, 6),
            "split_by": "recording" if torn else "group",
            "splits": per_split,
            "left_out": left_out,
            **({"split_remarks": remarks} if remarks else {}),
        }

    metrics["bytes"] = write(out, images(), lambda: {"dataset_config.json": config(), yard_splits.FILE: manifest})
    counts = [held["statistics"]["counts"] for held in per_split.values()]
    metrics["saturated_values"] = sum(n for held in counts for key, n in held.items() if "saturated" in key)
    return metrics
