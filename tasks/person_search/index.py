"""Who is where: every person in every frame of every camera, with the vector that stands for what they look like.

Reads    download/<unit>/{frames/, camera.json, truth.csv} of the units with a `frames` part; train_detector/best.pt, or
         the weights of any YOLO detector; evaluate/details.json, which names the leading network, and its
         train/<network>/best.pt; calibrate/calibration.json, the confidence that validation likes best
Writes   index/<unit>/detections.h5     frame, box, confidence and embedding of each detection: see cameras.py
         index/<unit>/oracle.h5         the same of the true boxes, where truth.csv tells them
         index/<unit>/camera.json       which camera it is, counts, unreadable frames, detector recall at IoU 0.5
         index/index.json               {cameras: {unit: as in camera.json}, network, ..., empty: why there is nothing}
         index/quarantine.json          cameras that cannot be used, and why
Alone    python -m tasks person_search-index

A frame is decoded once: the network sees its crops while the detector's batch is in memory. A camera is made again when
its frames, the weights, the network or the params change, and only then; a killed run goes on after the last block of
frames it wrote.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tasks.person_search.formats import cameras
from tasks.person_search.formats.cameras import NOBODY, Truth
from tasks.person_search.judging import calibration
from tasks.person_search.judging.leader import Leader, leader_of
from tasks.person_search.judging.search_metrics import ious
from tasks.person_search.learning.embed import embed, load_network
from tasks.person_search.params import Index
from tasks.yard import saying
from tasks.yard.detector.look import Detector, ahead, threads
from tasks.yard.detector.network import trained_size, weights_file
from tasks.yard.fanout import FanOut, fan_out
from tasks.yard.files import digest, file_hash, read_if_there, read_json, replacing, write_json
from tasks.yard.layouts.images import decoded
from tasks.yard.step import BadInput, Context
from tasks.yard.training.accelerator import Carried

log = logging.getLogger(__name__)
BLOCK_FRAMES = 100  # a kill loses about so many at most
IOU = 0.5
CONFIDENCE = 0.25  # where nobody has tried others
NO_DETECTOR = (
    "set person_search.index.weights to the .pt file of a detector, or the name of published weights such as "
    "yolo12n.pt, or give labelled images"
)
NO_CAMERAS = "the sources hold no camera to search in (cameras/<name>/*.jpg or cameras/<name>.mp4)"


@dataclass(frozen=True)
class Eyes(Carried):
    """Detector and network, ready to look; several threads may use them at once."""

    detector: Detector
    network: nn.Module
    config: dict
    max_detections: int

    def chosen(self) -> torch.device:
        return self.detector.chosen()

    @property
    def length(self) -> int:
        return self.network.feature_dim


@dataclass(frozen=True)
class Seen:
    """One frame."""

    found: np.ndarray  # (n, 5) float32: box, confidence
    beyond: int  # detections over the limit
    embedding: np.ndarray  # (n, D) float32
    truth: Truth
    taken: np.ndarray  # (m) bool: true boxes that a detection took
    oracle: np.ndarray  # (m, D) float32 of the true boxes


def taken_boxes(true: np.ndarray, found: np.ndarray) -> np.ndarray:
    """True boxes (m, 4), detections (n, 4) the most confident first -> (m) bool: taken at IoU 0.5, each by one.

    As average precision counts them: a detection takes the free box that it overlaps most.
    """
    taken = np.zeros(len(true), bool)
    if not len(true):
        return taken
    for box in found:
        overlap = np.where(taken, 0, ious(true, np.broadcast_to(box, true.shape)))
        if overlap.max() >= IOU:
            taken[overlap.argmax()] = True
    return taken


def detected(images: Sequence[np.ndarray], model: Detector) -> list[np.ndarray]:
    """(n, 5) of each image, the most confident first; images of one size are seen together."""
    found: list[np.ndarray] = [np.empty((0, 5), np.float32)] * len(images)
    sizes = [image.shape[1::-1] for image in images]
    for size in dict.fromkeys(sizes):
        mine = [i for i, other in enumerate(sizes) if other == size]
        canvas = model.canvas(*size)
        boxes = model.detect([model.frame(images[i], canvas) for i in mine])
        for i, rows in zip(mine, boxes, strict=True):
            rows = rows[(rows[:, 2] > rows[:, 0]) & (rows[:, 3] > rows[:, 1])]
            found[i] = rows[np.argsort(-rows[:, 4], kind="stable"), :5]
    return found


def see(batch: Sequence[tuple[Path, Truth]], *, eyes: Eyes) -> list[Seen | None]:
    """What there is in each frame of a batch; None for one that cannot be read."""
    read = [decoded(path) for path, _ in batch]
    images = [image for image in read if image is not None]
    truths = [truth for image, (_, truth) in zip(read, batch, strict=True) if image is not None]
    every = detected(images, eyes.detector)
    kept = [found[: eyes.max_detections] for found in every]
    vectors = embedded(images, [found[:, :4] for found in kept], eyes)
    oracles = embedded(images, [truth.box for truth in truths], eyes)
    seen = iter(
        Seen(found, len(all_) - len(found), vector, truth, taken_boxes(truth.box, found[:, :4]), oracle)
        for found, all_, vector, truth, oracle in zip(kept, every, vectors, truths, oracles, strict=True)
    )
    return [None if image is None else next(seen) for image in read]


def embedded(images: Sequence[np.ndarray], boxes: Sequence[np.ndarray], eyes: Eyes) -> list[np.ndarray]:
    """The vectors of the boxes (n, 4) of each image, by one pass of the network over all of them."""
    crops = [cameras.crops_of(image, mine, eyes.config) for image, mine in zip(images, boxes, strict=True)]
    vectors = embed(eyes.network, np.concatenate(crops), eyes.config) if crops else np.empty((0, eyes.length))
    return np.split(vectors, np.cumsum([len(mine) for mine in crops])[:-1]) if crops else []


def block_of(numbers: Sequence[int], seen: Sequence[Seen | None], length: int) -> dict[str, np.ndarray]:
    """What a run of frames gave, in columns: those of detections.h5, and of oracle.h5 with `oracle_` before."""
    whole = [(number, one) for number, one in zip(numbers, seen, strict=True) if one is not None]

    def joined(parts: Iterable[np.ndarray], like: np.ndarray) -> np.ndarray:
        return np.concatenate([like, *parts])

    frame, flat, boxes = np.empty(0, np.int32), np.empty(0, np.float32), np.empty((0, 4), np.float32)
    vectors = np.empty((0, length), np.float32)
    return {
        "frame": joined((np.full(len(s.found), number, np.int32) for number, s in whole), frame),
        "box": joined((s.found[:, :4] for _, s in whole), boxes),
        "confidence": joined((s.found[:, 4] for _, s in whole), flat),
        "embedding": joined((s.embedding for _, s in whole), vectors),
        "oracle_frame": joined((np.full(len(s.taken), number, np.int32) for number, s in whole), frame),
        "oracle_identity": joined((s.truth.identity for _, s in whole), frame),
        "oracle_box": joined((s.truth.box for _, s in whole), boxes),
        "oracle_embedding": joined((s.oracle for _, s in whole), vectors),
        "oracle_found": joined((s.taken.astype(np.uint8) for _, s in whole), np.empty(0, np.uint8)),
        "beyond": np.array(sum(s.beyond for _, s in whole)),
        "unreadable": np.array([n for n, s in zip(numbers, seen, strict=True) if s is None], np.int64),
    }


def column(files: Iterable[Path], name: str) -> list[np.ndarray]:
    """One column of each block; the others are not read."""
    found = []
    for file in files:
        with np.load(file) as block:
            found.append(block[name])
    return found


def look_through(
    frames: Mapping[int, Path], truth: Mapping[int, Truth], blocks: Path, *, eyes: Eyes, batch: int,
    pool: ThreadPoolExecutor, bar,
) -> list[Path]:  # fmt: skip
    """A file in `blocks` for each run of frames; those that a killed run left are kept. Returns them all."""
    blocks.mkdir(exist_ok=True)
    size = -(-BLOCK_FRAMES // batch) * batch  # whole batches, so that those after a kill are the same
    numbers = list(frames)
    files = [blocks / f"{start:08d}.npz" for start in range(0, len(numbers), size)]
    done = next((i for i, file in enumerate(files) if not file.exists()), len(files)) * size
    bar.update(min(done, len(numbers)))
    starts = range(done, len(numbers), batch)
    work = ([(frames[n], truth.get(n, NOBODY)) for n in numbers[start : start + batch]] for start in starts)
    gathered: list[Seen | None] = []
    for start, seen in zip(starts, ahead(partial(see, eyes=eyes), work, pool), strict=True):
        gathered += seen
        bar.update(len(seen))
        end = start + len(seen)
        if end % size == 0 or end == len(numbers):
            begin = end - len(gathered)
            with replacing(files[begin // size]) as temporary:
                np.savez(temporary, **block_of(numbers[begin:end], gathered, eyes.length))
            gathered = []
    return files


def index_camera(folder: Path, out: Path, *, params: Index, eyes: Eyes, ctx: Context) -> dict:
    """Index one camera; the summary is what camera.json holds."""
    camera = cameras.camera_of(folder)
    frames = camera.frames()
    truth = cameras.truth_of(folder, frames)
    with (
        threads(params.threads) as pool,
        ctx.progress(total=len(frames), desc=folder.name, unit="frame", leave=False) as bar,
    ):
        files = look_through(
            frames, truth or {}, out / ".blocks", eyes=eyes, batch=params.batch, pool=pool, bar=bar
        )  # fmt: skip
    unreadable = [frames[number].name for block in column(files, "unreadable") for number in block.tolist()]
    lines = [f"{folder.name}/frames/{name}: not a whole image, left out" for name in unreadable]
    saying.few(log, lines, f"of {folder.name} are left out")
    if len(unreadable) == len(frames):
        raise BadInput(f"{folder}/frames: none of its {len(frames)} images can be read; bring them again")
    summary = {
        "dataset": camera.dataset, "camera": camera.number, "name": camera.name, "fps": camera.fps,
        "frames": len(frames), "unreadable": unreadable, "true_boxes": None, "true_boxes_found": None,
        "detections": cameras.write_rows(out / "detections.h5", cameras.detection_columns(eyes.length), files),
        "beyond_limit": sum(map(int, column(files, "beyond"))),
    }  # fmt: skip
    if truth is not None:
        columns = cameras.oracle_columns(eyes.length)
        summary["true_boxes"] = cameras.write_rows(out / "oracle.h5", columns, files, "oracle_")
        summary["true_boxes_found"] = sum(int(found.sum()) for found in column(files, "oracle_found"))
    write_json(out / "camera.json", summary)
    shutil.rmtree(out / ".blocks")
    return summary


def fingerprint_of(folder: Path, settings: str) -> str:
    """Of all that a camera's index is made from."""
    beside = [path for name in (cameras.CAMERA, cameras.TRUTH) if (path := folder / name).is_file()]
    files = [(path.name, file_hash(path)) for path in (*cameras.images_in(folder / "frames"), *beside)]
    return digest(settings, read_json(folder / "unit.json")["dataset"], files)


