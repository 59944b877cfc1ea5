"""Labelled vehicle images as a YOLO dataset, cropped to what `annotate` will show the detector, split by sequence.

Reads    params.source: synth://highway?... or a folder in Boxy's layout (boxy.py)
Writes   detector_data/images/{train,val,test}/*.jpg, labels/{train,val,test}/*.txt, dataset.yaml, report.json
Alone    python -m tasks brake_coast-detector_data

Neighbouring frames of a drive are all but equal, so a sequence never lies in two splits. Boxes are clipped to the crop;
an image left without any stays, as background.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from tasks.brake_coast import boxy
from tasks.brake_coast.params import DetectorData
from tasks.files import replacing, write_json, write_text
from tasks.step import BadInput, Context
from tasks.worlds import highway

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
JPEG_QUALITY = 95  # a second compression should add nothing to the first
DATASET = "train: images/train\nval: images/val\ntest: images/test\nnames:\n  0: vehicle\n"


@contextmanager
def source_folder(source: str, ctx: Context) -> Iterator[Path]:
    """The folder in Boxy's layout that a source stands for; that of a synthetic world is gone afterwards."""
    if not source.startswith("synth://"):
        if "://" in source or not Path(source).is_dir():
            raise BadInput(f"brake_coast.detector_data.source = {source!r}: expected synth://highway?... or a folder")
        yield Path(source)
        return
    world = highway.parse(source)
    numbers = list(range(highway.detector_sequences(world)))
    with tempfile.TemporaryDirectory(prefix="highway-") as name:
        work = partial(highway.write_sequence, world, folder=Path(name))
        results = ctx.map(work, numbers, names=[f"sequence {number}" for number in numbers])
        for _, result in ctx.progress(results, total=len(numbers), desc="detector images", unit="drive"):
            if isinstance(result, Exception):
                raise result
        yield Path(name)


def split_of(sizes: dict[str, int], shares: dict[str, float], seed: int) -> dict[str, str]:
    """A split for each sequence: in random order, each to where most is lacking. Every split gets one or more."""
    if len(sizes) < len(SPLITS):
        raise BadInput(f"brake_coast.detector_data.source has {len(sizes)} sequences; three splits need three or more")
    order = [sorted(sizes)[i] for i in np.random.default_rng(seed).permutation(len(sizes))]
    chosen = dict(zip(order, ("test", "val", "train")))
    lacking = {split: shares[split] * sum(sizes.values()) for split in SPLITS}
    for sequence in order:
        split = chosen.setdefault(sequence, max(SPLITS, key=lacking.__getitem__))
        lacking[split] -= sizes[sequence]
    return chosen


def cropped(
    boxes: np.ndarray, params: DetectorData, width_px: int, height_px: int
) -> tuple[np.ndarray, dict[str, int]]:
    """Boxes in pixels of the crop, clipped to it, and how many were let go for which reason."""
    x, y, w, h = params.roi_px or (0, 0, width_px, height_px)
    bonnet = boxy.own_bonnet(boxes, width_px, height_px)
    moved = boxes - [x, y, x, y]
    inside = np.clip(moved, 0, [w, h, w, h])
    sides, whole = inside[:, 2:] - inside[:, :2], moved[:, 2:] - moved[:, :2]
    outside = ~bonnet & (sides.prod(1) < params.min_inside_share * whole.prod(1))
    small = ~bonnet & ~outside & (sides.min(1) < params.min_box_px)
    dropped = {"bonnet": int(bonnet.sum()), "outside": int(outside.sum()), "small": int(small.sum())}
    return inside[~(bonnet | outside | small)], dropped


def write_example(picture: np.ndarray, boxes: np.ndarray, image: Path, label: Path) -> None:
    height, width = picture.shape[:2]
    with replacing(image) as temporary:
        cv2.imwrite(str(temporary), picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    rows = np.hstack([centres, sides]) / [width, height, width, height]
    write_text(label, "".join("0 " + " ".join(f"{value:.6f}" for value in row) + "\n" for row in rows))


def run(params: DetectorData, out: Path, ctx: Context = Context()) -> dict[str, float]:
    """Returns images and boxes per split and how many images could not be used.

    Raises `BadInput` if more than `max_broken_share` of the entries are broken, naming the first; fewer are left out
    and listed in the report.
    """
    for folder in (out / "images", out / "labels"):
        shutil.rmtree(folder, ignore_errors=True)
    counts = {s: {"sequences": 0, "images": 0, "boxes": 0, "background_images": 0} for s in SPLITS}
    dropped = {"bonnet": 0, "outside": 0, "small": 0}
    with source_folder(params.source, ctx) as folder:
        labelled, broken = boxy.read(folder, params.label_scale)
        entries = len(labelled) + len(broken)
        check_broken(broken, entries, params)
        sizes: dict[str, int] = {}
        for item in labelled:
            sizes[item.sequence] = sizes.get(item.sequence, 0) + 1
        splits = split_of(sizes, params.shares.model_dump(), params.seed)
        for split in splits.values():
            counts[split]["sequences"] += 1
        for item in ctx.progress(labelled, desc="detector data", unit="image"):
            picture = cv2.imread(str(folder / item.name))
            if picture is None:
                broken[item.name] = "not a readable image"
                continue
            height, width = picture.shape[:2]
            x, y, w, h = params.roi_px or (0, 0, width, height)
            if x + w > width or y + h > height:
                raise BadInput(
                    f"brake_coast.detector_data.roi_px = {params.roi_px} reaches beyond {item.name}, which is "
                    f"{width}x{height}; make it smaller, or null for whole images"
                )
            boxes, gone = cropped(item.boxes, params, width, height)
            dropped = {reason: dropped[reason] + n for reason, n in gone.items()}
            split, stem = splits[item.sequence], Path(item.name).with_suffix("").as_posix().replace("/", "__")
            paths = out / "images" / split / f"{stem}.jpg", out / "labels" / split / f"{stem}.txt"
            write_example(picture[y : y + h, x : x + w], boxes, *paths)
            count = counts[split]
            count["images"] += 1
            count["boxes"] += len(boxes)
            count["background_images"] += not len(boxes)
    check_broken(broken, entries, params)
    for where, why in broken.items():
        log.warning("left out %s: %s", where, why)
    write_text(out / "dataset.yaml", DATASET)
    write_json(out / "report.json", {"splits": counts, "boxes_dropped": dropped, "broken": broken, "sequences": splits})
    metrics = {f"{split}_{what}": counts[split][what] for split in SPLITS for what in ("images", "boxes")}
    return {**metrics, "broken_entries": len(broken)}


def check_broken(broken: dict[str, str], entries: int, params: DetectorData) -> None:
    if len(broken) > params.max_broken_share * entries:
        where, why = next(iter(broken.items()))
        raise BadInput(
            f"{params.source}: {len(broken)} of {entries} label entries cannot be used, first {where}: {why}. "
            f"Mend them, or raise brake_coast.detector_data.max_broken_share ({params.max_broken_share:g})"
        )