def totals_of(summaries: Mapping[str, dict]) -> dict[str, float]:
    """Sums over the cameras; the detector's recall only where boxes are known."""
    found = {key: sum(one[key] for one in summaries.values()) for key in ("frames", "detections", "beyond_limit")}
    found["unreadable"] = sum(len(one["unreadable"]) for one in summaries.values())
    known = [one for one in summaries.values() if one["true_boxes"]]
    if known:
        found["true_boxes"] = sum(one["true_boxes"] for one in known)
        found["detector_recall"] = round(sum(one["true_boxes_found"] for one in known) / found["true_boxes"], 6)
    return found


def opened_detector(params: Index, train_detector: Path, confidence: float) -> tuple[Path, Detector]:
    """(its file, the detector). Raises `BadInput` where there is none."""
    own = train_detector / "best.pt"
    if params.weights is None and not own.exists():
        why = read_if_there(train_detector / "metrics.json").get("reason", f"{own}: no such file")
        raise BadInput(f"there is no detector to index cameras with ({why}); {NO_DETECTOR}")
    weights = weights_file(params.weights or own)
    return weights, Detector(
        weights, dict.fromkeys(params.classes, "person"), {"person": confidence},
        imgsz=params.imgsz or trained_size(weights), iou=params.iou, device=params.device,
    )  # fmt: skip


def opened_eyes(
    params: Index, train_detector: Path, leader: Leader, train: Mapping[str, Path], confidence: float
) -> tuple[Eyes, dict]:
    """Detector and network, and what index.json says of them."""
    checkpoint = leader.checkpoint(train)
    weights, model = opened_detector(params, train_detector, confidence)
    network, config = load_network(checkpoint, model.chosen())
    about = {
        "network": leader.network, "network_sha256": file_hash(checkpoint), "embedding": network.feature_dim,
        "weights_sha256": file_hash(weights), "lowest_confidence": confidence,
    }  # fmt: skip
    return Eyes(model, network, config, params.max_detections), about


def confidence_of(params: Index, calibrate: Path) -> float:
    """As the params say, else as validation likes best, else the usual one."""
    known = (
        calibration.read(calibrate / calibration.FILE).confidence if params.confidence is None else params.confidence
    )
    return CONFIDENCE if known is None else known


def index_all(
    folders: Mapping[str, Path], out: Path, params: Index, eyes: Eyes, about: Mapping, ctx: Context
) -> FanOut:  # fmt: skip
    """Index every camera that is new, changed, or was seen by other eyes."""
    settings = digest(params.model_dump(exclude={"weights", "threads", "confidence"}), about, ctx.code)
    names = list(folders)
    fingerprints = {name: fingerprint_of(folders[name], settings) for name in ctx.progress(names, desc="frames read")}
    work = partial(index_camera, params=params, eyes=eyes, ctx=ctx)
    return fan_out(work, folders, fingerprints, out, ctx, parallel=False)


def run(
    params: Index,
    out: Path,
    ctx: Context = Context(),
    *,
    download: Path,
    train_detector: Path,
    train: dict[str, Path],
    evaluate: Path,
    calibrate: Path,
) -> dict[str, float]:
    """Returns counts over the cameras, and the detector's recall where true boxes are known.

    Without a camera the result is empty, and says so. Raises `BadInput` if no camera can be used.
    """
    folders = cameras.units_with_frames(download)
    if not folders:
        log.warning("%s: %s; nothing is indexed", download, NO_CAMERAS)
        fan_out(len, {}, {}, out, ctx)
        write_json(out / "index.json", {"cameras": {}, "empty": NO_CAMERAS})
        return {"cameras": 0, "quarantined": 0, **totals_of({})}
    confidence = confidence_of(params, calibrate)
    eyes, about = opened_eyes(params, train_detector, leader_of(evaluate), train, confidence)
    done = index_all(folders, out, params, eyes, about, ctx)
    if not done.summaries:
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in done.quarantined.items())
        raise BadInput(f"{download}: none of its {len(folders)} cameras can be used{reasons}")
    write_json(out / "index.json", {"cameras": done.summaries, **about, "empty": None})
    return {"cameras": len(done.summaries), "quarantined": len(done.quarantined), **totals_of(done.summaries)}
